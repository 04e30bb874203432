//! The product of two int8 matrices made from a seed: work whose result is exact, so that anyone can check it.
//!
//! Both matrices are square, of side `size`, row by row. Their bytes, read as int8, are the concatenation of
//!
//! ```text
//! SHA-256("ciro-matmul-v1" || seed, 8 bytes || "A" or "B" || i, 8 bytes)      for i = 0, 1, 2, ...
//! ```
//!
//! cut off after `size * size` bytes; numbers are big-endian. The output is `C = A * B`, row by row, each entry an
//! int32 in little-endian order. No entry exceeds 4,096 * 128 * 128 = 2^26, so nothing overflows.

use std::{
    array,
    sync::atomic::{AtomicBool, Ordering},
};

use keeper_types::MatmulJob;
use sha2::{Digest as _, Sha256};

const DOMAIN: &[u8] = b"ciro-matmul-v1";
const CHECK_DOMAIN: &[u8] = b"ciro-matmul-check-v1";
/// Rows of B that are worked on at a time, so that they stay in the cache.
const BLOCK: usize = 64;
/// The prime that outputs are checked modulo.
const PRIME: i128 = (1 << 61) - 1;
/// Vectors that an output is checked with. A wrong one passes each with a chance of 2^-61.
const CHECKS: u8 = 2;

/// The output's length.
pub fn output_bytes(job: MatmulJob) -> u64 {
    4 * area(job) as u64
}

/// Memory that computing the product takes, in bytes.
pub fn memory_bytes(job: MatmulJob) -> u64 {
    // A and B at 2 bytes an entry, C at 4, and C's bytes.
    12 * area(job) as u64
}

/// Computes the output, unless `stop` becomes true meanwhile.
pub fn product(job: MatmulJob, stop: &AtomicBool) -> Option<Vec<u8>> {
    let side = job.size as usize;
    let stopped = || stop.load(Ordering::Relaxed);
    let a = expand(job, b'A', &stopped)?;
    let b = expand(job, b'B', &stopped)?;
    let mut c = vec![0_i32; area(job)];
    for (block, b_rows) in b.chunks(BLOCK * side).enumerate() {
        for (a_row, c_row) in a.chunks_exact(side).zip(c.chunks_exact_mut(side)) {
            if stopped() {
                return None;
            }
            for (factor, b_row) in a_row[block * BLOCK..].iter().zip(b_rows.chunks_exact(side)) {
                add_multiple(c_row, *factor, b_row);
            }
        }
    }
    Some(c.iter().flat_map(|entry| entry.to_le_bytes()).collect())
}

/// The inner loop. A product of two int8 fits int16, which compilers turn into vector instructions.
fn add_multiple(sums: &mut [i32], factor: i16, row: &[i16]) {
    for (sum, entry) in sums.iter_mut().zip(row) {
        *sum += i32::from(factor * *entry);
    }
}

/// Whether `output` is the job's, by Freivalds' method: `C * r = A * (B * r)` for vectors `r` that whoever made
/// the output could not choose, since they are derived from it.
pub fn check(job: MatmulJob, output: &[u8]) -> bool {
    if output.len() as u64 != output_bytes(job) {
        return false;
    }
    let (Some(a), Some(b)) = (expand(job, b'A', &|| false), expand(job, b'B', &|| false)) else { return false };
    let c: Vec<i32> = output.chunks_exact(4).map(|bytes| i32::from_le_bytes(array::from_fn(|i| bytes[i]))).collect();
    let digest = Sha256::digest(output);
    (0..CHECKS).all(|number| {
        let vector = vector(job, &digest, number);
        multiply(&c, &vector) == multiply(&a, &multiply(&b, &vector))
    })
}

/// A vector modulo [`PRIME`].
fn vector(job: MatmulJob, digest: &[u8], number: u8) -> Vec<i128> {
    (0..job.size)
        .map(|index| {
            let hash = Sha256::new()
                .chain_update(CHECK_DOMAIN)
                .chain_update(job.seed.to_be_bytes())
                .chain_update(digest)
                .chain_update([number])
                .chain_update(index.to_be_bytes())
                .finalize();
            i128::from(u64::from_be_bytes(array::from_fn(|i| hash[i]))) % PRIME
        })
        .collect()
}

/// The matrix times the vector, modulo [`PRIME`]. Sums stay below 2^12 * 2^31 * 2^61.
fn multiply<T: Copy + Into<i128>>(matrix: &[T], vector: &[i128]) -> Vec<i128> {
    let rows = matrix.chunks_exact(vector.len());
    rows.map(|row| row.iter().zip(vector).map(|(entry, factor)| (*entry).into() * factor).sum::<i128>())
        .map(|sum| sum.rem_euclid(PRIME))
        .collect()
}

fn expand(job: MatmulJob, matrix: u8, stopped: &impl Fn() -> bool) -> Option<Vec<i16>> {
    let prefix = Sha256::new().chain_update(DOMAIN).chain_update(job.seed.to_be_bytes()).chain_update([matrix]);
    let length = area(job);
    let mut entries = Vec::with_capacity(length + 32);
    let mut index = 0_u64;
    while entries.len() < length {
        if stopped() {
            return None;
        }
        let block = prefix.clone().chain_update(index.to_be_bytes()).finalize();
        entries.extend(block.iter().map(|byte| i16::from(byte.cast_signed())));
        index += 1;
    }
    entries.truncate(length);
    Some(entries)
}

fn area(job: MatmulJob) -> usize {
    job.size as usize * job.size as usize
}

#[cfg(test)]
mod tests {
    use keeper_types::ContentHash;

    use super::*;

    fn job(size: u32, seed: u64) -> MatmulJob {
        MatmulJob { size, seed }
    }

    fn compute(job: MatmulJob) -> Vec<u8> {
        product(job, &AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn the_generator_is_as_documented() {
        // printf 'ciro-matmul-v1\0\0\0\0\0\0\0\7A\0\0\0\0\0\0\0\0' | sha256sum gives 9c529e3e...
        let a = expand(job(2, 7), b'A', &|| false).unwrap();
        assert_eq!(a, [-0x64, 0x52, -0x62, 0x3e]);
        let long = expand(job(9, 7), b'A', &|| false).unwrap();
        assert_eq!(long.len(), 81);
        assert_eq!(long[..4], a);
    }

    #[test]
    fn the_product_is_the_sum_of_products() {
        for size in [1, 2, 63, 64, 65, 130] {
            let job = job(size, 11);
            let (a, b) = (expand(job, b'A', &|| false).unwrap(), expand(job, b'B', &|| false).unwrap());
            let side = size as usize;
            let mut expected = Vec::new();
            for row in 0..side {
                for column in 0..side {
                    let sum: i32 =
                        (0..side).map(|k| i32::from(a[row * side + k]) * i32::from(b[k * side + column])).sum();
                    expected.extend(sum.to_le_bytes());
                }
            }
            assert_eq!(compute(job), expected, "{size}");
        }
    }

    #[test]
    fn the_format_does_not_change() {
        // Also what another implementation of the module's documentation, in Python, gave.
        let expected = "a0733f9e84ea0d7cd3ad2692b1dabbd254999c9c41fc2b4253f7e7e8e46237";
        assert_eq!(ContentHash::of(&compute(job(64, 7))).to_string(), expected);
    }

    #[test]
    fn one_wrong_bit_is_noticed() {
        let job = job(40, 3);
        let mut output = compute(job);
        assert!(check(job, &output));
        for place in [0, 1_601, output.len() - 1] {
            output[place] ^= 1;
            assert!(!check(job, &output), "{place}");
            output[place] ^= 1;
        }
        assert!(!check(job, &output[1..]));
        assert!(!check(MatmulJob { seed: 4, ..job }, &output));
    }
}
