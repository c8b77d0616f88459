"""Where a replay of sessions writes: what the ledger has of it already is compared, what is new is written whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from storage.replayed_sessions import SessionFigures
from tasks.free_database import open_when_free
from trading.decisions import Halt
from trading.errors import AlreadyTraded
from trading.money import from_micros
from trading.ports import LedgerEntries, ReplayLedger
from trading.replay_accounts import PREFIX
from trading.sessions import SessionRecord


@dataclass(frozen=True, slots=True)
class WritesWhenFree:
    """Implements ``trading.ports.ReplayLedger``; the database is opened for each commit, and free again after it."""

    path: Path
    wait_seconds: float

    def commit_replay(self, sessions: Sequence[SessionRecord], entries: LedgerEntries) -> None:
        """Write the sessions in one transaction; raises ``SessionHeld`` where somebody holds the database."""
        what = f"The replay stops before {sessions[0].session_date}, and what it wrote before is kept; run it again to go on"
        apart = replace(entries, halts=[_of_the_replay_alone(halt, sessions[0].account) for halt in entries.halts])
        with open_when_free(self.path, self.wait_seconds, what) as store:
            store.ledger.commit_replay(sessions, apart)


def _of_the_replay_alone(halt: Halt, account: str) -> Halt:
    """A halt of a symbol or a strategy would hold up sessions of the same day that somebody trades later."""
    own = f"account:{account}"
    return halt if halt.scope == own else replace(halt, scope=f"{own} {halt.scope}")


@dataclass(frozen=True, slots=True)
class ReplayedBefore:
    """Implements ``trading.ports.ReplayLedger``: ``known`` sessions are not written again, and have to be what they were.

    Sessions of one commit are all known, or none of them is.
    """

    known: Mapping[str, SessionFigures]
    ledger: ReplayLedger

    def commit_replay(self, sessions: Sequence[SessionRecord], entries: LedgerEntries) -> None:
        """Write what is new; raises ``AlreadyTraded`` where a known session comes out differently."""
        if sessions[0].session_id not in self.known:
            self.ledger.commit_replay(sessions, entries)
            return
        for record, block in zip(sessions, entries.blocks, strict=True):
            was = self.known[record.session_id]
            equity = from_micros(int(block.cash[-1] + block.market_value[-1])) if len(block.bar_time) else None
            if (record.starting_equity, record.last_bar_time) != (
                was.record.starting_equity,
                was.record.last_bar_time,
            ) or (equity is not None and equity != was.ending_equity):
                raise AlreadyTraded(
                    f"The session of {record.session_date} was replayed on {was.record.started_at:%Y-%m-%d} and ended with an equity of "
                    f"{was.ending_equity}; now it ends with {equity}: the bars, or openbell, are others by now. Name another account with --account "
                    f"{PREFIX}NAME to replay anew."
                )
