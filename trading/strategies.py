"""Several strategies in one settings file: what each has of its own, when it is traded, and what two of them may not share.

The rule: a session at a time holds a database and trades an account. Strategies that are traded side by side need one of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from trading.errors import ConfigurationError
from trading.ib_settings import ZoneName
from trading.setting_types import Name, Section
from trading.settings import SCHEDULE, STRATEGIES, Settings, read_document, read_settings
from trading.settings_explained import explained


class ScheduleSettings(Section):
    """When a strategy's session is started by itself. What is left out is as in prefect.yaml, in the exchange's zone."""

    cron: Annotated[str, Field(pattern=r"^\S+( \S+){4}$")] | None = None
    """Minute, hour, day of the month, month, day of the week; sessions start before the bell, for example `15 9 * * 1-5`."""
    timezone: ZoneName | None = None
    """Time zone of the cron, for example Europe/London. Left out it is the exchange's."""
    active: bool | None = None
    """Whether the schedule is switched on when it is first deployed. Afterwards the switch in the Prefect UI is the one that counts."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """One strategy of a settings file."""

    name: str
    settings: Settings
    schedule: ScheduleSettings


def strategies_of(path: Path | None) -> tuple[Strategy, ...]:
    """The strategies of a settings file in its order, none where it names none. Raises ``ConfigurationError``."""
    named = read_document(path).get(STRATEGIES, {})
    if not isinstance(named, dict):
        raise ConfigurationError(
            f"Settings from {path} are not valid. {STRATEGIES} is a table of strategies: [{STRATEGIES}.trend]."
        )
    return tuple(
        Strategy(_name(name, path), read_settings(path, strategy=name), _schedule(named[name], name, path))
        for name in named
    )


def refuse_what_is_shared(strategies: Sequence[Strategy], home: Path) -> None:
    """Raise ``ConfigurationError`` where two strategies would meet in one database, account or connection.

    Relative paths are meant from ``home``.
    """
    for one, other in combinations(strategies, 2):
        both = f"Strategies {one.name} and {other.name}"
        database = _database(one.settings, home)
        if database == _database(other.settings, home):
            raise ConfigurationError(
                f"{both} share the database {database}, which one session holds at a time. Give one of them its own: "
                f'[{STRATEGIES}.{other.name}.store] path = "{other.name}.duckdb".'
            )
        account = _account(one.settings, home)
        if account == _account(other.settings, home):
            raise ConfigurationError(
                f"{both} share the account {account[-1]}: each would find the other's positions and orders in it. Name another "
                f"one in {_where_accounts_are_named(one.settings, other.name)}."
            )
        shared = _lines(one.settings) & _lines(other.settings)
        if shared:
            number = min(number for _, _, number in shared)
            raise ConfigurationError(
                f"{both} share the client_id {number} of one gateway, which has one connection for each; each uses its own and, for past "
                f"bars, the next one. Give one of them another: [{STRATEGIES}.{other.name}.broker.ib] client_id."
            )


def _name(name: str, path: Path | None) -> str:
    try:
        return TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise ConfigurationError(
            f"Settings from {path} are not valid. {STRATEGIES}.{name!r}: a strategy's name has letters, digits, - and _, at most 40."
        ) from error


def _schedule(own: Any, name: str, path: Path | None) -> ScheduleSettings:
    try:
        return ScheduleSettings.model_validate(own.get(SCHEDULE, {}))
    except ValidationError as error:
        source = f"{path}, [{STRATEGIES}.{name}.{SCHEDULE}]"
        raise ConfigurationError(explained(error, ScheduleSettings, source)) from error


def _database(settings: Settings, home: Path) -> Path:
    return (home / settings.store.path).resolve()


def _account(settings: Settings, home: Path) -> tuple[str, ...]:
    """What tells accounts apart: at a broker their name, simulated ones also the file or the database that they lie beside."""
    if settings.broker.kind == "ib":
        ib = settings.broker.ib
        return "ib", settings.session.account or ib.account or "that the gateway has"
    named = settings.session.account or "paper"
    own = settings.broker.paper.path
    return ("paper", str((home / own).resolve())) if own else ("paper", str(_database(settings, home)), named)


def _where_accounts_are_named(settings: Settings, other: str) -> str:
    return (
        f"[{STRATEGIES}.{other}.broker.ib] account"
        if settings.broker.kind == "ib"
        else f"[{STRATEGIES}.{other}.broker.paper] path"
    )


def _lines(settings: Settings) -> set[tuple[str, int, int]]:
    """The connections that it makes, by the gateway's address and the client's number; none where it needs no gateway."""
    if "ib" not in (settings.broker.kind, settings.feed.kind):
        return set()
    ib = settings.broker.ib
    return {(ib.host, ib.port, number) for number in (ib.client_id, ib.past_bars_client_id)}
