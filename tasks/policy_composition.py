"""From the settings of a policy to one that can be asked: built-in ones by name, trained ones by folder, fingerprint or stage."""

import logging
from collections.abc import Callable
from typing import Any

from storage import policy_registry
from storage.store import Store
from trading.bundles.folder import Bundle, read_bundle
from trading.calendar import TradingCalendar
from trading.errors import ConfigurationError, PolicyNotFit
from trading.policies.buy_and_hold import BuyAndHold
from trading.policies.flat import Flat
from trading.policies.sma_crossover import SmaCrossover
from trading.policy_records import PolicyRecord, Stage
from trading.policy_settings import PolicyChoice
from trading.ports import Policy
from trading.sessions import SessionRecord
from trading.settings import Settings

_log = logging.getLogger(__name__)

_POLICIES: dict[str, Callable[..., Policy]] = {
    "flat": Flat,
    "buy_and_hold": BuyAndHold,
    "sma_crossover": SmaCrossover,
}
_PARAMETERS: dict[str, dict[str, type]] = {"flat": {}, "buy_and_hold": {}, "sma_crossover": {"fast": int, "slow": int}}


def build_policy(choice: PolicyChoice) -> Policy:
    """The built-in policy by its name with its parameters; raises ``ConfigurationError`` for one it does not have."""
    known = _PARAMETERS[choice.name]
    given: dict[str, Any] = {}
    for parameter, value in choice.parameters.items():
        kind = known.get(parameter)
        if kind is None:
            raise ConfigurationError(
                f"Policy {choice.name} has no parameter {parameter!r}; it has {', '.join(known) or 'none'}."
            )
        if isinstance(value, bool) or not isinstance(value, kind):
            raise ConfigurationError(
                f"Policy {choice.name}: {parameter} = {value!r} is not a {'whole number' if kind is int else kind}."
            )
        given[parameter] = value
    return _POLICIES[choice.name](**given)


def find_bundle(choice: PolicyChoice, store: Store | None) -> Bundle | None:
    """The bundle of a trained policy, read and checked; None for a built-in policy.

    Raises ``PolicyNotFit`` where the bundle is not what it was when it was written or registered, ``ConfigurationError`` where
    none is registered so.
    """
    if choice.folder is not None:
        return read_bundle(choice.folder)
    if not choice.is_trained:
        return None
    if store is None:
        raise ConfigurationError(f"Policy {choice.label} is looked up in a database, and there is none yet.")
    return registered_bundle(_record(choice, store))


def registered_bundle(record: PolicyRecord) -> Bundle:
    """The bundle of a registered policy, from where it was registered. Raises ``PolicyNotFit`` where it is not that one any more."""
    bundle = read_bundle(record.path)
    if bundle.fingerprint != record.fingerprint:
        raise PolicyNotFit(
            f"The bundle {record.path} is {bundle.fingerprint}, and {record.fingerprint} was registered from there: somebody has "
            "changed it. Bring the registered one back, or register this one as a policy of its own."
        )
    return bundle


def policy_of(bundle: Bundle, settings: Settings) -> Policy:
    """The bundle's policy for sessions of these settings; raises ``PolicyNotFit``."""
    # Only now: a session of a built-in policy needs none of what models need.
    from trading.policies.bundle_policy import load_policy

    return load_policy(bundle, settings.session.timeframe, settings.session.exchange)


def asked_on_its_own_bars(bundle: Bundle) -> Policy:
    """The bundle's policy for the bars that it was trained on; raises ``PolicyNotFit``."""
    from trading.policies.bundle_policy import load_policy

    manifest = bundle.manifest
    try:
        TradingCalendar(manifest.exchange, manifest.trained_until.date())
    except ConfigurationError as error:
        raise PolicyNotFit(f"The policy {bundle.fingerprint} was trained on bars of no exchange: {error}") from error
    return load_policy(bundle, manifest.timeframe, manifest.exchange)


def assemble_policy(choice: PolicyChoice, settings: Settings, store: Store | None) -> Policy:
    """The policy that is meant, ready to be asked. Raises as ``find_bundle`` and ``build_policy`` do."""
    bundle = find_bundle(choice, store)
    return build_policy(choice) if bundle is None else policy_of(bundle, settings)


def under_its_name(settings: Settings, store: Store | None) -> Settings:
    """The settings with the strategy named after its trained policy, where nobody has named it."""
    choice = settings.policy
    if settings.session.strategy is not None or not choice.is_trained:
        return settings
    bundle = find_bundle(choice, store) if choice.folder is not None else None
    name = choice.label if bundle is None else bundle.manifest.name
    return settings.model_copy(update={"session": settings.session.model_copy(update={"strategy": name})})


def as_it_began(settings: Settings, store: Store, session_id: str) -> PolicyChoice:
    """The choice that a session has to go on with: a stage may have another policy by now than when the session began."""
    found = _begun(store, session_id)
    return settings.policy if found is None else _still(settings.policy, found.policy_fingerprint, store)


def assemble_shadow(settings: Settings, store: Store, session_id: str) -> Policy | None:
    """The policy that watches, None without one.

    Raises as ``assemble_policy`` does, before a session has begun; one that goes on does so without a shadow that is not to be had any
    more, because it may hold positions.
    """
    choice = settings.policy.shadow
    if choice is None:
        return None
    begun = _begun(store, session_id)
    if begun is None:
        return assemble_policy(choice, settings, store)
    [(watched,)] = store.connection.rows(
        "SELECT max(fingerprint) FROM shadow_decisions WHERE session_id = ?", [session_id]
    )
    try:
        return assemble_policy(_still(choice, watched, store), settings, store)
    except (ConfigurationError, PolicyNotFit) as error:
        _log.warning("session_id=%s goes on without its shadow: %s", session_id, error)
        return None


def _begun(store: Store, session_id: str) -> SessionRecord | None:
    """The session, where it has decided or ordered anything yet."""
    found = store.ledger.find_session(session_id)
    if found is None or found.last_bar_time is not None:
        return found
    [(ordered,)] = store.connection.rows("SELECT count(*) FROM orders WHERE session_id = ?", [session_id])
    return found if ordered else None


def _still(choice: PolicyChoice, fingerprint: str | None, store: Store) -> PolicyChoice:
    """The policy of this fingerprint where a stage was meant and it is registered; else the choice as it is."""
    if choice.stage is None:
        return choice
    known = [record.fingerprint for record in policy_registry.policies(store.connection, choice.name)]
    return PolicyChoice(bundle=fingerprint) if fingerprint in known else choice


def _record(choice: PolicyChoice, store: Store) -> PolicyRecord:
    if choice.fingerprint is not None:
        return policy_registry.policy(store.connection, choice.fingerprint)
    stage = Stage(str(choice.stage))
    record = policy_registry.champion(store.connection, choice.name, stage)
    if record is not None:
        return record
    known = sorted({found.name for found in policy_registry.policies(store.connection)})
    there = f"registered are {', '.join(known)}" if known else "none is registered"
    raise ConfigurationError(
        f"No policy {choice.name} is at stage {stage} in {store.path}; {there}. See 'openbell policies', train one with 'openbell "
        "train', or promote one with 'openbell promote'."
    )
