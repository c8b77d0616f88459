"""Recorded sessions, decided again: with the bundle that decided them they come out the same, and what was changed since is found."""

import math
import shutil
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from storage.policy_registry import register
from storage.store import open_store
from tasks.composition import assemble
from tasks.decision_check import DecisionCheck, check_decisions
from tasks.policy_composition import assemble_policy
from trading.bars import BarColumns, Timeframe
from trading.brokers.paper import PaperBroker
from trading.bundles.folder import Bundle, read_bundle, write_bundle
from trading.bundles.manifest import Golden, Manifest
from trading.calendar import TradingCalendar
from trading.clocks.bar_clock import BarClock
from trading.errors import ConfigurationError, PolicyNotFit, StoppedEarly
from trading.features.feature_set import FeatureSet
from trading.features.spec import FEATURE_VERSION, FeatureSpec
from trading.feeds.synthetic import SyntheticFeed
from trading.history_replay import HistoryReplay
from trading.policies.action_maps import answer_of
from trading.policies.scorer_of import load_scorer
from trading.policy_records import BundleFacts
from trading.policy_settings import PolicyChoice
from trading.settings import Settings
from trading.training.estimators import fit_estimator, save_estimator

MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)
SYMBOLS = ("SPY", "QQQ")
WORDS = ("BUY", "HOLD", "SELL")
"""In the order of a fitted classifier's classes."""
OF_PRICES = ({"name": "return"}, {"name": "rsi", "parameters": {"bars": 5}})
OF_HOLDINGS = ({"name": "return"}, {"name": "position"}, {"name": "unrealized_pnl"})


def fitted_bundle(folder: Path, holdings: bool = False) -> Bundle:
    """A logistic regression that has learned to buy after a fall and, where it is shown what is held, to sell what is long."""
    manifest, content, golden = fitted(holdings)
    write_bundle(folder, manifest, content, golden)
    return read_bundle(folder)


@cache
def fitted(holdings: bool) -> tuple[Manifest, bytes, Golden]:
    specs = tuple(FeatureSpec.model_validate(one) for one in (OF_HOLDINGS if holdings else OF_PRICES))
    labels = FeatureSet(specs, Timeframe.MINUTE_5).labels
    draw = np.random.default_rng(11)
    returns, noise = draw.normal(0, 0.002, 600), draw.normal(0, 0.25, 600)
    held = draw.integers(0, 2, 600)
    others = [held, draw.normal(0, 0.005, 600)] if holdings else [draw.normal(50, 15, 600)]
    rows = np.column_stack([returns, *others]).astype(np.float64)
    wanted = -returns / 0.002 - (3 * held if holdings else 0) + noise
    words = np.where(wanted > 0.3, "BUY", np.where(wanted < -1, "SELL", "HOLD"))
    content = save_estimator(fit_estimator("logistic_regression", {}, rows, words), labels)
    manifest = Manifest.model_validate(
        {
            "kind": "classifier",
            "name": "dips",
            "version": "1",
            "created": "2026-01-03T00:00:00Z",
            "exchange": "XNYS",
            "timeframe": "5min",
            "trained": {
                "symbols": SYMBOLS,
                "first": "2025-12-01T14:30:00Z",
                "last": "2026-01-02T20:55:00Z",
                "bars": 600,
                "data_fingerprint": "drawn",
            },
            "features": specs,
            "feature_version": FEATURE_VERSION,
            "actions": {"kind": "choice", "actions": WORDS},
            "weights": {"format": "skops", "file": "model.skops"},
            "files": {},
        }
    )
    scores = load_scorer("skops", content).score(rows[:8])[0].tolist()
    golden = Golden(
        features=labels,
        observations=rows[:8].tolist(),
        scores=scores,
        actions=[answer_of(manifest.actions, row) for row in scores],
    )
    return manifest, content, golden


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.duckdb"


def settings_of(path: Path, **sections: Any) -> Settings:
    """Five-minute bars of an invented market, and a book that the policy may fill."""
    document: dict[str, Any] = {
        "session": {"symbols": SYMBOLS, "timeframe": "5min"},
        "store": {"path": path},
        "sizing": {"method": "fixed_shares", "shares": 20},
        "feed": {"kind": "synthetic"},
    }
    for name, section in sections.items():
        document[name] = document.get(name, {}) | section
    return Settings.model_validate(document)


def traded(settings: Settings, day: date = MONDAY, stop_after: int | None = None) -> str:
    """Trade the session, or begin it and stop after some bars; its id."""
    seen = 0

    def should_stop() -> bool:
        nonlocal seen
        seen += 1
        return seen == stop_after

    with assemble(settings, day) as desk:
        if stop_after is None:
            desk.agent.run_session()
        else:
            with pytest.raises(StoppedEarly):
                desk.agent.run_session(should_stop)
        return desk.agent.session_id


def check(path: Path, session_id: str, **options: Any) -> DecisionCheck:
    return check_decisions(settings_of(path), session_id, **options)


def whole(checked: DecisionCheck) -> tuple[int, int, int]:
    """Rows compared, rows that are the same, and bars whose holdings are a guess."""
    comparison = checked.policy.comparison
    return comparison.compared, comparison.same, checked.uncertain_bars


def change(path: Path, sql: str) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        assert connection.execute(sql).fetchall() == [(1,)]


def asked(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_a_session_of_a_fitted_model_is_decided_again_as_it_was(path: Path, tmp_path: Path) -> None:
    bundle = fitted_bundle(tmp_path / "dips")
    market = {"bad_print_fraction": 0.03, "gap_fraction": 0.05}
    settings = settings_of(path, policy={"bundle": str(bundle.folder)}, feed={"kind": "synthetic", "synthetic": market})
    checked = check(path, traded(settings))
    [(rows,)] = asked(path, "SELECT count(*) FROM decisions")
    assert 100 < rows < 2 * 78
    assert whole(checked) == (rows, rows, 0)
    assert (checked.policy.fingerprint, checked.policy.features) == (bundle.fingerprint, None)
    assert {action for (action,) in asked(path, "SELECT DISTINCT action FROM decisions")} == {"BUY", "HOLD", "SELL"}


def test_a_policy_that_looks_at_what_is_held_is_shown_what_was_held(path: Path, tmp_path: Path) -> None:
    bundle = fitted_bundle(tmp_path / "dips", holdings=True)
    settings = settings_of(path, policy={"bundle": str(bundle.folder)}, closing={"hold_overnight": True})
    traded(settings)
    session_id = traded(settings, TUESDAY)
    [(fills, before)] = asked(path, f"SELECT count(*), count(*) FILTER (session_id <> '{session_id}') FROM fills")
    assert fills > before > 0
    assert whole(check(path, session_id)) == (156, 156, 0)
    # What is held decides: without the fills the same bars are decided otherwise.
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM fills")
    blind = check(path, session_id)
    assert blind.policy.comparison.differences
    assert blind.uncertain_bars > 0


@pytest.mark.parametrize("holdings", [False, True])
def test_a_session_that_was_stopped_and_resumed_compares_as_one(path: Path, tmp_path: Path, holdings: bool) -> None:
    settings = settings_of(path, policy={"bundle": str(fitted_bundle(tmp_path / "dips", holdings).folder)})
    traded(settings, stop_after=20)
    assert whole(check(path, traded(settings, stop_after=15))) == (70, 70, 0)
    assert whole(check(path, traded(settings))) == (156, 156, 0)


def test_a_changed_decision_is_found_at_its_bar_with_what_the_model_was_shown(path: Path, tmp_path: Path) -> None:
    session_id = traded(
        settings_of(path, policy={"bundle": str(fitted_bundle(tmp_path / "dips", holdings=True).folder)})
    )
    where = "bar_time = '2026-01-05 17:20:00+00' AND symbol = 'QQQ'"
    [(before,)] = asked(path, f"SELECT confidence FROM decisions WHERE {where}")
    change(path, f"UPDATE decisions SET confidence = confidence + 1e-8 WHERE {where}")
    checked = check(path, session_id)
    assert whole(checked) == (156, 155, 0)
    [difference] = checked.policy.comparison.differences
    assert (difference.bar_time, difference.symbol) == (datetime(2026, 1, 5, 17, 20, tzinfo=UTC), "QQQ")
    assert difference.fields == ("confidence",)
    assert difference.recorded is not None
    assert difference.again is not None
    assert (difference.recorded.confidence, difference.again.confidence) == (before + 1e-8, before)
    closes = asked(
        path,
        "SELECT close FROM session_bars WHERE symbol = 'QQQ' AND bar_time IN ("
        "'2026-01-05 17:15:00+00', '2026-01-05 17:20:00+00') ORDER BY bar_time",
    )
    assert checked.policy.features is not None
    assert list(checked.policy.features) == ["return(bars=1)", "position", "unrealized_pnl"]
    assert checked.policy.features["return(bars=1)"] == pytest.approx(math.log(closes[1][0] / closes[0][0]))


@pytest.fixture(scope="module")
def one_session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The ledger of a session of ``sma_crossover``, to be copied, and its id."""
    path = tmp_path_factory.mktemp("one") / "ledger.duckdb"
    return path, traded(settings_of(path))


SPY = "symbol = 'SPY' AND bar_time ="
CHANGES = {
    "action": f"UPDATE decisions SET action = 'HOLD' WHERE {SPY} (SELECT min(bar_time) FROM decisions WHERE action <> 'HOLD')",
    "error": f"UPDATE decisions SET error = 'no model' WHERE {SPY} '2026-01-05 15:00:00+00'",
    "note": f"UPDATE decisions SET note = 'held back' WHERE {SPY} '2026-01-05 15:00:00+00'",
    "row": f"DELETE FROM decisions WHERE {SPY} '2026-01-05 15:00:00+00'",
    "row ": f"DELETE FROM session_bars WHERE {SPY} (SELECT max(bar_time) FROM session_bars)",
}


@pytest.mark.parametrize("field", CHANGES)
def test_whatever_was_changed_is_one_difference(one_session: tuple[Path, str], path: Path, field: str) -> None:
    copied, session_id = one_session
    shutil.copy(copied, path)
    change(path, CHANGES[field])
    [difference] = check(path, session_id).policy.comparison.differences
    assert difference.fields == (field.strip(),)
    assert difference.symbol == "SPY"


def test_what_is_held_back_and_what_comes_too_late_is_told_apart(path: Path, tmp_path: Path) -> None:
    bundle = {"bundle": str(fitted_bundle(tmp_path / "dips").folder)}
    careful = traded(settings_of(path, policy=bundle | {"minimum_confidence": 0.7}))
    [(held_back,)] = asked(
        path, "SELECT count(*) FROM decisions WHERE note LIKE '%below policy.minimum_confidence 0.7'"
    )
    assert held_back > 10
    assert whole(check(path, careful)) == (156, 156, 0)
    hurried = settings_of(
        path, policy=bundle | {"decision_budget_ms": Decimal("0.0001")}, session={"strategy": "hurried"}
    )
    checked = check(path, traded(hurried))
    assert whole(checked) == (0, 0, 0)
    assert checked.policy.comparison.too_late == 156
    assert checked.is_same


def test_a_shadow_is_compared_when_it_is_asked_for(path: Path, tmp_path: Path) -> None:
    bundle = fitted_bundle(tmp_path / "dips")
    session_id = traded(settings_of(path, policy={"name": "buy_and_hold", "shadow": {"bundle": str(bundle.folder)}}))
    assert check(path, session_id).shadow is None
    checked = check(path, session_id, shadow=bundle.fingerprint.partition("@")[2][:8])
    assert checked.shadow is not None
    assert (checked.shadow.recorded_fingerprint, checked.shadow.comparison.same) == (bundle.fingerprint, 156)
    change(
        path,
        "UPDATE shadow_decisions SET action = 'HOLD' WHERE symbol = 'SPY' AND bar_time = ("
        "SELECT max(bar_time) FROM shadow_decisions WHERE action <> 'HOLD' AND symbol = 'SPY')",
    )
    changed = check(path, session_id, shadow="dips")
    assert changed.shadow is not None
    assert changed.shadow.comparison.same == 155
    assert changed.shadow.features is not None
    assert (changed.policy.comparison.same, changed.is_same) == (156, False)
    with pytest.raises(ConfigurationError, match=f"had no one shadow other: it had {bundle.fingerprint}"):
        check(path, session_id, shadow="other")


def market(settings: Settings, *days: date) -> dict[str, BarColumns]:
    calendar = TradingCalendar("XNYS", days[0])
    feed = SyntheticFeed(
        settings.feed.synthetic, calendar, settings.session.timeframe, BarClock(datetime(2026, 1, 1, tzinfo=UTC))
    )
    hours = calendar.sessions_between(days[0], days[-1])
    return {symbol: feed.history(symbol, hours[0].opens_at, hours[-1].closes_at) for symbol in SYMBOLS}


def test_sessions_that_a_replay_made_are_decided_again_on_stored_bars(path: Path, tmp_path: Path) -> None:
    bundle = fitted_bundle(tmp_path / "dips", holdings=True)
    settings = settings_of(path, policy={"bundle": str(bundle.folder)})
    bars = market(settings, date(2026, 1, 2), TUESDAY)
    sessions = TradingCalendar("XNYS", MONDAY).sessions_between(MONDAY, TUESDAY)
    with open_store(path) as store:
        store.bars_of(Timeframe.MINUTE_5).import_bars(list(bars.values()))
        broker = PaperBroker("paper", settings.broker.paper, sessions[0].opens_at)
        policy = assemble_policy(settings.policy, settings, store)
        clock = BarClock(sessions[0].opens_at)
        HistoryReplay(settings, "paper", policy, broker, broker, store.ledger, clock).run(bars, sessions)
    assert asked(path, "SELECT count(*) FROM session_bars") == [(0,)]
    replayed = asked(path, "SELECT session_id FROM sessions ORDER BY session_date")
    assert len(replayed) == 2
    for (session_id,) in replayed:
        assert whole(check(path, session_id)) == (156, 156, 0)


def test_bars_that_were_replaced_since_show_in_the_first_decisions(path: Path) -> None:
    settings = settings_of(path, feed={"kind": None}, policy={"parameters": {"fast": 3, "slow": 8}})
    with open_store(path) as store:
        store.bars_of(Timeframe.MINUTE_5).import_bars(list(market(settings, date(2026, 1, 2), MONDAY).values()))
    session_id = traded(settings)
    assert whole(check(path, session_id)) == (156, 156, 0)
    # The last bar of Friday is in the means of Monday's first seven bars.
    change(path, "UPDATE bars SET close = 110, high = 110 WHERE symbol = 'SPY' AND bar_time = '2026-01-02 20:55:00+00'")
    differences = check(path, session_id).policy.comparison.differences
    assert differences
    assert {difference.symbol for difference in differences} == {"SPY"}
    assert max(difference.bar_time for difference in differences) < datetime(2026, 1, 5, 15, 5, tzinfo=UTC)


def test_the_policy_is_found_where_it_is_registered_or_named(path: Path, tmp_path: Path) -> None:
    bundle = fitted_bundle(tmp_path / "dips")
    session_id = traded(settings_of(path, policy={"bundle": str(bundle.folder)}))
    moved = bundle.folder.rename(tmp_path / "moved")
    with pytest.raises(ConfigurationError, match="There is no bundle"):
        check(path, session_id)
    assert check(path, session_id, policy=PolicyChoice(bundle=str(moved))).is_same
    with open_store(path) as store:
        facts = BundleFacts(bundle.fingerprint, bundle.manifest, moved)
        register(store.connection, facts, datetime(2026, 1, 3, tzinfo=UTC), "ada")
    assert check(path, session_id).is_same
    weights = moved / "model.skops"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(PolicyNotFit, match="is not the file"):
        check(path, session_id)


def test_another_bundle_in_the_folder_is_not_taken_for_the_one_that_decided(path: Path, tmp_path: Path) -> None:
    folder = fitted_bundle(tmp_path / "dips").folder
    session_id = traded(settings_of(path, policy={"bundle": str(folder)}))
    folder.rename(tmp_path / "old")
    other = fitted_bundle(folder, holdings=True)
    with pytest.raises(ConfigurationError, match=f"is {other.fingerprint} now"):
        check(path, session_id)
    asked_instead = check(path, session_id, policy=PolicyChoice(bundle=str(folder))).policy
    assert asked_instead.comparison.differences
    assert asked_instead.recorded_fingerprint != asked_instead.fingerprint


def test_a_session_that_is_not_there_or_decided_nothing_is_not_called_the_same(
    one_session: tuple[Path, str], path: Path
) -> None:
    copied, session_id = one_session
    shutil.copy(copied, path)
    with pytest.raises(ConfigurationError, match=r"There is no session 2026-01-05\.paper\.other"):
        check(path, "2026-01-05.paper.other")
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM decisions")
    with pytest.raises(ConfigurationError, match="nothing to compare"):
        check(path, session_id)


def test_checking_writes_nothing(one_session: tuple[Path, str]) -> None:
    path, session_id = one_session
    before = path.read_bytes()
    files = sorted(file.name for file in path.parent.iterdir())
    assert check(path, session_id).is_same
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == files
