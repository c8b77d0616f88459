"""What the documents' examples need: bars of two sessions in a file, and a ledger in which something happened."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.composition import assemble
from tasks.policy_registration import register_by_hand
from trading.policy_records import BundleFacts
from trading.settings import parse_settings

_OPENS = (datetime(2026, 1, 5, 14, 30, tzinfo=UTC), datetime(2026, 1, 6, 14, 30, tzinfo=UTC))
_NEW_YORK = timedelta(hours=-5)


def write_bars(path: Path) -> None:
    """Two sessions of minute bars in New York time without a zone; the price goes up and down every half hour."""
    lines = ["timestamp,open,high,low,close,volume"]
    for opens_at in _OPENS:
        for minute in range(390):
            local = (opens_at + timedelta(minutes=minute) + _NEW_YORK).strftime("%Y-%m-%d %H:%M")
            cents = 10_000 + abs(minute % 60 - 30) * 5
            price = f"{cents / 100:.2f}"
            lines.append(f"{local},{price},{price},{price},{price},20000")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README's commands name."""
    folder = tmp_path_factory.mktemp("readme")
    write_bars(folder / "bars.csv")
    # Task runs are not what the documents' commands are about here, and each takes its time.
    (folder / "openbell.toml").write_text('[session]\ngranularity = "chunk"\n', encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory, bundle_that_says: Callable[..., BundleFacts]) -> Path:
    """A database with a session that traded, was trimmed, met bad bars and was stopped in one of its symbols; with a shadow, which
    is registered."""
    folder = tmp_path_factory.mktemp("ledger")
    path = folder / "openbell.duckdb"
    shadow = bundle_that_says(folder / "shadow", "BUY")
    settings = parse_settings(
        {
            "session": {"symbols": ["SPY", "QQQ"]},
            "feed": {"synthetic": {"bad_print_fraction": 0.02, "gap_fraction": 0.01}},
            "policy": {"parameters": {"fast": 5, "slow": 20}, "shadow": {"bundle": str(shadow.path)}},
            "risk": {"max_order_shares": 40},
            "store": {"path": path},
        },
        source="a test",
    )
    passed = itertools.count(1)

    def stop_in_one_symbol() -> bool:
        if next(passed) == 200:
            desk.agent.emergency_stop("a test", flatten=True, scope="symbol:QQQ")
        return False

    with assemble(settings, None) as desk:
        desk.agent.run_session(stop_in_one_symbol)
    register_by_hand(settings, shadow.path)
    return path
