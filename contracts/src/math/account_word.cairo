// SPDX-License-Identifier: MIT

//! What the job manager knows of an account, in one storage slot, which submitting a job reads and
//! a settlement writes.
//!
//! ```text
//! bits     field
//!   0..128 credit (fri)
//! 128..160 the client's number, 0 of an account that has submitted no job
//! ```
//!
//! All credits together are held in the token, of which there is less than 2^128, so that none
//! grows into the number.

const NUMBER: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;

/// Fri.
pub fn credit(word: felt252) -> u128 {
    let word: u256 = word.into();
    word.low
}

/// The client's number.
pub fn number(word: felt252) -> u32 {
    let word: u256 = word.into();
    word.high.try_into().unwrap()
}

pub fn with_more_credit(word: felt252, amount: u128) -> felt252 {
    word + amount.into()
}

/// The caller answers for the credit's being that much.
pub fn with_less_credit(word: felt252, amount: u128) -> felt252 {
    word - amount.into()
}

/// The word of an account that had no number.
pub fn with_number(word: felt252, number: u32) -> felt252 {
    word + number.into() * NUMBER
}
