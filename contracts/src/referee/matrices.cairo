// SPDX-License-Identifier: MIT

//! The matrices whose product a job asks for, made from its seed as `keeper/worker/src/matmul.rs`
//! says. Pure.

use core::sha256::compute_sha256_u32_array;
use crate::referee::bytes::{bytes, int8};

/// The entries of a matrix, `'A'` or `'B'`, row by row: `area` of them, and up to 31 more.
pub fn expand(seed: u64, matrix: felt252, area: u32) -> Span<felt252> {
    // The message is 31 bytes long: "ciro-matmul-v1", the seed, the matrix's letter and the number
    // of the block, which stays below 2^24.
    let (upper, lower) = DivRem::div_rem(seed, 0x1_0000);
    let (upper, middle) = DivRem::div_rem(upper, 0x1_0000_0000);
    let fourth: felt252 = 'v1' * 0x1_0000 + upper.into();
    let fifth: felt252 = middle.into();
    let sixth: felt252 = lower.into() * 0x1_0000 + matrix * 0x100;
    let fourth: u32 = fourth.try_into().unwrap();
    let fifth: u32 = fifth.try_into().unwrap();
    let sixth: u32 = sixth.try_into().unwrap();

    let mut entries = array![];
    let mut block = 0;
    while entries.len() < area {
        let message = array!['ciro', '-mat', 'mul-', fourth, fifth, sixth, 0];
        let digest = compute_sha256_u32_array(message, block, 3);
        for word in digest.span() {
            let (first, second, third, fourth) = bytes(*word);
            entries.append(int8(first));
            entries.append(int8(second));
            entries.append(int8(third));
            entries.append(int8(fourth));
        };
        block += 1;
    };
    entries.span()
}
