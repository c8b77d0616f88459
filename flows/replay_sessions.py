"""The flow that replays many sessions over stored bars."""

from datetime import date
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from tasks.replay_page import sentence_of
from tasks.replay_steps import ReplayProgress, publish_replay, read_replay, replay_chunk
from tasks.session_replays import replay_answer
from trading.errors import OpenbellError
from trading.replay_accounts import PATTERN
from trading.settings import Settings

_DEFAULTS = Settings()


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    settings = Settings.model_validate(parameters["settings"])
    first, last = parameters["first_date"] or "the first bars", parameters["last_date"] or "the last"
    return f"replay {settings.strategy} from {first} to {last}"


@flow(name="replay-sessions", flow_run_name=_run_name, persist_result=False, retries=0)
def replay_sessions(
    settings: Settings = _DEFAULTS,
    first_date: date | None = None,
    last_date: date | None = None,
    account: Annotated[str | None, Field(pattern=PATTERN)] = None,
) -> dict[str, Any] | State[Any]:
    """Trade many sessions over stored bars, by the rules of a session and without its task runs, on a simulated account of its own.

    Args:
        settings: What is traded, how, with which costs and limits: those of a session. Its account, broker and pace do not count.
        first_date: The first exchange date; empty means the first that has bars.
        last_date: The last exchange date; empty means the last that has bars.
        account: The account to keep it under, named replay-NAME; empty means one that is named after the settings, the policy and the
            first date, so that the same replay is the same account and another one is another.
    """
    try:
        replay = read_replay(settings, first_date, last_date, account)
        progress = ReplayProgress(replay)
        for chunk in replay.chunks:
            replay_chunk(replay, chunk)
            progress.done(chunk)
            if replay.halted is not None:
                break
        answer = replay_answer(replay)
    except OpenbellError as error:
        return Failed(message=str(error), data=error)
    publish_replay(replay, answer)
    if replay.halted is not None:
        return Completed(name="Halted", message=sentence_of(answer), data=answer)
    return answer
