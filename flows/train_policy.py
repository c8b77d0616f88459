"""The flow that trains a policy and registers it as a candidate."""

from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Failed

from tasks.training_steps import fit_and_register, judge_fold, publish_training, read_history
from trading.errors import OpenbellError
from trading.settings import Settings

_DEFAULTS = Settings()


def _run_name() -> str:
    settings = Settings.model_validate(runtime.flow_run.parameters["settings"])
    return f"train {settings.train.name} on {', '.join(settings.session.symbols)}"


@flow(name="train-policy", flow_run_name=_run_name, persist_result=False, retries=0)
def train_policy(settings: Settings = _DEFAULTS, resume: bool = False) -> dict[str, Any] | State[Any]:
    """Fit a policy on stored bars, judge it on sessions that it has not seen, and register it as a candidate.

    Args:
        settings: What is trained is its section train; bars, sizes, costs and limits are those of the sessions that it is for.
        resume: Go on with an agent's training of exactly these settings and bars that was interrupted.
    """
    try:
        trainer = read_history(settings, resume)
        outcomes = [judge_fold(trainer, fold) for fold in trainer.folds]
        answer = fit_and_register(trainer, outcomes)
    except OpenbellError as error:
        return Failed(message=str(error), data=error)
    publish_training(answer)
    return answer
