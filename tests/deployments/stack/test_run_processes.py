"""Runs are ended in order: told first, waited for, and killed when their time is over or somebody is in a hurry."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from deployments.stack.run_processes import STACK_MARK, end_rest, end_runs, run_processes, stack_processes

POLITE = "import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); print('up', flush=True); signal.pause()"
DEAF = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def mark() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def start(mark: str) -> Iterator[Start]:
    """Starts a process that carries the mark, with a group of its own; as a flow run where it is named."""
    started = []

    def run(program: str, flow_run: str = "", below: str = "") -> "subprocess.Popen[bytes]":
        environment = {
            **os.environ,
            STACK_MARK: mark + below,
            **({"PREFECT__FLOW_RUN_ID": flow_run} if flow_run else {}),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, start_new_session=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_processes_are_found_by_their_mark_and_those_below_it(mark: str, start: Start) -> None:
    server, run = start(POLITE), start(POLITE, flow_run="r1", below="/worker-1")
    assert {one.pid for one in stack_processes(mark)} == {server.pid, run.pid}
    assert {one.pid for one in stack_processes(f"{mark}/worker-1")} == {run.pid}
    assert stack_processes(mark[:-1]) == []
    assert [(one.pid, one.flow_run_id) for one in run_processes(mark)] == [(run.pid, "r1")]


def test_runs_that_end_when_they_are_told_are_not_killed(mark: str, start: Start) -> None:
    runs = [start(POLITE, flow_run="r1"), start(POLITE, flow_run="r2")]
    said: list[str] = []
    assert end_runs(mark, 30, lambda: False, said.append)
    assert [run.wait(5) for run in runs] == [7, 7]
    assert len(said) == 1


@pytest.mark.parametrize(("seconds", "in_hurry"), [(0.5, False), (60.0, True)])
def test_a_run_that_does_not_end_is_killed_when_its_time_is_over_or_somebody_hurries(
    mark: str, start: Start, seconds: float, in_hurry: bool
) -> None:
    run = start(DEAF, flow_run="r1")
    began = time.monotonic()
    assert not end_runs(mark, seconds, lambda: in_hurry, lambda _: None)
    assert run.wait(5) == -signal.SIGKILL
    assert time.monotonic() - began < 20


def test_what_else_is_left_is_told_and_then_killed(mark: str, start: Start) -> None:
    polite, deaf = start(POLITE), start(DEAF)
    end_rest(mark, 0.5)
    assert (polite.wait(5), deaf.wait(5)) == (7, -signal.SIGKILL)
    assert stack_processes(mark) == []
