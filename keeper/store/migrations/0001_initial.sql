-- What the keeper must not lose. Numbers are INTEGER where they fit 63 bits; felts are 0x-hexadecimal TEXT.

-- The deployment that the database follows; one row.
CREATE TABLE identity (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    chain_id TEXT NOT NULL,
    job_mgr TEXT NOT NULL,
    cdc_pool TEXT NOT NULL,
    task_allocator TEXT NOT NULL,
    deployment_block INTEGER NOT NULL
) STRICT;

-- Every processed block; the highest is the cursor. Gaps are blocks that the chain's reader did not give.
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY,
    hash TEXT NOT NULL,
    parent_hash TEXT NOT NULL,
    timestamp INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
    block INTEGER NOT NULL REFERENCES blocks (number) ON DELETE CASCADE,
    event_index INTEGER NOT NULL,
    tx_hash TEXT NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (block, event_index)
) STRICT, WITHOUT ROWID;

-- What the keeper set out to send, written before it is sent.
CREATE TABLE intents (
    intent_id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    round INTEGER,
    account TEXT NOT NULL,
    nonce INTEGER NOT NULL,
    tx_hash TEXT,
    action TEXT NOT NULL,
    state TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX intents_by_tx ON intents (tx_hash);
CREATE INDEX intents_by_round ON intents (account, round);
CREATE INDEX intents_open ON intents (intent_id) WHERE state IN ('planned', 'sent');

-- The latest explanation of each job.
CREATE TABLE explanations (
    job_id INTEGER PRIMARY KEY,
    round INTEGER,
    snapshot_block INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    explanation TEXT NOT NULL
) STRICT;

CREATE INDEX explanations_by_block ON explanations (snapshot_block);

-- When this keeper first saw a job's attempt reach a stage, by its own clock.
CREATE TABLE observations (
    job_id INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    stage TEXT NOT NULL,
    block INTEGER NOT NULL,
    observed_ms INTEGER NOT NULL,
    PRIMARY KEY (job_id, attempt, stage)
) STRICT, WITHOUT ROWID;

CREATE INDEX observations_by_block ON observations (block);
