-- Which sessions' bars a source was asked for, so that minutes in which nothing traded are no gap for ever.

CREATE TABLE history_asked (
    source VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    timeframe VARCHAR NOT NULL,
    session_date DATE NOT NULL,
    missing INTEGER NOT NULL,
    times INTEGER NOT NULL,
    asked_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (source, symbol, timeframe, session_date)
);
COMMENT ON TABLE history_asked IS 'Sessions whose missing bars a source was asked for, and has not got all of: what it has said so twice counts as not traded, and is not asked for again.';
COMMENT ON COLUMN history_asked.source IS 'ib or files.';
COMMENT ON COLUMN history_asked.missing IS 'Bars of the session that were still missing after its answer.';
COMMENT ON COLUMN history_asked.times IS 'How often it has answered with exactly so many missing.';
