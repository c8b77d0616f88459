"""Training a policy, by hand or by a flow run: bars in, a registered bundle and its report out. No Prefect here.

The rule: all or nothing. What is not finished lies in a hidden folder beside its place; only when the bundle was let in and the report
is written are both renamed, and the row is written last. A failure or an interruption on the way takes everything back but the
checkpoints of agents.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import trading
from storage.policy_registry import policies, register
from storage.store import open_store
from storage.visit import read_from
from tasks.clean_history import clean_history
from tasks.operators import operator_name
from tasks.policy_composition import build_policy, policy_of
from tasks.policy_replays import PolicyReplay, replay_policy
from trading.bar_validation import BarsRefused
from trading.bars import BarColumns
from trading.bundles.folder import Bundle
from trading.calendar import TradingCalendar
from trading.errors import ConfigurationError, DataNotFit, StoreBusy, StoreError
from trading.features.feature_set import FeatureSet
from trading.policy_records import BundleFacts, PolicyRecord
from trading.policy_settings import PolicyChoice
from trading.ports import BarSource
from trading.settings import Settings
from trading.trading_hours import TradingHours
from trading.training.bundle_drafts import Origin
from trading.training.report_page import page
from trading.training.trainer import FoldOutcome, Told, Trainer, moved
from trading.training.training_data import TrainingData, prepare
from trading.training.training_report import metrics_of, training_report

_REGISTERED_WITHIN_SECONDS = 30.0
CHECKPOINTS = ".checkpoints"


def train_by_hand(settings: Settings, told: Told, resume: bool = False) -> dict[str, Any]:
    """Fit, judge and register a policy. Returns the report with ``stage``, ``bundle``, ``report`` (folders) and ``db``.

    Raises ``ConfigurationError`` for settings or bars that nothing can be trained on, ``StoreBusy`` where the database is held when
    the policy is to be registered. Whatever it raises, there is neither a bundle nor a row.
    """
    trainer = begin_training(settings, resume)
    outcomes = [trainer.judge_fold(fold, told) for fold in trainer.folds]
    return finish_training(trainer, outcomes, told)


def begin_training(settings: Settings, resume: bool = False) -> Trainer:
    """Read the bars once and work out features, labels and folds. The database is free again when it returns."""
    if not settings.store.path.exists():
        raise ConfigurationError(
            f"There is no database {settings.store.path} to take bars from. Import some with openbell import-bars, or name another file with "
            "--db."
        )
    _require_buildable(settings)
    _require_writable(settings.store.policies)
    bars, sessions = read_history(settings)
    data = prepare(settings, bars, sessions)
    made_at = datetime.now(UTC).replace(microsecond=0)
    origin = Origin(made_at, f"{made_at:%Y%m%dT%H%M%SZ}", code_version(), _lineage(settings))
    checkpoints = _checkpoints(settings, data)
    if resume and not (settings.train.is_agent and checkpoints.is_dir()):
        raise ConfigurationError(
            f"There is nothing to resume: {checkpoints} holds no checkpoints of these settings on these bars. Train without --resume."
            if settings.train.is_agent
            else f"A {settings.train.kind} keeps no checkpoints: train it without --resume."
        )
    return Trainer(data, origin, _SessionReplays(settings), checkpoints=checkpoints, resume=resume)


def finish_training(trainer: Trainer, outcomes: Sequence[FoldOutcome], told: Told) -> dict[str, Any]:
    """Fit on all sessions, write the report, and register: all of it, or nothing."""
    settings, origin = trainer.data.settings, trainer.origin
    name = settings.train.name
    home = settings.store.policies / name
    folder, report_folder = home / origin.version, home / f"{origin.version}.report"
    with _unfinished(home, origin.version) as scratch:
        bundle = trainer.fit_final(scratch / "bundle", told)
        told("report", 0, 1)
        trials = [_ratio(record) for record in _other_trials(settings, bundle)]
        document = training_report(bundle, outcomes, trials, settings.train.other_trials)
        _write_report(scratch / "report", document, outcomes, trainer.data)
        told("report", 1, 1)
        with _taken_back_on_failure(settings, bundle.fingerprint, folder, report_folder):
            bundle = moved(bundle, folder)
            (scratch / "report").rename(report_folder)
            told("registering", 0, 1)
            facts = BundleFacts(bundle.fingerprint, bundle.manifest, folder, metrics_of(document))
            record = _register(settings, facts, origin.made_at)
            told("registering", 1, 1)
    _forget_checkpoints(_checkpoints(settings, trainer.data))
    return {
        **document,
        "stage": str(record.stage),
        "bundle": str(folder),
        "report": str(report_folder),
        "db": str(settings.store.path),
    }


def read_history(settings: Settings) -> tuple[Mapping[str, BarColumns], Sequence[TradingHours]]:
    """Validated bars of the sessions that are meant, with what features look back on before them, and those sessions.

    Raises ``ConfigurationError`` where there are none, ``BarsRefused`` where the settings refuse them.
    """
    market, train = settings.session, settings.train
    warmup = FeatureSet(train.feature_specs, market.timeframe, market.exchange).warmup_bars

    def read(source: BarSource) -> tuple[Mapping[str, BarColumns], Sequence[TradingHours]]:
        first, last = _span(source, settings)
        # What comes before the first date is for warmth only: a training with less of it begins later in its first session.
        loose = settings.validation.model_copy(update={"too_little_history": "warn"})
        return clean_history(source, market.symbols, market.exchange, market.timeframe, first, last, warmup, loose)

    try:
        return read_from(settings.store.path, lambda store: read(store.bars_of(market.timeframe)))
    except BarsRefused:
        raise
    except DataNotFit as error:
        # Nobody refuses to trade: other days or symbols are to be named.
        raise ConfigurationError(str(error)) from error


def code_version() -> str:
    """Version of openbell, with the commit where the code lies in a checkout."""
    try:
        known = version("openbell")
    except PackageNotFoundError:
        known = "unknown"
    house = Path(trading.__file__).parents[1]
    if not (house / ".git").exists():
        return known
    try:
        asked = ["git", "-C", str(house), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        commit = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return known  # lineage is for people: a machine without git still trains
    return f"{known}+{commit}"


class _SessionReplays:
    """Implements ``trading.training.trainer.Replays`` with the parts of a session."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def bundle(self, bundle: Bundle, bars: Mapping[str, BarColumns], sessions: Sequence[TradingHours]) -> PolicyReplay:
        return replay_policy(policy_of(bundle, self._settings), bars, sessions, self._settings)

    def built_in(self, name: str, bars: Mapping[str, BarColumns], sessions: Sequence[TradingHours]) -> PolicyReplay:
        # A yardstick says no confidence, and none can be asked of it.
        unasked = self._settings.policy.model_copy(update={"minimum_confidence": None})
        settings = self._settings.model_copy(update={"policy": unasked})
        return replay_policy(build_policy(PolicyChoice(name=name)), bars, sessions, settings)


def _require_buildable(settings: Settings) -> None:
    """Whatever can be refused without a bar is refused first."""
    market, train = settings.session, settings.train
    FeatureSet(train.feature_specs, market.timeframe, market.exchange)
    if not train.is_agent:
        from trading.training.estimators import make_estimator

        make_estimator(train.estimator_name, train.parameters, train.seed)


def _require_writable(folder: Path) -> None:
    """What cannot be written is said before hours of training, and not after."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise ConfigurationError(
            f"Policies cannot be written to {folder}: {there} is no folder that may be written. Set store.policies."
        )


def _span(source: BarSource, settings: Settings) -> tuple[date, date]:
    """First and last session: those that are set, else as far as all symbols have bars."""
    market, train = settings.session, settings.train
    spans = {symbol: source.span(symbol) for symbol in market.symbols}
    missing = [symbol for symbol, span in spans.items() if span is None]
    if missing:
        known = ", ".join(source.symbols()[:20]) or "none at all"
        raise ConfigurationError(
            f"There are no bars of {', '.join(missing)} in {source.name}, which has {known}. Name other symbols with --symbols, or import bars with openbell "
            "import-bars."
        )
    there = [span for span in spans.values() if span is not None]
    first = train.first_date or _exchange_date(market.exchange, max(span[0] for span in there))
    last = train.last_date or _exchange_date(market.exchange, min(span[1] for span in there))
    if last < first:
        raise ConfigurationError(
            f"There is no session between {first} and {last} for which {', '.join(market.symbols)} have bars. Choose other dates or symbols."
        )
    return first, last


def _exchange_date(exchange: str, moment: datetime) -> date:
    return TradingCalendar(exchange, moment.date()).exchange_date(moment)


def _lineage(settings: Settings) -> dict[str, Any]:
    """The settings that the result depends on."""
    return settings.model_dump(mode="json", exclude={"store", "feed", "promotion", "reconciliation", "alerts"})


def _checkpoints(settings: Settings, data: TrainingData) -> Path:
    """Where agents of exactly this training keep theirs: other settings or bars have a folder of their own."""
    told = json.dumps([_lineage(settings), data.fingerprint], sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()[:16]
    return settings.store.policies / settings.train.name / CHECKPOINTS / digest


def _forget_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # those of another training are there, or there never were any
        folder.parent.rmdir()


@contextlib.contextmanager
def _unfinished(home: Path, name: str) -> Iterator[Path]:
    """A hidden folder in ``home`` that is gone afterwards, and so is a ``home`` that holds nothing else."""
    scratch = home / f".{name}.{os.getpid()}.unfinished"
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        yield scratch
    except OSError as error:
        raise ConfigurationError(f"The policy cannot be written below {home}: {error}.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty, or never made
            home.rmdir()


@contextlib.contextmanager
def _taken_back_on_failure(settings: Settings, fingerprint: str, *folders: Path) -> Iterator[None]:
    """Whatever ends the block early takes the folders with it, unless the row is there already: then all of it is."""
    there_before = [folder for folder in folders if folder.exists()]
    try:
        yield
    except BaseException:  # an interruption as well
        if not _is_registered(settings, fingerprint):
            for folder in folders:
                if folder not in there_before:
                    shutil.rmtree(folder, ignore_errors=True)
        raise


def _is_registered(settings: Settings, fingerprint: str) -> bool:
    try:
        known = read_from(settings.store.path, lambda store: policies(store.connection, settings.train.name))
    except StoreError:
        return False  # who cannot be asked has just not taken it
    return any(record.fingerprint == fingerprint for record in known)


def _other_trials(settings: Settings, bundle: Bundle) -> list[PolicyRecord]:
    """Registered policies of the name with other weights: the same training twice is one trial."""
    file, own = bundle.manifest.weights.file, bundle.manifest.files
    found: dict[str, PolicyRecord] = {}
    for record in read_from(settings.store.path, lambda store: policies(store.connection, settings.train.name)):
        manifest = record.manifest
        weights = (
            record.fingerprint if manifest is None else manifest.files.get(manifest.weights.file, record.fingerprint)
        )
        if weights != own[file]:
            found.setdefault(weights, record)
    return list(found.values())


def _ratio(record: PolicyRecord) -> float | None:
    ratio = record.metrics.get("sharpe_per_session")
    return float(ratio) if isinstance(ratio, int | float) else None


def _write_report(
    folder: Path, document: Mapping[str, Any], outcomes: Sequence[FoldOutcome], data: TrainingData
) -> None:
    from trading.training.report_plots import draw

    folder.mkdir()
    plots = draw(folder, document, outcomes, data.bars, data.sessions)
    (folder / "report.md").write_text(page(document, plots), encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _register(settings: Settings, facts: BundleFacts, at: datetime) -> PolicyRecord:
    """Write the row. A database that somebody reads is waited for; one that a session holds is not free before its close."""
    deadline = time.monotonic() + _REGISTERED_WITHIN_SECONDS
    while True:
        try:
            with open_store(settings.store.path) as store:
                return register(store.connection, facts, at, operator_name())
        except StoreBusy as error:
            if time.monotonic() >= deadline:
                raise StoreBusy(
                    f"The policy cannot be registered: {error} Train again when it is free; an agent goes on with --resume."
                ) from error
        time.sleep(0.2)
