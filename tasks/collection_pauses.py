"""Python's garbage collector must not stop a session in the middle of a bar.

Prefect, pandas and scikit-learn leave some hundred thousand objects that live as long as the process. Walking through them takes a third
of a second, and it happens whenever enough was made since the last time: during a bar as well as between two.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def no_long_pauses() -> Iterator[None]:
    """What is alive now is left alone by the collector while this is entered; what is made meanwhile is collected as ever."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
