"""Keeps a session's lease alive while it trades, and says whether this runner may still send.

The renewing is done on a thread of its own, so that a slow bar or a long wait loses nothing. Where the store cannot be
written the lease runs out by itself, and with it the right to send.
"""

import logging
import threading
from datetime import datetime

from trading.errors import LeaseLost, StoreError
from trading.leases import LEASE_LASTS, LEASE_RENEWED_EVERY, Runner
from trading.ports import Clock, Ledger

_log = logging.getLogger(__name__)


class LeaseKeeper:
    """The lease of one session. ``wall`` is the time that leases count in."""

    def __init__(self, ledger: Ledger, wall: Clock) -> None:
        self._ledger = ledger
        self._wall = wall
        self._good_until: datetime | None = None
        self._lost: str | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, session_id: str, runner: Runner) -> None:
        """Take the lease and begin to renew it; raises ``SessionHeld`` while another runner has it."""
        lease = self._ledger.take_lease(session_id, runner, self._wall.now())
        self._good_until = lease.expires_at
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, name="openbell-lease", daemon=True)
            self._thread.start()

    def require(self) -> None:
        """Raise ``LeaseLost`` where this runner may send no more: a lost lease stays lost. Nothing where none was taken.

        One that was not renewed in time is asked for once more: nobody may have wanted it.
        """
        good_until = self._good_until
        if self._lost is None and good_until is not None and self._wall.now() >= good_until:
            self._renew()
        if self._lost is not None:
            raise LeaseLost(self._lost)

    def give_back(self) -> None:
        """Stop renewing and give the lease back. A second time does nothing."""
        if self._good_until is None:
            return
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._over, self._thread = threading.Event(), None
        self._good_until = None
        try:
            self._ledger.release_lease()
        except (LeaseLost, StoreError) as error:
            _log.warning("lease not given back: %s", error)

    def _keep(self) -> None:
        while not self._over.wait(LEASE_RENEWED_EVERY.total_seconds()):
            try:
                self._renew()
            except StoreError as error:
                _log.warning("lease not renewed: %s", error)
            if self._lost is not None:
                return

    def _renew(self) -> None:
        now = self._wall.now()
        try:
            self._ledger.renew_lease(now)
        except LeaseLost as error:
            self._lost = str(error)
        else:
            self._good_until = now + LEASE_LASTS
