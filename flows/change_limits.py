"""The flow that changes risk limits of the session that runs."""

from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from tasks.stop_steps import change_limits_of, publish_limits
from trading.errors import OpenbellError
from trading.risk_settings import RiskSettings
from trading.settings import Settings

_DEFAULTS = Settings()

NAMED = {"propertyNames": {"enum": list(RiskSettings.model_fields)}}
"""What a form takes: names of [risk]. The flow itself says which name was meant where one is misspelt."""


def _run_name() -> str:
    return f"change {', '.join(runtime.flow_run.parameters['limits'] or ()) or 'nothing'}"


@flow(name="change-limits", flow_run_name=_run_name, persist_result=False, retries=0)
def change_limits(
    limits: Annotated[dict[str, Any] | None, Field(json_schema_extra=NAMED)] = None, settings: Settings = _DEFAULTS
) -> dict[str, Any] | State[Any]:
    """Change settings of [risk] in the session that runs: all that are named, or none when one is refused.

    Args:
        limits: New values by name, for example {"max_daily_loss": 500}; "off" switches a limit off.
        settings: Where the ledger is; the same as the session's.
    """
    try:
        answer = change_limits_of(settings, limits or {})
    except OpenbellError as error:
        return Failed(message=str(error), data=error)
    publish_limits(answer)
    return answer
