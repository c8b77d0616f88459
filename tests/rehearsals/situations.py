"""The situations that a live account meets, by name, and the rehearsals in which they happen: several to a day."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rehearsal_plan import BEFORE, SYMBOLS, Fault, Plan

SPEED = 4_000.0


@dataclass(frozen=True, slots=True)
class Situation:
    """``fault`` is the one that makes it; it is part of the rehearsal ``day``."""

    name: str
    day: str
    fault: Fault


def _fault(action: str, **more: Any) -> Fault:
    return {"action": action, **more}


_SHORT: Mapping[str, Mapping[str, Any]] = {"orders": {"allow_short": True}}
_WAITING = {"orders": {"allow_short": True, "order_type": "LIMIT", "limit_offset_bps": "-25"}}
"""Orders that work for a while, so that what is said of them matters."""

DAYS: Mapping[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan("lost-orders", symbols=SYMBOLS, sections=_SHORT, zone="Asia/Tokyo", written="US/Eastern", speed=SPEED),
        Plan("answers", symbols=SYMBOLS, sections=_SHORT, speed=SPEED, seed=8),
        Plan(
            "executions",
            symbols=SYMBOLS,
            sections=_SHORT,
            zone="America/Los_Angeles",
            written="none",
            speed=SPEED,
            seed=9,
        ),
        Plan("refusals", symbols=SYMBOLS, sections=_WAITING, speed=SPEED, seed=10),
        Plan("restarts", symbols=SYMBOLS, sections=_SHORT, written="UTC", speed=SPEED * 0.75, seed=11),
        Plan("hands", symbols=SYMBOLS[:2], sections={}, speed=SPEED, seed=12, kills=(2.5,)),
        Plan("data", symbols=SYMBOLS, sections=_SHORT, speed=SPEED, seed=13),
        Plan("no-data", symbols=SYMBOLS, sections=_SHORT, speed=SPEED, seed=14),
        Plan("brackets", symbols=SYMBOLS, brackets=True, speed=SPEED, seed=15),
    )
}

SITUATIONS: tuple[Situation, ...] = tuple(
    Situation(name, day, _fault(action, **more))
    for name, day, action, more in (
        ("dropped before the order is received", "lost-orders", "drop_before_order", {"nth": 2}),
        ("dropped after the order is received", "lost-orders", "drop_after_order", {"nth": 4}),
        ("dropped after the fill", "lost-orders", "drop_after_fill", {"nth": 6}),
        ("restarted within the second of a send", "lost-orders", "restart", {"nth": 9, "seconds": 0.3}),
        ("dropped twice in a row", "lost-orders", "drop_after_order", {"nth": 13, "times": 2}),
        ("dropped while a cancel is sent", "brackets", "drop_before_order", {"on": "cancel", "nth": 1}),
        ("acknowledged later than every timeout", "answers", "delay_answers", {"nth": 2, "seconds": 1.2}),
        ("silent", "answers", "silence", {"nth": 8, "seconds": 1.6}),
        ("executions that never end", "answers", "executions_never_end", {"nth": 9, "times": 3}),
        ("positions that never end", "answers", "positions_never_end", {"nth": 8}),
        ("open orders that never end", "answers", "open_orders_never_end", {"on": "reqAllOpenOrders", "nth": 18}),
        ("an execution told twice", "executions", "duplicate_execution", {"nth": 1}),
        ("an execution corrected in its price", "executions", "correct_execution", {"nth": 2}),
        ("an execution corrected in its quantity", "executions", "correct_execution", {"nth": 4, "quantity": 90}),
        ("an execution that comes late", "executions", "late_execution", {"nth": 6, "seconds": 0.4}),
        ("an execution that comes when it is asked for", "executions", "late_execution", {"nth": 8, "seconds": -1.0}),
        ("a commission that comes late", "executions", "late_commission", {"nth": 10, "seconds": 0.5}),
        (
            "a commission that comes when it is asked for",
            "executions",
            "late_commission",
            {"nth": 12, "seconds": -1.0},
        ),
        ("an order refused", "refusals", "reject", {"nth": 1}),
        ("an order inactive without a word", "refusals", "inactive", {"nth": 3}),
        ("an order inactive with an error", "refusals", "inactive", {"nth": 5, "code": 201}),
        ("an order said to be cancelled that works", "refusals", "lie_cancelled_10349", {"nth": 6, "times": 3}),
        ("an exit said to be cancelled that works", "brackets", "lie_cancelled_10349", {"nth": 2, "times": 2}),
        ("an order warned of", "refusals", "warn_399", {"nth": 9}),
        ("an order that is told nothing but its error", "refusals", "error_110", {"nth": 11}),
        ("an order filled in part and cancelled", "refusals", "partial_then_cancel", {"nth": 13}),
        ("order numbers that start again", "restarts", "restart", {"nth": 2, "seconds": 0.2, "ids_rolled_back": True}),
        ("the client id held by its last session", "restarts", "client_id_held", {"nth": 2, "times": 2}),
        ("a login that waits for its second factor", "restarts", "two_factor", {"nth": 5}),
        ("the broker away", "restarts", "broadcast", {"at": "11:10:00", "code": 1100}),
        ("the broker back with its data", "restarts", "broadcast", {"at": "11:50:00", "code": 1102}),
        ("the broker away again", "restarts", "broadcast", {"at": "13:20:00", "code": 1100}),
        ("the broker back without its data", "restarts", "broadcast", {"at": "13:50:00", "code": 1101}),
        (
            "a trade by hand before the first session",
            "hands",
            "position_by_hand",
            {"at": BEFORE, "symbol": "BBB", "quantity": 40},
        ),
        (
            "a position changed by hand",
            "hands",
            "position_by_hand",
            {"at": "10:40:00", "symbol": "AAA", "quantity": 70},
        ),
        (
            "an order made elsewhere",
            "hands",
            "external_order",
            {"at": "12:40:00", "symbol": "BBB", "side": "SELL", "quantity": 30},
        ),
        (
            "an order elsewhere that works on",
            "hands",
            "external_order",
            {"at": "13:10:00", "symbol": "BBB", "quantity": 20, "order_type": "LMT", "limit_price": "1.00"},
        ),
        ("bars that stop for a while", "data", "data_stop", {"at": "10:20:00", "symbol": "AAA", "bars": 300}),
        ("bars that are old", "data", "data_stale", {"at": "11:30:00", "symbol": "BBB", "bars": 20}),
        ("bars that come twice", "data", "data_duplicate", {"at": "12:00:00", "bars": 30}),
        ("bars out of their order", "data", "data_out_of_order", {"at": "12:45:00", "bars": 30}),
        ("bars of no number", "data", "data_nan", {"at": "13:35:00", "symbol": "CCC", "bars": 10}),
        (
            "bars of a negative price",
            "data",
            "data_nan",
            {"at": "14:20:00", "symbol": "AAA", "bars": 10, "price": "-3"},
        ),
        ("bars that stop for good", "no-data", "data_stop", {"at": "11:00:00", "symbol": "BBB"}),
        ("past bars refused for pacing", "no-data", "pacing", {"nth": 4}),
        ("past bars that are not answered", "no-data", "no_answer_history", {"nth": 5}),
        ("dropped while bars are missing", "no-data", "drop", {"on": "order", "nth": 2}),
        ("dropped in the middle of a bracket", "brackets", "drop_mid_bracket", {"legs": 2, "nth": 2}),
        ("a change that fails", "brackets", "failed_modify", {"nth": 1}),
        ("dropped while a change is sent", "brackets", "drop_after_order", {"on": "modify", "nth": 3}),
        ("dropped after a bracket's entry", "brackets", "drop_mid_bracket", {"legs": 1, "nth": 4}),
    )
)


def plan_of(day: str) -> Plan:
    """The rehearsal of this name, with everything that is to happen in it."""
    return replace(DAYS[day], faults=tuple(one.fault for one in SITUATIONS if one.day == day))
