"""The flow that ends a halt, also while a session runs."""

from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Failed

from tasks.stop_steps import publish_resume, resume_trading_in
from trading.errors import OpenbellError
from trading.setting_types import Scope
from trading.settings import Settings

_DEFAULTS = Settings()


def _run_name() -> str:
    return f"resume {runtime.flow_run.parameters['scope']}"


@flow(name="resume-trading", flow_run_name=_run_name, persist_result=False, retries=0)
def resume_trading(scope: Scope = "all", settings: Settings = _DEFAULTS) -> dict[str, Any] | State[Any]:
    """Clear the halts that stand under exactly the scope; a session that runs takes risk again.

    Args:
        scope: The scope that was halted: all, account:NAME, strategy:NAME or symbol:NAME. Others stay halted.
        settings: Where the ledger is; the same as the session's.
    """
    try:
        answer = resume_trading_in(settings, scope)
    except OpenbellError as error:
        return Failed(message=str(error), data=error)
    publish_resume(answer)
    return answer
