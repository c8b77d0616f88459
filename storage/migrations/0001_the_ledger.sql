-- The record of every session: facts are only ever added; sessions, orders and halts also say where they stand now.
-- Times are UTC. Money has six places: DECIMAL(18,6) where it is one amount, DECIMAL(38,6) where views add it up.

CREATE TABLE sessions (
    session_id            VARCHAR PRIMARY KEY,
    strategy              VARCHAR NOT NULL,
    account               VARCHAR NOT NULL,
    session_date          DATE NOT NULL,
    mode                  VARCHAR NOT NULL,
    state                 VARCHAR NOT NULL,
    started_at            TIMESTAMPTZ NOT NULL,
    ended_at              TIMESTAMPTZ,
    last_bar_time         TIMESTAMPTZ,
    settings              JSON NOT NULL,
    policy_fingerprint    VARCHAR NOT NULL,
    starting_equity       DECIMAL(18, 6) NOT NULL,
    starting_realized_pnl DECIMAL(18, 6) NOT NULL,
    reason                VARCHAR NOT NULL DEFAULT ''
);
COMMENT ON TABLE sessions IS 'One row per session: one exchange date, account and strategy.';
COMMENT ON COLUMN sessions.session_date IS 'The exchange''s date, not a UTC date.';
COMMENT ON COLUMN sessions.mode IS 'Where prices came from: synthetic, recorded or live.';
COMMENT ON COLUMN sessions.state IS 'RUNNING, COMPLETED, STOPPED or REFUSED. RUNNING without a process is a session that was killed.';
COMMENT ON COLUMN sessions.last_bar_time IS 'Open of the newest bar that was fully processed; a resumed session goes on after it.';
COMMENT ON COLUMN sessions.starting_equity IS 'Equity of the account before the first bar.';
COMMENT ON COLUMN sessions.starting_realized_pnl IS 'Realized P&L of the account, since its first session, before the first bar.';
COMMENT ON COLUMN sessions.reason IS 'Why it ended as it did, in words; empty when there is nothing to say.';

CREATE TABLE bars (
    symbol    VARCHAR NOT NULL,
    timeframe VARCHAR NOT NULL,
    bar_time  TIMESTAMPTZ NOT NULL,
    open      DECIMAL(18, 6),
    high      DECIMAL(18, 6),
    low       DECIMAL(18, 6),
    close     DECIMAL(18, 6),
    volume    BIGINT,
    PRIMARY KEY (symbol, timeframe, bar_time)
);
COMMENT ON TABLE bars IS 'Bars as they were imported, holes and bad prints included; validation judges them when they are used.';
COMMENT ON COLUMN bars.bar_time IS 'The bar''s open.';
COMMENT ON COLUMN bars.volume IS 'Whole shares; NULL where the source had none.';

CREATE TABLE session_bars (
    session_id VARCHAR NOT NULL,
    bar_time   TIMESTAMPTZ NOT NULL,
    symbol     VARCHAR NOT NULL,
    open       DECIMAL(18, 6) NOT NULL,
    high       DECIMAL(18, 6) NOT NULL,
    low        DECIMAL(18, 6) NOT NULL,
    close      DECIMAL(18, 6) NOT NULL,
    volume     BIGINT,
    PRIMARY KEY (session_id, bar_time, symbol)
);
COMMENT ON TABLE session_bars IS 'The bars a session decided on, after validation, wherever they came from: also those of a file or an invented market, which never enter the table bars. A replay over stored bars does not write them again.';
COMMENT ON COLUMN session_bars.bar_time IS 'The bar''s open.';
COMMENT ON COLUMN session_bars.volume IS 'Whole shares; NULL where the source had none.';

CREATE TABLE decisions (
    session_id      VARCHAR NOT NULL,
    bar_time        TIMESTAMPTZ NOT NULL,
    symbol          VARCHAR NOT NULL,
    action          VARCHAR NOT NULL,
    target_quantity BIGINT NOT NULL,
    confidence      DOUBLE,
    latency_ms      DOUBLE NOT NULL,
    error           VARCHAR,
    PRIMARY KEY (session_id, bar_time, symbol)
);
COMMENT ON TABLE decisions IS 'What the policy wanted of each symbol on each bar, HOLD included.';
COMMENT ON COLUMN decisions.target_quantity IS 'The position that was asked for: signed whole shares, negative is short.';
COMMENT ON COLUMN decisions.confidence IS 'Between 0 and 1; NULL where the policy has none.';
COMMENT ON COLUMN decisions.latency_ms IS 'Time the policy took; 0 where it was evaluated over history at once.';
COMMENT ON COLUMN decisions.error IS 'Why the policy failed; such a decision is a HOLD that was never traded on.';

CREATE TABLE risk_checks (
    session_id      VARCHAR NOT NULL,
    bar_time        TIMESTAMPTZ NOT NULL,
    symbol          VARCHAR,
    client_order_id VARCHAR,
    rule            VARCHAR NOT NULL,
    verdict         VARCHAR NOT NULL,
    reason          VARCHAR NOT NULL,
    observed        DECIMAL(38, 6),
    limit_value     DECIMAL(38, 6)
);
-- The symbol and the order are missing where a rule spoke about the account, so a primary key cannot hold them.
CREATE UNIQUE INDEX risk_checks_once ON risk_checks
    (session_id, bar_time, rule, verdict, coalesce(symbol, ''), coalesce(client_order_id, ''));
COMMENT ON TABLE risk_checks IS 'Rules that trimmed or refused an order, or halted trading; a rule that agreed leaves no row.';
COMMENT ON COLUMN risk_checks.verdict IS 'TRIMMED, REFUSED or HALTED.';
COMMENT ON COLUMN risk_checks.observed IS 'What the rule saw, in the unit of its limit.';

CREATE TABLE orders (
    client_order_id VARCHAR PRIMARY KEY,
    session_id      VARCHAR NOT NULL,
    account         VARCHAR NOT NULL,
    bar_time        TIMESTAMPTZ NOT NULL,
    symbol          VARCHAR NOT NULL,
    side            VARCHAR NOT NULL,
    quantity        BIGINT NOT NULL,
    order_type      VARCHAR NOT NULL,
    limit_price     DECIMAL(18, 6),
    stop_price      DECIMAL(18, 6),
    time_in_force   VARCHAR NOT NULL,
    parent_id       VARCHAR,
    oca_group       VARCHAR,
    reference_price DECIMAL(18, 6) NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    status          VARCHAR NOT NULL,
    filled_quantity BIGINT NOT NULL,
    broker_order_id VARCHAR
);
COMMENT ON TABLE orders IS 'Intents, saved before they are sent, with where each of them stands now.';
COMMENT ON COLUMN orders.bar_time IS 'The bar the order was decided on.';
COMMENT ON COLUMN orders.side IS 'BUY or SELL.';
COMMENT ON COLUMN orders.quantity IS 'Positive whole shares.';
COMMENT ON COLUMN orders.reference_price IS 'Close of the bar it was decided on: what slippage is measured against.';
COMMENT ON COLUMN orders.status IS 'CREATED means: saved, and nothing is known to have been sent.';
COMMENT ON COLUMN orders.filled_quantity IS 'Sum of its fills.';

CREATE TABLE order_events (
    client_order_id VARCHAR NOT NULL,
    event_time      TIMESTAMPTZ NOT NULL,
    status          VARCHAR NOT NULL,
    detail          VARCHAR NOT NULL,
    session_id      VARCHAR NOT NULL,
    broker_order_id VARCHAR,
    PRIMARY KEY (client_order_id, event_time, status, detail)
);
COMMENT ON TABLE order_events IS 'Every step that was reported of an order, late ones included; only steps that an order may take moved its status.';
COMMENT ON COLUMN order_events.session_id IS 'The session that learned of it.';

CREATE TABLE fills (
    exec_id         VARCHAR PRIMARY KEY,
    booking         BIGINT NOT NULL,
    client_order_id VARCHAR NOT NULL,
    session_id      VARCHAR NOT NULL,
    account         VARCHAR NOT NULL,
    symbol          VARCHAR NOT NULL,
    side            VARCHAR NOT NULL,
    quantity        BIGINT NOT NULL,
    price           DECIMAL(18, 6) NOT NULL,
    commission      DECIMAL(18, 6),
    filled_at       TIMESTAMPTZ NOT NULL,
    source          VARCHAR NOT NULL
);
COMMENT ON TABLE fills IS 'Executions: the truth that positions, cash and P&L are folded from.';
COMMENT ON COLUMN fills.booking IS 'Grows with every fill that is written: the order in which the book folds them.';
COMMENT ON COLUMN fills.side IS 'BUY or SELL.';
COMMENT ON COLUMN fills.quantity IS 'Positive whole shares.';
COMMENT ON COLUMN fills.commission IS 'Positive money paid; NULL until the broker has said.';
COMMENT ON COLUMN fills.source IS 'Where it was learned from: the broker''s name, or an adjustment''s.';

CREATE TABLE equity (
    session_id     VARCHAR NOT NULL,
    bar_time       TIMESTAMPTZ NOT NULL,
    cash           DECIMAL(18, 6) NOT NULL,
    market_value   DECIMAL(18, 6) NOT NULL,
    equity         DECIMAL(18, 6) NOT NULL,
    realized_pnl   DECIMAL(18, 6) NOT NULL,
    unrealized_pnl DECIMAL(18, 6) NOT NULL,
    drawdown       DECIMAL(18, 6) NOT NULL,
    marks          MAP(VARCHAR, DECIMAL(18, 6)),
    PRIMARY KEY (session_id, bar_time)
);
COMMENT ON TABLE equity IS 'What the account was worth at the close of each bar: cash + market_value = equity.';
COMMENT ON COLUMN equity.market_value IS 'Signed: short positions count negative.';
COMMENT ON COLUMN equity.realized_pnl IS 'Since the account''s first session, net of commissions; daily_pnl has the differences.';
COMMENT ON COLUMN equity.unrealized_pnl IS 'Of what is held, net of the opening commissions.';
COMMENT ON COLUMN equity.drawdown IS 'Fraction below the highest equity so far: 0 at a new high, never negative.';
COMMENT ON COLUMN equity.marks IS 'Price of each held symbol that the positions were valued at; NULL where it was not kept for this bar.';

CREATE TABLE position_snapshots (
    session_id   VARCHAR NOT NULL,
    bar_time     TIMESTAMPTZ NOT NULL,
    account      VARCHAR NOT NULL,
    symbol       VARCHAR NOT NULL,
    quantity     BIGINT NOT NULL,
    cost_basis   DECIMAL(18, 6) NOT NULL,
    realized_pnl DECIMAL(18, 6) NOT NULL,
    PRIMARY KEY (session_id, bar_time, symbol)
);
COMMENT ON TABLE position_snapshots IS 'Positions as the book had them after the fills of a bar; a fold over fills gives the same.';
COMMENT ON COLUMN position_snapshots.quantity IS 'Signed: negative is short, 0 is closed.';
COMMENT ON COLUMN position_snapshots.cost_basis IS 'Cost of the open shares with opening commissions; negative (the net proceeds) for a short position.';
COMMENT ON COLUMN position_snapshots.realized_pnl IS 'Of this symbol since the account''s first session, net of commissions.';

CREATE TABLE data_findings (
    session_id VARCHAR NOT NULL,
    symbol     VARCHAR NOT NULL,
    bar_time   TIMESTAMPTZ,
    finding    VARCHAR NOT NULL,
    action     VARCHAR NOT NULL,
    detail     VARCHAR NOT NULL
);
CREATE UNIQUE INDEX data_findings_once ON data_findings
    (session_id, symbol, coalesce(epoch_us(bar_time), 0), finding, action, detail);
COMMENT ON TABLE data_findings IS 'What validation found wrong with a bar, and what was done about it.';
COMMENT ON COLUMN data_findings.bar_time IS 'NULL where the finding is about the data as a whole.';
COMMENT ON COLUMN data_findings.action IS 'refuse (the session), drop (the bar) or warn.';

CREATE TABLE reconciliations (
    reconciliation_id BIGINT PRIMARY KEY,
    session_id        VARCHAR NOT NULL,
    reconciled_at     TIMESTAMPTZ NOT NULL,
    stage             VARCHAR NOT NULL,
    discrepancies     BIGINT NOT NULL
);
COMMENT ON TABLE reconciliations IS 'Comparisons of the ledger with the broker, those that found nothing included.';

CREATE TABLE discrepancies (
    reconciliation_id BIGINT NOT NULL,
    number            BIGINT NOT NULL,
    session_id        VARCHAR NOT NULL,
    kind              VARCHAR NOT NULL,
    subject           VARCHAR NOT NULL,
    ours              VARCHAR NOT NULL,
    brokers           VARCHAR NOT NULL,
    proposed_repair   VARCHAR NOT NULL,
    PRIMARY KEY (reconciliation_id, number)
);
COMMENT ON TABLE discrepancies IS 'Differences that a comparison with the broker found; never repaired silently.';

CREATE TABLE halts (
    scope      VARCHAR NOT NULL,
    halted_at  TIMESTAMPTZ NOT NULL,
    session_id VARCHAR,
    reason     VARCHAR NOT NULL,
    expires_at TIMESTAMPTZ,
    cleared_at TIMESTAMPTZ,
    cleared_by VARCHAR,
    PRIMARY KEY (scope, halted_at)
);
COMMENT ON TABLE halts IS 'Latches against new risk. One stands until it is cleared, or until expires_at where that is given.';
COMMENT ON COLUMN halts.scope IS 'all, account:NAME, strategy:NAME or symbol:NAME.';
COMMENT ON COLUMN halts.session_id IS 'The session that halted itself; NULL where a person did it.';

CREATE TABLE policies (
    fingerprint VARCHAR PRIMARY KEY,
    name        VARCHAR NOT NULL,
    kind        VARCHAR NOT NULL,
    stage       VARCHAR NOT NULL,
    metrics     JSON,
    created_at  TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE policies IS 'Registered policy bundles.';
