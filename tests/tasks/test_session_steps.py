"""What Prefect may repeat, whatever a person's profile asks for."""

import os
import subprocess
import sys


def test_only_reads_on_the_wire_are_ever_retried() -> None:
    """In a process of its own, because Prefect reads the profile's default when a task is defined."""
    script = (
        "import tasks.session_steps as steps; from prefect import Task; "
        "print(sorted(one.name for one in vars(steps).values() if isinstance(one, Task) and one.retries))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PREFECT_TASKS_DEFAULT_RETRIES": "2"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "['load-warmup', 'reconcile']"
