"""Registering a bundle that somebody brings: checked as a session would check it, and then a candidate like any other. No Prefect here."""

from datetime import UTC, datetime
from pathlib import Path

from storage.policy_registry import register
from storage.store import open_store
from tasks.operators import operator_name
from tasks.policy_composition import asked_on_its_own_bars
from trading.bundles.folder import read_bundle
from trading.errors import ConfigurationError, NotPromoted, StoreBusy
from trading.policy_records import BundleFacts, PolicyRecord
from trading.policy_settings import BUILT_IN
from trading.settings import Settings


def register_by_hand(settings: Settings, folder: Path) -> PolicyRecord:
    """Check the bundle in ``folder`` and write it into the registry of the settings' database, which is made where there is none.

    The same bundle again changes nothing but where it is found. Raises ``PolicyNotFit`` or ``ConfigurationError`` for what is no bundle
    that a session would trade, ``NotPromoted`` while another process holds the database.
    """
    bundle = read_bundle(folder)
    if bundle.manifest.name in BUILT_IN:
        raise ConfigurationError(
            f"{folder} is called {bundle.manifest.name}, which is a built-in policy: write it under another name."
        )
    asked_on_its_own_bars(bundle)
    facts = BundleFacts(bundle.fingerprint, bundle.manifest, folder.resolve())
    try:
        with open_store(settings.store.path) as store:
            return register(store.connection, facts, datetime.now(UTC), operator_name())
    except StoreBusy as error:
        raise NotPromoted(
            f"{bundle.fingerprint} is not registered: {error} Run it again when the database is free."
        ) from error
