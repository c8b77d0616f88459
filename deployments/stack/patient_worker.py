"""A Prefect worker that outlasts its server.

By itself it gives up when the server has been away for some minutes, and kills the processes of its runs on the way out: a session
that trades well without the server would end in mid-order. Here it goes on asking. So does what asks for cancelled runs when the
server's events do not come: by itself it is over after half a minute without a server, and no run is ever cancelled again.

The rule: this is the one place that changes what Prefect does. It is checked against the version that is installed by a test.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from prefect._internal import observers
from prefect.workers import base

_LOOP = "critical_service_loop"
_GIVEN_UP = "Service exceeded error threshold"


def never_give_up() -> None:
    """Let workers of this process ask for runs, and for cancelled ones, as long as they live. A second call changes nothing."""
    for module in (base, observers):
        loop = getattr(module, _LOOP)
        if not hasattr(loop, "__wrapped__"):
            setattr(module, _LOOP, patient(loop))


def patient(loop: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """The loop, begun again whenever it has given up; what else it raises is raised."""

    @functools.wraps(loop)
    async def goes_on(*arguments: Any, **options: Any) -> None:
        while True:
            try:
                await loop(*arguments, **options)
            except RuntimeError as error:
                if _GIVEN_UP not in str(error):
                    raise
            else:
                return

    return goes_on
