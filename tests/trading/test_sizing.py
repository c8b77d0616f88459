from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.bars import Bar, BarColumns
from trading.market_window import HistoryWindow
from trading.ports import MarketWindow
from trading.settings import SizingSettings
from trading.sizing import CannotSize, SizingBasis, average_true_range, shares_for

OPEN = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def window(*bars: tuple[str, str, str]) -> MarketWindow:
    """High, low and close of each bar; the window stands on the last."""
    columns = BarColumns.of(
        "SPY",
        [
            Bar(
                "SPY",
                OPEN + timedelta(minutes=minute),
                Decimal(close),
                Decimal(high),
                Decimal(low),
                Decimal(close),
                100,
            )
            for minute, (high, low, close) in enumerate(bars)
        ],
    )
    history = HistoryWindow({"SPY": columns})
    if bars:
        history.move_to({"SPY": len(bars) - 1})
    return history


def basis(
    price: str = "30", equity: str = "10000", cash: str = "8000", bars: Sequence[tuple[str, str, str]] = ()
) -> SizingBasis:
    return SizingBasis("SPY", Decimal(price), Decimal(equity), Decimal(cash), window(*bars))


def sized(basis: SizingBasis, **settings: object) -> int:
    return shares_for(SizingSettings.model_validate(settings), basis)


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        # 0.25 x 10,000 / 30 = 83.3; 0.25 x 8,000 / 30 = 66.7; 1,000 / 30 = 33.3.
        ({"method": "fraction_of_equity", "fraction": "0.25"}, 83),
        ({"method": "fraction_of_cash", "fraction": "0.25"}, 66),
        ({"method": "fixed_notional", "notional": "1000"}, 33),
        ({"method": "fixed_shares", "shares": 7}, 7),
    ],
)
def test_sizes_are_whole_shares_rounded_down(settings: dict[str, object], shares: int) -> None:
    assert sized(basis(), **settings) == shares


def test_a_size_that_comes_out_even_is_not_one_less() -> None:
    assert sized(basis(price="0.1"), method="fraction_of_equity", fraction="0.1") == 10_000


def test_an_account_that_cannot_carry_one_share_has_the_size_zero() -> None:
    assert sized(basis(price="1000.01"), method="fraction_of_equity", fraction="0.1") == 0


@pytest.mark.parametrize("method", ["fraction_of_equity", "fraction_of_cash"])
def test_an_account_in_debt_buys_nothing(method: str) -> None:
    assert sized(basis(equity="-500", cash="-500"), method=method) == 0


@pytest.mark.parametrize("method", ["fraction_of_equity", "fraction_of_cash", "fixed_shares", "fixed_notional"])
@pytest.mark.parametrize("price", ["0", "-1"])
def test_no_price_no_size(method: str, price: str) -> None:
    with pytest.raises(CannotSize, match="no price for SPY"):
        sized(basis(price=price), method=method)


# True ranges: 12 - 9 = 3 against the close of 10; then a gap up from 11 to 15-14: 15 - 11 = 4. Mean 3.5.
GAPPING = [("11", "9", "10"), ("12", "9", "11"), ("15", "14", "14")]


def test_the_true_range_counts_the_gap_to_the_close_before() -> None:
    assert average_true_range(window(*GAPPING), "SPY", 2) == Decimal("3.5")


def test_the_true_range_counts_a_gap_down() -> None:
    # From 10 down to 7-6: 10 - 6 = 4.
    assert average_true_range(window(("11", "9", "10"), ("7", "6", "6")), "SPY", 1) == Decimal(4)


def test_there_is_no_true_range_before_there_are_enough_bars() -> None:
    assert average_true_range(window(*GAPPING), "SPY", 3) is None
    assert average_true_range(window(*GAPPING), "QQQ", 2) is None


def test_a_volatility_target_lets_one_true_range_move_its_fraction_of_equity() -> None:
    # 0.001 x 10,000 = 10 a range of 3.5: 2.86 shares.
    assert sized(basis(bars=GAPPING), method="volatility_target", atr_bars=2) == 2


def test_a_volatility_target_never_asks_for_more_than_the_equity_buys() -> None:
    # A range of 0.01 would allow 10,000 shares; 10,000 / 30 buys 333.
    quiet = [("30.01", "30", "30")] * 3
    assert sized(basis(bars=quiet), method="volatility_target", atr_bars=2, risk_fraction="0.01") == 333


@pytest.mark.parametrize("bars", [GAPPING[:2], [("30", "30", "30")] * 3])
def test_without_a_true_range_there_is_no_size(bars: list[tuple[str, str, str]]) -> None:
    with pytest.raises(CannotSize, match="no true range of 2 bars for SPY yet"):
        sized(basis(bars=bars), method="volatility_target", atr_bars=2)


def micros(most: int) -> st.SearchStrategy[Decimal]:
    return st.integers(1, most).map(lambda number: Decimal(number).scaleb(-6))


@given(
    price=micros(10**10), equity=micros(10**13), fraction=st.integers(1, 1_000).map(lambda mille: Decimal(mille) / 1000)
)
def test_a_fraction_of_equity_is_the_most_whole_shares_that_fit(
    price: Decimal, equity: Decimal, fraction: Decimal
) -> None:
    shares = shares_for(SizingSettings(fraction=fraction), SizingBasis("SPY", price, equity, Decimal(0), window()))
    assert shares * price <= fraction * equity < (shares + 1) * price
