-- What becomes of an item stands apart from the item, so that a claim writes a few bytes and not the item again, and what
-- was never claimed needs no place in an index by time: it is found by its number, from the queue's mark on.

ALTER TABLE queue_items RENAME TO queue_items_of_layout_4;

-- Work that waits or is claimed; a row is never changed.
CREATE TABLE queue_items (
    item_id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    key TEXT NOT NULL,
    payload BLOB NOT NULL,
    enqueued_ms INTEGER NOT NULL,
    -- Since when it may be claimed for the first time: as above, or when it was raised from the dead.
    ready_ms INTEGER NOT NULL,
    UNIQUE (queue, key)
) STRICT;

-- The items that were claimed at least once. One may be claimed again from visible_ms on; a claim moves that beyond its
-- own end.
CREATE TABLE queue_attempts (
    item_id INTEGER PRIMARY KEY REFERENCES queue_items (item_id) ON DELETE CASCADE,
    queue TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    visible_ms INTEGER NOT NULL,
    claimed_by TEXT
) STRICT;

-- Where a queue's items begin that were never claimed: every one of it has this number or a higher one, and no other
-- item of it has. None where nothing was ever claimed.
CREATE TABLE queue_marks (
    queue TEXT PRIMARY KEY,
    fresh_from INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO queue_items (item_id, queue, key, payload, enqueued_ms, ready_ms)
SELECT item_id, queue, key, payload, enqueued_ms, enqueued_ms FROM queue_items_of_layout_4 ORDER BY item_id;

-- Claimed and not claimed ones stand in any order, so that all of them count as claimed before, some of them no times.
INSERT INTO queue_attempts (item_id, queue, attempt, visible_ms, claimed_by)
SELECT item_id, queue, attempt, visible_ms, claimed_by FROM queue_items_of_layout_4 ORDER BY item_id;

INSERT INTO queue_marks (queue, fresh_from)
SELECT DISTINCT queue, (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'queue_items_of_layout_4')
FROM queue_items_of_layout_4;

-- Numbers are given once, also those of items that are gone.
DELETE FROM sqlite_sequence WHERE name = 'queue_items';
INSERT INTO sqlite_sequence (name, seq)
SELECT 'queue_items', seq FROM sqlite_sequence WHERE name = 'queue_items_of_layout_4';

DROP TABLE queue_items_of_layout_4;

CREATE INDEX queue_attempts_by_time ON queue_attempts (queue, visible_ms);
