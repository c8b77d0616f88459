"""A worker outlasts its server: Prefect's own loop goes on after what would have ended it."""

import asyncio

import httpx
import pytest
from prefect._internal import observers
from prefect.workers import base

from deployments.stack.patient_worker import never_give_up, patient


class HadEnough(Exception):
    pass


@pytest.mark.parametrize(("is_patient", "attempts"), [(False, 12), (True, 40)])
def test_a_server_that_is_away_ends_no_worker(is_patient: bool, attempts: int) -> None:
    loop = getattr(base, "critical_service_loop")  # noqa: B009
    loop = patient(loop) if is_patient else getattr(loop, "__wrapped__", loop)
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        if asked == 40:
            raise HadEnough
        raise httpx.ConnectError("nobody there")

    # As a worker calls it: three failures in a row four times, and Prefect's loop is over.
    with pytest.raises(HadEnough if is_patient else RuntimeError):
        asyncio.run(loop(ask, interval=0.0, backoff=4, printer=lambda *_: None))
    assert asked == attempts


def test_the_installed_worker_uses_the_loop_that_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (base, observers):
        monkeypatch.setattr(module, "critical_service_loop", getattr(module, "critical_service_loop"))  # noqa: B009
    never_give_up()
    once = getattr(base, "critical_service_loop")  # noqa: B009
    never_give_up()
    assert getattr(base, "critical_service_loop") is once  # noqa: B009
    assert "critical_service_loop" in base.BaseWorker.start.__code__.co_names
    # Three failures in a row, and what looks for cancelled runs would be over too.
    assert hasattr(getattr(observers, "critical_service_loop"), "__wrapped__")  # noqa: B009
    assert "critical_service_loop" in observers.FlowRunCancellingObserver._start_polling_task.__code__.co_names
