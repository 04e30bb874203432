// SPDX-License-Identifier: MIT

//! The manifest of a matrix product, in the one form that the referee knows. Pure.

use core::sha256::compute_sha256_byte_array;
use crate::referee::bytes::content_hash;

/// The hash of the manifest's bytes, as a job names it.
pub fn hash(size: u32, seed: u64) -> felt252 {
    let manifest = format!(
        "{{\"version\":1,\"executor\":{{\"kind\":\"matmul\",\"size\":{size},\"seed\":{seed}}}}}",
    );
    content_hash(compute_sha256_byte_array(@manifest))
}
