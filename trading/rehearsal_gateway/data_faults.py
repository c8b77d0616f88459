"""Live bars that do not come, come twice, late or as nonsense."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trading.rehearsal_gateway.faults import Fault
from trading.rehearsal_gateway.market_port import DeliveredBar

DATA_FAULTS = frozenset({"data_stop", "data_stale", "data_duplicate", "data_out_of_order", "data_nan"})


@dataclass(slots=True)
class _AtWork:
    fault: Fault
    left: int
    held: DeliveredBar | None = None
    """By the fault that delivers a bar late: the bar that waits."""
    last: DeliveredBar | None = None
    """By the fault that repeats: the last bar before it began."""


class DataFaults:
    """What is delivered in place of each live bar. Every kind of subscription to a symbol is one stream: ``stream`` names it."""

    def __init__(self) -> None:
        self._begun: list[Fault] = []
        self._at_work: dict[tuple[str, str], list[_AtWork]] = {}
        self._seen: dict[tuple[str, str], int] = {}
        self._last: dict[tuple[str, str], DeliveredBar] = {}

    def begin(self, fault: Fault) -> None:
        """From now on the fault is at work, in each stream of its symbol or of all symbols."""
        self._begun.append(fault)

    def delivered(self, bar: DeliveredBar, stream: str = "") -> Sequence[DeliveredBar]:
        """What goes out in place of ``bar``."""
        key = (stream, bar.symbol)
        at_work = self._at_work.setdefault(key, [])
        # Faults that began since this stream was looked at last.
        for fault in self._begun[self._seen.get(key, 0) :]:
            if fault.symbol in ("", bar.symbol):
                at_work.append(_AtWork(fault, int(fault["bars"]), last=self._last.get(key)))
        self._seen[key] = len(self._begun)
        self._last[key] = bar
        going = [bar]
        for one in list(at_work):
            going = [out for each in going for out in _spoilt(one, each)]
            if one.left == 0 and one.held is None:
                at_work.remove(one)
        return going


def _spoilt(one: _AtWork, bar: DeliveredBar) -> list[DeliveredBar]:
    if one.held is not None:
        held, one.held = one.held, None
        return [bar, held]
    if one.left == 0:
        return [bar]
    one.left -= 1 if one.left > 0 else 0
    match one.fault.action:
        case "data_stop":
            return []
        case "data_stale":
            return [one.last or bar]
        case "data_duplicate":
            return [bar, bar]
        case "data_out_of_order":
            one.held = bar
            return []
        case _:
            nonsense = float(one.fault["price"])
            return [replace(bar, open=nonsense, high=nonsense, low=nonsense, close=nonsense)]
