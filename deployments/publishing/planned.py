"""What is to stand on the server, as values: the deployments of prefect.yaml once for each settings they are to have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import Any

from prefect import Flow
from prefect.flows import load_flow_from_entrypoint

from deployments.publishing.exchange_times import at_exchange
from trading.errors import ConfigurationError
from trading.settings import Settings
from trading.strategies import ScheduleSettings, Strategy

SETTINGS = "settings"
"""The parameter of a flow that takes the settings of openbell.toml."""
SESSION = "session"
"""The deployment, and the tag, of what trades."""


@dataclass(frozen=True)
class PlannedDeployment:
    """One deployment as prefect.yaml words it, its templates filled in."""

    name: str
    entrypoint: str
    description: str
    version: str | None
    tags: tuple[str, ...]
    work_pool: str
    job_variables: Mapping[str, Any]
    pull_steps: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    work_queue: str | None = None
    concurrency_limit: int | None = None
    concurrency_options: Mapping[str, Any] | None = None
    schedules: Sequence[Mapping[str, Any]] = ()
    triggers: Sequence[Mapping[str, Any]] = ()

    @cached_property
    def flow(self) -> Flow[..., Any]:
        """Imported, because the form that Prefect shows is made of its parameters."""
        return load_flow_from_entrypoint(self.entrypoint, use_placeholder_flow=False)

    @property
    def full_name(self) -> str:
        return f"{self.flow.name}/{self.name}"

    def at_exchange(self, exchange: str, day: date) -> "PlannedDeployment":
        """The same with its times moved to those of the exchange."""
        return replace(self, schedules=[at_exchange(one, exchange, day) for one in self.schedules])

    def with_settings(self, settings: Settings) -> "PlannedDeployment":
        """The same with what a file sets laid over its own; a flow that takes no settings stays as it is."""
        if SETTINGS not in self.flow.parameters.properties:
            return self
        said = settings.model_dump(mode="json", exclude_unset=True)
        merged = _laid_over(self.parameters.get(SETTINGS, {}), said)
        return replace(self, parameters={**self.parameters, SETTINGS: merged} if merged else self.parameters)

    def of_strategy(self, strategy: Strategy) -> "PlannedDeployment":
        """The same for one of several strategies: its session has its name, and everything else its name at the end."""
        tag = f"strategy:{strategy.name}"
        mine = replace(
            self,
            name=strategy.name if self.name == SESSION else f"{self.name}-{strategy.name}",
            description=f"{strategy.name}: {self.description}",
            tags=(*self.tags, tag),
            triggers=[_only_for(trigger, tag, strategy.name) for trigger in self.triggers],
        )
        if self.name == SESSION:
            mine = replace(mine, schedules=[_rescheduled(one, strategy.schedule) for one in self.schedules])
        return mine.with_settings(strategy.settings)


def planned_of(document: Mapping[str, Any]) -> list[PlannedDeployment]:
    """The deployments of a parsed prefect.yaml whose templates are filled in. Raises ``ConfigurationError`` for what is no deployment."""
    return [_planned(one, document.get("pull") or []) for one in document.get("deployments") or []]


def plan(
    deployments: Sequence[PlannedDeployment],
    settings: Settings,
    strategies: Sequence[Strategy],
    moved_on: date | None = None,
) -> list[PlannedDeployment]:
    """Every deployment with ``settings``; where there are strategies, each for each of them instead.

    ``moved_on``: their times are New York's, and are moved to those of each exchange as it trades around that day. None leaves them.

    A deployment works on one database and one account. With several strategies there is none that could be meant by a
    plain ``halt``, so all of them carry a name.
    """

    def there(one: PlannedDeployment, exchange: str) -> PlannedDeployment:
        return one if moved_on is None else one.at_exchange(exchange, moved_on)

    if not strategies:
        return [there(one, settings.session.exchange).with_settings(settings) for one in deployments]
    return [
        there(one, strategy.settings.session.exchange).of_strategy(strategy)
        for strategy in strategies
        for one in deployments
    ]


def _planned(said: Mapping[str, Any], pull: Sequence[Mapping[str, Any]]) -> PlannedDeployment:
    limit = said.get("concurrency_limit")
    try:
        pool = said["work_pool"]
        return PlannedDeployment(
            name=said["name"],
            entrypoint=said["entrypoint"],
            description=said["description"],
            version=said.get("version"),
            tags=tuple(said.get("tags", ())),
            work_pool=pool["name"],
            work_queue=pool.get("work_queue_name"),
            job_variables=pool.get("job_variables", {}),
            pull_steps=said.get("pull", pull),
            parameters=said.get("parameters", {}),
            concurrency_limit=limit["limit"] if isinstance(limit, Mapping) else limit,
            concurrency_options={key: value for key, value in limit.items() if key != "limit"}
            if isinstance(limit, Mapping)
            else None,
            schedules=said.get("schedules", ()),
            triggers=said.get("triggers", ()),
        )
    except KeyError as error:
        raise ConfigurationError(
            f"The deployment {said.get('name', 'without a name')} in prefect.yaml has no {error.args[0]}. Add it."
        ) from error


def _only_for(trigger: Mapping[str, Any], tag: str, name: str) -> Mapping[str, Any]:
    """A trigger that looks only at runs of one strategy; one that names no related resource is left as it is."""
    related = trigger.get("match_related")
    if not related:
        return trigger
    mine = {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"}
    every = related if isinstance(related, list) else [related]
    return {**trigger, "name": f"{trigger['name']}: {name}", "match_related": [*every, mine]}


def _rescheduled(schedule: Mapping[str, Any], wanted: ScheduleSettings) -> Mapping[str, Any]:
    return {**schedule, **wanted.model_dump(exclude_none=True)}


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        there = merged.get(key)
        merged[key] = _laid_over(there, value) if isinstance(there, Mapping) and isinstance(value, Mapping) else value
    return merged
