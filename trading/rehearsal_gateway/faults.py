"""Bad things that are to happen: what, and when. Which ones there are says ``FAULTS``, the table of the documentation.

A fault waits for something to happen (``on``, the ``nth`` time) or for a time of the exchange (``at``), and fires ``times``
times from then on.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from trading.errors import ConfigurationError
from trading.rehearsal_gateway.message_kinds import Incoming

EVENTS = frozenset({"order", "modify", "cancel", "fill", "connect", *(kind.name for kind in Incoming)})
_AMOUNTS = frozenset({"price", "price_by", "limit_price"})
_TRIGGER = ("action", "on", "at", "nth", "times", "symbol")


@dataclass(frozen=True, slots=True)
class FaultKind:
    """``on`` is what it waits for where a script names nothing; ``parameters`` are what it can be told, with the defaults."""

    what: str
    on: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    only_on: frozenset[str] = EVENTS
    """What it can wait for at all; empty where only a time makes sense or it is done now."""


_ORDER = frozenset({"order"})
_ORDER_OR_MODIFY = frozenset({"order", "modify"})
_FILL = frozenset({"fill"})


def _answers(kind: Incoming) -> frozenset[str]:
    return frozenset({kind.name})


FAULTS: Mapping[str, FaultKind] = {
    "drop": FaultKind("The connection is cut.", "order"),
    "drop_before_order": FaultKind(
        "The order is lost and the connection cut.", "order", only_on=frozenset({"order", "modify", "cancel"})
    ),
    "drop_after_order": FaultKind(
        "The order is taken, and the connection cut before any answer.",
        "order",
        only_on=frozenset({"order", "modify", "cancel"}),
    ),
    "drop_after_fill": FaultKind(
        "The connection is cut when an order has filled, before it is told.", "fill", only_on=_FILL
    ),
    "drop_mid_bracket": FaultKind(
        "The connection is cut after so many orders of a bracket.", "order", {"legs": 2}, only_on=_ORDER
    ),
    "delay_answers": FaultKind("News of orders comes so many seconds late.", "order", {"seconds": 5.0}),
    "silence": FaultKind("Nothing is written for so many seconds; what comes in is taken.", "order", {"seconds": 5.0}),
    "executions_never_end": FaultKind(
        "Executions are told, their end is not.", "reqExecutions", only_on=_answers(Incoming.reqExecutions)
    ),
    "positions_never_end": FaultKind(
        "Positions are told, their end is not.", "reqPositions", only_on=_answers(Incoming.reqPositions)
    ),
    "open_orders_never_end": FaultKind(
        "Open orders are told, their end is not.",
        "reqOpenOrders",
        only_on=frozenset({"reqOpenOrders", "reqAllOpenOrders"}),
    ),
    "duplicate_execution": FaultKind("An execution is told twice.", "fill", only_on=_FILL),
    "correct_execution": FaultKind(
        "An execution is corrected after so many seconds: by the difference in price, or to another quantity.",
        "fill",
        {"price_by": "0.01", "quantity": 0, "seconds": 0.0},
        only_on=_FILL,
    ),
    "late_execution": FaultKind(
        "An execution is known only so many seconds after its order was told as filled; below zero: only when asked for.",
        "fill",
        {"seconds": 1.0},
        only_on=_FILL,
    ),
    "late_commission": FaultKind(
        "A commission is known only so many seconds after its execution; below zero: only when asked for.",
        "fill",
        {"seconds": 1.0},
        only_on=_FILL,
    ),
    "reject": FaultKind(
        "The order is refused.",
        "order",
        {"code": 201, "text": "Order rejected - reason:Rejected by the exchange"},
        _ORDER,
    ),
    "inactive": FaultKind(
        "The order is Inactive and does not work; with a code, an error says so.",
        "order",
        {"code": 0, "text": ""},
        _ORDER,
    ),
    "lie_cancelled_10349": FaultKind(
        "Error 10349 and the status Cancelled are told while the order works.", "order", only_on=_ORDER
    ),
    "warn_399": FaultKind("Warning 399 is told; the order works.", "order", only_on=_ORDER_OR_MODIFY),
    "error_110": FaultKind(
        "The order is refused for its price, and nothing but error 110 says so.", "order", only_on=_ORDER
    ),
    "failed_modify": FaultKind(
        "A change is refused and the order told as Cancelled, while it works as before.",
        "modify",
        only_on=frozenset({"modify"}),
    ),
    "partial_then_cancel": FaultKind(
        "The exchange fills so many shares (0: half) and cancels the rest.", "order", {"quantity": 0}, _ORDER
    ),
    "restart": FaultKind(
        "All connections are cut and the port is closed for so many seconds; order numbers may start again.",
        "order",
        {"seconds": 1.0, "ids_rolled_back": False},
    ),
    "position_by_hand": FaultKind(
        "Somebody trades in TWS: signed shares at a price (0: the last).",
        None,
        {"quantity": 100, "price": "0", "account": ""},
    ),
    "external_order": FaultKind(
        "Somebody makes an order in TWS.",
        None,
        {"side": "BUY", "quantity": 100, "order_type": "MKT", "limit_price": "0", "tif": "DAY", "account": ""},
    ),
    "data_stop": FaultKind("So many live bars do not come; below zero: never again.", None, {"bars": -1}),
    "data_stale": FaultKind("The last live bar comes again in place of so many.", None, {"bars": 3}),
    "data_duplicate": FaultKind("So many live bars come twice.", None, {"bars": 1}),
    "data_out_of_order": FaultKind("A live bar comes after the one that follows it.", None, {"bars": 1}),
    "data_nan": FaultKind(
        "So many live bars have nonsense for prices: nan, negative or zero.", None, {"bars": 1, "price": "nan"}
    ),
    "broadcast": FaultKind(
        "A notice to all clients, such as 1100; with 1101 subscriptions of data are lost.",
        None,
        {"code": 1100, "text": ""},
    ),
    "client_id_held": FaultKind(
        "Error 326 for so many connects, as if the last session still held the client id.", "connect", {"seconds": 0.0}
    ),
    "two_factor": FaultKind(
        "A connection is taken and never becomes ready.", "connect", only_on=frozenset({"connect"})
    ),
    "pacing": FaultKind(
        "Requests for historical bars are refused for pacing (162).",
        "reqHistoricalData",
        only_on=_answers(Incoming.reqHistoricalData),
    ),
    "no_answer_history": FaultKind(
        "Requests for historical bars get no answer.", "reqHistoricalData", only_on=_answers(Incoming.reqHistoricalData)
    ),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a script. Either ``on`` or ``at``; neither where it was done at once."""

    action: str
    on: str | None = None
    at: time | None = None
    nth: int = 1
    times: int = 1
    symbol: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """A parameter, or what it is where the script does not say."""
        return self.parameters.get(name, FAULTS[self.action].parameters.get(name))

    def seconds(self) -> float:
        """Wall time that it takes."""
        return float(self["seconds"])


def fault_of(entry: Mapping[str, Any], is_now: bool = False) -> Fault:
    """One entry of a script; ``is_now`` where it shall not wait. Raises ``ConfigurationError`` for what it does not know."""
    action = entry.get("action")
    kind = FAULTS.get(str(action))
    if kind is None:
        raise ConfigurationError(f"There is no fault {action!r}. There are: {', '.join(FAULTS)}.")
    unknown = sorted(set(entry) - {*_TRIGGER, *kind.parameters})
    if unknown:
        raise ConfigurationError(
            f"Fault {action} has no {', '.join(unknown)}. It takes {', '.join([*_TRIGGER[1:], *kind.parameters])}."
        )
    on, at = entry.get("on"), entry.get("at")
    if at is None and on is None and not is_now:
        on = kind.on
        if on is None:
            raise ConfigurationError(
                f'Fault {action} needs a time: at = "10:15:00", or something to wait for: on = "fill".'
            )
    if on is not None and (on not in EVENTS or on not in kind.only_on):
        raise ConfigurationError(
            f"Fault {action} cannot wait for {on!r}. It can wait for: {', '.join(sorted(kind.only_on))}."
        )
    try:
        at_time = at if at is None or isinstance(at, time) else time.fromisoformat(str(at))
    except ValueError:
        raise ConfigurationError(f"Fault {action}: {at!r} is no time of day such as 10:15:00.") from None
    nth, times = (_count(entry.get(name, 1), f"Fault {action}: {name}") for name in ("nth", "times"))
    parameters = {name: entry[name] for name in kind.parameters if name in entry}
    for name, value in parameters.items():
        _check_parameter(str(action), name, value, kind.parameters[name])
    return Fault(str(action), on, at_time, nth, times, str(entry.get("symbol", "")), parameters)


def faults_in(path: Path) -> list[Fault]:
    """The faults of a script: a TOML file with ``[[fault]]`` tables. Raises ``ConfigurationError``."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"The faults {path} could not be read: {error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The faults {path} are no TOML: {error}.") from error
    entries = document.pop("fault", [])
    if document or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigurationError(f"The faults {path} have something else than [[fault]] tables in them.")
    return [fault_of(entry) for entry in entries]


@dataclass(frozen=True, slots=True)
class Fired:
    """A fault that has happened: when, in exchange time, and to what."""

    action: str
    at: datetime
    to: str


class FaultScript:
    """Faults that wait, and those that have fired. ``now`` is the market's time."""

    def __init__(self, faults: Sequence[Fault], now: Callable[[], datetime]) -> None:
        self._waiting: list[_Waiting] = []
        self._now = now
        self.fired: list[Fired] = []
        for fault in faults:
            self.arm(fault)

    @property
    def waiting(self) -> list[Fault]:
        """Faults that may still fire."""
        return [one.fault for one in self._waiting]

    def arm(self, fault: Fault) -> None:
        """Let a fault wait."""
        self._waiting.append(_Waiting(fault))

    def happened(
        self, event: str, symbol: str = "", to: str = "", concerns: Callable[[Fault], bool] | None = None
    ) -> list[Fault]:
        """Something has happened: the faults that fire. ``concerns`` says of which this is what they wait for."""
        firing = []
        for one in list(self._waiting):
            fault = one.fault
            if fault.on != event or (fault.symbol and symbol and fault.symbol != symbol):
                continue
            if concerns is not None and not concerns(fault):
                continue
            one.seen += 1
            if one.seen >= fault.nth:
                firing.append(fault)
                self.note(fault, to or symbol)
                if one.seen >= fault.nth + fault.times - 1:
                    self._waiting.remove(one)
        return firing

    def due(self, wall: time) -> list[Fault]:
        """The exchange's wall clock shows ``wall``: the faults whose time has come, to be done and then noted."""
        firing = [one for one in self._waiting if one.fault.at is not None and one.fault.at <= wall]
        for one in firing:
            self._waiting.remove(one)
        return [one.fault for one in firing]

    def forget_before(self, wall: time) -> None:
        """Faults whose time lies before ``wall`` do not happen: the gateway starts later, perhaps once more."""
        self._waiting = [one for one in self._waiting if one.fault.at is None or one.fault.at >= wall]

    def note(self, fault: Fault, to: str) -> None:
        """A fault has fired."""
        self.fired.append(Fired(fault.action, self._now(), to))


@dataclass(slots=True)
class _Waiting:
    fault: Fault
    seen: int = 0


def _check_parameter(action: str, name: str, value: Any, default: Any) -> None:
    """Raise ``ConfigurationError`` for a parameter of another kind than its default."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match default:
        case bool():
            fits, kind = isinstance(value, bool), "true or false"
        case int():
            fits, kind = isinstance(value, int) and is_number, "a whole number"
        case float():
            fits, kind = is_number, "a number"
        case _ if name in _AMOUNTS:
            fits, kind = _is_amount(value), 'an amount such as "100.50"'
        case _:
            fits, kind = isinstance(value, str), "text"
    if not fits:
        raise ConfigurationError(f"Fault {action}: {name} is {value!r} and has to be {kind}.")


def _is_amount(value: Any) -> bool:
    try:
        Decimal(str(value))
    except InvalidOperation:
        return False
    return not isinstance(value, bool)


def _count(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{what} is {value!r} and has to be a whole number from 1 on.")
    return value
