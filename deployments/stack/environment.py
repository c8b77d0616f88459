"""What the processes of a stack find in their environment.

The rule: what a person has set stands, except for what decides which server is meant.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from deployments.stack.address import StackAddress
from deployments.stack.retention import retention_settings
from deployments.stack.run_processes import STACK_MARK
from tasks.prefect_access import CLIENT_PASSWORD, SERVER_PASSWORD
from trading.errors import ConfigurationError

WORK_POOL = "openbell"
HEARTBEAT_SECONDS = 30
"""Of running flows; Prefect takes nothing below. Automations miss a session after three of them."""
_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    # What a person starts begins sooner than with Prefect's 10.
    "PREFECT_WORKER_QUERY_SECONDS": "3",
}
_OTHER_SERVERS = ("PREFECT_API_KEY", "PREFECT_PROFILE", "PREFECT_UI_URL")


def prefect_home(home: Path, environment: Mapping[str, str]) -> Path:
    """Where the stack's Prefect keeps its database: a folder of its own, unless a person has named one."""
    named = environment.get("PREFECT_HOME")
    return Path(named).expanduser().absolute() if named else home / ".openbell" / "prefect"


def make_prefect_home(home: Path, environment: Mapping[str, str]) -> Path:
    """Make that folder, for this user alone: Prefect's database has blocks in it, and the key that opens them."""
    folder = prefect_home(home, environment)
    for each in (home / ".openbell", folder) if folder.is_relative_to(home / ".openbell") else (folder,):
        try:
            each.mkdir(mode=0o700, parents=each is folder, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"{each} cannot be made: {error.strerror}. Mend the permissions, or name another folder with PREFECT_HOME."
            ) from error
    return folder


def worker_environment(home: Path, mark: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker that a person or a system started by itself: the server is whichever is named there."""
    # Prefect looks for hooks of a run that was cancelled or has crashed by a script of its own, which Python would let find its neighbours
    # first: a "storage" that is not ours, and every cancelled run ended with a traceback. What lies in the home is found as before.
    search = [str(home), environment.get("PYTHONPATH", "")]
    return {
        **_QUIET,
        "PYTHONSAFEPATH": "1",
        **environment,
        "PYTHONPATH": os.pathsep.join(folder for folder in search if folder),
        "OPENBELL_HOME": str(home),
        STACK_MARK: mark,
    }


def stack_environment(home: Path, address: StackAddress, mark: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of server, worker and deploying; ``mark`` tells the stack's processes from all others."""
    found = {name: value for name, value in environment.items() if name not in _OTHER_SERVERS}
    prefect = prefect_home(home, environment)
    wanted = {
        **_QUIET,
        # A page of somebody else that is open in the same browser must not start flows.
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(address.origins),
        "PREFECT_SERVER_UI_API_URL": f"{address.ui_url}/api",
        # The newer one of Prefect's two UIs asks another company for its configuration with every page, also where analytics are off.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # What should have come and did not is told also by a server that is busy for minutes: it forgets it after one otherwise.
        "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER": "PT15M",
        "PYTHONUNBUFFERED": "1",
        # Where there is none, some libraries would look for it at every start.
        "HOME": str(prefect),
        **retention_settings(),
    }
    found.update({name: value for name, value in wanted.items() if name not in environment})
    if found.get(SERVER_PASSWORD):
        found.setdefault(CLIENT_PASSWORD, found[SERVER_PASSWORD])
    found.update(
        {
            "PREFECT_HOME": str(prefect),
            "PREFECT_API_URL": address.api_url,
            "PREFECT_SERVER_API_HOST": address.host,
            "PREFECT_SERVER_API_PORT": str(address.port),
            "OPENBELL_HOME": str(home),
            STACK_MARK: mark,
            # Commands of this installation come first, whatever the shell that called would find.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]),
        }
    )
    return found
