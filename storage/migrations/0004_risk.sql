-- What risk needs: halts by the rule that tripped, emergency stops with their steps, and limits changed while a session runs.

CREATE TEMP TABLE halts_before AS SELECT * FROM halts;
DROP TABLE halts;
CREATE TABLE halts (
    scope      VARCHAR NOT NULL,
    rule       VARCHAR NOT NULL,
    halted_at  TIMESTAMPTZ NOT NULL,
    session_id VARCHAR,
    reason     VARCHAR NOT NULL,
    expires_at TIMESTAMPTZ,
    cleared_at TIMESTAMPTZ,
    cleared_by VARCHAR,
    PRIMARY KEY (scope, rule, halted_at)
);
-- Two rules could halt by themselves, and each said so in words of its own; whatever else there is, a person made.
INSERT INTO halts BY NAME
SELECT
    *,
    CASE
        WHEN session_id IS NULL THEN 'operator'
        WHEN reason LIKE 'the day has lost %' THEN 'max_daily_loss'
        WHEN reason LIKE '% in a row never reached the broker' THEN 'orders_lost'
        ELSE 'operator'
    END AS rule
FROM halts_before
ORDER BY rowid;
DROP TABLE halts_before;
COMMENT ON TABLE halts IS 'Latches against new risk. One stands until it is cleared, or until expires_at where that is given.';
COMMENT ON COLUMN halts.scope IS 'all, account:NAME, strategy:NAME or symbol:NAME.';
COMMENT ON COLUMN halts.rule IS 'What tripped; operator where a person did it. Several rules may halt one scope at one moment.';
COMMENT ON COLUMN halts.session_id IS 'The session that it was made in; NULL where a person made it outside of any.';

CREATE TABLE stops (
    stop_id    VARCHAR PRIMARY KEY,
    account    VARCHAR NOT NULL,
    session_id VARCHAR NOT NULL,
    scope      VARCHAR NOT NULL,
    reason     VARCHAR NOT NULL,
    flatten    BOOLEAN NOT NULL,
    asked_by   VARCHAR NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    state      VARCHAR NOT NULL,
    ended_at   TIMESTAMPTZ
);
COMMENT ON TABLE stops IS 'Emergency stops of an account, with where each of them stands now.';
COMMENT ON COLUMN stops.session_id IS 'The session that does it; empty where none ran.';
COMMENT ON COLUMN stops.scope IS 'As of a halt.';
COMMENT ON COLUMN stops.flatten IS 'Whether positions are closed too, and not only orders cancelled.';
COMMENT ON COLUMN stops.state IS 'RUNNING; SUCCEEDED, once the broker showed it done; ALARM, when it could not be shown in time: it is tried on.';
COMMENT ON COLUMN stops.ended_at IS 'NULL while it is not shown to be done.';

CREATE TABLE stop_steps (
    stop_id   VARCHAR NOT NULL,
    number    INTEGER NOT NULL,
    taken_at  TIMESTAMPTZ NOT NULL,
    action    VARCHAR NOT NULL,
    succeeded BOOLEAN NOT NULL,
    detail    VARCHAR NOT NULL,
    PRIMARY KEY (stop_id, number)
);
COMMENT ON TABLE stop_steps IS 'Each step that an emergency stop took, those that failed and were tried again included.';
COMMENT ON COLUMN stop_steps.number IS 'Counts the steps of one stop from 1.';
COMMENT ON COLUMN stop_steps.action IS 'halt, cancel, flatten, verify, alarm or done.';

CREATE TABLE limit_changes (
    change_id  VARCHAR NOT NULL,
    name       VARCHAR NOT NULL,
    session_id VARCHAR NOT NULL,
    changed_at TIMESTAMPTZ NOT NULL,
    changed_by VARCHAR NOT NULL,
    old_value  VARCHAR NOT NULL,
    new_value  VARCHAR NOT NULL,
    refusal    VARCHAR NOT NULL,
    PRIMARY KEY (change_id, name)
);
COMMENT ON TABLE limit_changes IS 'Settings of [risk] that were changed while a session ran, and changes that were refused.';
COMMENT ON COLUMN limit_changes.change_id IS 'Shared by all settings of one change, which is made or refused as a whole.';
COMMENT ON COLUMN limit_changes.name IS 'The setting''s name in [risk].';
COMMENT ON COLUMN limit_changes.old_value IS 'JSON; new_value too.';
COMMENT ON COLUMN limit_changes.refusal IS 'Why the change was turned away; empty where it was made.';
