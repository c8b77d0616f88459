"""One Hypothesis profile for everything below: the same examples on every run, and never many of them."""

from hypothesis import settings

settings.register_profile("openbell", max_examples=60, derandomize=True, deadline=None, database=None)
settings.load_profile("openbell")
