-- Who may act in which name, until when. A row stays when its lease has ended, so that its term only ever grows.
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    term INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Work that waits or is claimed. An item may be claimed from visible_ms on; a claim moves that beyond its own end.
CREATE TABLE queue_items (
    item_id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    key TEXT NOT NULL,
    payload BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    visible_ms INTEGER NOT NULL,
    claimed_by TEXT,
    enqueued_ms INTEGER NOT NULL,
    UNIQUE (queue, key)
) STRICT;

CREATE INDEX queue_items_by_time ON queue_items (queue, visible_ms);

-- Work that nobody could finish, until an operator has looked at it.
CREATE TABLE dead_letters (
    item_id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    key TEXT NOT NULL,
    payload BLOB NOT NULL,
    attempt INTEGER NOT NULL,
    error TEXT NOT NULL,
    enqueued_ms INTEGER NOT NULL,
    died_ms INTEGER NOT NULL,
    UNIQUE (queue, key)
) STRICT;
