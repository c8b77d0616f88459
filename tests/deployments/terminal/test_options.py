from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployments.terminal.options import settings_from, settings_of_one
from trading.errors import ConfigurationError
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


@pytest.mark.usefixtures("file")
def test_what_acts_on_an_account_asks_which_of_several_strategies_is_meant() -> None:
    with pytest.raises(ConfigurationError, match=r"--db trend.duckdb \(trend\) or --db calm.duckdb \(calm\)"):
        settings_of_one(None, None)
    assert meant(settings_of_one(None, Path("calm.duckdb"))) == ("calm", "two", "flat")
    assert meant(settings_of_one(None, Path("other.duckdb"))) == ("sma_crossover", None, "sma_crossover")


def test_the_only_strategy_of_a_file_is_meant_without_a_word(file: Path) -> None:
    file.write_text(TWO.split("[strategies.calm]")[0], encoding="utf-8")
    settings = settings_of_one(None, None)
    assert meant(settings) == ("trend", "one", "buy_and_hold")
    assert settings.store.path == Path("trend.duckdb")


def test_without_strategies_it_is_the_files_own_database(file: Path) -> None:
    file.write_text(TWO.split("[strategies.trend]")[0], encoding="utf-8")
    assert settings_of_one(None, None).store.path == Path("common.duckdb")


def test_a_halt_beside_several_strategies_halts_none_of_them_and_says_so(
    file: Path, openbell: Callable[..., Any]
) -> None:
    for command in (("halt", "--reason", "the news"), ("flatten",), ("resume",), ("limits",), ("reconcile",)):
        outcome = openbell(*command, "--json")
        assert outcome.code == 2, command
        assert "--db trend.duckdb" in outcome.answer["message"]
    assert list(file.parent.glob("*.duckdb")) == []
