"""The flow that fills gaps in the stored bars, night after night."""

from datetime import date
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from tasks.history_composition import kind_of_past_bars, past_bars
from tasks.history_loading import LoadedSession, LoadingPlan, loading_answer
from tasks.history_page import sentence_of
from tasks.history_steps import find_gaps, load_gap, publish_history
from trading.errors import BrokerUnavailable, OpenbellError, SessionHeld
from trading.past_bars import PastBars
from trading.setting_types import Symbol
from trading.settings import Settings

_DEFAULTS = Settings()
_SILENCES_IN_A_ROW = 2
"""After so many sessions without an answer, retries included, the source is not asked any more."""


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    settings = Settings.model_validate(parameters["settings"])
    symbols = parameters["symbols"] or settings.session.symbols
    return f"history of {' '.join(symbols[:5])}, {parameters['days']} days"


@flow(name="load-history", flow_run_name=_run_name, persist_result=False, retries=0)
def load_history(
    settings: Settings = _DEFAULTS,
    symbols: Annotated[list[Symbol] | None, Field(min_length=1, max_length=500)] = None,
    days: Annotated[int, Field(ge=1, le=3_650)] = 7,
    until: date | None = None,
    files: Annotated[str | None, Field(min_length=1, max_length=1_000)] = None,
    compare: bool = False,
    replace: bool = False,
    ask_again: bool = False,
    wait_minutes: Annotated[float, Field(ge=0, le=240)] = 10.0,
) -> dict[str, Any] | State[Any]:
    """Find what is missing in the stored bars against the exchange's calendar, and load it, session by session.

    Args:
        settings: Where the bars are kept, their exchange and length, and the source: Interactive Brokers where the feed or the broker is
            ib. Of a file's times and symbol the section feed says what the file does not.
        symbols: Whose bars; empty means those of the settings.
        days: How many days to look back, counted on the calendar.
        until: The last day to look at; empty means today. A session that is not over is left out.
        files: A folder, a CSV or Parquet file, or a pattern such as bars/*.csv to load from instead.
        compare: Ask for sessions that are whole too, and tell where stored bars differ.
        replace: Take the values that come where stored bars differ, and compare whole sessions too. Without it they stay as they are.
        ask_again: Also ask for what the source has twice had nothing for, which counts as not traded otherwise.
        wait_minutes: How long to wait for the database while a session holds it.
    """
    kind = kind_of_past_bars(settings, files)
    if kind is None:
        return Completed(
            name="NothingToLoadFrom",
            message="Nothing to load from: name files, or set feed.kind or broker.kind to ib in the settings of the deployment.",
        )
    try:
        with past_bars(settings, kind, files) as source:
            wanted = symbols or list(settings.session.symbols)
            plan = find_gaps(settings, source, wanted, days, until, compare or replace, ask_again)
            loaded, stopped = _load(settings, source, plan, replace, 60.0 * wait_minutes)
            answer = loading_answer(settings, source, plan, loaded, str(stopped or ""))
    except OpenbellError as error:
        return Failed(message=str(error), data=error)
    publish_history(answer)
    if stopped is None:
        return Completed(message=sentence_of(answer), data=answer)
    name = "DatabaseHeld" if isinstance(stopped, SessionHeld) else "Incomplete"
    return Failed(name=name, message=f"{stopped} {sentence_of(answer)} Run it again to go on.")


def _load(
    settings: Settings, source: PastBars, plan: LoadingPlan, replace: bool, wait_seconds: float
) -> tuple[list[LoadedSession], OpenbellError | None]:
    """Session by session, and what ended it before its time; sessions without an answer are told as such."""
    loaded: list[LoadedSession] = []
    silences, silent = 0, None
    for gap in plan.wanted:
        try:
            loaded.append(load_gap(settings, source, gap, replace, wait_seconds))
            silences = 0
        except SessionHeld as held:
            return loaded, held
        except BrokerUnavailable as error:
            silences, silent = silences + 1, error
            if silences == _SILENCES_IN_A_ROW:
                return loaded, error
            loaded.append(LoadedSession(gap, still_missing=gap.missing, note=f"no answer: {error}"))
    return loaded, silent
