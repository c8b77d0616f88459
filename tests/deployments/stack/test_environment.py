import os
import subprocess
import sys
from pathlib import Path

from deployments.stack.environment import worker_environment

HOUSE = Path(__file__).parents[3]


def test_a_script_of_others_finds_our_rooms_before_its_neighbours_and_what_lies_in_the_home(tmp_path: Path) -> None:
    """As Prefect's own does, beside which a storage.py lies, when it looks for hooks of a run that was cancelled."""
    others, home = tmp_path / "others", tmp_path / "home"
    for folder, name in ((others, "storage.py"), (home, "my_estimators.py")):
        folder.mkdir()
        (folder / name).write_text("")
    script = others / "script.py"
    script.write_text("import my_estimators, storage.store; print(my_estimators.__file__, storage.__file__)")
    done = subprocess.run(
        [sys.executable, script],
        env=worker_environment(home, "mark", {**os.environ, "PYTHONPATH": str(HOUSE)}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split() == [str(home / "my_estimators.py"), str(HOUSE / "storage" / "__init__.py")], done.stderr
