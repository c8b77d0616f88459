"""Every error that openbell raises on purpose, split by what the caller does about it.

A message is one paragraph for a person: what happened, the value it happened with, and what to do next.
Vendor exceptions are translated once, at the adapter, with ``from error``.
"""


class OpenbellError(Exception):
    """Root of the tree; its text can be shown to a person as it stands."""


class ConfigurationError(OpenbellError):
    """A setting, option or input file is wrong; nothing was started. Mend it and call again."""


class RefusedToTrade(OpenbellError):
    """The session must not trade. Nothing was sent to a broker because of it."""


class ClosedDay(RefusedToTrade):
    """The exchange holds no session on the asked date."""


class SessionOver(RefusedToTrade):
    """The session of the day has closed, and nothing of it was traded."""


class AppointmentMissed(RefusedToTrade):
    """A schedule's run comes on another day than the one it was for. That day is not traded any more, or not yet."""


class TooLate(RefusedToTrade):
    """The session would begin late, and is set to be refused then."""


class DataNotFit(RefusedToTrade):
    """The bars are missing or too bad to trade on."""


class PolicyNotFit(RefusedToTrade):
    """A trained policy is not what it was when it was written, or cannot be trusted, or does not go with the session."""


class NotPromoted(RefusedToTrade):
    """A policy does not come to the stage that was asked for. All stages are as they were."""


class Unreconciled(RefusedToTrade):
    """Ledger and broker disagree, or the broker did not say."""


class BrokerNotReady(RefusedToTrade):
    """The broker cannot be reached, or the account there is not the one that was meant. Never replaced by a simulation."""


class Halted(RefusedToTrade):
    """A halt that covers the session stands."""


class SessionHeld(RefusedToTrade):
    """Another runner trades this session, or may still do so."""


class AlreadyTraded(RefusedToTrade):
    """The session was traded before under other settings, or would rewrite the account's past."""


class StoppedEarly(OpenbellError):
    """Trading was stopped in mid-session, by risk, by the data or by a person."""


class LeaseLost(StoppedEarly):
    """Another runner has taken the session over: this one writes nothing more and sends nothing more."""


class BrokerError(OpenbellError):
    """Something went wrong at the broker's side of the port."""


class BrokerUnavailable(BrokerError):
    """The broker could not be asked; nothing happened. Asking again is safe."""


class OutcomeUnknown(BrokerError):
    """An order or cancel was handed over and no answer came. Ask by client_order_id; never send again blindly."""


class OrderRefused(BrokerError):
    """The broker said no to one order. Record it and go on."""


class StoreError(OpenbellError):
    """The store cannot be read or written. What was committed before is intact."""


class StoreBusy(StoreError):
    """Another process holds the database file."""


class StoreTooNew(StoreError):
    """The database was written by a newer version."""


class NotApproved(OpenbellError):
    """An order that risk has not approved was about to be sent. It was not."""


class HookMayNotTrade(OpenbellError):
    """An observing callback tried to place or cancel an order."""
