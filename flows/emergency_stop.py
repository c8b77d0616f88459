"""The flow that stops trading: from the Prefect UI, from an automation, or from another flow, also while a session runs."""

from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from tasks.lost_readers import outlast_readers
from tasks.stop_steps import publish_stop, stop_trading
from trading.errors import OpenbellError
from trading.setting_types import Reason, Scope
from trading.settings import Settings

_DEFAULTS = Settings()


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    doing = "flatten" if parameters["flatten"] else "stop"
    return f"{doing} {parameters['scope']}: {parameters['reason']}"


@flow(name="emergency-stop", flow_run_name=_run_name, persist_result=False, retries=0)
def emergency_stop(
    reason: Reason = "stopped from Prefect",
    scope: Scope = "all",
    flatten: bool = False,
    minutes: Annotated[float, Field(gt=0, le=525_600)] | None = None,
    settings: Settings = _DEFAULTS,
) -> dict[str, Any] | State[Any]:
    """Halt, cancel what works, close what is held where that is asked for, and look at the broker until it shows it.

    Args:
        reason: Why, for whoever clears the halt.
        scope: all, account:NAME, strategy:NAME or symbol:NAME.
        flatten: Close every position in the scope too. On a simulated account only a session that runs can.
        minutes: End the halt after so many minutes; empty means until the flow resume-trading, or openbell resume, clears it.
        settings: Where the ledger is, and the broker's account; the same as the session's. Last, because who stops is in a hurry.
    """
    outlast_readers()
    try:
        answer = stop_trading(settings, scope, reason, flatten, minutes)
    except OpenbellError as error:
        return Failed(message=str(error), data=error)
    publish_stop(answer)
    if answer["state"] != "SUCCEEDED":
        left = "; ".join(answer["left"]) or "nobody has confirmed it"
        return Failed(name="Alarm", message=f"The stop of {scope} could not be verified: {left}.")
    return answer
