// SPDX-License-Identifier: MIT

//! Whether an output is a job's product, by Freivalds' method. Pure.

use crate::referee::bytes::int32;
use crate::referee::matrices;

/// Whether the words are the product of the matrices that the seed gives.
///
/// With `v` the powers of `point` from the `n - 1`th down to the 0th, and `u` those of `point^n`
/// alike, `u * C * v` is the polynomial whose coefficients are all the entries of `C`, and each
/// entry of `B * v` one whose coefficients are a row of `B`. `point` must be one that whoever made
/// the output could not choose.
pub fn is_right(size: u32, seed: u64, words: Span<u32>, point: felt252) -> bool {
    let area = size * size;
    let mut claimed = 0;
    for word in words {
        claimed = claimed * point + int32(*word);
    };

    let mut b = matrices::expand(seed, 'B', area);
    let mut b_v = array![];
    for _ in 0..size {
        b_v.append(evaluate_row(ref b, size, point));
    };

    let mut a = matrices::expand(seed, 'A', area);
    let b_v = b_v.span();
    let step = power(point, size);
    let mut right = 0;
    for _ in 0..size {
        right = right * step + multiply_row(ref a, b_v);
    };
    claimed == right
}

/// The next row of a matrix as the coefficients of a polynomial, at `point`.
fn evaluate_row(ref entries: Span<felt252>, size: u32, point: felt252) -> felt252 {
    let mut value = 0;
    for _ in 0..size {
        value = value * point + *entries.pop_front().unwrap();
    };
    value
}

/// The next row of a matrix times a vector.
fn multiply_row(ref entries: Span<felt252>, vector: Span<felt252>) -> felt252 {
    let mut sum = 0;
    for factor in vector {
        sum += *entries.pop_front().unwrap() * *factor;
    };
    sum
}

fn power(base: felt252, exponent: u32) -> felt252 {
    let mut value = 1;
    for _ in 0..exponent {
        value *= base;
    };
    value
}
