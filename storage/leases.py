"""The lease of a session in the store: taken, renewed, given back, and proved in each write.

The rule: a write changes the lease's row in its own transaction. DuckDB lets one transaction at a time change a row, so
that of a write and a taking of the same lease one comes first and the other sees it.
"""

import time
from datetime import datetime

from storage.connection import Connection, RepeatedFact
from storage.reading import utc
from storage.runners import is_surely_gone
from trading.errors import LeaseLost, SessionHeld, StoreError
from trading.leases import LEASE_LASTS, Lease, Runner

_TRIES = 200
_PAUSE_SECONDS = 0.01


class HeldLease:
    """The lease that one ledger writes under; none until one is taken."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lease: Lease | None = None

    def take(self, session_id: str, runner: Runner, at: datetime) -> Lease:
        """Take the session's lease; raises ``SessionHeld`` while another runner has it."""
        taken: list[Lease] = []

        def claim() -> None:
            taken.append(self._take(session_id, runner, at))

        for _ in range(_TRIES):
            try:
                with self._connection.transaction(claim):
                    pass
                break
            except RepeatedFact:  # two make the session's first lease: the other's is there, or about to be
                time.sleep(_PAUSE_SECONDS)
        else:
            raise StoreError(
                f"The lease of session {session_id} could not be taken: others were taking it all the time. Try again."
            )
        self._lease = taken[-1]
        return self._lease

    def _take(self, session_id: str, runner: Runner, at: datetime) -> Lease:
        expires_at = at + LEASE_LASTS
        found = self._connection.execute(
            "SELECT host, pid, process_started, run, fence, acquired_at, expires_at, released_at FROM session_leases"
            " WHERE session_id = ?",
            [session_id],
        ).fetchall()
        whose = [runner.host, runner.pid, runner.started, runner.run]
        if not found:
            self._connection.execute(
                "INSERT INTO session_leases (session_id, host, pid, process_started, run, fence, acquired_at, renewed_at,"
                " expires_at, writes) VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, 0)",
                [session_id, *whose, at, at, expires_at],
            )
            return Lease(session_id, runner, 1, expires_at)
        host, pid, started, run, fence, acquired_at, held_until, released_at = found[0]
        holder = Runner(host, pid, started, run)
        if released_at is None and at < held_until and holder != runner and not is_surely_gone(holder):
            raise SessionHeld(
                f"Session {session_id} is traded by process {holder.pid} on {holder.host.partition('#')[0]} since "
                f"{utc(acquired_at):%Y-%m-%d %H:%M:%S} UTC; its lease holds until {utc(held_until):%H:%M:%S} UTC unless it is "
                "renewed. Leave the session to that process, or end it and start again."
            )
        self._connection.execute(
            """
            UPDATE session_leases
            SET host = ?, pid = ?, process_started = ?, run = ?, fence = ?, acquired_at = ?, renewed_at = ?, expires_at = ?,
                released_at = NULL, writes = writes + 1
            WHERE session_id = ?
            """,
            [*whose, fence + 1, at, at, expires_at, session_id],
        )
        return Lease(session_id, runner, fence + 1, expires_at)

    def renew(self, at: datetime) -> None:
        """Hold the lease until ``LEASE_LASTS`` after ``at``; raises ``LeaseLost``."""
        lease = self._lease
        if lease is None:
            raise LeaseLost("There is no lease to renew: none was taken, or it was given back.")
        with self._connection.transaction(
            lambda: self._change("renewed_at = ?, expires_at = ?, writes = writes + 1", [at, at + LEASE_LASTS])
        ):
            pass

    def release(self) -> None:
        """Give the lease back. One that was lost stays lost: what is written under it goes on to be refused."""
        if self._lease is None:
            return
        try:
            with self._connection.transaction(lambda: self._change("released_at = now(), writes = writes + 1", [])):
                pass
        except LeaseLost:
            return
        self._lease = None

    def prove(self) -> None:
        """Show, as the first thing in a transaction, that nobody has taken the lease since; raises ``LeaseLost``."""
        if self._lease is not None:
            self._change("writes = writes + 1", [])

    def _change(self, changes: str, values: list[object]) -> None:
        lease = self._lease
        if lease is None:
            return
        [(changed,)] = self._connection.execute(
            f"UPDATE session_leases SET {changes} WHERE session_id = ? AND fence = ?",
            [*values, lease.session_id, lease.fence],
        ).fetchall()
        if not changed:
            raise LeaseLost(
                f"Session {lease.session_id} was taken over by another runner: this one (process {lease.runner.pid}) writes "
                "and sends nothing more. What it committed before is intact; let the other one go on."
            )
