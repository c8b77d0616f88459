"""Replays of policies for the gate between stages, on the stored bars of the sessions that they have not seen."""

from trading.errors import NotPromoted
from trading.policy_records import PolicyRecord
from trading.promotion import Evaluate, Evaluation, UnseenWindow
from trading.settings import Settings


def replays(settings: Settings) -> Evaluate:
    """What replays a policy under the settings' costs and limits."""

    def evaluate(policy: PolicyRecord | str, window: UnseenWindow) -> Evaluation:
        asked = policy if isinstance(policy, str) else policy.fingerprint
        raise NotPromoted(
            f"{asked} was not replayed on the {len(window.sessions)} sessions that it has not seen in {settings.store.path}, so that "
            "the gate cannot agree. Say --force and --reason to promote it all the same."
        )

    return evaluate
