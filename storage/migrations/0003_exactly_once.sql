-- What exactly-once needs: corrected executions, amendments, what was made elsewhere, locks, leases and requests. Tables
-- that gain columns are made anew, because DuckDB adds none that must have a value; views find them by their names.

CREATE TEMP TABLE orders_before AS SELECT * FROM orders;
DROP TABLE orders;
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
    trail_amount    DECIMAL(18, 6),
    trail_fraction  DECIMAL(18, 6),
    time_in_force   VARCHAR NOT NULL,
    parent_id       VARCHAR,
    oca_group       VARCHAR,
    reference_price DECIMAL(18, 6) NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    status          VARCHAR NOT NULL,
    attempts        INTEGER NOT NULL,
    filled_quantity BIGINT NOT NULL,
    broker_order_id VARCHAR
);
INSERT INTO orders BY NAME
SELECT orders_before.*, coalesce(sent.attempts, 0) AS attempts
FROM orders_before
LEFT JOIN (
    SELECT client_order_id, count(*) AS attempts FROM order_events WHERE status = 'SUBMITTED' GROUP BY client_order_id
) AS sent USING (client_order_id)
ORDER BY orders_before.rowid;
DROP TABLE orders_before;
COMMENT ON TABLE orders IS 'Intents, saved before they are sent, with where each of them stands now.';
COMMENT ON COLUMN orders.bar_time IS 'The bar the order was decided on.';
COMMENT ON COLUMN orders.side IS 'BUY or SELL.';
COMMENT ON COLUMN orders.quantity IS 'Positive whole shares, as amended; prices too. order_amendments has what was changed.';
COMMENT ON COLUMN orders.trail_amount IS 'Distance of a trailing stop from the best price, in money per share.';
COMMENT ON COLUMN orders.trail_fraction IS 'The same as a fraction of the best price.';
COMMENT ON COLUMN orders.parent_id IS 'The order whose fills this one protects: it sleeps until that one fills.';
COMMENT ON COLUMN orders.oca_group IS 'Of the orders that share it, a fill of one takes as many shares from the others.';
COMMENT ON COLUMN orders.reference_price IS 'Close of the bar it was decided on: what slippage is measured against.';
COMMENT ON COLUMN orders.status IS 'CREATED means: saved, and nothing is known to have been sent.';
COMMENT ON COLUMN orders.attempts IS 'How often it was handed to the broker.';
COMMENT ON COLUMN orders.filled_quantity IS 'Sum of its fills; more than quantity where the broker overfilled it.';

CREATE TABLE order_amendments (
    client_order_id VARCHAR NOT NULL,
    number          INTEGER NOT NULL,
    session_id      VARCHAR NOT NULL,
    amended_at      TIMESTAMPTZ NOT NULL,
    status          VARCHAR NOT NULL,
    quantity        BIGINT,
    limit_price     DECIMAL(18, 6),
    stop_price      DECIMAL(18, 6),
    trail_amount    DECIMAL(18, 6),
    trail_fraction  DECIMAL(18, 6),
    PRIMARY KEY (client_order_id, number)
);
COMMENT ON TABLE order_amendments IS 'Changes of working orders, saved before they are sent; those that the broker accepted are in orders.';
COMMENT ON COLUMN order_amendments.number IS 'Counts the amendments of one order from 1.';
COMMENT ON COLUMN order_amendments.status IS 'SUBMITTED (saved, about to be sent), ACCEPTED or REJECTED.';
COMMENT ON COLUMN order_amendments.quantity IS 'The new total, filled shares included; this and the prices are NULL where they stay.';

CREATE TEMP TABLE fills_before AS SELECT * FROM fills;
DROP TABLE fills;
CREATE TABLE fills (
    exec_id         VARCHAR PRIMARY KEY,
    booking         BIGINT NOT NULL,
    lineage         VARCHAR NOT NULL,
    revision        INTEGER NOT NULL,
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
INSERT INTO fills BY NAME SELECT *, exec_id AS lineage, 0 AS revision FROM fills_before ORDER BY rowid;
DROP TABLE fills_before;
COMMENT ON TABLE fills IS 'Executions that count: the truth that positions, cash and P&L are folded from. What was corrected is in superseded_fills.';
COMMENT ON COLUMN fills.booking IS 'Grows with every fill that is written: the order in which the book folds them. A correction takes the place of what it corrects.';
COMMENT ON COLUMN fills.lineage IS 'Shared by an execution and its corrections.';
COMMENT ON COLUMN fills.revision IS 'Of a lineage the highest revision counts.';
COMMENT ON COLUMN fills.client_order_id IS 'Empty where the order was made elsewhere.';
COMMENT ON COLUMN fills.side IS 'BUY or SELL.';
COMMENT ON COLUMN fills.quantity IS 'Positive whole shares.';
COMMENT ON COLUMN fills.commission IS 'Positive money paid; NULL until the broker has said.';
COMMENT ON COLUMN fills.source IS 'Where it was learned from: the broker''s name; inferred, where no execution was seen of it; claimed, where it was made elsewhere and a person said that it belongs here.';

CREATE TABLE superseded_fills (
    exec_id         VARCHAR PRIMARY KEY,
    booking         BIGINT NOT NULL,
    lineage         VARCHAR NOT NULL,
    revision        INTEGER NOT NULL,
    client_order_id VARCHAR NOT NULL,
    session_id      VARCHAR NOT NULL,
    account         VARCHAR NOT NULL,
    symbol          VARCHAR NOT NULL,
    side            VARCHAR NOT NULL,
    quantity        BIGINT NOT NULL,
    price           DECIMAL(18, 6) NOT NULL,
    commission      DECIMAL(18, 6),
    filled_at       TIMESTAMPTZ NOT NULL,
    source          VARCHAR NOT NULL,
    superseded_by   VARCHAR NOT NULL,
    superseded_at   TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE superseded_fills IS 'Fills that counted until something better was known: corrected executions, and inferred fills that gave way to real ones.';
COMMENT ON COLUMN superseded_fills.superseded_by IS 'exec_id of the execution that was the reason.';
COMMENT ON COLUMN superseded_fills.superseded_at IS 'When that was written, by the wall clock.';

CREATE TEMP TABLE snapshots_before AS
SELECT
    *, rowid AS written,
    coalesce(lead(bar_time) OVER (PARTITION BY session_id, symbol ORDER BY bar_time), 'infinity'::TIMESTAMPTZ) AS ends_at
FROM position_snapshots;
DROP TABLE position_snapshots;
CREATE TABLE position_snapshots (
    account      VARCHAR NOT NULL,
    symbol       VARCHAR NOT NULL,
    booking      BIGINT NOT NULL,
    session_id   VARCHAR NOT NULL,
    bar_time     TIMESTAMPTZ NOT NULL,
    quantity     BIGINT NOT NULL,
    cost_basis   DECIMAL(18, 6) NOT NULL,
    realized_pnl DECIMAL(18, 6) NOT NULL,
    PRIMARY KEY (account, symbol, booking)
);
-- A snapshot was written for each bar that had fills: those before the next one's bar are in it.
INSERT INTO position_snapshots BY NAME
WITH placed AS (
    SELECT
        account, symbol, session_id, bar_time, quantity, cost_basis, realized_pnl, written,
        coalesce((
            SELECT max(fills.booking) FROM fills
            WHERE fills.account = before.account AND fills.symbol = before.symbol
                AND fills.session_id = before.session_id AND fills.filled_at < before.ends_at
        ), 0) AS booking
    FROM snapshots_before AS before
)
SELECT account, symbol, booking, session_id, bar_time, quantity, cost_basis, realized_pnl
FROM placed
QUALIFY row_number() OVER (PARTITION BY account, symbol, booking ORDER BY written DESC) = 1
ORDER BY written;
DROP TABLE snapshots_before;
COMMENT ON TABLE position_snapshots IS 'Positions as the book had them after the fills of a bar; a fold over fills gives the same.';
COMMENT ON COLUMN position_snapshots.booking IS 'The newest fill of the symbol that is in it; corrections and late commissions restate the row.';
COMMENT ON COLUMN position_snapshots.quantity IS 'Signed: negative is short, 0 is closed.';
COMMENT ON COLUMN position_snapshots.cost_basis IS 'Cost of the open shares with opening commissions; negative (the net proceeds) for a short position.';
COMMENT ON COLUMN position_snapshots.realized_pnl IS 'Of this symbol since the account''s first session, net of commissions.';

CREATE OR REPLACE VIEW positions AS
WITH newest_snapshot AS (
    SELECT
        account, symbol, arg_max(bar_time, booking) AS bar_time, arg_max(quantity, booking) AS quantity,
        arg_max(cost_basis, booking) AS cost_basis
    FROM position_snapshots
    GROUP BY account, symbol
),
-- Newest is what was written last, not what has the latest bar: an account can trade an earlier day. Rows of equity are
-- only ever added, so that rowid is the order of writing.
newest_marks AS (
    SELECT
        sessions.account, arg_max(equity.bar_time, equity.rowid) AS bar_time,
        arg_max(equity.marks, equity.rowid) AS marks
    FROM equity
    JOIN sessions USING (session_id)
    WHERE equity.marks IS NOT NULL
    GROUP BY sessions.account
),
valued AS (
    SELECT
        held.account, held.symbol, held.quantity, held.cost_basis, marked.marks[held.symbol] AS last_price,
        greatest(held.bar_time, marked.bar_time) AS as_of
    FROM newest_snapshot AS held
    LEFT JOIN newest_marks AS marked USING (account)
    WHERE held.quantity <> 0
)
SELECT
    account, symbol, quantity,
    CAST(cost_basis / quantity AS DECIMAL(18, 6)) AS average_cost,
    cost_basis,
    last_price,
    CAST(quantity * last_price AS DECIMAL(38, 6)) AS market_value,
    CAST(quantity * last_price - cost_basis AS DECIMAL(38, 6)) AS unrealized_pnl,
    as_of
FROM valued;
COMMENT ON VIEW positions IS 'What each account holds: the newest snapshot of each symbol, valued at the newest marks. Quantity, cost basis and market value are negative for short positions.';

CREATE TEMP TABLE reconciliations_before AS SELECT * FROM reconciliations;
DROP TABLE reconciliations;
CREATE TABLE reconciliations (
    reconciliation_id BIGINT PRIMARY KEY,
    account           VARCHAR NOT NULL,
    session_id        VARCHAR NOT NULL,
    reconciled_at     TIMESTAMPTZ NOT NULL,
    stage             VARCHAR NOT NULL,
    discrepancies     BIGINT NOT NULL,
    repairs           BIGINT NOT NULL,
    remaining         BIGINT NOT NULL
);
INSERT INTO reconciliations BY NAME
SELECT
    before.*, coalesce(sessions.account, '') AS account, 0 AS repairs, before.discrepancies AS remaining
FROM reconciliations_before AS before
LEFT JOIN sessions USING (session_id)
ORDER BY reconciliation_id;
DROP TABLE reconciliations_before;
COMMENT ON TABLE reconciliations IS 'Comparisons of the ledger with the broker, those that found nothing included.';
COMMENT ON COLUMN reconciliations.session_id IS 'Empty where it was run outside of any session.';
COMMENT ON COLUMN reconciliations.stage IS 'open, scheduled, reconnect, close or manual.';
COMMENT ON COLUMN reconciliations.remaining IS 'How many of the discrepancies stood after the repairs.';

CREATE TEMP TABLE discrepancies_before AS SELECT * FROM discrepancies;
DROP TABLE discrepancies;
CREATE TABLE discrepancies (
    reconciliation_id BIGINT NOT NULL,
    number            BIGINT NOT NULL,
    session_id        VARCHAR NOT NULL,
    kind              VARCHAR NOT NULL,
    symbol            VARCHAR,
    subject           VARCHAR NOT NULL,
    ours              VARCHAR NOT NULL,
    brokers           VARCHAR NOT NULL,
    proposed_repair   VARCHAR NOT NULL,
    repairable        BOOLEAN NOT NULL,
    locking           BOOLEAN NOT NULL,
    remains           BOOLEAN NOT NULL,
    PRIMARY KEY (reconciliation_id, number)
);
INSERT INTO discrepancies BY NAME
SELECT *, false AS repairable, false AS locking, true AS remains
FROM discrepancies_before
ORDER BY reconciliation_id, number;
DROP TABLE discrepancies_before;
COMMENT ON TABLE discrepancies IS 'Differences that a comparison with the broker found; never repaired silently.';
COMMENT ON COLUMN discrepancies.symbol IS 'NULL where it is about the account.';
COMMENT ON COLUMN discrepancies.repairable IS 'Whether the proposed repair follows from the broker''s own records.';
COMMENT ON COLUMN discrepancies.locking IS 'Whether the symbol takes no new risk until it is gone.';
COMMENT ON COLUMN discrepancies.remains IS 'Whether it stood after the repairs of its comparison.';

CREATE TABLE repairs (
    reconciliation_id BIGINT NOT NULL,
    number            BIGINT NOT NULL,
    session_id        VARCHAR NOT NULL,
    kind              VARCHAR NOT NULL,
    subject           VARCHAR NOT NULL,
    done              VARCHAR NOT NULL,
    PRIMARY KEY (reconciliation_id, number)
);
COMMENT ON TABLE repairs IS 'What was changed in the ledger because a comparison asked for it; kind and subject as in its discrepancy.';

CREATE TABLE external_orders (
    account         VARCHAR NOT NULL,
    broker_order_id VARCHAR NOT NULL,
    symbol          VARCHAR NOT NULL,
    side            VARCHAR NOT NULL,
    quantity        BIGINT NOT NULL,
    filled_quantity BIGINT NOT NULL,
    status          VARCHAR NOT NULL,
    seen_at         TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (account, broker_order_id)
);
COMMENT ON TABLE external_orders IS 'Orders that were made elsewhere in the same account, as they were last seen; never traded on.';
COMMENT ON COLUMN external_orders.status IS 'In the broker''s words.';

CREATE TABLE external_fills (
    exec_id         VARCHAR PRIMARY KEY,
    account         VARCHAR NOT NULL,
    broker_order_id VARCHAR NOT NULL,
    lineage         VARCHAR NOT NULL,
    revision        INTEGER NOT NULL,
    symbol          VARCHAR NOT NULL,
    side            VARCHAR NOT NULL,
    quantity        BIGINT NOT NULL,
    price           DECIMAL(18, 6) NOT NULL,
    commission      DECIMAL(18, 6),
    filled_at       TIMESTAMPTZ NOT NULL,
    seen_at         TIMESTAMPTZ NOT NULL,
    claimed_at      TIMESTAMPTZ
);
COMMENT ON TABLE external_fills IS 'Executions of orders that were made elsewhere: they explain a position and are no part of the book.';
COMMENT ON COLUMN external_fills.revision IS 'The highest that was seen of its lineage.';
COMMENT ON COLUMN external_fills.claimed_at IS 'When a person said that it belongs to the book after all, which has it in fills since; NULL otherwise.';

CREATE TABLE instrument_locks (
    account   VARCHAR NOT NULL,
    symbol    VARCHAR NOT NULL,
    locked_at TIMESTAMPTZ NOT NULL,
    reason    VARCHAR NOT NULL,
    lifted_at TIMESTAMPTZ,
    PRIMARY KEY (account, symbol, locked_at)
);
COMMENT ON TABLE instrument_locks IS 'No new risk in a symbol whose position cannot be explained. Made and lifted by comparisons alone; one at most stands per account and symbol.';
COMMENT ON COLUMN instrument_locks.lifted_at IS 'When the difference was gone; NULL while it stands.';

CREATE TABLE session_leases (
    session_id      VARCHAR PRIMARY KEY,
    host            VARCHAR NOT NULL,
    pid             BIGINT NOT NULL,
    process_started VARCHAR NOT NULL,
    run             VARCHAR NOT NULL,
    fence           BIGINT NOT NULL,
    acquired_at     TIMESTAMPTZ NOT NULL,
    renewed_at      TIMESTAMPTZ NOT NULL,
    expires_at      TIMESTAMPTZ NOT NULL,
    released_at     TIMESTAMPTZ,
    writes          BIGINT NOT NULL
);
COMMENT ON TABLE session_leases IS 'Who may trade a session: the newest taker, as long as it shows that it is there.';
COMMENT ON COLUMN session_leases.process_started IS 'What the operating system says of the process''s start: a pid is used again.';
COMMENT ON COLUMN session_leases.fence IS 'Grows with each taking; the ledger writes for the newest alone.';
COMMENT ON COLUMN session_leases.writes IS 'Grows with each write of the holder: that is what makes a write and a taking of the lease exclude each other.';

CREATE TABLE operator_requests (
    request_id  VARCHAR PRIMARY KEY,
    kind        VARCHAR NOT NULL,
    arguments   JSON NOT NULL,
    asked_by    VARCHAR NOT NULL,
    asked_at    TIMESTAMPTZ NOT NULL,
    answered_at TIMESTAMPTZ,
    answer      JSON
);
COMMENT ON TABLE operator_requests IS 'What people ask of a running session from outside, and what came of it.';
COMMENT ON COLUMN operator_requests.arguments IS 'A JSON object.';
COMMENT ON COLUMN operator_requests.answered_at IS 'NULL until the session has answered.';
