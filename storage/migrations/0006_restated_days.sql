-- What brokers tell late, and what they tell besides: days that are restated after they were closed, and account balances.

CREATE TABLE restatements (
    number                   BIGINT PRIMARY KEY,
    account                  VARCHAR NOT NULL,
    session_id               VARCHAR NOT NULL,
    session_date             DATE NOT NULL,
    what                     VARCHAR NOT NULL,
    exec_id                  VARCHAR NOT NULL,
    fill_session_id          VARCHAR NOT NULL,
    restated_at              TIMESTAMPTZ NOT NULL,
    was_quantity             BIGINT,
    was_price                DECIMAL(18, 6),
    was_commission           DECIMAL(18, 6),
    became_quantity          BIGINT,
    became_price             DECIMAL(18, 6),
    became_commission        DECIMAL(18, 6),
    realized_pnl_before      DECIMAL(38, 6) NOT NULL,
    realized_pnl_after       DECIMAL(38, 6) NOT NULL,
    commissions_before       DECIMAL(38, 6) NOT NULL,
    commissions_after        DECIMAL(38, 6) NOT NULL,
    bar_time                 TIMESTAMPTZ,
    starting_equity_change   DECIMAL(18, 6) NOT NULL,
    starting_realized_change DECIMAL(18, 6) NOT NULL,
    ending_equity_change     DECIMAL(18, 6) NOT NULL,
    ending_realized_change   DECIMAL(18, 6) NOT NULL
);
COMMENT ON TABLE restatements IS 'What changed the figures of a session after its last bar: written with the fill that did it. daily_pnl has it counted in; equity stays as it was at each bar.';
COMMENT ON COLUMN restatements.what IS 'commission (became known, or was corrected), correction, late fill; after the last bar, where the session itself booked it before it closed.';
COMMENT ON COLUMN restatements.exec_id IS 'The execution that brought it about; empty after the last bar.';
COMMENT ON COLUMN restatements.fill_session_id IS 'The session of the fill; another than session_id where a later day is restated by what it took over.';
COMMENT ON COLUMN restatements.restated_at IS 'When that was written, by the wall clock.';
COMMENT ON COLUMN restatements.was_quantity IS 'The fill before; NULL where there was none, the commission also where it was not known. became_ is the fill after it.';
COMMENT ON COLUMN restatements.realized_pnl_before IS 'As daily_pnl had it; the other figures before and after too.';
COMMENT ON COLUMN restatements.bar_time IS 'The session''s last bar at that time. What is changed at the session''s end counts while that is its last bar: a session that goes on has it in its next.';
COMMENT ON COLUMN restatements.starting_equity_change IS 'What an earlier day''s change did to the session''s start.';
COMMENT ON COLUMN restatements.ending_realized_change IS 'Since the account''s first session, as equity counts.';

CREATE TABLE account_balances (
    account    VARCHAR NOT NULL,
    session_id VARCHAR NOT NULL,
    read_at    TIMESTAMPTZ NOT NULL,
    tag        VARCHAR NOT NULL,
    currency   VARCHAR NOT NULL,
    amount     DECIMAL(38, 6) NOT NULL,
    PRIMARY KEY (account, session_id, read_at, tag, currency)
);
COMMENT ON TABLE account_balances IS 'What the broker said of the account''s money at each comparison with it, by its own rules; recorded and not compared.';
COMMENT ON COLUMN account_balances.session_id IS 'Empty where the comparison was run outside of any session.';
COMMENT ON COLUMN account_balances.read_at IS 'The comparison''s reconciled_at.';
COMMENT ON COLUMN account_balances.tag IS 'cash (one row per currency), net_liquidation, buying_power, available_funds, excess_liquidity or maintenance_margin.';

-- The figures of a day are those at its last bar, and what has changed them since.
CREATE OR REPLACE VIEW daily_pnl AS
WITH newest_equity AS (
    SELECT
        session_id, max(bar_time) AS bar_time, arg_max(equity, bar_time) AS equity,
        arg_max(realized_pnl, bar_time) AS realized_pnl, arg_max(unrealized_pnl, bar_time) AS unrealized_pnl
    FROM equity
    GROUP BY session_id
),
traded AS (
    SELECT session_id, count(*) AS fills, sum(commission) AS commissions
    FROM fills
    GROUP BY session_id
),
restated AS (
    SELECT
        session_id,
        sum(starting_equity_change) AS starting_equity,
        sum(starting_realized_change) AS starting_realized_pnl,
        coalesce(sum(ending_equity_change) FILTER (restatements.bar_time = ending.bar_time), 0) AS equity,
        coalesce(sum(ending_realized_change) FILTER (restatements.bar_time = ending.bar_time), 0) AS realized_pnl
    FROM restatements
    LEFT JOIN newest_equity AS ending USING (session_id)
    GROUP BY session_id
),
begun AS (
    SELECT
        sessions.* EXCLUDE (starting_equity, starting_realized_pnl),
        sessions.starting_equity + coalesce(restated.starting_equity, 0) AS starting_equity,
        sessions.starting_realized_pnl + coalesce(restated.starting_realized_pnl, 0) AS starting_realized_pnl,
        coalesce(restated.equity, 0) AS equity_change,
        coalesce(restated.realized_pnl, 0) AS realized_change
    FROM sessions
    LEFT JOIN restated USING (session_id)
),
closed AS (
    SELECT
        begun.*,
        coalesce(ending.equity + equity_change, starting_equity) AS ending_equity,
        coalesce(ending.realized_pnl + realized_change, starting_realized_pnl) - starting_realized_pnl AS realized_pnl,
        ending.unrealized_pnl + equity_change - realized_change AS unrealized_pnl,
        coalesce(traded.commissions, 0) AS commissions,
        coalesce(traded.fills, 0) AS fills
    FROM begun
    LEFT JOIN newest_equity AS ending USING (session_id)
    LEFT JOIN traded USING (session_id)
)
SELECT
    session_date, strategy, account,
    CAST(realized_pnl AS DECIMAL(38, 6)) AS realized_pnl,
    CAST(unrealized_pnl AS DECIMAL(38, 6)) AS unrealized_pnl,
    CAST(ending_equity - starting_equity - realized_pnl AS DECIMAL(38, 6)) AS unrealized_change,
    CAST(ending_equity - starting_equity AS DECIMAL(38, 6)) AS total_pnl,
    CAST(commissions AS DECIMAL(38, 6)) AS commissions,
    CAST(starting_equity AS DECIMAL(18, 6)) AS starting_equity,
    CAST(ending_equity AS DECIMAL(18, 6)) AS ending_equity,
    fills,
    mode,
    state,
    session_id
FROM closed
ORDER BY session_date, account, strategy;
COMMENT ON VIEW daily_pnl IS 'What each session came to: realized_pnl + unrealized_change = total_pnl = ending_equity - starting_equity, all net of commissions, restatements counted in.';
COMMENT ON COLUMN daily_pnl.unrealized_pnl IS 'Of what was held at the end of the day, since it was opened; NULL when no bar was processed.';
COMMENT ON COLUMN daily_pnl.commissions IS 'Paid on the day, as far as they are known; contained in the P&L already.';
