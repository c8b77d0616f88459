"""A session hears for itself that its run was cancelled.

Otherwise only the worker that started its process would: one that was killed, or has lost the server's events, would leave a session
that a person has cancelled trading until the close. The rule: nothing of it is on the way of a bar.
"""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator

from prefect.utilities.engine import is_prefect_sigterm_handler_installed

from tasks.run_record import NO_ANSWER

_log = logging.getLogger(__name__)

ASKED_EVERY_SECONDS = 2.0
WORKERS_TURN_SECONDS = 3.0
"""A worker that is there ends the run itself within a second, and tells the server in its own words."""


class Cancellation:
    """Watches for a run's cancellation while it is entered. ``ended_here``: the run was interrupted from here, as by a worker.

    ``was_cancelled`` asks the server and may raise when that is away.
    """

    def __init__(
        self,
        was_cancelled: Callable[[], bool],
        every_seconds: float = ASKED_EVERY_SECONDS,
        workers_turn_seconds: float = WORKERS_TURN_SECONDS,
    ) -> None:
        self._ask = was_cancelled
        self._every_seconds = every_seconds
        self._workers_turn_seconds = workers_turn_seconds
        self._over = threading.Event()
        self._one_at_a_time = threading.Lock()
        self.ended_here = False
        self._thread = threading.Thread(target=self._watch, name="openbell-cancellation", daemon=True)

    def __enter__(self) -> "Cancellation":
        # Only the main thread can be interrupted, and only where Prefect turns the signal into an exception.
        if threading.current_thread() is threading.main_thread() and is_prefect_sigterm_handler_installed():
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._one_at_a_time:
            self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(self._every_seconds):
            try:
                if not self._ask():
                    continue
            except NO_ANSWER:  # the server is away: nobody can have cancelled
                continue
            if self._over.wait(self._workers_turn_seconds):
                return
            with self._one_at_a_time:
                if self._over.is_set():
                    return
                self.ended_here = True
                _log.warning("the run was cancelled and no worker ended it: it ends itself")
                os.kill(os.getpid(), signal.SIGTERM)
            return


@contextlib.contextmanager
def undisturbed_by_signals() -> Iterator[None]:
    """What is done inside is not interrupted by a second request to end (SIGTERM); one that hurries kills."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
