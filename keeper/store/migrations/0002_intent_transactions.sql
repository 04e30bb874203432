-- An intent keeps every transaction that was ever signed for its nonce, with its bytes, and the block that one of them
-- is in. Layout 1 kept one hash and no bytes.

CREATE TABLE intents_of_layout_2 (
    intent_id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    round INTEGER,
    account TEXT NOT NULL,
    -- NULL until it is signed.
    nonce INTEGER,
    action TEXT NOT NULL,
    state TEXT NOT NULL,
    -- Nothing changes it any more: lost, or in a block that was accepted on L1.
    is_final INTEGER NOT NULL,
    -- The transaction that is in a block, the block, and what it cost in fri (exceeds 63 bits).
    landed_tx TEXT,
    landed_block INTEGER,
    landed_block_hash TEXT,
    landed_fee TEXT,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;

-- Every transaction that was signed for an intent's nonce. At most one of them is ever in a block.
CREATE TABLE intent_transactions (
    intent_id INTEGER NOT NULL REFERENCES intents_of_layout_2 (intent_id) ON DELETE CASCADE,
    tx_hash TEXT NOT NULL,
    -- 'action' does what the intent is for; 'no_op' only uses the nonce up.
    purpose TEXT NOT NULL,
    -- The signed transaction as it is sent; NULL where layout 1 did not keep it.
    request TEXT,
    tip INTEGER NOT NULL,
    -- Fri; both exceed 63 bits.
    l2_gas_price TEXT NOT NULL,
    max_fee TEXT NOT NULL,
    signed_ms INTEGER NOT NULL,
    -- When it was last sent, whatever came of it.
    sent_ms INTEGER,
    PRIMARY KEY (intent_id, tx_hash)
) STRICT;

-- What no two open intents may do at the same time. A batch keeps its round for good.
CREATE TABLE intent_keys (
    action_key TEXT PRIMARY KEY,
    intent_id INTEGER NOT NULL REFERENCES intents_of_layout_2 (intent_id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- What layout 1 called planned was signed, and may have been sent. Where two intents claim a nonce, which layout 1 left
-- behind after reorganisations, only the later one can have it.
INSERT INTO intents_of_layout_2
    (intent_id, kind, round, account, nonce, action, state, is_final, landed_tx, created_ms, updated_ms)
SELECT intent_id, kind, round, account, nonce, action,
    CASE
        WHEN is_taken THEN 'lost'
        WHEN state IN ('planned', 'sent') THEN 'maybe_sent'
        WHEN state = 'accepted' THEN 'accepted_l2'
        ELSE state
    END,
    is_taken OR state NOT IN ('planned', 'sent'),
    CASE WHEN NOT is_taken AND state IN ('accepted', 'reverted') THEN tx_hash END,
    created_ms, updated_ms
FROM (
    SELECT *, state <> 'lost' AND EXISTS (
        SELECT 1 FROM intents AS later
        WHERE later.account = intents.account AND later.nonce = intents.nonce
            AND later.intent_id > intents.intent_id AND later.state <> 'lost'
    ) AS is_taken
    FROM intents
);

INSERT INTO intent_transactions (intent_id, tx_hash, purpose, request, tip, l2_gas_price, max_fee, signed_ms, sent_ms)
SELECT intent_id, tx_hash, 'action', NULL, 0, '0', '0', created_ms,
    CASE WHEN state = 'planned' THEN NULL ELSE updated_ms END
FROM intents WHERE tx_hash IS NOT NULL;

INSERT OR IGNORE INTO intent_keys (action_key, intent_id)
SELECT 'round:' || account || ':' || round, intent_id FROM intents WHERE round IS NOT NULL ORDER BY intent_id DESC;

DROP TABLE intents;
ALTER TABLE intents_of_layout_2 RENAME TO intents;

CREATE INDEX intent_transactions_by_hash ON intent_transactions (tx_hash);
CREATE INDEX intents_by_round ON intents (account, round);
CREATE INDEX intents_live ON intents (account, nonce) WHERE is_final = 0;
CREATE INDEX intents_by_time ON intents (account, created_ms);
-- Whoever loses a nonce, or never got one, does not hold it.
CREATE UNIQUE INDEX intents_by_nonce ON intents (account, nonce) WHERE state NOT IN ('planned', 'lost');
