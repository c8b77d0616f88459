"""The flow that brings a policy to its next stage, where the gate agrees."""

from typing import Annotated, Any, Literal

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from tasks.promotion_in_words import outcome
from tasks.promotion_steps import promote, publish_promotion
from trading.errors import OpenbellError
from trading.setting_types import Reason
from trading.settings import Settings

_DEFAULTS = Settings()


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    return f"promote {parameters['policy']} to {parameters['stage']}"


@flow(name="promote-policy", flow_run_name=_run_name, persist_result=False, retries=0)
def promote_policy(
    policy: Annotated[str, Field(max_length=120, examples=["trend", "1f0c9a2b"])] = "",
    stage: Literal["paper", "live"] = "paper",
    force: bool = False,
    reason: Reason = "",
    settings: Settings = _DEFAULTS,
) -> dict[str, Any] | State[Any]:
    """Replay the policy and the champion on sessions that neither has seen, and promote it where the gate agrees.

    Args:
        policy: A name (its newest candidate; for live the one at paper), or a fingerprint, at least 8 of its hex digits.
        stage: Where it is promoted to. Sessions that name this stage trade with it from their next start on.
        force: Promote it whatever the gate says. Goes with a reason, and both are kept.
        reason: Why, for whoever reads the history of stages.
        settings: Where the registry is, and the costs and limits of the replays; the same as the session's.
    """
    try:
        answer = promote(settings, policy, stage, force, reason)
    except OpenbellError as error:
        return Failed(message=str(error), data=error)
    publish_promotion(answer)
    if not answer["promoted"]:
        return Failed(name="Refused", message=outcome(answer))
    return answer
