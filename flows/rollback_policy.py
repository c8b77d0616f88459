"""The flow that puts the previous champion of a stage back."""

from typing import Annotated, Any, Literal

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from tasks.promotion_steps import publish_rollback, rollback
from trading.errors import OpenbellError
from trading.setting_types import Reason
from trading.settings import Settings

_DEFAULTS = Settings()


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    return f"roll back {parameters['name']} at {parameters['stage']}"


@flow(name="rollback-policy", flow_run_name=_run_name, persist_result=False, retries=0)
def rollback_policy(
    name: Annotated[str, Field(max_length=120, examples=["trend"])] = "",
    stage: Literal["paper", "live"] = "paper",
    reason: Reason = "",
    settings: Settings = _DEFAULTS,
) -> dict[str, Any] | State[Any]:
    """Retire the champion of the stage and put back the one whose place it took. No gate is asked.

    Args:
        name: The policy's name.
        stage: The stage whose champion is taken back. Sessions that name it trade with the previous one from their next start on.
        reason: Why, for whoever reads the history of stages.
        settings: Where the registry is; the same as the session's.
    """
    try:
        answer = rollback(settings, name, stage, reason)
    except OpenbellError as error:
        return Failed(message=str(error), data=error)
    publish_rollback(answer)
    return answer
