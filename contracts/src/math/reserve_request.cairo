// SPDX-License-Identifier: MIT

//! The felt by which the job manager asks the pool for one worker.
//!
//! ```text
//! low    0..96   lanes of the requirements
//!       96..128  any: what a queued job's slot has there
//! high   0..40   highest rate (gFri)
//!       40..80   region, 0 for any
//!       80..112  worker
//! ```
//!
//! The answer is the worker's rate (gFri) where the request is granted; where it is refused, it is
//! [`REFUSED`] and then the reason (`types::skip_reason`).

/// What stands before the reason in the answer to a request that is refused. No rate is 0.
pub const REFUSED: felt252 = 0;

const OFFER: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000;
const WORKER: felt252 = 0x1_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000_0000;

const RATE_WIDTH: NonZero<u128> = 0x100_0000_0000;
const REGION_WIDTH: NonZero<u128> = 0x100_0000_0000;

#[derive(Copy, Drop)]
pub struct ReserveRequest {
    pub worker_id: u128,
    /// Packed lanes, with anything above their 96 bits.
    pub needs: u128,
    pub max_rate_gfri: u128,
    pub region: u128,
}

/// `needs` and `offer` are as a queued job's slot holds them.
#[inline(always)]
pub fn pack(worker_id: u128, needs: u128, offer: u128) -> felt252 {
    needs.into() + offer.into() * OFFER + worker_id.into() * WORKER
}

#[inline(always)]
pub fn unpack(request: felt252) -> ReserveRequest {
    let request: u256 = request.into();
    let (rest, max_rate_gfri) = DivRem::div_rem(request.high, RATE_WIDTH);
    let (worker_id, region) = DivRem::div_rem(rest, REGION_WIDTH);
    ReserveRequest { worker_id, needs: request.low, max_rate_gfri, region }
}
