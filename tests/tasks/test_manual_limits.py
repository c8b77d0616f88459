from decimal import Decimal
from pathlib import Path

import pytest

from storage.store import open_store
from tasks.manual_limits import change_limits, checked, limits_in_force
from trading.errors import ConfigurationError
from trading.settings import Settings


def test_values_are_checked_as_the_settings_are() -> None:
    assert checked({"max_daily_loss": "500", "max_order_shares": 20}) == {
        "max_daily_loss": "500",
        "max_order_shares": 20,
    }
    assert checked({"max_daily_loss": "off"}) == {"max_daily_loss": None}
    with pytest.raises(ConfigurationError, match="did you mean max_daily_loss"):
        checked({"max_dayly_loss": 500})
    with pytest.raises(ConfigurationError, match=r"risk.max_order_shares = -1"):
        checked({"max_order_shares": -1})


def test_without_a_session_the_limits_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = Settings.model_validate({"risk": {"max_daily_loss": 77}, "store": {"path": tmp_path / "l.duckdb"}})
    found = limits_in_force(settings)
    assert (found["session_id"], found["limits"]["max_daily_loss"], found["changed"]) == (None, "77", {})
    assert not settings.store.path.exists()
    with open_store(settings.store.path):
        pass
    assert limits_in_force(settings) == found


def test_without_a_session_there_is_nothing_to_change(tmp_path: Path) -> None:
    settings = Settings.model_validate({"store": {"path": tmp_path / "l.duckdb"}})
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"max_daily_loss into \[risk\] of the settings file"):
            change_limits(settings, {"max_daily_loss": Decimal(5)})
        with open_store(settings.store.path):
            pass
    with pytest.raises(ConfigurationError, match="No limit was named"):
        change_limits(settings, {})
