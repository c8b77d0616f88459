"""Which executions a client asks for."""

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from trading.orders import Side
from trading.rehearsal_gateway.gateway_execution import GatewayExecution
from trading.rehearsal_gateway.wire import FieldReader, NotUnderstood

_SIDES = {"BUY": Side.BUY, "BOT": Side.BUY, "SELL": Side.SELL, "SLD": Side.SELL}


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """What is empty, None or 0 leaves all through."""

    client_id: int
    account: str
    since: datetime | None
    symbol: str
    sec_type: str
    exchange: str
    side: Side | None

    def fits(self, execution: GatewayExecution) -> bool:
        """Whether the execution was asked for."""
        one = execution
        return (
            (not self.client_id or one.identity.client_id == self.client_id)
            and self.account in ("", one.account)
            and (self.since is None or one.executed_at >= self.since)
            and self.symbol in ("", one.symbol)
            and self.sec_type in ("", "STK")
            and self.side in (None, one.side)
        )


def read_filter(fields: FieldReader, zone: ZoneInfo) -> ExecutionFilter:
    """The filter of a ``reqExecutions`` message; a time without a zone is the exchange's. Raises ``NotUnderstood``."""
    client_id, account, since, symbol, sec_type, exchange, side = fields.integer(), *fields.texts(6)
    if side and side not in _SIDES:
        raise NotUnderstood(f"executions of side {side!r}")
    return ExecutionFilter(
        client_id, account, _moment(since, zone), symbol, sec_type, exchange, _SIDES[side] if side else None
    )


def _moment(text: str, zone: ZoneInfo) -> datetime | None:
    """``20240102 09:31:05 US/Eastern``, with one blank or two and without the zone, or ``20240102-14:31:05`` as UTC."""
    if not text:
        return None
    parts = text.split()
    try:
        if len(parts) == 1:
            return datetime.strptime(text, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
        named = ZoneInfo(parts[2]) if len(parts) == 3 else zone
        return datetime.strptime(f"{parts[0]} {parts[1]}", "%Y%m%d %H:%M:%S").replace(tzinfo=named).astimezone(UTC)
    except (ValueError, IndexError, ZoneInfoNotFoundError):
        raise NotUnderstood(f"executions since {text!r}") from None
