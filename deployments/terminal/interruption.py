"""A command that is told to end finishes what it is writing, whichever way it is told."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ended_as_if_interrupted() -> Iterator[None]:
    """SIGTERM inside is what Ctrl-C is, and so is SIGINT where a shell in the background has it ignored."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
