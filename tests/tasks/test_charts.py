import base64
import re
import struct
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from storage.session_curves import session_curves
from storage.store import open_store
from tasks.charts import equity_chart, session_charts
from tasks.composition import assemble
from trading.settings import parse_settings

NEW_YORK = ZoneInfo("America/New_York")


def pictures(markdown: str) -> dict[str, tuple[int, int]]:
    """Width and height of each picture in a page, by its title."""
    found = re.findall(r"!\[([^]]+)\]\(data:image/png;base64,([^)]+)\)", markdown)
    sizes = {}
    for title, text in found:
        png = base64.b64decode(text, validate=True)
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        sizes[title] = struct.unpack(">II", png[16:24])
    return sizes


def test_a_session_is_drawn_with_its_equity_and_the_trades_of_the_busiest_symbols(tmp_path: Path) -> None:
    settings = parse_settings(
        {
            "session": {"timeframe": "30min", "symbols": ["AAA", "BBB", "CCC"]},
            "policy": {"name": "buy_and_hold"},
            "feed": {"kind": "synthetic"},
            "store": {"path": str(tmp_path / "ledger.duckdb")},
        },
        "the test",
    )
    with assemble(settings, date(2026, 1, 5)) as desk:
        summary = desk.agent.run_session()
    with open_store(settings.store.path, read_only=True) as store:
        curves = session_curves(store, summary.session_id, symbols=2)
    assert len(curves.equity) == summary.bars
    # Each symbol is bought once and sold before the close.
    assert [len(one.fills) for one in curves.prices] == [2, 2]
    assert curves.left_out == 1

    page = session_charts(curves, NEW_YORK)
    assert set(pictures(page)) == {"Equity and drawdown", "Trades in AAA", "Trades in BBB"}
    assert all(width == 720 and height > 200 for width, height in pictures(page).values())
    assert "1 more symbols were traded and are not drawn." in page


def test_a_session_without_bars_has_nothing_to_draw(tmp_path: Path) -> None:
    with open_store(tmp_path / "empty.duckdb") as store:
        assert session_charts(session_curves(store, "none"), NEW_YORK) == ""


def test_a_long_curve_makes_no_larger_picture() -> None:
    times = [datetime.fromtimestamp(60 * minute, UTC) for minute in range(50_000)]
    wave = [100.0 + minute % 50 for minute in range(50_000)]
    png = equity_chart(times, wave, [0.0] * 50_000, None)
    assert len(png) < 200_000
