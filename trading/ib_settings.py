"""What may be set about Interactive Brokers: where its gateway listens, whose account it is, and how patient we are with it.

Times in seconds are those of the wall: they are about a line and a machine, also where a session rehearses a stored day.
"""

import re
from datetime import time
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from trading.setting_types import Off, Section, Symbol, TimeOfDay


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("is no time zone; name one as America/New_York or UTC") from error
    return name


ZoneName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_known_zone)]
AccountCode = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{2,31}$")]
"""An account as the broker writes it: DU1234567 is a paper account, U1234567 a live one."""
Seconds = Annotated[Decimal, Field(gt=0, le=3_600)]

_PAPER = re.compile(r"^D[A-Z]*[0-9]", re.IGNORECASE)


def is_paper_account(code: str) -> bool:
    """Whether the broker's name of an account says that it is simulated: paper accounts begin with D (DU, DF, DI)."""
    return _PAPER.match(code) is not None


class SecurityType(StrEnum):
    """Kinds of instruments. Shares and funds are traded now; the model is open for the others."""

    STOCK = "STK"
    FUTURE = "FUT"
    CURRENCY = "CASH"


class ContractSettings(Section):
    """Which instrument is meant by a symbol, where the symbol alone does not say."""

    symbol: Symbol
    """The symbol as sessions, bars and orders name it."""
    broker_symbol: str | None = Field(default=None, min_length=1, max_length=40)
    """The broker's own symbol where it writes it otherwise (`BRK B` for BRK.B)."""
    security_type: SecurityType = SecurityType.STOCK
    """`STK`: shares and funds. `FUT` and `CASH` are looked up, and refused for trading."""
    exchange: str = Field(default="SMART", min_length=1, max_length=20)
    """Where orders are routed."""
    primary_exchange: str | None = Field(default=None, min_length=1, max_length=20)
    """The listing, where several instruments share the symbol (NASDAQ, NYSE, ARCA)."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    """Currency it trades in."""
    contract_id: Annotated[int, Field(gt=0)] | None = None
    """The broker's number of the instrument (conId): leaves no doubt."""


class LiveBars(StrEnum):
    """Where live bars come from."""

    FIVE_SECONDS = "5s"
    KEEP_UP_TO_DATE = "keep_up_to_date"


class IbSettings(Section):
    """Interactive Brokers, through a TWS or an IB Gateway that is running and logged in."""

    host: str = Field(default="127.0.0.1", min_length=1, max_length=253)
    """Machine of the gateway."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 4002
    """Its API port: 4002 Gateway paper, 4001 Gateway live, 7497 TWS paper, 7496 TWS live; `openbell gateway` uses 4002."""
    client_id: Annotated[int, Field(ge=1, le=999_999)] = 17
    """Fixed number of this client at the gateway. Orders belong to it: never change it while orders work."""
    account: AccountCode | None = None
    """The broker's account that trades (DU1234567); may be left out where the login has just one."""
    allow_live: AccountCode | None = None
    """The one live account that may be traded, named in full. Without it anything but a paper account is refused."""
    timezone: ZoneName = "America/New_York"
    """Zone of times that the gateway sends without one: the one it was started in."""
    connect_timeout_seconds: Seconds = Decimal(15)
    """How long a connection, with everything that is asked at its start, may take."""
    answer_timeout_seconds: Seconds = Decimal(10)
    """How long an answer to a question may take; after that it counts as none."""
    acknowledgement_timeout_seconds: Seconds = Decimal(4)
    """How long the first word on an order, a cancel or a change may take; after that the outcome is unknown, and asked for."""
    heartbeat_seconds: Seconds = Decimal(5)
    """How often the gateway is asked for its time; two in a row without an answer are a lost line."""
    reconnect_first_seconds: Seconds = Decimal(1)
    """Wait before the second attempt to connect again; it doubles with each."""
    reconnect_longest_seconds: Seconds = Decimal(30)
    """The longest wait between two attempts to connect again."""
    messages_per_second: Annotated[int, Field(ge=1, le=50)] = 45
    """Most messages sent in a second; the gateway cuts the line above 50."""
    restart_at: Annotated[TimeOfDay | None, Off] = time(23, 45)
    """When the gateway restarts each night, in its zone, as set under its lock and exit settings."""
    restart_minutes: Annotated[int, Field(ge=1, le=240)] = 15
    """How long a nightly restart may take: no alert for a line that is lost in it."""
    weekly_restart_minutes: Annotated[int, Field(ge=1, le=2_880)] = 720
    """How long it may take in the night to Sunday, when the weekly login with a second factor is due."""
    quiet_before_restart_minutes: Annotated[int, Field(ge=0, le=120)] = 2
    """No new orders so shortly before a restart."""
    live_bars: LiveBars = LiveBars.FIVE_SECONDS
    """`5s`: minute bars are made of the broker's five-second bars; `keep_up_to_date`: the broker's own, renewed as they come."""
    late_bar_seconds: Annotated[Decimal, Field(ge=0, le=60)] = Decimal(3)
    """How long after a bar's end, in session time, bars of other symbols are still waited for."""
    market_data: Literal["live", "delayed"] = "live"
    """`delayed` allows bars that are 10 to 20 minutes old where the account has no subscription; only for looking, never to trade on."""
    contracts: Annotated[tuple[ContractSettings, ...], Field(max_length=500)] = ()
    """Instruments whose symbol alone does not say which one is meant."""

    @model_validator(mode="after")
    def _says_what_it_means(self) -> Self:
        named = [contract.symbol for contract in self.contracts]
        repeated = sorted({symbol for symbol in named if named.count(symbol) > 1})
        if repeated:
            raise ValueError(f"contracts name a symbol more than once: {', '.join(repeated)}")
        if self.allow_live is not None and is_paper_account(self.allow_live):
            raise ValueError(
                f"allow_live = {self.allow_live} is a paper account, which needs no permission; leave it out"
            )
        if self.allow_live is not None and self.account not in (None, self.allow_live):
            raise ValueError(
                f"allow_live = {self.allow_live} is not the account {self.account}; name the same one in both"
            )
        if self.reconnect_longest_seconds < self.reconnect_first_seconds:
            raise ValueError("reconnect_longest_seconds is below reconnect_first_seconds")
        return self

    @property
    def past_bars_client_id(self) -> int:
        """The number of the line on which past bars are loaded, so that a session keeps its own."""
        return self.client_id + 1

    def contract(self, symbol: str) -> ContractSettings:
        """What is set about a symbol; a share in dollars where nothing is."""
        found = next((one for one in self.contracts if one.symbol == symbol), None)
        # Not validated: an account also holds what sessions have no symbol for, and who asks for that is told so by the broker.
        return ContractSettings.model_construct(symbol=symbol) if found is None else found
