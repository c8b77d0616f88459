"""Where a training run stands, on disk: each state in a folder of its own that appears whole or not at all.

Only a training run reads these folders, and only the one that wrote them; nothing of them goes into a bundle.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trading.errors import ConfigurationError

_STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One saved state: its folder, and what was written into ``state.json``."""

    folder: Path
    state: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The saved states of one training run in ``folder``. ``run`` is what makes it this run: its settings, as JSON has them."""

    folder: Path
    run: Mapping[str, Any]

    def newest(self) -> Checkpoint | None:
        """The state with most steps, None where there is none.

        Raises ``ConfigurationError`` when it belongs to a run with other settings.
        """
        complete = sorted(self.folder.glob("steps-*"))
        if not complete:
            return None
        written = json.loads((complete[-1] / _STATE).read_text(encoding="utf-8"))
        if written["run"] != json.loads(json.dumps(self.run)):
            changed = sorted(
                key for key in {*written["run"], *self.run} if written["run"].get(key) != self.run.get(key)
            )
            raise ConfigurationError(
                f"{self.folder} holds checkpoints of a training with other settings ({', '.join(changed)}). "
                "Train there without resuming, or name another folder."
            )
        return Checkpoint(complete[-1], written["state"])

    def save(self, steps: int, state: Mapping[str, Any], write: Callable[[Path], None]) -> Checkpoint:
        """Keep the state after ``steps``; ``write`` puts the other files into the folder that it is handed.

        Killed at any moment, either the state before or this one is the newest. Older ones are removed.
        """
        name = f"steps-{steps:012d}"
        unfinished = self.folder / f"unfinished-{name}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        write(unfinished)
        (unfinished / _STATE).write_text(json.dumps({"run": self.run, "state": state}), encoding="utf-8")
        older = sorted(self.folder.glob("steps-*"))
        finished = self.folder / name
        shutil.rmtree(finished, ignore_errors=True)
        os.replace(unfinished, finished)
        for folder in older:
            if folder != finished:
                shutil.rmtree(folder, ignore_errors=True)
        return Checkpoint(finished, state)

    def clear(self) -> None:
        """Forget every state that was saved here."""
        for folder in (*self.folder.glob("steps-*"), *self.folder.glob("unfinished-*")):
            shutil.rmtree(folder, ignore_errors=True)
