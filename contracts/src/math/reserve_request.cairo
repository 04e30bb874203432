// SPDX-License-Identifier: MIT

//! How the job manager asks the pool for workers. A request is two felts: what is asked, and the
//! worker's id. What is asked lies where the worker's slot (`math/worker_slot.cairo`) has what is
//! offered, so that one subtraction compares them:
//!
//! ```text
//! low    0..96   lanes of the requirements
//!       96..128  any: what a queued job's slot has there
//! high   0..40   rate (gFri), which must be the worker's
//!       40..42   0: the status of an Active worker
//!       42..82   region, 0 for any
//! ```
//!
//! A refusal is one felt: the request's index among all requests of the call in bits 0..32, and
//! above it the reason (`types::skip_reason`).

const TERMS: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;
const REGION: felt252 = 0x400_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000;
const REASON: felt252 = 0x1_0000_0000;
const REASON_UNIT: NonZero<u128> = 0x1_0000_0000;

/// What is asked. `needs` is as a queued job's slot holds it.
#[inline(always)]
pub fn ask(needs: u128, rate_gfri: felt252, region: u128) -> felt252 {
    needs.into() + rate_gfri * TERMS + region.into() * REGION
}

pub fn refusal(index: u32, reason: u8) -> felt252 {
    index.into() + reason.into() * REASON
}

/// The index and the reason of a refusal.
pub fn unpack_refusal(refusal: felt252) -> (u32, u8) {
    let refusal: u128 = refusal.try_into().unwrap();
    let (reason, index) = DivRem::div_rem(refusal, REASON_UNIT);
    (index.try_into().unwrap(), reason.try_into().unwrap())
}
