"""What models that have a state remember of each symbol: the newest only, so that a session that starts again goes on."""

from collections.abc import Sequence

from storage.connection import Connection
from storage.reading import utc
from trading.decisions import PolicyState


def write(connection: Connection, session_id: str, states: Sequence[PolicyState]) -> None:
    """Replace the states of these symbols, inside a ``transaction()``: with the bar that made them."""
    if not states:
        return
    holes = ", ".join(["(?, ?, ?, ?, ?)"] * len(states))
    connection.execute(
        f"INSERT INTO policy_states (session_id, symbol, fingerprint, bar_time, state) VALUES {holes}"
        " ON CONFLICT DO UPDATE SET bar_time = excluded.bar_time, state = excluded.state",
        [value for it in states for value in (session_id, it.symbol, it.fingerprint, it.bar_time, it.state)],
    )


def read(connection: Connection, session_id: str, fingerprint: str) -> list[PolicyState]:
    """The newest state of each symbol that the policy had one of in the session, by symbol."""
    found = connection.rows(
        "SELECT symbol, fingerprint, bar_time, state FROM policy_states WHERE session_id = ? AND fingerprint = ? ORDER BY symbol",
        [session_id, fingerprint],
    )
    return [PolicyState(symbol, whose, utc(bar_time), state) for symbol, whose, bar_time, state in found]
