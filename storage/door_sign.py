"""Where the process that holds a database lets others ask: a small file beside the database, readable by its owner alone.

The rule: the file claims nothing. Whoever reads it tries the door, and takes one that does not answer for none.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

LEAVING = "the holder is letting go of the database"
"""What a question is told that the door's shutting ended: the file is free in a moment."""


@dataclass(frozen=True, slots=True)
class DoorSign:
    """An open door: the port on this machine, the token that it asks for, and the process behind it."""

    port: int
    token: str
    pid: int


def sign_path(database: Path) -> Path:
    """The file that tells of the database's door."""
    return database.with_name(f"{database.name}.door")


def hang_out(database: Path, sign: DoorSign) -> None:
    """Write the sign, all of it or nothing; raises ``OSError``."""
    path = sign_path(database)
    draft = path.with_name(f".{path.name}.{sign.pid}.new")
    draft.unlink(missing_ok=True)
    try:
        # Made with its permissions, not given them afterwards: nobody else may see the token at any time.
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(sign), file)
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # the error on its way says what happened
            draft.unlink(missing_ok=True)
        raise


def take_in(database: Path, sign: DoorSign) -> None:
    """Remove the sign, unless another process has hung out its own since."""
    if read_sign(database) == sign:
        with contextlib.suppress(OSError):  # gone already, or a sign that nobody will answer to
            sign_path(database).unlink()


def read_sign(database: Path) -> DoorSign | None:
    """The sign that hangs out, None where there is none that can be read or its process is gone."""
    try:
        told = json.loads(sign_path(database).read_text(encoding="utf-8"))
        sign = DoorSign(int(told["port"]), str(told["token"]), int(told["pid"]))
        os.kill(sign.pid, 0)
    except PermissionError:
        return None  # another user's
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sign
