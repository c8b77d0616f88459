-- What trained policies need: bundles with their lineage and stages, why a decision is not what the policy said, what a
-- shadow decided, and what a model remembers from bar to bar.

CREATE TEMP TABLE policies_before AS SELECT * FROM policies;
DROP TABLE policies;
CREATE TABLE policies (
    fingerprint   VARCHAR PRIMARY KEY,
    name          VARCHAR NOT NULL,
    kind          VARCHAR NOT NULL,
    stage         VARCHAR NOT NULL,
    metrics       JSON,
    created_at    TIMESTAMPTZ NOT NULL,
    version       VARCHAR NOT NULL,
    path          VARCHAR NOT NULL,
    manifest      JSON NOT NULL,
    lineage       JSON NOT NULL,
    registered_at TIMESTAMPTZ NOT NULL
);
-- Nothing of openbell wrote such rows before. Somebody's own are kept; without a manifest they are no policies to trade with.
INSERT INTO policies BY NAME
SELECT *, '' AS version, '' AS path, '{}' AS manifest, '{}' AS lineage, created_at AS registered_at
FROM policies_before
ORDER BY rowid;
DROP TABLE policies_before;
COMMENT ON TABLE policies IS 'Registered policy bundles, each with the stage that it is at now.';
COMMENT ON COLUMN policies.fingerprint IS 'name@ and the first 16 hex digits of the manifest''s hash.';
COMMENT ON COLUMN policies.kind IS 'classifier, regressor, ppo, a2c, dqn or recurrent_ppo.';
COMMENT ON COLUMN policies.stage IS 'candidate; paper or live, at most one policy of a name at each; archived, once another replaced it there; retired, once it was rolled back.';
COMMENT ON COLUMN policies.metrics IS 'What training measured, by name.';
COMMENT ON COLUMN policies.created_at IS 'When the bundle was written.';
COMMENT ON COLUMN policies.path IS 'Folder of the bundle where it was registered last.';
COMMENT ON COLUMN policies.manifest IS 'manifest.json of the bundle.';
COMMENT ON COLUMN policies.lineage IS 'How it came about: data (symbols, span, fingerprint), settings, code_version, seed and libraries.';

CREATE TABLE policy_stages (
    number      BIGINT PRIMARY KEY,
    name        VARCHAR NOT NULL,
    stage       VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    changed_at  TIMESTAMPTZ NOT NULL,
    changed_by  VARCHAR NOT NULL,
    reason      VARCHAR NOT NULL,
    gate        JSON,
    from_stage  VARCHAR
);
COMMENT ON TABLE policy_stages IS 'Every change of a policy''s stage. A champion and the one that takes its place change in one transaction.';
COMMENT ON COLUMN policy_stages.number IS 'Counts all changes from 1: two cannot be made at once.';
COMMENT ON COLUMN policy_stages.name IS 'The policy''s name.';
COMMENT ON COLUMN policy_stages.stage IS 'The stage that it came to.';
COMMENT ON COLUMN policy_stages.from_stage IS 'The stage that it left; NULL where it was registered. An archived champion was champion there.';
COMMENT ON COLUMN policy_stages.reason IS 'A person''s words, or what brought the change about.';
COMMENT ON COLUMN policy_stages.gate IS 'What the gate compared, what it found, and whether it was overridden; NULL where none was asked.';

ALTER TABLE decisions ADD COLUMN note VARCHAR;
COMMENT ON COLUMN decisions.note IS 'Why the decision is not what the policy said first (too little confidence); NULL otherwise.';
ALTER TABLE decisions ADD COLUMN target_weight DOUBLE;
COMMENT ON COLUMN decisions.target_weight IS 'The position that was asked for as a signed fraction of equity; NULL where the policy says words only.';

CREATE TABLE shadow_decisions (
    session_id    VARCHAR NOT NULL,
    bar_time      TIMESTAMPTZ NOT NULL,
    symbol        VARCHAR NOT NULL,
    fingerprint   VARCHAR NOT NULL,
    action        VARCHAR NOT NULL,
    target_weight DOUBLE,
    confidence    DOUBLE,
    latency_ms    DOUBLE NOT NULL,
    error         VARCHAR,
    note          VARCHAR,
    PRIMARY KEY (session_id, bar_time, symbol, fingerprint)
);
COMMENT ON TABLE shadow_decisions IS 'What a policy beside the champion decided on the same bars; never traded on.';
COMMENT ON COLUMN shadow_decisions.fingerprint IS 'The shadow''s.';
COMMENT ON COLUMN shadow_decisions.target_weight IS 'Signed fraction of equity; NULL where the policy says words only. A shadow holds nothing, so that it has no target in shares.';
COMMENT ON COLUMN shadow_decisions.confidence IS 'As in decisions; latency_ms, error and note too.';

CREATE TABLE policy_states (
    session_id  VARCHAR NOT NULL,
    symbol      VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    bar_time    TIMESTAMPTZ NOT NULL,
    state       BLOB NOT NULL,
    PRIMARY KEY (session_id, symbol, fingerprint)
);
COMMENT ON TABLE policy_states IS 'What a model that has a state remembers of each symbol: the newest only, written with the bar that made it.';
COMMENT ON COLUMN policy_states.bar_time IS 'The bar after which it is the state.';
COMMENT ON COLUMN policy_states.state IS 'Bytes that the policy itself made and takes up again: float32 numbers, little endian, behind the time of their bar.';
