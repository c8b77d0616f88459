"""What an alert is: when it is sent, and words that say what happened, what that means for the account, and what to do.

The rule: an alert is understood by someone who was woken by it, without this repository at hand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from prefect.events import EventTrigger
from prefect.events.actions import ChangeFlowRunState

from trading.alert_settings import AlertName, AlertSettings

PREFIX = "openbell: "
"""Automations whose name begins so are ours: they are changed and removed by ``openbell deploy``."""


@dataclass(frozen=True, slots=True)
class Windows:
    """The times of one alert. ``repeat``: it is sent once at most in it, for the same subject."""

    repeat: timedelta
    not_started: timedelta
    no_heartbeat: timedelta

    @classmethod
    def of(cls, settings: AlertSettings, name: AlertName) -> "Windows":
        return cls(
            _minutes(settings.window(name)),
            _minutes(settings.not_started_minutes),
            _minutes(settings.no_heartbeat_minutes),
        )


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. ``headline`` and ``happened`` are templates over the event that fired it; the other words stand as they are.

    ``headline`` says in a line what happened to whom; ``when`` is for the documentation.
    """

    name: AlertName
    headline: str
    when: str
    happened: str
    meaning: str
    steps: tuple[str, ...]
    trigger: Callable[[Windows], EventTrigger]
    remedy: "Remedy | None" = None

    @property
    def title(self) -> str:
        """Name of its automation."""
        return PREFIX + self.name.replace("-", " ")

    @property
    def subject(self) -> str:
        return PREFIX + self.headline

    def body(self, strategies: Mapping[str, Path] | None = None) -> str:
        """The template of the whole text. ``strategies`` are those whose sessions this server starts, with their databases."""
        steps = "\n".join(f"{number}. {step}" for number, step in enumerate(self.steps, 1))
        return (
            f"{self.happened}\n\nWhat it means: {self.meaning}\n\nWhat to do:\n{steps}\n"
            "{% if flow_run %}\nRun: {{ flow_run.name }} {{ (flow_run|ui_url) or '(in the Prefect UI)' }}{% endif %}"
            "\nTime: {{ event.occurred.strftime('%Y-%m-%d %H:%M:%S') }} UTC"
            f"{_scheduled(strategies or {})}\nMore: docs/alerts.md#{self.name}\n"
        )


@dataclass(frozen=True, slots=True)
class Remedy:
    """What the server does by itself, also where nobody is told; its alert is sent for what comes of it."""

    title: str
    trigger: Callable[[Windows], EventTrigger]
    action: ChangeFlowRunState


def _scheduled(strategies: Mapping[str, Path]) -> str:
    """A line about the strategies: beside several a command of the steps has to be told whose account is meant."""
    if not strategies:
        return ""
    if len(strategies) == 1:
        return f"\nStrategies that are scheduled here: {', '.join(strategies)}."
    each = ", ".join(f"--db {database} for {name}" for name, database in strategies.items())
    return f"\nSeveral strategies are scheduled here, and each command is told which one is meant: {each}."


def _minutes(minutes: Decimal) -> timedelta:
    return timedelta(seconds=float(minutes * 60))
