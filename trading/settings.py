"""Everything a person may set, as frozen models: the same ones are read from ``openbell.toml``, from the command line
and from the form that Prefect shows. A field's description is its documentation.

Fractions are fractions (0.25 is 25 %) and say so in their names. Money is given as decimal text or number. Secrets
are never settings.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from trading.alert_settings import AlertSettings
from trading.bars import Timeframe
from trading.errors import ConfigurationError
from trading.ib_settings import IbSettings
from trading.orders import AUCTIONS, OrderType, TimeInForce
from trading.policy_settings import PolicySettings
from trading.promotion_settings import PromotionSettings
from trading.risk_settings import AUCTION_CUTOFF_MINUTES, ClosingSettings, RiskSettings, StoppingSettings
from trading.setting_types import Fraction, Name, NonNegativeMoney, Off, PositiveMoney, Section, Symbol
from trading.settings_explained import explained
from trading.train_settings import TrainSettings


class Granularity(StrEnum):
    """How much of a bar's work one Prefect task run shows."""

    AUTO = "auto"
    STAGE = "stage"
    BAR = "bar"
    CHUNK = "chunk"


class LatePolicy(StrEnum):
    """What becomes of a session that begins late."""

    REFUSE = "refuse"
    REDUCE_ONLY = "reduce_only"
    TRADE = "trade"


class SessionSettings(Section):
    """What is traded, where and how fast."""

    strategy: Name | None = None
    """Name under which decisions and orders are kept; the policy's name where none is given."""
    account: Name | None = None
    """Account that trades; where none is given `paper`, or `synthetic` on a synthetic market, so that invented prices never meet real ones in one book."""
    symbols: tuple[Symbol, ...] = Field(default=("SPY",), min_length=1, max_length=500)
    """Symbols to trade, in the order in which they are decided."""
    timeframe: Timeframe = Timeframe.MINUTE_1
    """Length of a bar."""
    exchange: Annotated[str, Field(pattern=r"^[A-Z]{4}$")] = "XNYS"
    """Exchange calendar by its ISO code: opening hours, holidays, half days."""
    pace: Literal["max", "live"] | Annotated[float, Field(gt=0, le=100_000)] = "max"
    """`max`: as fast as possible; `live`: real time; a number: that many times faster than real time."""
    granularity: Granularity = Granularity.AUTO
    """A Prefect task run per `stage` of each bar, per `bar` or per `chunk` of bars; `auto` takes the finest that loses no run history at the pace."""
    late_policy: LatePolicy = LatePolicy.REDUCE_ONLY
    """What becomes of a session that begins late on its own day in real time: `refuse` it; `reduce_only`, so that it opens and adds nothing and what is held is still watched and closed; or `trade` from the newest bar on."""
    late_after_minutes: Annotated[Decimal, Field(ge=0, le=1_440)] = Decimal(5)
    """Minutes after the opening bell from which on a session begins late. One that has missed no bar yet never does."""

    @field_validator("symbols")
    @classmethod
    def _named_once(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        repeated = sorted({symbol for symbol in symbols if symbols.count(symbol) > 1})
        if repeated:
            raise ValueError(f"symbols are named more than once: {', '.join(repeated)}")
        return symbols


class FeedKind(StrEnum):
    RECORDED = "recorded"
    SYNTHETIC = "synthetic"
    IB = "ib"


class TimestampMeaning(StrEnum):
    """What the time of a bar in a file says."""

    OPEN = "open"
    CLOSE = "close"


class SyntheticSettings(Section):
    """The invented market: the same seed gives the same bars for ever."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 7
    """Seed of the whole market."""
    initial_price: PositiveMoney = Decimal("100")
    """Price around which every symbol starts."""
    annual_volatility_fraction: Annotated[float, Field(gt=0, le=5)] = 0.25
    """Yearly volatility of each symbol as a fraction."""
    mean_volume: Annotated[int, Field(ge=0, le=1_000_000_000)] = 20_000
    """Average shares per minute."""
    gap_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the minutes that have no bar."""
    bad_print_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the bars that carry a bad print (missing, negative, crossed or wild prices)."""
    first_date: date = date(2026, 1, 5)
    """First day that is traded when no date is asked for; each further session trades the next day."""


class FeedSettings(Section):
    """Where bars come from."""

    kind: FeedKind | None = None
    """`recorded`, `synthetic` or `ib`; where none is given: recorded with a file, `ib` with that broker, recorded with a date, else synthetic."""
    bars: Path | None = None
    """CSV or Parquet file of bars; where none is given, recorded bars are those stored in the database."""
    timezone: str | None = None
    """Time zone of the file's times where the file does not say (for example America/New_York)."""
    timestamp: TimestampMeaning = TimestampMeaning.OPEN
    """Whether the file's times are the bars' opens or closes."""
    symbol: Symbol | None = None
    """Symbol of the file's bars where the file does not say."""
    synthetic: SyntheticSettings = SyntheticSettings()


class FindingAction(StrEnum):
    """What a finding about a bar leads to."""

    REFUSE = "refuse"
    DROP = "drop"
    WARN = "warn"


NonsenseAction = Literal["refuse", "drop"]
"""What a finding leads to where the bar is nonsense: it is never traded on."""


class ValidationSettings(Section):
    """What each kind of finding about the bars leads to: refuse the session, drop the bar, or only warn."""

    missing_value: NonsenseAction = "drop"
    """A price is missing or not a number."""
    non_positive_price: NonsenseAction = "drop"
    """A price is zero or negative."""
    crossed_range: NonsenseAction = "drop"
    """The high is below the low."""
    outside_range: NonsenseAction = "drop"
    """Open or close lies outside the bar's own range."""
    duplicate_bar: NonsenseAction = "drop"
    """A second bar for the same minute; the first one stays."""
    out_of_order: NonsenseAction = "drop"
    """A bar that is older than the one before it."""
    price_jump: FindingAction = FindingAction.DROP
    """A price is further than `max_jump_fraction` from the close of the bar before, within a session."""
    zero_volume: FindingAction = FindingAction.WARN
    """Nothing was traded in the bar, or the source has no volume."""
    gap: FindingAction = FindingAction.WARN
    """Minutes without a bar inside the session."""
    unfinished_bar: FindingAction = FindingAction.DROP
    """The last bar was not over when it was read."""
    stale_data: FindingAction = FindingAction.WARN
    """The last warmup bar is older than the close of the session before by more than `max_staleness_bars`."""
    too_little_history: FindingAction = FindingAction.WARN
    """Fewer warmup bars than the policy needs; it holds until it has seen enough."""
    max_jump_fraction: Annotated[float, Field(gt=0, le=10)] = 0.20
    """Largest believable move from one bar to the next, as a fraction."""
    jump_believed_after_bars: Annotated[int, Field(ge=2, le=1_000)] = 3
    """A price beyond the jump limit is believed from the bar on that makes so many in a row that agree on it; the ones before are findings."""
    max_staleness_bars: Annotated[int, Field(ge=0, le=100_000)] = 30
    """How many bars may be missing at the end of the warmup."""


class SizingMethod(StrEnum):
    FRACTION_OF_EQUITY = "fraction_of_equity"
    FRACTION_OF_CASH = "fraction_of_cash"
    FIXED_SHARES = "fixed_shares"
    FIXED_NOTIONAL = "fixed_notional"
    VOLATILITY_TARGET = "volatility_target"


class SizingSettings(Section):
    """How large a position a decision asks for. Always rounded down to whole shares."""

    method: SizingMethod = SizingMethod.FRACTION_OF_EQUITY
    """Sizing strategy."""
    fraction: Fraction = Decimal("0.10")
    """For `fraction_of_equity` and `fraction_of_cash`: the position as a fraction of either."""
    shares: Annotated[int, Field(gt=0, le=10_000_000)] = 100
    """For `fixed_shares`: shares per position."""
    notional: PositiveMoney = Decimal("10000")
    """For `fixed_notional`: money per position."""
    risk_fraction: Fraction = Decimal("0.001")
    """For `volatility_target`: fraction of equity that one average true range may move."""
    atr_bars: Annotated[int, Field(ge=2, le=1_000)] = 14
    """For `volatility_target`: bars of the average true range."""
    resize_band_fraction: Annotated[Decimal, Field(ge=0, le=10)] = Decimal("0.10")
    """For policies that give target weights: a position of the wanted direction is resized only when it is off its target by more than this fraction of the target."""


class OrderSettings(Section):
    """What kind of orders are sent."""

    order_type: OrderType = OrderType.MARKET
    """Order type of entries and exits."""
    time_in_force: TimeInForce = TimeInForce.DAY
    """How long an order works: DAY orders end at the session's close."""
    allow_short: bool = False
    """Whether SELL may open a short position."""
    minimum_quantity: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Orders of fewer shares that would open or add to a position are not sent."""
    limit_offset_bps: Annotated[Decimal, Field(ge=-1_000, le=1_000)] = Decimal("0")
    """For orders with a limit: how far beyond the close of the decided bar it lies, in basis points of it (buys above, sells below; negative waits for a better price)."""
    stop_offset_bps: Annotated[Decimal, Field(gt=0, le=5_000)] = Decimal("10")
    """For stop orders: how far beyond the close of the decided bar the stop lies, in basis points of it (buys above, sells below)."""
    tick_size: Annotated[PositiveMoney | None, Off] = None
    """Smallest step of a price: limits and stops are rounded to it so that they never come nearer to the market, and risk refuses those that are not on it. `off` leaves prices as they are."""
    trail_fraction: Annotated[Decimal, Field(gt=0, lt=1)] = Decimal("0.01")
    """For trailing stops: distance from the best price, as a fraction of it."""
    settle_seconds: Annotated[Decimal, Field(ge=0, le=600)] = Decimal("2")
    """After an order got no answer and the broker does not know it: how long to wait before asking a second time, and only then sending it again."""
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """How often one order is handed to the broker at most."""
    expected_commission_per_share: Annotated[NonNegativeMoney | None, Off] = None
    """Commission per share that risk counts an order with before it is sent, whoever executes it. `off` counts that of `[broker.paper]`, whose defaults are the fixed prices of Interactive Brokers for US stocks."""
    expected_commission_minimum: Annotated[NonNegativeMoney | None, Off] = None
    """The same for the least commission of an order."""

    @model_validator(mode="after")
    def _auctions_have_no_time_in_force(self) -> Self:
        if self.order_type in AUCTIONS and self.time_in_force is not TimeInForce.DAY:
            raise ValueError(f"a {self.order_type} order has its auction and no time in force but DAY")
        return self


class PaperSettings(Section):
    """The simulated account."""

    initial_cash: Annotated[Decimal, Field(gt=0, le=10_000_000_000, decimal_places=6)] = Decimal("100000")
    """Cash at the account's first session."""
    slippage_bps: Annotated[Decimal, Field(ge=0, le=1_000)] = Decimal("1")
    """How much worse than the open every fill is, in basis points of the open."""
    commission_per_share: NonNegativeMoney = Decimal("0.005")
    """Commission per share."""
    commission_minimum: NonNegativeMoney = Decimal("1.00")
    """Least commission per order."""
    commission_maximum_fraction: Annotated[Fraction | None, Off] = None
    """Cap of the commission as a fraction of the trade's value. `off` switches it off."""
    max_volume_fraction: Annotated[Fraction | None, Off] = None
    """Largest share of a bar's volume that an order can take; the rest waits for the next bar. `off` switches it off."""
    path: Path | None = None
    """File of the simulated account; beside the database, named after the account, where none is given."""


class BrokerSettings(Section):
    """Who executes the orders."""

    kind: Literal["paper", "ib"] = "paper"
    """`paper`: a simulated account with its own book; `ib`: an account at Interactive Brokers."""
    paper: PaperSettings = PaperSettings()
    ib: IbSettings = IbSettings()


class CostBasis(StrEnum):
    FIFO = "fifo"
    AVERAGE = "average"


@dataclass(frozen=True, slots=True)
class ExpectedCommission:
    """What an order is expected to cost before the broker has said: an amount per share, and a least amount."""

    per_share: Decimal
    minimum: Decimal


class BookSettings(Section):
    """How the book counts."""

    cost_basis: CostBasis = CostBasis.FIFO
    """Which shares a closing trade closes: the oldest (`fifo`, as broker statements) or an average of all."""


class ReconciliationSettings(Section):
    """The comparison with the broker: always at the open, after a reconnect and at the close; in between on a schedule."""

    every_minutes: Annotated[int | None, Field(ge=1, le=1_440), Off] = 15
    """Minutes of session time between two comparisons. `off` leaves those at open and close."""
    cash_tolerance: NonNegativeMoney = Decimal("1.00")
    """How far cash may differ before it is reported: brokers book interest and fees on their own."""
    average_price_tolerance_fraction: Annotated[Decimal, Field(ge=0, lt=1)] = Decimal("0.0001")
    """How far the average cost of a position may differ, as a fraction of it."""


class StoreSettings(Section):
    """Where facts are kept."""

    path: Path = Path("openbell.duckdb")
    """DuckDB file of the ledger and the bars."""
    policies: Path = Path("policies")
    """Folder of trained policies: each is the bundle NAME/VERSION in it, with the report of its training beside it as NAME/VERSION.report."""
    serve: bool = True
    """Whether other processes of the same user on this machine can ask the database while a session runs (`openbell sql`, `openbell report`, `openbell snapshot`). They read and change nothing."""


class Settings(Section):
    """All settings of one session."""

    session: SessionSettings = SessionSettings()
    feed: FeedSettings = FeedSettings()
    validation: ValidationSettings = ValidationSettings()
    policy: PolicySettings = PolicySettings()
    sizing: SizingSettings = SizingSettings()
    risk: RiskSettings = RiskSettings()
    closing: ClosingSettings = ClosingSettings()
    stopping: StoppingSettings = StoppingSettings()
    orders: OrderSettings = OrderSettings()
    broker: BrokerSettings = BrokerSettings()
    book: BookSettings = BookSettings()
    reconciliation: ReconciliationSettings = ReconciliationSettings()
    train: TrainSettings = TrainSettings()
    promotion: PromotionSettings = PromotionSettings()
    store: StoreSettings = StoreSettings()
    alerts: AlertSettings = AlertSettings()

    @model_validator(mode="after")
    def _one_symbol_names_one_file(self) -> Self:
        if self.feed.symbol is not None and self.feed.bars is None:
            raise ValueError("feed.symbol names the bars of a file: it goes with feed.bars")
        return self

    @model_validator(mode="after")
    def _auctions_are_entered_in_time(self) -> Self:
        """Orders for a real closing auction are sent with a bar that ends before the exchange stops taking them."""
        closing = self.closing
        minutes = closing.market_on_close_minutes
        if self.broker.kind != "ib" or closing.hold_overnight or minutes is None:
            return self
        if "market_on_close_minutes" not in closing.model_fields_set:
            without = closing.model_copy(update={"market_on_close_minutes": None})
            object.__setattr__(self, "closing", without)  # frozen for others
            return self
        bar = Decimal(self.session.timeframe.length.total_seconds()) / 60
        # Steps are taken at ends of bars, at the latest with the last bar but one.
        if max(minutes // bar, Decimal(1)) * bar <= AUCTION_CUTOFF_MINUTES:
            least = (AUCTION_CUTOFF_MINUTES // bar + 1) * bar
            raise ValueError(
                f"closing.market_on_close_minutes is {minutes}, and an exchange takes no order for its closing auction in the last "
                f"{AUCTION_CUTOFF_MINUTES} minutes (NYSE 15:50): with broker ib and bars of {bar:f} min set it to at least {least:f}, "
                'and the steps before it to no less, or to "off": positions then go by market orders at closing.flatten_minutes'
            )
        return self

    @property
    def expected_commission(self) -> ExpectedCommission:
        """What risk counts the commission of an order with before it is sent."""
        per_share, minimum = self.orders.expected_commission_per_share, self.orders.expected_commission_minimum
        paper = self.broker.paper
        return ExpectedCommission(
            paper.commission_per_share if per_share is None else per_share,
            paper.commission_minimum if minimum is None else minimum,
        )

    @property
    def strategy(self) -> str:
        """The strategy's name, never empty; that of a trained policy is known once its bundle was read."""
        return self.session.strategy or self.policy.label


STRATEGIES = "strategies"
"""The table of a file under which each strategy says what it has of its own."""
SCHEDULE = "schedule"
"""The table of a strategy that says when it is traded: for who deploys it, and no setting of a session."""


def read_settings(
    path: Path | None, overrides: Mapping[str, Any] | None = None, strategy: str | None = None
) -> Settings:
    """Settings from a TOML file (none: the defaults), those of ``strategy`` laid over it, and ``overrides`` over both.

    ``overrides`` is a nested mapping of the same shape; its values win. Raises ``ConfigurationError`` that names the
    value and, for an unknown key, the nearest known one; also where the file has no such strategy.
    """
    document = read_document(path)
    source = str(path) if path else "the options"
    strategies = document.pop(STRATEGIES, {})
    if strategy is not None:
        document = _of_strategy(document, strategies, strategy, source)
        source = f"{source}, [{STRATEGIES}.{strategy}]"
    return parse_settings(_over(document, overrides or {}), source)


def read_document(path: Path | None) -> dict[str, Any]:
    """What a TOML file says, unchecked (none: nothing). Raises ``ConfigurationError`` where it cannot be read."""
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"The settings file {path} does not exist. Create it, or leave out --config."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The settings file {path} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"The settings file {path} is not TOML: {error}. Mend that line.") from error


def parse_settings(document: Mapping[str, Any], source: str) -> Settings:
    """Settings from a nested mapping; ``source`` says in errors where it came from."""
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError(explained(error, Settings, source, besides=(STRATEGIES,))) from error


def _of_strategy(document: Mapping[str, Any], strategies: object, name: str, source: str) -> dict[str, Any]:
    """What the file says for all, with what it says for one strategy over it; its decisions are kept under that name."""
    known = strategies if isinstance(strategies, Mapping) else {}
    own = known.get(name)
    if not isinstance(own, Mapping):
        remedy = f"Known are {', '.join(known)}" if known else f"Add a table [{STRATEGIES}.{name}] to it"
        raise ConfigurationError(f"Settings from {source} have no strategy {name}. {remedy}.")
    own = {key: value for key, value in own.items() if key != SCHEDULE}
    session = own.get("session", {})
    if isinstance(session, Mapping) and session.get("strategy", name) != name:
        raise ConfigurationError(
            f"Settings from {source} are not valid. {STRATEGIES}.{name}.session.strategy = {session['strategy']!r}: a strategy "
            "has the name of its table. Leave this line out."
        )
    return _laid_over(_over(document, own), {"session": {"strategy": name}})


def _over(document: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A document with another one over it; a policy that is named over another one starts from its own defaults."""
    below = dict(document)
    _forget_another_policy(below, overrides)
    return _laid_over(below, overrides)


def _forget_another_policy(document: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """What the file says of its policy belongs to that one: another one named over it starts from its own defaults."""
    section, over = document.get("policy"), overrides.get("policy", {})
    if not isinstance(section, dict) or not isinstance(over, Mapping):
        return
    forgotten: set[str] = set()
    if over.get("bundle") is not None:
        forgotten = {"name", "parameters", "stage"}
    elif over.get("name") is not None:
        another = over["name"] != section.get("name", PolicySettings().name)
        forgotten = {"bundle", "parameters", "stage"} if another else {"bundle"}
    elif over.get("stage") is not None:
        forgotten = {"bundle", "parameters"}
    document["policy"] = {key: value for key, value in section.items() if key not in forgotten}


def _laid_over(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overrides.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _laid_over(below, value)
        else:
            merged[key] = value
    return merged
