"""The flow that compares an account with its broker outside of a session's own schedule."""

from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Failed

from tasks.lost_readers import outlast_readers
from tasks.reconciliation_steps import publish_comparison, reconcile_account
from trading.errors import OpenbellError
from trading.setting_types import Name, Symbol
from trading.settings import Settings

_DEFAULTS = Settings()


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    doing = "repair" if parameters["repair"] else "compare"
    return f"{doing} {parameters['account'] or parameters['settings'].session.account or 'the account'}"


@flow(name="reconciliation", flow_run_name=_run_name, persist_result=False, retries=0)
def reconciliation(
    settings: Settings = _DEFAULTS,
    account: Name | None = None,
    repair: bool = False,
    claim: list[Symbol] | None = None,
) -> dict[str, Any] | State[Any]:
    """Compare orders, fills, positions and cash with the broker's; repair what its records explain, where that is asked for.

    Args:
        settings: Where the ledger is and who the broker is; the same as the session's.
        account: The account to compare; empty means the one of the settings, or the ledger's only one.
        repair: Book what is missed and end what is over. Without it nothing is changed.
        claim: Symbols in which trades made elsewhere belong to the book from now on; goes with repair.
    """
    outlast_readers()
    try:
        answer = reconcile_account(settings, account, repair, claim or [])
    except OpenbellError as error:
        return Failed(message=str(error), data=error)
    publish_comparison(answer)
    if answer["remaining"]:
        return Failed(
            name="Unreconciled",
            message=f"{len(answer['remaining'])} of {len(answer['discrepancies'])} differences stand.",
        )
    return answer
