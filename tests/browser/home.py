"""A stack of ``openbell up`` in a home of its own: an invented market, and a session in real time unless its form says otherwise."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HOUSE = Path(__file__).parents[2]
PATIENCE_SECONDS = 300.0


@contextmanager
def stack_in(home: Path, settings: str) -> Iterator[str]:
    """The address of its UI while it is up; ``settings`` are its openbell.toml. Alerts go to a port where nobody is."""
    (home / "openbell.toml").write_text(settings, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "OPENBELL"))}
    environment.update(
        OPENBELL_HOME=str(home), PYTHONPATH=str(HOUSE), OPENBELL_ALERT_WEBHOOK_URL="http://127.0.0.1:9/openbell"
    )
    with (home / "said.log").open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.terminal", "up", "--port", "0", "--json"],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            # As a terminal has it, also where tests run in the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE_SECONDS)
        line = process.stdout.readline() if ready else ""
        if not line:
            raise RuntimeError(f"the stack did not come up: {(home / 'said.log').read_text(encoding='utf-8')}")
        yield json.loads(line)["ui"]
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(120)
        if process.poll() is None:
            process.kill()
            process.wait(30)
        process.stdout.close()
