from pathlib import Path

import pytest

from deployments.terminal.options import settings_from
from trading.settings import Settings

TWO = """
[session]
symbols = ["SPY"]
[store]
path = "common.duckdb"
[strategies.trend]
store.path = "trend.duckdb"
session.account = "one"
policy.name = "buy_and_hold"
[strategies.calm]
store.path = "calm.duckdb"
session.account = "two"
policy.name = "flat"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("openbell.toml").write_text(TWO, encoding="utf-8")
    return tmp_path / "openbell.toml"


def meant(settings: Settings) -> tuple[str, str | None, str | None]:
    return settings.strategy, settings.session.account, settings.policy.name


@pytest.mark.usefixtures("file")
def test_a_strategy_of_the_file_is_meant_by_its_name_or_by_its_database(tmp_path: Path) -> None:
    trend = ("trend", "one", "buy_and_hold")
    assert meant(settings_from(None, None, {"session.strategy": "trend"})) == trend
    assert meant(settings_from(None, Path("trend.duckdb"))) == trend
    assert meant(settings_from(None, tmp_path / "trend.duckdb")) == trend
    assert meant(settings_from(None, Path("calm.duckdb"))) == ("calm", "two", "flat")


@pytest.mark.usefixtures("file")
def test_any_other_name_or_database_is_what_it_always_was() -> None:
    assert meant(settings_from(None, None)) == ("sma_crossover", None, "sma_crossover")
    assert meant(settings_from(None, Path("other.duckdb"))) == ("sma_crossover", None, "sma_crossover")
    assert meant(settings_from(None, None, {"session.strategy": "mine"})) == ("mine", None, "sma_crossover")


@pytest.mark.usefixtures("file")
def test_a_strategy_in_another_database_is_still_that_strategy() -> None:
    settings = settings_from(None, Path("elsewhere.duckdb"), {"session.strategy": "trend"})
    assert meant(settings) == ("trend", "one", "buy_and_hold")
    assert settings.store.path == Path("elsewhere.duckdb")
