from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from trading.errors import ConfigurationError
from trading.ib_settings import is_paper_account
from trading.settings import Settings, parse_settings, read_settings


def parsed(path: str, value: object) -> Settings:
    """Settings in which ``section.key`` has the value."""
    document: Any = value
    for key in reversed(path.split(".")):
        document = {key: document}
    return parse_settings(document, "a test")


def refused(path: str, value: object) -> str:
    with pytest.raises(ConfigurationError) as error:
        parsed(path, value)
    return str(error.value)


def set_to(settings: Settings, path: str) -> object:
    found: Any = settings
    for key in path.split("."):
        found = getattr(found, key)
    return found


def sections(model: type[BaseModel] = Settings, path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section with its path, the top level included."""
    yield path, model
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from sections(field.annotation, f"{path}.{name}".lstrip("."))


KEYS = [f"{path}.{name}".lstrip(".") for path, model in sections() for name in model.model_fields]


def test_there_are_keys_to_test() -> None:
    assert len(KEYS) > 60


@pytest.mark.parametrize("key", KEYS)
def test_a_misspelt_key_is_refused_and_the_nearest_named(key: str) -> None:
    name = key.rpartition(".")[2]
    # The last letter doubled: nearer to its own key than to any other.
    message = refused(key + name[-1], 1)
    assert f"Unknown key {name}{name[-1]} in " in message
    assert f"did you mean {name}?" in message


def test_a_key_that_resembles_nothing_gets_the_list() -> None:
    message = refused("store.zzz", 1)
    assert message == "Settings from a test are not valid. Unknown key zzz in [store]: known are path, policies, serve."


def test_an_unknown_section_is_named() -> None:
    assert "Unknown key risks in the top level: did you mean risk?" in refused("risks.max_order_shares", 1)


TEXT_40 = "a" * 40
BOUNDS: list[tuple[str, list[object], list[object]]] = [
    ("session.strategy", ["a", TEXT_40, "sma-1_B"], ["", TEXT_40 + "a", "a b", "a.b", "ä"]),
    ("session.account", ["a", TEXT_40], ["", TEXT_40 + "a", "a/b"]),
    (
        "session.symbols",
        [["A"], ["BRK.B", "BF-B", "A1"], [f"S{number}" for number in range(500)]],
        [[], ["spy"], ["ABCDEFGHIJKLM"], [" SPY"], ["SPY", "SPY"], [f"S{number}" for number in range(501)]],
    ),
    ("session.timeframe", ["1min", "2min", "3min", "5min", "10min", "15min", "30min"], ["1h", "7min", "", 1]),
    ("session.exchange", ["XNYS", "XLON"], ["NYSE1", "xnys", "XNY", ""]),
    ("session.pace", ["max", "live", 0.001, 1, 100_000], ["fast", 0, -1, 100_001, "nan", float("nan"), float("inf")]),
    ("session.granularity", ["auto", "stage", "bar", "chunk"], ["tick", 1]),
    ("session.late_policy", ["refuse", "reduce_only", "trade"], ["wait", ""]),
    ("session.late_after_minutes", [0, "0.5", 1_440], [-1, 1_441, "nan"]),
    ("feed.kind", ["recorded", "synthetic", "ib", None], ["ib2", ""]),
    ("feed.timestamp", ["open", "close"], ["middle"]),
    ("feed.synthetic.seed", [0, 2**63 - 1], [-1, 2**63, 1.5]),
    ("feed.synthetic.initial_price", ["0.000001", 100], [0, -1, "0.0000001", "nan", "inf"]),
    ("feed.synthetic.annual_volatility_fraction", [0.001, 5], [0, 5.001, float("nan")]),
    ("feed.synthetic.mean_volume", [0, 1_000_000_000], [-1, 1_000_000_001]),
    ("feed.synthetic.gap_fraction", [0, 0.999], [-0.001, 1, float("nan")]),
    ("feed.synthetic.bad_print_fraction", [0, 0.999], [-0.001, 1]),
    ("feed.synthetic.first_date", ["2026-01-05"], ["yesterday", "2026-02-30"]),
    ("alerts.blocks", [[], ["slack-webhook/ops", "openbell-email/night-2"]], ["ops", ["ops"], ["A/b"], ["a/b", "a/b"]]),
    ("alerts.repeat_minutes", ["0.2", 10_080], ["0.1", 10_081, "nan"]),
    ("alerts.repeat_minutes_of", [{}, {"halted": 15}], [{"moon": 15}, {"halted": 0}]),
    ("alerts.off", [[], ["halted", "disk-full"]], [["moon"], ["halted", "halted"]]),
    ("alerts.not_started_minutes", ["0.2", 10_080], ["0.1", 10_081]),
    ("alerts.no_heartbeat_minutes", ["0.2", 10_080], ["0.1", 10_081]),
    ("validation.missing_value", ["drop", "refuse"], ["warn", "ignore"]),
    ("validation.non_positive_price", ["drop", "refuse"], ["warn"]),
    ("validation.crossed_range", ["drop", "refuse"], ["warn"]),
    ("validation.outside_range", ["drop", "refuse"], ["warn"]),
    ("validation.duplicate_bar", ["drop", "refuse"], ["warn"]),
    ("validation.out_of_order", ["drop", "refuse"], ["warn"]),
    ("validation.price_jump", ["drop", "refuse", "warn"], ["ignore"]),
    ("validation.zero_volume", ["drop", "refuse", "warn"], ["ignore"]),
    ("validation.gap", ["drop", "refuse", "warn"], ["ignore"]),
    ("validation.max_jump_fraction", [0.001, 10], [0, 10.1]),
    ("validation.jump_believed_after_bars", [2, 1_000], [1, 1_001]),
    ("validation.max_staleness_bars", [0, 100_000], [-1, 100_001]),
    ("policy.name", ["flat", "buy_and_hold", "sma_crossover"], ["moon", ""]),
    ("policy.bundle", ["models/trend/1", "trend@0f3a52c1"], ["", "x" * 1_001, 7]),
    ("policy.stage", [None], ["production", ""]),
    (
        "policy.shadow",
        [None, {"name": "flat"}, {"name": "trend", "stage": "live"}],
        [{"name": "moon"}, "flat"],
    ),
    ("policy.minimum_confidence", ["off", 0.0001, 1], [0, 1.0001, "nan"]),
    ("policy.cooldown_bars", [0, 10_000], [-1, 10_001, 0.5]),
    ("policy.max_changes_per_session", ["off", 0, 100_000], [-1, 100_001]),
    ("policy.decision_budget_ms", ["0.1", 600_000], [0, 600_001, "nan"]),
    ("policy.max_age_days", ["off", 1, 36_500], [0, 36_501]),
    ("policy.failures_until_reduce_only", [1, 100_000], [0, 100_001]),
    ("sizing.resize_band_fraction", [0, 10], [-1, 11, "nan"]),
    (
        "sizing.method",
        ["fraction_of_equity", "fraction_of_cash", "fixed_shares", "fixed_notional", "volatility_target"],
        ["all_in"],
    ),
    ("sizing.fraction", ["0.0001", 1], [0, "1.0001", 25, -1, "nan"]),
    ("sizing.shares", [1, 10_000_000], [0, 10_000_001, -5, 1.5]),
    ("sizing.notional", ["0.000001", 10**11], [0, -1, "nan", 10**13]),
    ("sizing.risk_fraction", ["0.0001", 1], [0, "1.0001"]),
    ("sizing.atr_bars", [2, 1_000], [1, 1_001]),
    ("orders.order_type", ["MARKET", "LIMIT", "STOP_LIMIT", "TRAILING_STOP", "LIMIT_ON_CLOSE"], ["market", "MOON"]),
    ("orders.time_in_force", ["DAY", "GTC", "IOC", "FOK"], ["GTD2"]),
    ("orders.allow_short", [True, False], ["perhaps", 2]),
    ("orders.minimum_quantity", [1, 1_000_000], [0, 1_000_001]),
    ("orders.limit_offset_bps", ["-1000", 0, "1000"], ["-1001", "1001", "nan"]),
    ("orders.stop_offset_bps", ["0.1", "5000"], [0, -1, "5001"]),
    ("orders.trail_fraction", ["0.0001", "0.99"], [0, 1, 25]),
    ("orders.settle_seconds", [0, "0.5", 600], [-1, 601]),
    ("orders.max_attempts", [1, 10], [0, 11]),
    ("store.serve", [True, False], ["perhaps", 2]),
    ("reconciliation.every_minutes", [1, 1_440, "off"], [0, 1_441, "never"]),
    ("reconciliation.cash_tolerance", [0, "0.01"], [-1, "nan"]),
    ("reconciliation.average_price_tolerance_fraction", [0, "0.0001"], [-1, 1]),
    ("risk.max_order_shares", [1, 10**9], [0, -1]),
    ("risk.max_position_shares", [1, 10**9], [0, -1]),
    ("risk.max_position_fraction", ["0.001", 10], [0, "10.01", -1]),
    ("risk.max_order_notional", ["0.01", None], [0, -1]),
    ("risk.max_daily_loss", ["0.01", None], [0, -1]),
    ("risk.max_participation_fraction", ["0.001", 1, None], [0, "1.01"]),
    ("risk.participation_bars", [1, 1_000], [0, 1_001]),
    ("risk.max_spread_bps", ["0.1"], [0, -1]),
    ("risk.max_volatility_fraction", ["0.001"], [0, -1]),
    ("broker.kind", ["paper"], ["simulated", ""]),
    ("broker.paper.initial_cash", ["0.01", 10**10], [0, -1, 10**11, "nan", "0.0000001"]),
    ("broker.paper.slippage_bps", [0, 1_000], ["-0.1", "1000.1"]),
    ("broker.paper.commission_per_share", [0, "0.0035"], ["-0.001"]),
    ("broker.paper.commission_minimum", [0, 1], ["-0.01"]),
    ("broker.paper.commission_maximum_fraction", ["0.01", 1, None], [0, "1.01"]),
    ("broker.paper.max_volume_fraction", ["0.01", 1, None], [0, "1.01"]),
    ("book.cost_basis", ["fifo", "average"], ["lifo"]),
]


def _each(keys: str, good: list[object], bad: list[object]) -> list[tuple[str, list[object], list[object]]]:
    return [(key, good, bad) for key in keys.split()]


BOUNDS += [
    *_each(
        "risk.min_order_notional risk.max_position_notional risk.max_gross_exposure risk.max_net_exposure risk.max_symbol_loss",
        ["off", None, "0.000001", 10**11],
        [0, -1, "nan", "inf", "0.0000001"],
    ),
    *_each(
        "risk.max_price_deviation_fraction risk.max_concentration_fraction risk.max_daily_loss_fraction"
        " risk.max_session_drawdown_fraction risk.max_drawdown_fraction risk.max_drawdown_speed_fraction"
        " risk.max_value_at_risk_fraction risk.max_expected_shortfall_fraction",
        ["off", "0.0001", 1],
        [0, "1.0001", -1, "nan", 25],
    ),
    *_each(
        "risk.max_duplicate_orders risk.max_orders_per_second risk.max_orders_per_session risk.max_cancels_per_minute"
        " risk.max_positions risk.max_losing_streak risk.max_trades_per_session",
        ["off", 1, 1_000_000_000],
        [0, -1, 1.5, 1_000_000_001],
    ),
    *_each(
        "risk.max_leverage risk.max_hourly_turnover risk.max_daily_turnover",
        ["off", "0.001", 1_000],
        [0, -1, "1000.001", "nan"],
    ),
    ("risk.duplicate_window_seconds", [1, 86_400], [0, 86_401, "off"]),
    ("risk.lot_size", [1, 1_000_000], [0, 1_000_001, "off"]),
    *_each("risk.no_entry_first_minutes risk.no_entry_last_minutes", [0, 1_440], [-1, 1_441, 1.5]),
    ("risk.not_tradable", [[], ["SPY", "BRK.B"]], [["spy"], ["A B"], "SPY"]),
    ("risk.concentration_from_fraction", [0, 10], [-1, "10.1", "off"]),
    *_each("risk.cash_reserve_fraction risk.throttle_skip_fraction", [0, "0.999"], [-1, 1, "nan"]),
    ("risk.max_impact_bps", ["off", "0.001", 10_000], [0, "10000.1", -1]),
    ("risk.max_price_age_seconds", ["off", "0.1", 86_400], [0, "86400.1"]),
    ("risk.max_gap_bars", ["off", 0, 1_440], [-1, 1_441, 1.5]),
    ("risk.drawdown_since", [None, "2026-01-05"], ["off", "yesterday"]),
    ("risk.drawdown_speed_minutes", [1, 1_440], [0, 1_441]),
    ("risk.value_at_risk_confidence", ["0.5", "0.999"], ["0.499", 1, "nan"]),
    ("risk.value_at_risk_bars", [20, 10_000], [19, 10_001]),
    ("risk.value_at_risk_horizon_bars", [1, 10_000], [0, 10_001]),
    ("risk.near_limit_fraction", ["0.001", "0.999"], [0, 1]),
    ("risk.pattern_day_trader.enabled", [True, False], ["perhaps"]),
    ("risk.pattern_day_trader.brokers", [[], ["ib", "paper"]], ["ib"]),
    ("risk.pattern_day_trader.until", ["2027-10-20"], ["some day"]),
    ("risk.pattern_day_trader.minimum_equity", ["0.01", 25_000], [0, -1]),
    ("risk.pattern_day_trader.max_day_trades", [0, 1_000], [-1, 1_001]),
    ("risk.pattern_day_trader.sessions", [1, 30], [0, 31]),
    ("closing.hold_overnight", [True, False], ["perhaps"]),
    # Each step is no later than the one before it.
    ("closing.warn_minutes", [10, 1_440], [1_441, -1]),
    ("closing.reduce_only_minutes", [5, 10], [-1, 1_441]),
    ("closing.flatten_minutes", [1, "7.5", 10], [-1, 1_441]),
    ("closing.market_on_close_minutes", ["off", 0, "0.5", 5], [-1, 1_441]),
    ("stopping.alarm_after_seconds", ["0.1", 86_400], [0, 86_401]),
    *_each("stopping.flatten_on_loss stopping.flatten_on_cancel", [True, False], ["perhaps"]),
    ("orders.tick_size", ["off", "0.000001", "0.01"], [0, -1, "nan"]),
    ("orders.expected_commission_per_share", ["off", 0, "0.005"], [-1, "nan"]),
    ("orders.expected_commission_minimum", ["off", 0, "1.00"], [-1, "nan"]),
    ("train.name", ["a", TEXT_40, "trend-1_B"], ["", TEXT_40 + "a", "a b", "flat", "sma_crossover"]),
    ("train.kind", ["classifier", "regressor", "ppo", "a2c", "dqn", "recurrent_ppo"], ["sac", ""]),
    ("train.estimator", ["ridge", "my.models:make", None], ["", "x" * 201, 7]),
    ("train.parameters", [{}, {"C": 0.5, "net_arch": [8, 8], "activation": "tanh"}], [7, "C=1"]),
    (
        "train.features",
        [[], [{"name": "rsi", "parameters": {"bars": 14}}]],
        [[{"name": ""}], [{"parameters": {}}], ["rsi"], [{"name": f"f{number}"} for number in range(501)]],
    ),
    ("train.label.kind", ["return", "triple_barrier"], ["barrier", ""]),
    *_each("train.label.sign_at_end train.label.across_sessions", [True, False], ["perhaps"]),
    ("train.label.horizon_bars", [1, 10_000], [0, 10_001, 1.5]),
    ("train.label.band_fraction", [0, 1], [-0.001, 1.001, "nan"]),
    *_each("train.label.gain_volatilities train.label.loss_volatilities", [0.001, 1_000], [0, 1_001, "nan"]),
    ("train.label.volatility_bars", [2, 10_000], [1, 10_001]),
    ("train.walk_forward.folds", [1, 100], [0, 101]),
    ("train.walk_forward.test_sessions", [1, 250], [0, 251]),
    ("train.walk_forward.train_sessions", [1, 5_000], [0, 5_001]),
    ("train.walk_forward.embargo_sessions", [0, 250], [-1, 251]),
    *_each(
        "train.walk_forward.rolling train.agent.normalize train.agent.target_weights", [True, False], ["perhaps", 2]
    ),
    *_each("train.agent.total_steps train.agent.leg_steps", [1, 10**9], [0, 10**9 + 1]),
    ("train.agent.environments", [1, 64], [0, 65]),
    ("train.agent.patience", ["off", None, 1, 10_000], [0, 10_001]),
    ("train.agent.sessions_per_episode", [1, 250], [0, 251]),
    ("train.agent.turnover_penalty", [0, 1], [-0.001, 1.001, "nan"]),
    ("train.agent.highest_weight", [0.001, 10], [0, 10.001, "nan"]),
    *_each("train.first_date train.last_date", [None, "2026-01-05"], ["yesterday", "2026-02-30"]),
    ("train.seed", [0, 2**31 - 1], [-1, 2**31, 1.5]),
    ("train.buy_above_fraction", [-0.0004, 1], [-1.001, 1.001, "nan"]),
    ("train.sell_below_fraction", [-1, 0.0004], [-1.001, 1.001, "nan"]),
    ("train.validation_fraction", [0.001, 0.5], [0, 0.501, "nan"]),
    ("train.other_trials", [0, 1_000_000], [-1, 1_000_001]),
    # At least as many sessions are replayed as there have to be.
    ("promotion.unseen_sessions", [20, 250], [1, 251]),
    ("promotion.min_unseen_sessions", [2, 60], [1, 251]),
    ("promotion.worse_by_standard_errors", [0, "0.5", 10], [-1, "10.1", "nan"]),
    ("promotion.max_drawdown_factor", ["0.1", 100], [0, "100.1"]),
    *_each("promotion.drawdown_floor_fraction promotion.max_refused_fraction", [0, "0.5", 1], [-1, "1.1", "nan"]),
    ("promotion.min_paper_sessions", [0, 250], [-1, 251]),
]


BOUNDS += [
    ("broker.kind", ["paper", "ib"], ["ibkr", ""]),
    ("broker.ib.host", ["127.0.0.1", "gateway", "h" * 253], ["", "h" * 254]),
    ("broker.ib.port", [1, 65_535], [0, 65_536, "4002a"]),
    ("broker.ib.client_id", [1, 999_999], [0, 1_000_000, 1.5]),
    ("broker.ib.account", ["DU1234567", "U1234567", None], ["", "12", "DU 1", "1234567"]),
    ("broker.ib.allow_live", ["U1234567", None], [True, "yes please", ""]),
    ("broker.ib.timezone", ["America/New_York", "UTC"], ["Mars/Olympus", "", "../etc"]),
    *_each(
        "broker.ib.connect_timeout_seconds broker.ib.answer_timeout_seconds broker.ib.acknowledgement_timeout_seconds"
        " broker.ib.heartbeat_seconds",
        ["0.1", 3_600],
        [0, -1, 3_601, "nan"],
    ),
    ("broker.ib.reconnect_first_seconds", ["0.1", 30], [0, -1, 3_601]),
    ("broker.ib.reconnect_longest_seconds", [1, 3_600], [0, 3_601]),
    ("broker.ib.messages_per_second", [1, 50], [0, 51]),
    ("broker.ib.restart_at", ["23:45", "off"], ["25:00", "midnight"]),
    ("broker.ib.restart_minutes", [1, 240], [0, 241]),
    ("broker.ib.weekly_restart_minutes", [1, 2_880], [0, 2_881]),
    ("broker.ib.quiet_before_restart_minutes", [0, 120], [-1, 121]),
    ("broker.ib.live_bars", ["5s", "keep_up_to_date"], ["1min", ""]),
    ("broker.ib.late_bar_seconds", [0, 60], [-1, "60.1"]),
    ("broker.ib.market_data", ["live", "delayed"], ["frozen", ""]),
    (
        "broker.ib.contracts",
        [[], [{"symbol": "SPY", "primary_exchange": "ARCA"}], [{"symbol": "BRK.B", "broker_symbol": "BRK B"}]],
        [[{"symbol": "spy"}], [{"symbol": "SPY", "currency": "usd"}], [{"symbol": "SPY", "contract_id": 0}]],
    ),
]


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, good, _ in BOUNDS for value in good])
def test_a_value_up_to_its_bound_is_taken(key: str, value: object) -> None:
    parsed(key, value)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, _, bad in BOUNDS for value in bad])
def test_a_value_beyond_its_bound_is_refused_by_name(key: str, value: object) -> None:
    message = refused(key, value)
    assert message.startswith(f"Settings from a test are not valid. {key}")


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as error:
        parse_settings({"risk": {"max_order_shares": 0}, "sizing": {"fraction": 25}, "stroe": {}}, "a test")
    assert all(part in str(error.value) for part in ("risk.max_order_shares = 0", "sizing.fraction = 25", "stroe"))


def test_a_section_is_a_table() -> None:
    assert "session = 3" in refused("session", 3)


def test_a_trained_policy_is_meant_by_bundle_or_by_name_and_stage() -> None:
    by_stage = parse_settings({"policy": {"name": "trend", "stage": "paper"}}, "a test").policy
    by_folder = parse_settings({"policy": {"bundle": "models/trend/7"}}, "a test").policy
    by_fingerprint = parse_settings({"policy": {"bundle": "trend@0f3a52c1"}}, "a test").policy
    assert [choice.is_trained for choice in (by_stage, by_folder, by_fingerprint, Settings().policy)] == [True] * 3 + [
        False
    ]
    assert (by_folder.folder, by_folder.fingerprint) == (Path("models/trend/7"), None)
    assert (by_fingerprint.folder, by_fingerprint.fingerprint) == (None, "trend@0f3a52c1")
    assert [choice.label for choice in (by_stage, by_folder, by_fingerprint)] == ["trend", "7", "trend"]
    for wrong in (
        {"name": "trend", "stage": "paper", "bundle": "x"},
        {"bundle": "x", "parameters": {"fast": 3}},
        {"name": "flat", "stage": "paper"},
    ):
        with pytest.raises(ConfigurationError, match="policy"):
            parse_settings({"policy": wrong}, "a test")


@pytest.mark.parametrize(
    ("over", "left"),
    [
        ({"name": "flat"}, {"name": "flat"}),
        ({"bundle": "x/y"}, {"bundle": "x/y"}),
        ({"stage": "live"}, {"name": "trend", "stage": "live"}),
        ({"cooldown_bars": 3}, {"name": "trend", "stage": "paper", "cooldown_bars": 3}),
    ],
)
def test_a_policy_named_over_the_file_is_the_only_one_meant(
    tmp_path: Path, over: dict[str, Any], left: dict[str, Any]
) -> None:
    file = tmp_path / "openbell.toml"
    file.write_text('[policy]\nname = "trend"\nstage = "paper"\n')
    assert read_settings(file, {"policy": over}).policy == parse_settings({"policy": left}, "a test").policy


def test_a_symbol_of_the_file_needs_a_file() -> None:
    assert "it goes with feed.bars" in refused("feed.symbol", "SPY")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().risk.max_order_shares = 1_000_000  # type: ignore[misc]


def test_the_strategy_is_named_after_its_policy_unless_it_has_a_name() -> None:
    assert Settings().strategy == "sma_crossover"
    assert parsed("session.strategy", "mine").strategy == "mine"


def test_the_defaults_are_careful() -> None:
    settings = Settings()
    assert settings.broker.kind == "paper"
    assert (settings.risk.max_position_fraction, settings.risk.max_daily_loss) == (Decimal("0.10"), Decimal(1_000))
    assert (settings.risk.max_order_shares, settings.orders.allow_short) == (500, False)


# The file


def test_a_file_is_read_and_the_options_lie_over_it(tmp_path: Path) -> None:
    file = tmp_path / "openbell.toml"
    file.write_text(
        "[sizing]\nfraction = 0.1\nshares = 7\n[policy]\nparameters = { fast = 3, slow = 9 }\n[feed.synthetic]\nseed = 3\n"
    )
    settings = read_settings(file, {"sizing": {"shares": 8}, "feed": {"synthetic": {"gap_fraction": 0.5}}})
    # A fraction is what is written, not the float nearest to it.
    assert settings.sizing.fraction == Decimal("0.1")
    assert settings.sizing.shares == 8
    assert settings.policy.parameters == {"fast": 3, "slow": 9}
    assert (settings.feed.synthetic.seed, settings.feed.synthetic.gap_fraction) == (3, 0.5)


def test_without_a_file_there_are_the_defaults() -> None:
    assert read_settings(None) == Settings()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[sizing\nfraction = 1", r"is not TOML: .*line 1"),
        (b"[sizing]\nfraction = 0.1\nfraction = 0.2", r"is not TOML"),
        (b"\xff\xfe", r"cannot be read"),
        (b"[sizing]\nfractoin = 0.1", r"openbell\.toml are not valid\. Unknown key fractoin in \[sizing\]"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "openbell.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said):
        read_settings(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.toml does not exist"):
        read_settings(tmp_path / "nothing.toml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("warn_minutes", "9.9", "closing.reduce_only_minutes"),
        ("reduce_only_minutes", "4.9", "closing.flatten_minutes"),
        ("flatten_minutes", "10.1", "closing.reduce_only_minutes"),
        ("market_on_close_minutes", "5.1", "closing.flatten_minutes"),
    ],
)
def test_the_steps_before_the_close_come_in_their_order(key: str, value: str, named: str) -> None:
    message = refused(f"closing.{key}", value)
    assert f"closing.{key}" in message
    assert named in message


def at_ib(timeframe: str = "1min", **closing: object) -> Settings:
    return parse_settings({"broker": {"kind": "ib"}, "session": {"timeframe": timeframe}, "closing": closing}, "a test")


def test_without_a_word_about_it_nothing_goes_into_a_real_auction_too_late() -> None:
    assert Settings().closing.market_on_close_minutes == 1
    settings = at_ib()
    assert settings.closing.market_on_close_minutes is None
    assert settings.closing.flatten_minutes == 5
    # As a session keeps them, and as they are read again.
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("timeframe", "late", "least"),
    [("1min", "10.9", 11), ("5min", "14.9", 15)],
)
def test_an_order_for_a_real_auction_is_sent_with_a_bar_that_ends_before_its_cutoff(
    timeframe: str, late: str, least: int
) -> None:
    before = dict.fromkeys(("warn_minutes", "reduce_only_minutes", "flatten_minutes"), 60)
    kept = at_ib(timeframe, **before, market_on_close_minutes=least)
    assert kept.closing.market_on_close_minutes == least
    with pytest.raises(ConfigurationError, match=f"set it to at least {least}"):
        at_ib(timeframe, **before, market_on_close_minutes=late)
    at_ib(timeframe, **before, market_on_close_minutes=late, hold_overnight=True)
    assert at_ib(timeframe, market_on_close_minutes="off").closing.market_on_close_minutes is None
    # The last bar of a quarter of an hour that can still trade ends in time.
    assert at_ib("15min", market_on_close_minutes=1).closing.market_on_close_minutes == 1


@pytest.mark.parametrize("kind", ["MARKET_ON_CLOSE", "LIMIT_ON_OPEN"])
def test_an_order_for_an_auction_has_no_other_time_in_force(kind: str) -> None:
    message = refused("orders", {"order_type": kind, "time_in_force": "GTC"})
    assert "no time in force but DAY" in message


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"sell_below_fraction": 0.001, "buy_above_fraction": 0.001}, "must be less than"),
        ({"kind": "ppo", "estimator": "ridge"}, "goes with a classifier or a regressor, not with ppo"),
        ({"kind": "dqn", "agent": {"target_weights": True}}, "chooses among words"),
        ({"first_date": "2026-01-06", "last_date": "2026-01-05"}, "before first_date, 2026-01-06"),
    ],
)
def test_what_is_trained_goes_together(train: dict[str, Any], said: str) -> None:
    assert said in refused("train", train)


def test_a_key_of_a_feature_is_named_with_the_one_that_was_meant() -> None:
    assert "did you mean parameters?" in refused("train.features", [{"name": "rsi", "parametres": {}}])


# JSON and the form


def test_settings_survive_the_way_through_json() -> None:
    for key, good, _ in BOUNDS:
        for value in good:
            settings = parsed(key, value)
            again = Settings.model_validate_json(settings.model_dump_json())
            assert again == settings
            assert set_to(again, key) == set_to(settings, key)


def test_every_field_of_the_form_is_described() -> None:
    schema = Settings.model_json_schema()
    models = {"Settings": schema, **schema["$defs"]}
    bare = [
        f"{name}.{field}"
        for name, model in models.items()
        for field, what in model.get("properties", {}).items()
        if not what.get("description") and not models[what.get("$ref", "/").rpartition("/")[2]].get("description")
    ]
    assert bare == []


def test_every_key_is_bounded_somewhere_above() -> None:
    free = {"feed.bars", "feed.timezone", "feed.symbol", "policy.parameters", "broker.paper.path", "store.path"}
    free |= {"store.policies"}
    # The rest of the findings may each be refused, dropped or warned of, as price_jump is.
    free |= {f"validation.{finding}" for finding in ("unfinished_bar", "stale_data", "too_little_history")}
    values = {key for key in KEYS if key not in {path for path, _ in sections()}}
    assert values - {key for key, *_ in BOUNDS} == free


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"allow_live": "DU1234567"}, "is a paper account"),
        ({"account": "U7654321", "allow_live": "U1234567"}, "is not the account U7654321"),
        ({"reconnect_first_seconds": 60}, "reconnect_longest_seconds"),
        ({"contracts": [{"symbol": "SPY"}, {"symbol": "SPY"}]}, "more than once: SPY"),
    ],
)
def test_what_is_set_about_the_gateway_has_to_go_together(section: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse_settings({"broker": {"ib": section}}, "a test")


@pytest.mark.parametrize(
    ("code", "paper"), [("DU1234567", True), ("DF12345", True), ("U1234567", False), ("DAVID", False)]
)
def test_the_name_of_an_account_says_whether_it_is_a_paper_one(code: str, paper: bool) -> None:
    assert is_paper_account(code) is paper
