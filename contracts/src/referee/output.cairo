// SPDX-License-Identifier: MIT

//! A product as it is handed in, see `interface`. Pure.

use crate::referee::errors;

const TWO_32: NonZero<u128> = 0x1_0000_0000;
const TWO_64: NonZero<u128> = 0x1_0000_0000_0000_0000;

/// Words of 32 bits in a felt.
const WORDS: u32 = 7;

/// The output's `area` words, each four bytes as a big-endian number, which is how SHA-256 reads
/// them.
///
/// Errors: `MALFORMED_OUTPUT` where it has another length, or where there is something outside of
/// the words.
pub fn unpack(output: Span<felt252>, area: u32) -> Array<u32> {
    assert(output.len() == (area + WORDS - 1) / WORDS, errors::MALFORMED_OUTPUT);
    let mut felts = output;
    let last = *felts.pop_back().expect(errors::MALFORMED_OUTPUT);
    let mut words = array![];
    for felt in felts {
        append_words(ref words, *felt);
    };

    let mut last_words = array![];
    append_words(ref last_words, last);
    for word in last_words {
        if words.len() != area {
            words.append(word);
        } else {
            assert(word == 0, errors::MALFORMED_OUTPUT);
        }
    };
    words
}

fn append_words(ref words: Array<u32>, felt: felt252) {
    let packed: u256 = felt.into();
    let (first, rest) = DivRem::div_rem(packed.high, TWO_64);
    words.append(first.try_into().expect(errors::MALFORMED_OUTPUT));
    append_two(ref words, rest);
    let (upper, lower) = DivRem::div_rem(packed.low, TWO_64);
    append_two(ref words, upper);
    append_two(ref words, lower);
}

fn append_two(ref words: Array<u32>, pair: u128) {
    let (first, second) = DivRem::div_rem(pair, TWO_32);
    words.append(first.try_into().unwrap());
    words.append(second.try_into().unwrap());
}
