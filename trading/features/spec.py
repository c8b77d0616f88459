"""A feature by name and parameters, as it is declared in settings and stored with a model."""

from typing import Annotated

from pydantic import Field, StrictFloat, StrictInt

from trading.setting_types import Section

FEATURE_VERSION = 1
"""Counts changes of any feature's meaning: a model trained on other meanings is not asked."""


class FeatureSpec(Section):
    """One declared feature. Which names and parameters there are is known to ``trading.features.feature_set``."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
    """Name of the feature, for example rsi."""
    parameters: dict[str, StrictInt | StrictFloat] = Field(default_factory=dict)
    """Its parameters, for example {bars = 14}; those not given have their defaults."""
