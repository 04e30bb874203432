// SPDX-License-Identifier: MIT

//! Error texts of the referee. They are part of the ABI.

pub const ZERO_ADDRESS: felt252 = 'Referee: zero address';
pub const BAD_SIZE: felt252 = 'Referee: bad size';
pub const NOT_DISPUTED: felt252 = 'Referee: not disputed';
pub const OTHER_MANIFEST: felt252 = 'Referee: other manifest';
pub const MALFORMED_OUTPUT: felt252 = 'Referee: malformed output';
pub const OTHER_OUTPUT: felt252 = 'Referee: other output';
