"""A database that somebody else may hold, waited for as long as it is worth it. No Prefect here."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from storage.store import Store, open_store
from trading.errors import SessionHeld, StoreBusy

_TRIED_EVERY_SECONDS = 0.25


@contextlib.contextmanager
def open_when_free(path: Path, wait_seconds: float, what: str) -> Iterator[Store]:
    """The opened store, made where there is none; whoever holds it is waited for at most ``wait_seconds``.

    Raises ``SessionHeld`` with ``what`` was not done where it is not free by then, another ``StoreError`` otherwise.
    """
    with contextlib.ExitStack() as stack:
        give_up_at = time.monotonic() + wait_seconds
        while True:
            try:
                store = stack.enter_context(open_store(path))
                break
            except StoreBusy as error:
                if time.monotonic() >= give_up_at:
                    raise SessionHeld(f"{what}: {error}") from error
            time.sleep(_TRIED_EVERY_SECONDS)
        yield store
