"""Alerts about sessions that do not run as they should. The server alone can tell, also when no worker is left."""

from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState

from deployments.alerts.alert import Alert, Remedy
from deployments.alerts.triggers import (
    HEALTH_CHECK,
    RESOURCE,
    event_of,
    pool_was_left,
    run_became,
    run_did_not_start,
    run_ended,
    run_fell_silent,
)
from trading.alert_settings import AlertName

SESSION = "session"
TRADING = ("session", "reconciliation", "operator")
"""Tags of runs that hold an account: a dead one is in the way of the next."""

NO_HEARTBEAT = "No heartbeat came from the run"
"""How the message of a state begins that the server gave to a silent run."""

_RUN = "{{ event.resource['prefect.resource.name'] }}"
_MESSAGE = "{{ event.resource['prefect.state-message'] }}"
_AS_IT_WAS = "Nothing trades on. Positions and orders are at the broker as the session left them."
_AGAIN = (
    "Start it again while the market is open: in the UI by Quick run of its deployment, or with "
    "openbell session and the same options. It takes up the book, the open orders and the bar that it was at."
)
_LOOK = "See what is held and what works: openbell reconcile."
_CLOSE = "To close everything instead: openbell flatten."

SESSION_ALERTS = (
    Alert(
        AlertName.SESSION_FAILED,
        f"session failed: {_RUN}",
        "A session's run ended as failed: it refused to trade, or an error ended it.",
        f"The session {_RUN} ended as {{{{ event.resource['prefect.state-name'] }}}}: {_MESSAGE}",
        f"{_AS_IT_WAS} If it was refused before the open, nothing was traded.",
        (
            "Read the message above: it says what is wrong and what to do about it. openbell doctor finds the usual causes.",
            _LOOK,
            _AGAIN,
            _CLOSE,
        ),
        lambda windows: run_ended([SESSION], ["FAILED"], windows.repeat),
    ),
    Alert(
        AlertName.SESSION_CRASHED,
        f"session crashed: {_RUN}",
        "The process of a session ended without a word: killed, out of memory, or the machine stopped.",
        f"The process of the session {_RUN} is gone: {_MESSAGE}",
        f"{_AS_IT_WAS} A comparison with the broker follows a crash by itself where the deployments are as delivered.",
        (
            "Look whether the machine is well: memory, disk, the worker's log. openbell doctor helps.",
            _LOOK,
            _AGAIN,
            _CLOSE,
        ),
        lambda windows: run_ended([SESSION], ["CRASHED"], windows.repeat, f"!{NO_HEARTBEAT}*"),
    ),
    Alert(
        AlertName.SESSION_LATE,
        f"session late: {_RUN}",
        "A session was due and no worker has taken it yet, 15 to 20 seconds after its time.",
        f"The session {_RUN} is due and no worker has taken it.",
        "Nothing is traded yet. What was held over night is not watched, and bars pass undecided.",
        (
            "See whether a worker runs: openbell doctor, or Work Pools in the UI.",
            "Start one: openbell up, or the worker's service. It takes the run by itself.",
            "If the session is not wanted today, cancel the run in the UI.",
        ),
        lambda windows: run_became(SESSION, "Late", windows.repeat),
    ),
    Alert(
        AlertName.SESSION_NOT_STARTED,
        f"session not started: {_RUN}",
        "A session was due, or handed to a worker, and `not_started_minutes` later it does not run: by 09:35 where it was due at 09:15.",
        f"The session {_RUN} was due and still does not run.",
        "Nothing is traded, and the market may be open. What was held over night is not watched.",
        (
            "See what keeps it: a worker that is not there, that cannot load the code, or a limit of runs. openbell doctor, and the run's logs.",
            "Start a worker: openbell up, or the worker's service. What a session does that starts late is set by [session] late_policy.",
            "If it is too late for today, cancel the run in the UI.",
            _CLOSE,
        ),
        lambda windows: run_did_not_start(SESSION, windows.not_started),
    ),
    Alert(
        AlertName.SESSION_MISSING,
        "no session today: {{ event.payload.message }}",
        "The health check finds that the exchange is open and no session of a strategy has begun.",
        "{{ event.payload.message }}{% if event.payload.remedy %} {{ event.payload.remedy }}{% endif %}",
        "Nothing is traded. What was held over night is not watched.",
        (
            "Look at the deployment's schedule in the UI: it may be paused.",
            "Start the session: in the UI by Quick run of its deployment.",
            _CLOSE,
        ),
        lambda windows: event_of(
            "openbell.health.session_missing", within=windows.repeat, for_each=(RESOURCE, HEALTH_CHECK)
        ),
    ),
    Alert(
        AlertName.NO_HEARTBEAT,
        f"no heartbeat: {_RUN}",
        "A session, a comparison or a run by hand has been silent for `no_heartbeat_minutes`: its process or its machine is gone, or cannot reach the server.",
        f"The run {_RUN} has given no sign of life, and was marked as crashed so that it is in nobody's way.",
        "If its process is gone, nothing trades on, and positions and orders are at the broker as they were. If it only cannot reach the "
        "server, it trades on, and its ledger keeps the account from a second session.",
        (
            "See whether its process still runs on its machine: openbell report says when the last bar was traded.",
            "If it runs, mend the line to the server and leave it alone: it goes on to its close.",
            f"If it is gone: {_LOOK[0].lower()}{_LOOK[1:]} Then start it again.",
            _CLOSE,
        ),
        lambda windows: run_ended(TRADING, ["CRASHED"], windows.repeat, f"{NO_HEARTBEAT}*"),
        # The server refuses to mark a run that has ended, and then nobody is told: of a busy server the end may come late.
        remedy=Remedy(
            "mark silent runs as crashed",
            lambda windows: run_fell_silent(TRADING, windows.no_heartbeat),
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                message=f"{NO_HEARTBEAT}: its process or its machine is gone, or cannot reach the server.",
            ),
        ),
    ),
    Alert(
        AlertName.NO_WORKER,
        "no worker: {{ event.resource['prefect.resource.name'] }}",
        "The work pool has had no worker for `no_heartbeat_minutes`; a worker counts as gone after about 90 silent seconds.",
        "No worker has come back to the work pool {{ event.resource['prefect.resource.name'] }}.",
        "A session that runs goes on. No other one starts, and neither do comparisons, reports and runs by hand from the UI.",
        (
            "Start one: openbell up, or the worker's service.",
            "From a terminal on the machine openbell halt, flatten and reconcile work without one.",
        ),
        lambda windows: pool_was_left("openbell*", windows.no_heartbeat),
    ),
)
