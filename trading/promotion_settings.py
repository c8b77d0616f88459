"""Settings of the gate between the stages of policies."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field, model_validator

from trading.setting_types import Section


class PromotionSettings(Section):
    """What a policy has to show before it is promoted. `openbell promote --force` overrides all of it, and is recorded."""

    unseen_sessions: Annotated[int, Field(ge=2, le=250)] = 60
    """Sessions that candidate and champion are replayed on at most: the newest with stored bars after both were trained."""
    min_unseen_sessions: Annotated[int, Field(ge=2, le=250)] = 20
    """Such sessions that there have to be."""
    worse_by_standard_errors: Annotated[Decimal, Field(ge=0, le=10)] = Decimal("1.0")
    """How far the mean return per session after costs may be below the champion's (without one: below flat), in standard errors of the difference. 0 takes no policy that looks worse at all, and neither does live while it has no champion."""
    max_drawdown_factor: Annotated[Decimal, Field(gt=0, le=100)] = Decimal("1.5")
    """Largest drawdown as a multiple of the champion's (without one: of buy_and_hold's)."""
    drawdown_floor_fraction: Annotated[Decimal, Field(ge=0, le=1)] = Decimal("0.02")
    """A drawdown up to this fraction of equity is never too deep, however small the champion's was."""
    max_refused_fraction: Annotated[Decimal, Field(ge=0, le=1)] = Decimal("0.10")
    """Largest part of its orders that the broker may refuse in the replay."""
    min_paper_sessions: Annotated[int, Field(ge=0, le=250)] = 5
    """For live: sessions of days after its training that the policy at paper has traded to their end; those of an invented market count for nothing."""

    @model_validator(mode="after")
    def _enough_are_replayed(self) -> "PromotionSettings":
        if self.min_unseen_sessions > self.unseen_sessions:
            raise ValueError("min_unseen_sessions must not be more than unseen_sessions")
        return self
