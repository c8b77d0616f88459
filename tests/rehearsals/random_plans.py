"""Rehearsals by chance: any day, with any faults in it, several at a time."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from rehearsal_plan import SYMBOLS, Fault, Plan

Draw = Callable[[Random], dict[str, Any]]

_ZONES = (None, None, "Asia/Tokyo", "America/Los_Angeles", "Australia/Lord_Howe", "UTC")
_WRITTEN = ("", "US/Eastern", "UTC", "none", "Europe/Berlin")
_ORDERS: tuple[Mapping[str, Any], ...] = (
    {"order_type": "MARKET"},
    {"order_type": "MARKET"},
    {"order_type": "LIMIT", "limit_offset_bps": "2"},
    {"order_type": "LIMIT", "limit_offset_bps": "-4", "time_in_force": "GTC"},
    {"order_type": "STOP", "stop_offset_bps": "2"},
    {"order_type": "STOP_LIMIT", "stop_offset_bps": "2", "limit_offset_bps": "6"},
    {"order_type": "TRAILING_STOP", "trail_fraction": "0.001"},
    {"order_type": "LIMIT", "limit_offset_bps": "2", "time_in_force": "IOC"},
)


def _seconds(least: float, most: float) -> Draw:
    return lambda chance: {"seconds": round(chance.uniform(least, most), 2)}


def _nothing(_: Random) -> dict[str, Any]:
    return {}


_ON_ORDERS: Mapping[str, Draw] = {
    "drop": _nothing,
    "drop_before_order": _nothing,
    "drop_after_order": _nothing,
    "delay_answers": _seconds(0.1, 1.5),
    "silence": _seconds(0.2, 2.0),
    "reject": _nothing,
    "inactive": lambda chance: chance.choice(({}, {"code": 201}, {"code": 399})),
    "lie_cancelled_10349": _nothing,
    "warn_399": _nothing,
    "error_110": _nothing,
    "partial_then_cancel": lambda chance: {"quantity": chance.choice((0, 1, 37))},
    "restart": lambda chance: {"seconds": round(chance.uniform(0, 1.0), 2), "ids_rolled_back": chance.random() < 0.5},
}
_ON_FILLS: Mapping[str, Draw] = {
    "drop": _nothing,
    "drop_after_fill": _nothing,
    "duplicate_execution": _nothing,
    "correct_execution": lambda chance: {
        "quantity": chance.choice((0, 0, 90)),
        "seconds": round(chance.choice((0.0, 0.1, 0.6)), 2),
    },
    "late_execution": lambda chance: {"seconds": chance.choice((0.05, 0.4, -1.0))},
    "late_commission": lambda chance: {"seconds": chance.choice((0.05, 0.5, -1.0))},
    "restart": _ON_ORDERS["restart"],
}
_ON_CHANGES: Mapping[str, Draw] = {
    "drop_before_order": _nothing,
    "drop_after_order": _nothing,
    "delay_answers": _seconds(0.1, 1.5),
    "silence": _seconds(0.2, 2.0),
}
_ON_QUESTIONS: Mapping[str, Draw] = {
    "executions_never_end": lambda chance: {"times": chance.randint(1, 3)},
    "positions_never_end": lambda chance: {"times": chance.randint(1, 2)},
    "open_orders_never_end": lambda chance: {"on": "reqAllOpenOrders", "times": chance.randint(1, 2)},
    "pacing": lambda chance: {"times": chance.randint(1, 2)},
    "no_answer_history": lambda chance: {"times": chance.randint(1, 2)},
    "client_id_held": lambda chance: {"times": chance.randint(1, 3)},
    "two_factor": _nothing,
}
_AT_TIMES: Mapping[str, Draw] = {
    "position_by_hand": lambda chance: {"quantity": chance.choice((-50, 20, 70)), "symbol": SYMBOLS[0]},
    "external_order": lambda chance: {
        "side": chance.choice(("BUY", "SELL")),
        "quantity": chance.randint(1, 60),
        "symbol": SYMBOLS[0],
        **chance.choice(({}, {"order_type": "LMT", "limit_price": "1.00"})),
    },
    "data_stop": lambda chance: {"bars": chance.choice((10, 200, 700, -1))},
    "data_stale": lambda chance: {"bars": chance.randint(1, 100)},
    "data_duplicate": lambda chance: {"bars": chance.randint(1, 100)},
    "data_out_of_order": lambda chance: {"bars": chance.randint(1, 100)},
    "data_nan": lambda chance: {"bars": chance.randint(1, 100), "price": chance.choice(("nan", "-1", "0"))},
    "broadcast": lambda chance: {"code": chance.choice((1101, 1102, 2103, 2105, 2110))},
    "drop": _nothing,
    "restart": _ON_ORDERS["restart"],
}


def random_plan(name: str, chance: Random) -> Plan:
    """The rehearsal of this name: the same chance draws the same one."""
    brackets = chance.random() < 0.25
    symbols = SYMBOLS[: chance.randint(1, 3)]
    orders: dict[str, Any] = {"allow_short": chance.random() < 0.6}
    if not brackets:
        orders |= chance.choice(_ORDERS)
    sections: dict[str, Mapping[str, Any]] = {
        "orders": orders,
        "closing": {"hold_overnight": chance.random() < 0.25},
        "book": {"cost_basis": chance.choice(("fifo", "average"))},
        "reconciliation": {"every_minutes": chance.choice((30, 60, 120))},
    }
    live_bars = {} if chance.random() < 0.8 else {"live_bars": "keep_up_to_date"}
    return Plan(
        name,
        tuple(_faults(chance, brackets, len(symbols))),
        symbols,
        chance.choice(("5min", "15min", "15min")),
        chance.choice((2_000.0, 4_000.0, 7_000.0)),
        chance.randint(1, 10_000),
        {**sections, **({"broker": {"ib": live_bars}} if live_bars else {})},
        chance.choice(_ZONES),
        chance.choice(_WRITTEN),
        tuple(round(chance.uniform(0.5, 4.0), 2) for _ in range(chance.choice((0, 0, 0, 1, 2)))),
        round(chance.uniform(1.5, 5.0), 2) if chance.random() < 0.1 else None,
        brackets,
    )


def _faults(chance: Random, brackets: bool, symbols: int) -> list[Fault]:
    found: list[Fault] = []
    for _ in range(chance.randint(2, 7)):
        kind = chance.random()
        if kind < 0.4:
            found.append(_drawn(chance, _ON_ORDERS, on="order", nth=chance.randint(1, 12)))
        elif kind < 0.6:
            found.append(_drawn(chance, _ON_FILLS, on="fill", nth=chance.randint(1, 10)))
        elif kind < 0.7:
            found.append(_drawn(chance, _ON_CHANGES, on="cancel", nth=chance.randint(1, 3)))
        elif kind < 0.85:
            found.append(_drawn(chance, _ON_QUESTIONS, nth=chance.randint(2, 12)))
        else:
            at = f"{chance.randint(10, 15):02d}:{chance.randint(0, 59):02d}:{chance.randint(0, 59):02d}"
            found.append(_drawn(chance, _AT_TIMES, at=at))
    if chance.random() < 0.15:
        found += _an_absence(chance)
    if brackets:
        found.append({"action": "drop_mid_bracket", "on": "order", "legs": chance.randint(1, 3)})
        found.append(
            chance.choice(
                (
                    {"action": "failed_modify", "nth": chance.randint(1, 4)},
                    {"action": "drop_after_order", "on": "modify", "nth": chance.randint(1, 4)},
                    {"action": "drop_before_order", "on": "modify", "nth": chance.randint(1, 4)},
                    {"action": "warn_399", "on": "modify", "nth": chance.randint(1, 4)},
                )
            )
        )
    return [_of_a_symbol(one, symbols) for one in found]


def _drawn(chance: Random, kinds: Mapping[str, Draw], **trigger: Any) -> dict[str, Any]:
    action = chance.choice(sorted(kinds))
    more = kinds[action](chance)
    if "times" not in more and "at" not in trigger and chance.random() < 0.2:
        more = {**more, "times": 2}
    return {"action": action, **trigger, **more}


def _an_absence(chance: Random) -> list[Fault]:
    """The broker's servers are away from one time to another."""
    hour = chance.randint(10, 14)
    return [
        {"action": "broadcast", "at": f"{hour:02d}:{chance.randint(0, 50):02d}:00", "code": 1100},
        {
            "action": "broadcast",
            "at": f"{hour + 1:02d}:{chance.randint(0, 50):02d}:00",
            "code": chance.choice((1101, 1102)),
        },
    ]


def _of_a_symbol(fault: Fault, symbols: int) -> Fault:
    """Faults name no symbol that the rehearsal does not have."""
    return {**fault, "symbol": SYMBOLS[0]} if "symbol" in fault and symbols < len(SYMBOLS) else fault
