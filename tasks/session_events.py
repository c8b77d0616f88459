"""What happens in a session, as Prefect events: ``openbell.session.*``, ``openbell.fill``, ``openbell.order.*``,
``openbell.discrepancy``, and what risk has to say. docs/events.md lists names and payloads.

The rule: an event is told from a thread of the observers, after the fact, and costs trading nothing; the ledger has everything in any
case. What Prefect does not show when the session is over, above all because it was away, is sent once more under the same id.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.events import Event
from prefect.exceptions import TerminationSignal

from tasks.prefect_events import emit_about_session
from tasks.risk_events import labels_of, payload_of
from trading.differences import Discrepancy, Reconciliation
from trading.errors import AppointmentMissed, ClosedDay, OpenbellError, RefusedToTrade
from trading.hooks import Happening, HookEvent
from trading.money import to_cents
from trading.orchestrator_agent import OrchestratorAgent
from trading.orders import Fill, OrderEvent, OrderStatus
from trading.risk_events import RiskEvent
from trading.sessions import SessionRecord, SessionSummary

MOST_OF_A_NAME = 500
"""Events of one name in one session: a policy that is refused on every bar must not fill Prefect's queues."""
_ASKED_AT_ONCE = 50


class SessionNews(StrEnum):
    """What becomes of a session's run."""

    STARTED = "started"
    COMPLETED = "completed"
    STOPPED = "stopped"
    REFUSED = "refused"
    SKIPPED = "skipped"


_WHAT_ENDS: Mapping[type[BaseException], tuple[SessionNews, str]] = {
    AppointmentMissed: (
        SessionNews.SKIPPED,
        "Nothing has to be done; the end-of-day report tells what is left of that day.",
    ),
    ClosedDay: (SessionNews.SKIPPED, "Nothing has to be done."),
}
_AFTER_REFUSAL = "Mend what it says and start the session again: a day that was refused can still be traded."
_AFTER_STOP = (
    "Look at positions and open orders with 'openbell reconcile'. Start the same session again to go on from its last bar, or "
    "'openbell flatten' to get out."
)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """How complete the events are at the server: told, kept back because there were too many, and sent once more (None: it did not say)."""

    told: int
    kept_back: int
    sent_again: int | None

    def sentence(self) -> str:
        """The comparison in words."""
        if self.sent_again is None:
            return f"The Prefect API did not say which of {self.told} events it has."
        # The server writes events down some seconds after it has them: what it does not show yet need not be lost.
        again = f", {self.sent_again} of them sent once more as they did not show yet" if self.sent_again else ""
        kept = f"; {self.kept_back} more were not told, as there were too many of a kind" if self.kept_back else ""
        return f"All {self.told} events are there{again}{kept}."


class SessionEvents:
    """Tells the events of one flow run. Any thread may."""

    def __init__(self, flow_run_id: UUID, strategy: str) -> None:
        self._flow_run_id = flow_run_id
        self._subject = strategy
        self._account = ""
        self._sent: dict[UUID, Event] = {}
        self._told: Counter[str] = Counter()
        self._known: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def follow(self, agent: OrchestratorAgent) -> None:
        """Tell of the agent's session from now on."""
        self._subject = agent.session_id
        agent.risk_events.subscribe(self.risk)
        agent.register_hook(HookEvent.TRADE_EXECUTED, self.filled)
        agent.register_hook(HookEvent.TRADE_ERROR, self.order_failed)
        agent.register_hook(HookEvent.RECONCILED, self.reconciled)

    def started(self, record: SessionRecord, symbols: tuple[str, ...], db: str) -> None:
        """The session is open: it trades from now on, or goes on where it stopped."""
        resumed = record.last_bar_time is not None
        self._account = record.account
        doing = "goes on where it stopped" if resumed else "has started"
        self.tell(
            f"openbell.session.{SessionNews.STARTED}",
            f"Session {record.session_id} {doing}.",
            {
                "session_date": record.session_date.isoformat(),
                "account": record.account,
                "strategy": record.strategy,
                "mode": str(record.mode),
                "symbols": list(symbols),
                "resumed": resumed,
                "db": db,
            },
        )

    def completed(self, summary: SessionSummary) -> None:
        """The session was traded to its close, now or before."""
        gained = to_cents(summary.realized_pnl)
        self.tell(
            f"openbell.session.{SessionNews.COMPLETED}",
            f"Session {summary.session_id} is over: {summary.bars} bars, {summary.fills} fills, {gained:,} realized.",
            {
                "session_date": summary.session_date.isoformat(),
                "mode": str(summary.mode),
                "bars": summary.bars,
                "decisions": summary.decisions,
                "orders": summary.orders,
                "fills": summary.fills,
                "realized_pnl": str(summary.realized_pnl),
                "unrealized_pnl": str(summary.unrealized_pnl),
                "commissions": str(summary.commissions),
                "equity": str(summary.equity),
                "halted": summary.halted,
                "discrepancies": summary.discrepancies,
            },
        )

    def ended(self, error: BaseException) -> None:
        """The run has ended with ``error``."""
        news, remedy = _WHAT_ENDS.get(type(error), (None, ""))
        if news is None:
            refused = isinstance(error, RefusedToTrade)
            news = SessionNews.REFUSED if refused else SessionNews.STOPPED
            remedy = _AFTER_REFUSAL if refused else _AFTER_STOP
        message = str(error) if isinstance(error, OpenbellError) else f"{type(error).__name__}: {error}".rstrip(": ")
        if isinstance(error, TerminationSignal):
            message = f"Session {self._subject} was told to end: its run was cancelled, or its worker is stopping."
        self.tell(f"openbell.session.{news}", message, {"error": type(error).__name__}, remedy)

    def tell(
        self,
        name: str,
        message: str,
        facts: Mapping[str, Any],
        remedy: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Emit one event about the session."""
        payload = {"message": message, "remedy": remedy, "session_id": self._subject, **facts}
        with self._lock:
            self._told[name] += 1
            if self._told[name] > MOST_OF_A_NAME:
                return
            event = emit_about_session(name, self._subject, payload, str(self._flow_run_id), labels)
            if event is not None:
                self._sent[event.id] = event

    def settle(self, client: SyncPrefectClient) -> EventRecord:
        """Send again what the server does not have. Raises what the client raises when the server does not answer."""
        with self._lock:
            sent = list(self._sent.values())
            kept_back = sum(max(count - MOST_OF_A_NAME, 0) for count in self._told.values())
        missing: list[Event] = []
        for start in range(0, len(sent), _ASKED_AT_ONCE):
            some = sent[start : start + _ASKED_AT_ONCE]
            body = {"filter": {"id": {"id": [str(event.id) for event in some]}}, "limit": _ASKED_AT_ONCE}
            answer = client.request("POST", "/events/filter", json=body)
            answer.raise_for_status()
            there = {UUID(one["id"]) for one in answer.json()["events"]}
            missing += [event for event in some if event.id not in there]
        if missing:
            client.request(
                "POST", "/events", json=[event.model_dump(mode="json") for event in missing]
            ).raise_for_status()
        return EventRecord(len(sent), kept_back, len(missing))

    @property
    def count(self) -> int:
        """How many events were told so far."""
        with self._lock:
            return len(self._sent)

    # What the observers call

    def risk(self, event: RiskEvent) -> None:
        """Risk has something to say."""
        payload = payload_of(event)
        remedy = str(payload.get("remedy", ""))
        self.tell(f"openbell.risk.{event.kind}", event.message, payload, remedy, labels_of(event))

    def filled(self, happening: Happening) -> None:
        """An execution is in the book."""
        fill: Fill = happening.facts["fill"]
        done = fill.execution
        verb = {"BUY": "Bought", "SELL": "Sold"}[done.side.value]
        self.tell(
            "openbell.fill",
            f"{verb} {done.quantity} {done.symbol} at {done.price}.",
            {
                "exec_id": done.exec_id,
                "client_order_id": done.client_order_id,
                "account": fill.account,
                "symbol": done.symbol,
                "side": done.side.value,
                "quantity": done.quantity,
                "price": _text(done.price),
                "commission": _text(done.commission),
                "at": done.executed_at.isoformat(),
                "source": fill.source,
            },
        )

    def order_failed(self, happening: Happening) -> None:
        """An order was refused by the broker, or nothing came back."""
        event = happening.facts.get("order_event")
        if not isinstance(event, OrderEvent):
            return  # a policy that failed is told by risk
        rejected = event.status is OrderStatus.REJECTED
        doing = "was rejected" if rejected else "has an unknown outcome; the broker is asked for it"
        self.tell(
            f"openbell.order.{'rejected' if rejected else 'unknown'}",
            f"Order {event.client_order_id} {doing}: {event.detail or 'no reason was given'}.",
            {
                "client_order_id": event.client_order_id,
                "status": str(event.status),
                "detail": event.detail,
                "at": event.event_time.isoformat(),
            },
        )

    def reconciled(self, happening: Happening) -> None:
        """Ledger and broker were compared: what stands is told once."""
        done: Reconciliation = happening.facts["reconciliation"]
        standing = {(str(found.kind), found.subject) for found in done.remaining}
        for found in done.remaining:
            if (str(found.kind), found.subject) not in self._known:
                self._differs(done, found)
        # One that is gone and comes back is told again.
        self._known = standing

    def _differs(self, done: Reconciliation, found: Discrepancy) -> None:
        locked = f" No new risk is taken in {found.symbol} until it is gone." if found.locking else ""
        self.tell(
            "openbell.discrepancy",
            f"{found.kind} {found.subject}: ledger {found.ours}, broker {found.brokers}.{locked}",
            {
                "account": done.account,
                "stage": done.stage,
                "kind": str(found.kind),
                "symbol": found.symbol,
                "subject": found.subject,
                "ours": found.ours,
                "brokers": found.brokers,
                "proposed_repair": found.proposed_repair,
                "locking": found.locking,
                "at": done.reconciled_at.isoformat(),
            },
            f"Look with 'openbell reconcile --account {done.account}'; {found.proposed_repair}",
        )


@contextlib.contextmanager
def telling(events: SessionEvents) -> Iterator[None]:
    """Tell of whatever ends what is done inside, and let it go on."""
    try:
        yield
    except BaseException as error:  # also the signal that ends a run: it is told and raised again
        events.ended(error)
        raise


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)
