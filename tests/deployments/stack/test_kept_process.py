"""A child that dies is started again, and given up after three times in a row; its end is waited for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.stack import kept_process
from deployments.stack.kept_process import KeptProcess, StackFailed

HOUSE = Path(__file__).parents[3]
UP = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); print('up', flush=True); signal.pause()"


def kept(folder: Path, program: str, said: list[str]) -> KeptProcess:
    command, log = [sys.executable, "-c", program], folder / "child.log"
    return KeptProcess("child", command, os.environ, folder, log, said.append, first_pause_seconds=0.1)


def wait_until_it_says_so(log: Path, times: int = 1) -> None:
    deadline = time.monotonic() + 30
    while not log.exists() or log.read_text().count("up") < times:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_it_says_is_told_apart_from_what_others_said_before(tmp_path: Path) -> None:
    (tmp_path / "child.log").write_text("of yesterday\n")
    child = kept(tmp_path, "print('of today')", [])
    child.start()
    deadline = time.monotonic() + 30
    while child.exit_code is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert child.said() == "of today\n"


def test_what_it_says_for_weeks_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_process, "_LOG_BYTES", 5_000)
    talks = "import itertools, time\nfor n in itertools.count(): print('line', n, flush=True); time.sleep(0.0005)"
    child = kept(tmp_path, talks, [])
    child.start()
    log, aside = tmp_path / "child.log", tmp_path / "child.1.log"

    def lines(file: Path) -> list[int]:
        return [int(line.removeprefix("line ")) for line in file.read_text().splitlines()[1:-1]]

    deadline = time.monotonic() + 60
    puts_aside = 0
    while puts_aside < 3:
        assert time.monotonic() < deadline
        before = log.stat().st_size
        child.look()
        puts_aside += log.stat().st_size < before
        time.sleep(0.01)
    assert child.stop(30, lambda: True)
    # What is there is in order, and goes on in the one file where the other ends; between the two a line or two can be lost.
    first, then = lines(aside), lines(log)
    assert first == list(range(first[0], first[-1] + 1))
    assert then == list(range(then[0], then[-1] + 1))
    assert 0 < then[0] - first[-1] < 100
    assert len(child.said()) == log.stat().st_size < 100_000
    assert "the last of it: line " in child.last_words()


def look_for_long(child: KeptProcess) -> None:
    for _ in range(600):
        child.look()
        time.sleep(0.05)


def test_one_that_was_killed_is_started_again_and_that_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    child = kept(tmp_path, UP, said)
    child.start()
    wait_until_it_says_so(tmp_path / "child.log")
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while not child.look() or child.pid == first:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    wait_until_it_says_so(tmp_path / "child.log", 2)
    assert child.stop(30, lambda: False)
    assert child.exit_code == 0
    assert len(said) == 1
    assert "signal 9" in said[0]


def test_one_that_does_not_stay_up_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    said: list[str] = []
    child = kept(tmp_path, "print('there is no bread'); raise SystemExit(3)", said)
    child.start()
    with pytest.raises(StackFailed, match=r"code 3 .*third time.*there is no bread"):
        look_for_long(child)
    assert len(said) == 2


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    child = kept(
        tmp_path,
        "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile 1: signal.pause()",
        [],
    )
    child.start()
    wait_until_it_says_so(tmp_path / "child.log")
    assert not child.stop(0.3, lambda: False)
    assert child.exit_code == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
def test_it_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = (
        "import os, sys, time; from pathlib import Path; from deployments.stack.kept_process import KeptProcess\n"
        f"child = KeptProcess('child', [sys.executable, '-c', {UP!r}], os.environ, Path('.'), Path({str(tmp_path)!r}) / 'child.log', print)\n"
        "child.start(); print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, cwd=HOUSE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        wait_until_it_says_so(tmp_path / "child.log")
        process.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and "State:\tZ" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
