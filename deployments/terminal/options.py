"""Options that commands share, and how options become settings: laid over the file, never around its checks."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from trading.errors import ConfigurationError
from trading.policy_settings import BUILT_IN
from trading.settings import Settings, read_settings
from trading.strategies import strategies_of

SETTINGS_FILE = Path("openbell.toml")

Db = Annotated[
    Path | None,
    typer.Option("--db", metavar="FILE", help="Database of the history.", show_default="openbell.duckdb"),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file.", show_default="openbell.toml where there is one"),
]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")]
Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="Port of the API and the UI; 0 for any that is free.")
]
Host = Annotated[
    str,
    typer.Option(
        "--host", metavar="ADDRESS", help="Address to listen at; any but this machine's own needs a password."
    ),
]
TimeZone = Annotated[
    str | None, typer.Option("--tz", metavar="ZONE", help="Zone of the file's times where it does not say.")
]
Timestamp = Annotated[
    str | None,
    typer.Option(
        "--timestamp", metavar="open|close", help="What the file's times are of each bar.", show_default="open"
    ),
]

Symbols = Annotated[
    list[str] | None,
    typer.Option("--symbols", metavar="SYMBOLS", help="Symbols, apart by comma or blank.", show_default="SPY"),
]
PolicyNamed = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="NAME|DIR|FINGERPRINT",
        help="What decides: flat, buy_and_hold, sma_crossover, or a trained policy by folder, fingerprint, or name and --stage.",
        show_default="sma_crossover",
    ),
]
PolicyStage = Annotated[
    str | None,
    typer.Option(
        "--stage", metavar="candidate|paper|live", help="The trained policy that is registered at this stage."
    ),
]
PolicyParameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        metavar="NAME=VALUE",
        help="A parameter of the policy, for example fast=10; once for each.",
        show_default="the policy's",
    ),
]
StrategyName = Annotated[
    str | None, typer.Option("--strategy", metavar="NAME", help="Name of the strategy.", show_default="the policy's")
]

BarsFile = Annotated[
    Path | None,
    typer.Option("--bars", metavar="FILE", help="CSV or Parquet file of bars.", show_default="the stored bars"),
]
BarsSymbol = Annotated[
    str | None, typer.Option("--symbol", metavar="SYMBOL", help="Whose bars the file holds where it does not say.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="NUMBER", help="Seed of the synthetic market.", show_default="7")
]


def settings_from(config: Path | None, db: Path | None, options: Mapping[str, Any] | None = None) -> Settings:
    """The file's settings with ``options`` (dotted names, None for not given) laid over them.

    Of a file with strategies those of the one that is meant: by its name, else by its database. Raises ``ConfigurationError``
    where they are not valid together.
    """
    file = config if config is not None else SETTINGS_FILE if SETTINGS_FILE.exists() else None
    given = {**(options or {}), "store.path": db}
    return read_settings(file, _nested(given), strategy=_strategy_meant(file, given))


def _strategy_meant(file: Path | None, given: Mapping[str, Any]) -> str | None:
    """None where the options name neither a strategy of the file nor the database of one: what the file says for all holds."""
    if file is None:
        return None
    named, db = given.get("session.strategy"), given.get("store.path")
    if named is None and db is None:
        return None
    strategies = strategies_of(file)
    if named is not None:
        return next((one.name for one in strategies if one.name == named), None)
    return next((one.name for one in strategies if one.settings.store.path.resolve() == Path(str(db)).resolve()), None)


def settings_of_one(config: Path | None, db: Path | None) -> Settings:
    """As ``settings_from``, for what acts on an account: of a file with strategies it has to be known whose.

    One strategy is meant without a word. Raises ``ConfigurationError`` where there are several and ``db`` is not given: beside the
    databases that are traded a command would find nothing to do, and say that it was done.
    """
    file = config if config is not None else SETTINGS_FILE if SETTINGS_FILE.exists() else None
    strategies = strategies_of(file) if db is None and file is not None else ()
    if not strategies:
        return settings_from(config, db)
    if len(strategies) == 1:
        return strategies[0].settings
    each = " or ".join(f"--db {one.settings.store.path} ({one.name})" for one in strategies)
    raise ConfigurationError(f"{file} has {len(strategies)} strategies with a database each. Say which: {each}.")


def day_asked(text: str | None, option: str = "--date") -> date | None:
    """A date written as 2011-01-18; raises ``ConfigurationError`` for anything else, None for nothing."""
    if text is None:
        return None
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise ConfigurationError(
                f"{option} {text} is not in the calendar: {error}. Give a day that exists."
            ) from error
    raise ConfigurationError(f"{option} {text!r} is not a date. Write year, month and day, for example 2011-01-18.")


def symbols_asked(texts: Sequence[str] | None) -> list[str] | None:
    """Symbols in capitals from any mixture of repeats, commas and blanks; None where the option was not given."""
    if not texts:
        return None
    found = [symbol.upper() for text in texts for symbol in re.split(r"[,\s]+", text) if symbol]
    if not found:
        raise ConfigurationError(
            f"--symbols {' '.join(texts)!r} names no symbol. Name one or more, for example SPY,AAPL."
        )
    return found


def policy_parameters(texts: Sequence[str] | None) -> dict[str, int | float | str] | None:
    """Parameters from words like fast=10: whole numbers and decimals as such, anything else as text."""
    if not texts:
        return None
    parameters: dict[str, int | float | str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ConfigurationError(f"--parameter {text!r} is not NAME=VALUE. Write it like fast=10.")
        parameters[name] = value
        for number in (int, float):
            with contextlib.suppress(ValueError):
                parameters[name] = number(value)
                break
    return parameters


def policy_asked(
    policy: str | None, stage: str | None, parameters: Mapping[str, int | float | str] | None
) -> dict[str, Any]:
    """Options for ``settings_from`` from the policy a person names: a folder or a fingerprint is a bundle, else it is a name."""
    is_bundle = policy is not None and (
        "/" in policy
        or "\\" in policy
        or "@" in policy
        or policy in (".", "..")
        or (stage is None and policy not in BUILT_IN and Path(policy).is_dir())
    )
    bundle = policy if is_bundle else None
    # A folder is one by its slash, wherever it is read again.
    if bundle is not None and "@" not in bundle and "/" not in bundle:
        bundle = f"./{bundle}"
    return {
        "policy.name": None if is_bundle else policy,
        "policy.bundle": bundle,
        "policy.stage": stage,
        "policy.parameters": parameters,
    }


def _nested(options: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        *sections, key = name.split(".")
        below = document
        for section in sections:
            below = below.setdefault(section, {})
        below[key] = value
    return document
