"""Who is at the keyboard, for the record."""

import getpass
import os


def operator_name() -> str:
    """The user's name; in a container that has none for its user, the user's number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # Python 3.13 raises OSError
        return f"uid {os.getuid()}"
