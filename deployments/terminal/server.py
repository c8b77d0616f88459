"""``openbell server``: Prefect's server with a stack's settings, for a box or a container that keeps processes up by itself."""

import os
import secrets
import sys

from deployments.publishing.house import home_and_settings
from deployments.stack.address import check_access
from deployments.stack.environment import make_prefect_home, stack_environment
from deployments.stack.local_stack import free_address
from deployments.terminal.failures import failures_told
from deployments.terminal.options import Host, Port


def server(port: Port = 4200, host: Host = "127.0.0.1") -> None:
    """Run the Prefect server in this process, with telemetry off and its history bounded; ends by a signal.

    Its database is PostgreSQL where PREFECT_API_DATABASE_CONNECTION_URL names one, else a file in the home.
    """
    with failures_told(as_json=False):
        home, _ = home_and_settings(None, os.environ)
        address = free_address(host, port)
        check_access(address, os.environ)
        make_prefect_home(home, os.environ)
        environment = stack_environment(home, address, secrets.token_hex(8), os.environ)
        sys.stdout.flush()
        os.execvpe(sys.executable, [sys.executable, "-m", "deployments.stack.patient_server"], environment)
