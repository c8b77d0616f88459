"""Alerts about what happens while a session trades: halts, doubts, data, models, the line to the broker."""

from deployments.alerts.alert import Alert
from deployments.alerts.triggers import RESOURCE, event_of
from trading.alert_settings import AlertName

EPISODE, EPISODE_STANDS = "openbell.episode", "openbell.episode-stands"
"""Labels of broker_line events: which episode, and ``true`` while it stands."""

_SESSION = "{{ event.resource['prefect.resource.name'] or event.resource['prefect.resource.id'] }}"
_MESSAGE = "{{ event.payload.message }}{% if event.payload.remedy %} {{ event.payload.remedy }}{% endif %}"

TRADING_ALERTS = (
    Alert(
        AlertName.HALTED,
        f"halted: {_SESSION}",
        "A limit set a halt (a loss, a fall, turnover, a policy that keeps failing), or a person stopped a session that runs.",
        f"In the session {_SESSION}: {_MESSAGE}",
        "Nothing that opens or adds is sent any more, and entries that worked were cancelled. Positions stay unless [stopping] "
        "flatten_on_loss is set; what reduces them may go on.",
        (
            "See what is held and what it has cost: openbell report.",
            "To close everything: openbell flatten.",
            "To trade on: find the reason, then openbell resume, which says under which --scope what stands is cleared. A loss that is still "
            "beyond its limit halts again with the next bar; raise the limit with openbell limits --set first.",
        ),
        lambda windows: event_of("openbell.risk.halted", "openbell.risk.emergency_stop", within=windows.repeat),
    ),
    Alert(
        AlertName.ALARM,
        f"ALARM: {_SESSION}",
        "A stop that the broker does not show to be done, or a position that is left after the close.",
        f"In the session {_SESSION}: {_MESSAGE}",
        "The account may hold positions, or orders may work, that should not. Nobody watches them once the session is over.",
        (
            "Look at the account at the broker itself, and close by hand there what is urgent.",
            "Compare: openbell reconcile. What you did by hand is booked with --repair --claim SYMBOL.",
            "While the exchange is open: openbell flatten.",
        ),
        lambda windows: event_of("openbell.risk.alarm", within=windows.repeat),
    ),
    Alert(
        AlertName.BROKER_LINE,
        f"broker line: {_SESSION}",
        "Something is wrong with the line to the broker, its data or the state of an order. One message for each kind of trouble; that it is over is not sent.",
        f"In the session {_SESSION}: {_MESSAGE}",
        "The session goes on and opens nothing that it cannot check. Orders that were sent work at the broker. It reconnects by itself and compares then.",
        (
            "Look at the gateway: is it logged in, does it ask for a second factor, is it restarting? openbell doctor --broker ib says what it sees.",
            "If it stays away, look at the account at the broker itself: positions are not watched meanwhile.",
            "Nothing has to be started again once the line is back.",
        ),
        lambda windows: event_of(
            "openbell.risk.broker_line",
            within=windows.repeat,
            match={RESOURCE: "openbell.session.*", EPISODE_STANDS: "true"},
            for_each=(RESOURCE, EPISODE),
        ),
    ),
    Alert(
        AlertName.POLICY_FAILING,
        f"policy failing: {_SESSION}",
        "A policy decided nothing three times within the window: it raised, was too slow or too old, or said or saw what is no number.",
        f"In the session {_SESSION}, and not for the first time: {_MESSAGE}",
        "The symbol holds what it holds: a failure never trades. After [policy] failures_until_reduce_only failures in a row the strategy is halted.",
        (
            'See the errors: openbell sql "SELECT bar_time, symbol, error FROM decisions WHERE error IS NOT NULL ORDER BY bar_time DESC".',
            "If it is the model: openbell rollback NAME --stage paper (or live), and start the session again.",
            "If it is the data, leave it: it decides again with the next good bar.",
        ),
        lambda windows: event_of("openbell.risk.policy_failed", within=windows.repeat, threshold=3),
    ),
    Alert(
        AlertName.DISCREPANCY,
        f"discrepancy: {_SESSION}",
        "Ledger and broker differ and the difference stands after repair; again from every health check for as long as it does.",
        f"{_SESSION}: {_MESSAGE}",
        "What the ledger believes to be held is not what is held. The symbol or the account is kept from opening until they agree.",
        (
            "See the differences: openbell reconcile, and docs/reconciliation.md for each kind.",
            "What can be explained is booked with openbell reconcile --repair, what somebody traded by hand with --claim SYMBOL too. If nobody did, ask the broker.",
            "The next session does not start before ledger and broker agree.",
        ),
        lambda windows: event_of("openbell.discrepancy", "openbell.health.discrepancy", within=windows.repeat),
    ),
    Alert(
        AlertName.DATA_STALE,
        f"data stale: {_SESSION}",
        "The health check finds a session whose newest bar is older than it may be while the exchange is open.",
        f"{_MESSAGE}",
        "The session waits for bars and decides nothing. Its positions are still held; at pace live the end of the day closes them by the clock.",
        (
            "Look at the data's source: openbell doctor --broker ib for a gateway and its subscriptions.",
            "If bars do not come back soon: openbell flatten, or close by hand at the broker.",
        ),
        lambda windows: event_of("openbell.health.data_stale", within=windows.repeat),
    ),
)
