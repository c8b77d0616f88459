"""One table says what a script may rely on."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from deployments.terminal.exit_codes import code_of_error, code_of_session
from trading import errors
from trading.sessions import Mode, SessionState, SessionSummary

ZERO = Decimal(0)
SUMMARY = SessionSummary(
    "a", date(2011, 1, 18), Mode.RECORDED, SessionState.COMPLETED, 0, 0, 0, 0, ZERO, ZERO, ZERO, ZERO, False, 0, "db"
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigurationError, 2),
        (errors.ClosedDay, 3),
        (errors.DataNotFit, 3),
        (errors.Unreconciled, 3),
        (errors.Halted, 3),
        (errors.AlreadyTraded, 3),
        (errors.StoppedEarly, 4),
        (errors.StoreError, 1),
        (errors.StoreBusy, 1),
        (errors.StoreTooNew, 1),
        (errors.BrokerUnavailable, 1),
        (errors.OutcomeUnknown, 1),
        (ValueError, 1),
    ],
)
def test_the_kind_of_error_decides_the_code(error: type[Exception], code: int) -> None:
    assert code_of_error(error("words")) == code


@pytest.mark.parametrize(
    ("state", "halted", "code"),
    [
        (SessionState.COMPLETED, False, 0),
        (SessionState.COMPLETED, True, 4),
        (SessionState.STOPPED, False, 4),
        (SessionState.REFUSED, False, 3),
    ],
)
def test_a_session_that_risk_halted_counts_as_stopped(state: SessionState, halted: bool, code: int) -> None:
    assert code_of_session(replace(SUMMARY, state=state, halted=halted)) == code
