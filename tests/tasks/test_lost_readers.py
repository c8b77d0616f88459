"""What a session prints, and a reader that is gone: rich would end the process."""

import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]
SAYING = """
import sys
from rich.console import Console
from tasks.lost_readers import outlast_readers
if sys.argv[1] == "outlasting":
    outlast_readers()
sys.stdin.read()
for _ in range(3):
    Console(file=sys.stdout).print("a line that nobody reads")
    sys.stdout.flush()
sys.stderr.write("traded on")
"""


@pytest.mark.parametrize(("how", "said", "code"), [("outlasting", "traded on", 0), ("as it comes", "", 1)])
def test_a_line_that_nobody_reads_ends_nothing(how: str, said: str, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SAYING, how],
        cwd=HOUSE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as session:
        assert session.stdout is not None
        session.stdout.close()
        session.stdout = None
        _, aside = session.communicate(timeout=60)
    assert (aside, session.returncode) == (said, code)
