-- Leases and queues, as versions with layout 4 write them (PostgreSQL: layout 2): items that wait, that are claimed, whose
-- claim ran out, that are given back for later, in numbers that do not follow their states; one that is dead. 4102444800000
-- is the year 2100. Not to be changed.

INSERT INTO leases (name, holder, term, expires_ms) VALUES
('allocate', 'keeper-a', 7, 4102444800000),
('settle', 'keeper-b', 3, 1000000020000);

INSERT INTO queue_items (item_id, queue, key, payload, attempt, visible_ms, claimed_by, enqueued_ms) VALUES
(3, 'intake', 'claimed', X'00ff', 1, 4102444800000, 'keeper-a', 1000000020000),
(4, 'intake', 'fresh-1', X'6131', 0, 1000000020001, NULL, 1000000020001),
(5, 'other', 'fresh-1', X'6f31', 0, 1000000020002, NULL, 1000000020002),
(6, 'intake', 'ran-out', X'', 2, 1000000020000, 'keeper-b', 1000000020003),
(8, 'intake', 'later', X'6c', 2, 4102444800000, NULL, 1000000020004),
(9, 'intake', 'fresh-2', X'6132', 0, 1000000020005, NULL, 1000000020005);

INSERT INTO dead_letters (item_id, queue, key, payload, attempt, error, enqueued_ms, died_ms) VALUES
(2, 'intake', 'dead', X'64', 5, 'it broke', 1000000020000, 1000000021000);
