// SPDX-License-Identifier: MIT

//! Types of the worker pool.

use crate::types::Capabilities;
use starknet::ContractAddress;

#[derive(Copy, Drop, Serde, PartialEq, Debug, Default)]
pub enum WorkerStatus {
    /// No worker has this id.
    #[default]
    None,
    /// Takes allocations.
    Active,
    /// Finishes its jobs and takes no more, until it resumes.
    Draining,
    /// Has asked for its stake; takes no more jobs and cannot return.
    Exiting,
    /// Has its stake back.
    Exited,
}

/// How an attempt ended that brought no result.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub enum AttemptFailure {
    /// The worker gave up.
    Failed,
    /// The worker let the deadline pass.
    Expired,
}

/// What a worker did that takes some of its stake. Events report it by its number.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub enum WorkerFault {
    /// 1: it committed to a result and did not reveal it in time.
    Unrevealed,
    /// 2: its result was found to be wrong.
    Wrong,
}

/// A worker as views show it.
#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct WorkerView {
    pub worker_id: u32,
    pub owner: ContractAddress,
    pub status: WorkerStatus,
    pub capabilities: Capabilities,
    /// Jobs it runs at once at most.
    pub slots: u8,
    pub free_slots: u8,
    pub free_gpus: u8,
    /// gFri per GPU-second.
    pub rate_gfri: u64,
    /// Fri.
    pub stake: u128,
    /// Of 1000.
    pub reputation: u16,
    /// Unix time in seconds from which the reputation decays: its last outcome, the last decay, or
    /// the registration.
    pub reputation_at: u64,
    /// Unix time in seconds.
    pub registered_at: u64,
    /// The stake can be withdrawn after this time (s) and this block; 0 unless the worker is
    /// leaving or has left.
    pub exit_at: u64,
    pub exit_block: u64,
    /// Whether the admin has admitted it to the static pool.
    pub is_static: bool,
    /// Results of the worker that may still cost it stake: committed and not yet revealed, or
    /// disputed.
    pub holds: u16,
}

#[derive(Copy, Drop, Serde, PartialEq, Debug)]
pub struct CdcPoolConfig {
    pub admin: ContractAddress,
    pub token: ContractAddress,
    /// 0 until the admin has set it.
    pub job_mgr: ContractAddress,
    /// 0 until the admin has set it.
    pub task_allocator: ContractAddress,
    /// Fri.
    pub min_stake_per_slot: u128,
    pub unbonding_s: u64,
}

/// A worker in storage: one storage slot each. What of it is in use lies elsewhere, see
/// `cdc_pool/worker_record.cairo`.
#[derive(Copy, Drop, starknet::Store)]
pub(crate) struct WorkerRecord {
    /// `math/worker_slot.cairo`: what it offers.
    pub slot: felt252,
    pub owner: ContractAddress,
    pub bond: Bond,
}

/// What a worker has at stake, and since and until when. One storage slot, see [`BondPacking`].
#[derive(Copy, Drop, PartialEq, Debug)]
pub(crate) struct Bond {
    /// Fri.
    pub stake: u128,
    /// Unix time in seconds.
    pub registered_at: u64,
    /// 0 unless the worker is leaving.
    pub exit_at: u64,
    pub exit_block: u64,
}

/// ```text
/// low    0..128  stake
/// high   0..32   registered at
///       32..64   exit at: timestamp
///       64..96   exit at: block
/// ```
impl BondPacking of starknet::storage_access::StorePacking<Bond, felt252> {
    fn pack(value: Bond) -> felt252 {
        let high = value.registered_at.into()
            + value.exit_at.into() * 0x1_0000_0000
            + value.exit_block.into() * 0x1_0000_0000_0000_0000;
        value.stake.into() + high * 0x1_0000_0000_0000_0000_0000_0000_0000_0000
    }

    fn unpack(value: felt252) -> Bond {
        let packed: u256 = value.into();
        let (rest, registered_at) = DivRem::div_rem(packed.high, 0x1_0000_0000);
        let (exit_block, exit_at) = DivRem::div_rem(rest, 0x1_0000_0000);
        Bond {
            stake: packed.low,
            registered_at: registered_at.try_into().unwrap(),
            exit_at: exit_at.try_into().unwrap(),
            exit_block: exit_block.try_into().unwrap(),
        }
    }
}
