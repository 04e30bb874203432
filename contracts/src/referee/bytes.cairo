// SPDX-License-Identifier: MIT

//! What the words that SHA-256 takes and gives stand for. Pure.

/// The four bytes of a word, the first one uppermost.
pub fn bytes(word: u32) -> (u32, u32, u32, u32) {
    let (upper, lower) = DivRem::div_rem(word, 0x1_0000);
    let (first, second) = DivRem::div_rem(upper, 0x100);
    let (third, fourth) = DivRem::div_rem(lower, 0x100);
    (first, second, third, fourth)
}

/// A byte as an int8.
pub fn int8(byte: u32) -> felt252 {
    if byte < 0x80 {
        byte.into()
    } else {
        byte.into() - 0x100
    }
}

/// A word's bytes as an int32 in little-endian order.
pub fn int32(word: u32) -> felt252 {
    let (first, second, third, fourth) = bytes(word);
    first.into() + second.into() * 0x100 + third.into() * 0x1_0000 + int8(fourth) * 0x100_0000
}

/// The first 31 bytes of a SHA-256 as a number: what manifests and results are known by.
pub fn content_hash(digest: [u32; 8]) -> felt252 {
    let [a, b, c, d, e, f, g, h] = digest;
    let mut hash: felt252 = 0;
    for word in array![a, b, c, d, e, f, g] {
        hash = hash * 0x1_0000_0000 + word.into();
    };
    hash * 0x100_0000 + (h / 0x100).into()
}
