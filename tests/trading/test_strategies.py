"""Several strategies in one file: what each is traded with, and what two of them may not share."""

from decimal import Decimal
from pathlib import Path

import pytest

from trading.errors import ConfigurationError
from trading.settings import read_settings
from trading.strategies import refuse_what_is_shared, strategies_of

TWO = """
[session]
symbols = ["SPY"]
[policy]
name = "sma_crossover"
parameters = { fast = 3, slow = 9 }
[sizing]
fraction = 0.1
shares = 7

[strategies.trend.session]
symbols = ["AAPL"]
[strategies.trend.sizing]
fraction = 0.2
[strategies.trend.store]
path = "trend.duckdb"

[strategies.calm]
policy.name = "buy_and_hold"
store.path = "calm.duckdb"
schedule.cron = "20 9 * * 1-5"
schedule.active = false
"""
AT_IB = """
[broker]
kind = "ib"
[strategies.one]
store.path = "one.duckdb"
broker.ib = { account = "DU1", client_id = 1 }
[strategies.two]
store.path = "two.duckdb"
broker.ib = { account = "DU2", client_id = 3 }
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "openbell.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        refuse_what_is_shared(strategies_of(written(folder, text)), folder)
    return str(refusal.value)


def test_a_strategy_is_the_file_with_its_own_words_over_it(tmp_path: Path) -> None:
    file = written(tmp_path, TWO)
    trend = read_settings(file, strategy="trend")
    assert (trend.strategy, trend.session.symbols, trend.store.path) == ("trend", ("AAPL",), Path("trend.duckdb"))
    assert (trend.sizing.fraction, trend.sizing.shares) == (Decimal("0.2"), 7)
    # Another policy does not get the parameters of the file's.
    calm = read_settings(file, strategy="calm")
    assert (calm.strategy, calm.policy.name, calm.policy.parameters) == ("calm", "buy_and_hold", {})
    assert read_settings(file, {"sizing": {"shares": 8}}, "trend").sizing.shares == 8


def test_without_a_strategy_the_file_is_what_it_says_for_all(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, TWO))
    assert (settings.strategy, settings.session.symbols) == ("sma_crossover", ("SPY",))


def test_strategies_come_in_the_order_of_the_file_with_their_schedules(tmp_path: Path) -> None:
    trend, calm = strategies_of(written(tmp_path, TWO))
    assert (trend.name, trend.schedule.cron, trend.schedule.active) == ("trend", None, None)
    assert (calm.name, calm.schedule.cron, calm.schedule.active) == ("calm", "20 9 * * 1-5", False)
    assert strategies_of(written(tmp_path, "[sizing]\nshares = 7\n")) == ()
    assert strategies_of(None) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[strategies.trend.sizing]\nfractoin = 1", r"Unknown key fractoin in \[sizing\]: did you mean fraction"),
        (
            "[strategies.trend.schedule]\ncorn = 1",
            r"trend\.schedule\] are not valid\. Unknown key corn .* did you mean cron",
        ),
        ('[strategies.trend.schedule]\ncron = "every morning"', "cron = 'every morning'"),
        ('[strategies."a/b"]\n', "letters, digits"),
        ('[strategies]\ntrend = "x"', "have no strategy trend"),
        ('strategies = "x"', "table of strategies"),
        ('[strategies.trend.session]\nstrategy = "calm"', "a strategy has the name of its table"),
    ],
)
def test_what_is_wrong_in_a_strategy_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        strategies_of(written(tmp_path, text))


def test_a_strategy_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no strategy trned\. Known are trend, calm"):
        read_settings(written(tmp_path, TWO), strategy="trned")


def test_a_misspelt_table_of_strategies_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean strategies"):
        read_settings(written(tmp_path, "[strategie.trend]\n"))


def test_strategies_with_places_of_their_own_are_traded_side_by_side(tmp_path: Path) -> None:
    refuse_what_is_shared(strategies_of(written(tmp_path, TWO)), tmp_path)
    refuse_what_is_shared(strategies_of(written(tmp_path, AT_IB)), tmp_path)


def test_strategies_that_share_a_database_an_account_or_a_connection_are_refused(tmp_path: Path) -> None:
    assert "trend and calm share the database" in refused(tmp_path, TWO.replace('"calm.duckdb"', '"./trend.duckdb"'))
    one_file = TWO + '[broker.paper]\npath = "account.sqlite"\n'
    assert "trend and calm share the account" in refused(tmp_path, one_file)
    assert "one and two share the account DU1" in refused(tmp_path, AT_IB.replace("DU2", "DU1"))
    assert "client_id 1" in refused(tmp_path, AT_IB.replace("client_id = 3", "client_id = 1"))
    # The number after its own is that of the line on which the first loads past bars.
    assert "client_id 2" in refused(tmp_path, AT_IB.replace("client_id = 3", "client_id = 2"))
    live_bars = TWO + '[feed]\nkind = "ib"\n'
    assert "client_id 17" in refused(tmp_path, live_bars)
