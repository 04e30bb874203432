-- The highest block that was seen accepted on L1; one row, none before the first. Reverting leaves it: what is accepted
-- on L1 does not come back, and a chain that says otherwise is noticed by it.
CREATE TABLE finality (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    number INTEGER NOT NULL,
    hash TEXT NOT NULL
) STRICT;
