-- Answers that are asked for often. Every figure follows from the facts; a view keeps nothing of its own.

CREATE VIEW open_orders AS
SELECT
    account, symbol, side, quantity, filled_quantity, quantity - filled_quantity AS remaining, order_type, limit_price,
    stop_price, time_in_force, status, client_order_id, broker_order_id, session_id, bar_time, created_at
FROM orders
WHERE status NOT IN ('FILLED', 'CANCELLED', 'REJECTED', 'EXPIRED');
COMMENT ON VIEW open_orders IS 'Orders that may still fill, or of which nobody knows yet whether they will.';

-- Newest is what was written last, not what has the latest bar: an account can trade an earlier day. Rows are only ever
-- added, so that rowid is the order of writing.
CREATE VIEW positions AS
WITH newest_snapshot AS (
    SELECT
        account, symbol, arg_max(bar_time, rowid) AS bar_time, arg_max(quantity, rowid) AS quantity,
        arg_max(cost_basis, rowid) AS cost_basis
    FROM position_snapshots
    GROUP BY account, symbol
),
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

-- The first `part` of `whole` shares bear this much of `amount`, in micros. Differences of it add up to the amount
-- exactly, which rounding each part by itself would not.
CREATE MACRO micros_borne(amount, part, whole) AS
    (2 * CAST(coalesce(amount, 0) * 1000000 AS HUGEINT) * part + whole) // (2 * whole);

CREATE VIEW trades AS
WITH numbered AS (
    -- The shares of each side are numbered through in booking order: a fill holds numbers after `since` up to `upto`.
    SELECT
        account, symbol, side, booking, session_id, quantity, price, commission, filled_at,
        CAST(sum(quantity) OVER side_of_symbol AS BIGINT) AS upto,
        CAST(sum(quantity) OVER side_of_symbol AS BIGINT) - quantity AS since
    FROM fills
    WINDOW side_of_symbol AS (PARTITION BY account, symbol, side ORDER BY booking)
),
bought AS (SELECT * FROM numbered WHERE side = 'BUY'),
sold AS (SELECT * FROM numbered WHERE side = 'SELL'),
-- First in, first out: the n-th share bought meets the n-th share sold, whichever came first. So every last number of
-- a fill ends a piece in which one buy meets one sell.
cuts AS (SELECT DISTINCT account, symbol, upto FROM numbered),
pieces AS (
    SELECT
        cuts.account, cuts.symbol, cuts.upto, greatest(bought.since, sold.since) AS since, bought, sold,
        bought.booking < sold.booking AS is_long
    FROM cuts
    ASOF JOIN bought
        ON cuts.account = bought.account AND cuts.symbol = bought.symbol AND cuts.upto <= bought.upto
    ASOF JOIN sold
        ON cuts.account = sold.account AND cuts.symbol = sold.symbol AND cuts.upto <= sold.upto
),
charged AS (
    SELECT
        *,
        upto - since AS quantity,
        CASE WHEN is_long THEN bought ELSE sold END AS opening,
        CASE WHEN is_long THEN sold ELSE bought END AS closing,
        CAST(
            micros_borne(bought.commission, upto - bought.since, bought.quantity)
            - micros_borne(bought.commission, since - bought.since, bought.quantity)
            + micros_borne(sold.commission, upto - sold.since, sold.quantity)
            - micros_borne(sold.commission, since - sold.since, sold.quantity)
            AS DECIMAL(30, 0)
        ) * 0.000001::DECIMAL(6, 6) AS commissions
    FROM pieces
)
SELECT
    account,
    symbol,
    CASE WHEN is_long THEN 'LONG' ELSE 'SHORT' END AS direction,
    quantity,
    opening.filled_at AS entry_time,
    opening.price AS entry_price,
    closing.filled_at AS exit_time,
    closing.price AS exit_price,
    CAST(commissions AS DECIMAL(38, 6)) AS commissions,
    CAST((sold.price - bought.price) * quantity - commissions AS DECIMAL(38, 6)) AS realized_pnl,
    opening.session_id AS entry_session_id,
    closing.session_id AS exit_session_id,
    opening.booking AS entry_booking,
    closing.booking AS booking
FROM charged;
COMMENT ON VIEW trades IS 'Round trips: shares of an opening fill matched first in, first out with shares of a closing fill, across sessions. A fill that flips a position closes one trade and opens the next.';
COMMENT ON COLUMN trades.commissions IS 'Opening and closing commissions in proportion to the matched shares; commissions that are not known yet count 0.';
COMMENT ON COLUMN trades.realized_pnl IS 'Net of commissions.';
COMMENT ON COLUMN trades.booking IS 'Place of the closing fill in the order of booking.';

CREATE VIEW daily_pnl AS
WITH newest_equity AS (
    SELECT
        session_id, arg_max(equity, bar_time) AS equity, arg_max(realized_pnl, bar_time) AS realized_pnl,
        arg_max(unrealized_pnl, bar_time) AS unrealized_pnl
    FROM equity
    GROUP BY session_id
),
traded AS (
    SELECT session_id, count(*) AS fills, sum(commission) AS commissions
    FROM fills
    GROUP BY session_id
),
closed AS (
    SELECT
        sessions.*,
        coalesce(ending.equity, starting_equity) AS ending_equity,
        coalesce(ending.realized_pnl, starting_realized_pnl) - starting_realized_pnl AS realized_pnl,
        ending.unrealized_pnl,
        coalesce(traded.commissions, 0) AS commissions,
        coalesce(traded.fills, 0) AS fills
    FROM sessions
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
    starting_equity,
    ending_equity,
    fills,
    mode,
    state,
    session_id
FROM closed
ORDER BY session_date, account, strategy;
COMMENT ON VIEW daily_pnl IS 'What each session came to: realized_pnl + unrealized_change = total_pnl = ending_equity - starting_equity, all net of commissions.';
COMMENT ON COLUMN daily_pnl.unrealized_pnl IS 'Of what was held at the end of the day, since it was opened; NULL when no bar was processed.';
COMMENT ON COLUMN daily_pnl.commissions IS 'Paid on the day; contained in the P&L already.';

CREATE VIEW slippage AS
WITH filled AS (
    SELECT
        client_order_id, CAST(sum(quantity) AS BIGINT) AS quantity, sum(price * quantity) AS value,
        min(filled_at) AS first_filled_at
    FROM fills
    GROUP BY client_order_id
),
compared AS (
    SELECT
        orders.*, filled.quantity AS shares, filled.value, filled.first_filled_at,
        (filled.value - orders.reference_price * filled.quantity) * CASE side WHEN 'BUY' THEN 1 ELSE -1 END AS worse_by
    FROM orders
    JOIN filled USING (client_order_id)
)
SELECT
    session_id, client_order_id, account, symbol, side, shares AS quantity, bar_time, first_filled_at, reference_price,
    CAST(value / shares AS DECIMAL(18, 6)) AS average_price,
    CAST(worse_by AS DECIMAL(38, 6)) AS slippage,
    CAST(10000 * worse_by / (reference_price * shares) AS DECIMAL(18, 4)) AS slippage_bps
FROM compared;
COMMENT ON VIEW slippage IS 'Per order with fills: how much worse than the close of the deciding bar it was filled. Positive is worse, commissions excluded.';
COMMENT ON COLUMN slippage.slippage IS 'Money over all filled shares.';
COMMENT ON COLUMN slippage.slippage_bps IS 'Hundredths of a percent of the reference value.';
