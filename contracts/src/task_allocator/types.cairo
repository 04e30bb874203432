// SPDX-License-Identifier: MIT

//! Types of the task allocator.

use starknet::ContractAddress;

/// Which allocation a caller asks about.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct AllocationParams {
    pub job_id: u256,
    /// The job's model; 0 accepts any.
    pub model_id: felt252,
    /// The job's priority is at least this.
    pub priority: u8,
    /// The worker's region; 0 accepts any.
    pub region: felt252,
    /// The worker's reputation is at least this.
    pub min_reputation: u32,
}

/// A recorded allocation.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct AllocationResult {
    pub worker_id: felt252,
    /// Unix time in seconds: allocation plus execution timeout.
    pub expected_completion_time: u64,
    /// The keeper's score, 0 to 65535.
    pub allocation_score: u32,
}

/// What was last reported of a worker. For people and dashboards: no contract decides by it.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct WorkerMetrics {
    /// Jobs waiting at the worker.
    pub queue_length: u32,
    /// Milliseconds.
    pub response_ms: u32,
    /// Basis points.
    pub success_bps: u16,
    /// Basis points.
    pub utilisation_bps: u16,
}

/// What this contract has done since its deployment.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct AllocationStats {
    pub rounds: u64,
    pub allocated: u64,
    pub skipped: u64,
    pub last_round_block: u64,
}

/// What a keeper says about a round, so that anyone can recompute it. Only the round's number, its
/// block and its policy are checked; the roots are kept in the event.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct RoundHeader {
    /// Above the keeper's latest, and below 2^48.
    pub round: u64,
    /// The block that the keeper decided on.
    pub snapshot_block: u64,
    /// Root of the jobs and workers that it decided on.
    pub snapshot_root: felt252,
    /// The announced policy that it decided by.
    pub policy_id: felt252,
    /// Root of the plan, of which this batch is a part.
    pub plan_root: felt252,
}

/// A policy as views show it.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct PolicyView {
    pub policy_id: felt252,
    /// Rounds may name it from this time (s) and this block on; 0 if it was never announced.
    pub active_from: u64,
    pub active_from_block: u64,
    pub is_retired: bool,
}

/// A keeper as views show it.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct KeeperView {
    pub address: ContractAddress,
    /// Whether the admin has added it and it has neither left nor been removed. It is a keeper
    /// while its bond is also at least the least one.
    pub is_admitted: bool,
    /// Fri.
    pub bond: u128,
    /// 0 before its first.
    pub last_round: u64,
    /// The bond can be withdrawn after this time (s) and this block; 0 unless it has left or was
    /// removed.
    pub leaves_at: u64,
    pub leaves_block: u64,
}

#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct TaskAllocatorConfig {
    pub admin: ContractAddress,
    pub job_mgr: ContractAddress,
    pub cdc_pool: ContractAddress,
    pub token: ContractAddress,
    /// Fri.
    pub min_keeper_bond: u128,
    /// From a policy's announcement until rounds may name it, and from a keeper's leaving until it
    /// may withdraw its bond.
    pub policy_delay_s: u64,
}

/// Metrics with the time they were reported at.
#[derive(Copy, Drop, PartialEq, Debug)]
pub(crate) struct ReportedMetrics {
    pub metrics: WorkerMetrics,
    /// Unix time in seconds; 0 if there was no report.
    pub reported_at: u64,
}

/// ```text
/// low    0..32   queue length
///       32..64   response (ms)
///       64..80   success (basis points)
///       80..96   utilisation (basis points)
/// high   0..64   reported at
/// ```
impl ReportedMetricsPacking of starknet::storage_access::StorePacking<ReportedMetrics, felt252> {
    fn pack(value: ReportedMetrics) -> felt252 {
        let metrics = value.metrics;
        metrics.queue_length.into()
            + metrics.response_ms.into() * 0x1_0000_0000
            + metrics.success_bps.into() * 0x1_0000_0000_0000_0000
            + metrics.utilisation_bps.into() * 0x1_0000_0000_0000_0000_0000
            + value.reported_at.into() * 0x1_0000_0000_0000_0000_0000_0000_0000_0000
    }

    fn unpack(value: felt252) -> ReportedMetrics {
        let packed: u256 = value.into();
        let (rest, queue_length) = DivRem::div_rem(packed.low, 0x1_0000_0000);
        let (rest, response_ms) = DivRem::div_rem(rest, 0x1_0000_0000);
        let (utilisation_bps, success_bps) = DivRem::div_rem(rest, 0x1_0000);
        ReportedMetrics {
            metrics: WorkerMetrics {
                queue_length: queue_length.try_into().unwrap(),
                response_ms: response_ms.try_into().unwrap(),
                success_bps: success_bps.try_into().unwrap(),
                utilisation_bps: utilisation_bps.try_into().unwrap(),
            },
            reported_at: packed.high.try_into().unwrap(),
        }
    }
}

/// ```text
/// low    0..64   rounds
///       64..128  allocated
/// high   0..64   skipped
///       64..112  block of the last round
/// ```
pub(crate) impl AllocationStatsPacking of starknet::storage_access::StorePacking<
    AllocationStats, felt252,
> {
    fn pack(value: AllocationStats) -> felt252 {
        let high = value.skipped.into() + value.last_round_block.into() * 0x1_0000_0000_0000_0000;
        value.rounds.into()
            + value.allocated.into() * 0x1_0000_0000_0000_0000
            + high * 0x1_0000_0000_0000_0000_0000_0000_0000_0000
    }

    fn unpack(value: felt252) -> AllocationStats {
        let packed: u256 = value.into();
        let (allocated, rounds) = DivRem::div_rem(packed.low, 0x1_0000_0000_0000_0000);
        let (last_round_block, skipped) = DivRem::div_rem(packed.high, 0x1_0000_0000_0000_0000);
        AllocationStats {
            rounds: rounds.try_into().unwrap(),
            allocated: allocated.try_into().unwrap(),
            skipped: skipped.try_into().unwrap(),
            last_round_block: last_round_block.try_into().unwrap(),
        }
    }
}
