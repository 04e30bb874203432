-- Layout 3 and later (PostgreSQL: from layout 1 on). Not to be changed.

INSERT INTO finality (only_row, number, hash) VALUES (1, 10, '0x07ec6145454366592629836a0aeca8259c96f3dcacb0105658c00b28e9698eac');
