//! One decision as it goes to the chain: an item of `TaskAllocator.apply_batch`.

use std::fmt;

use serde::{Deserialize, Serialize};
use starknet_types_core::felt::Felt;

use crate::{Attempt, JobId, Rate, WorkerId};

/// Items that one `apply_batch` may carry.
pub const MAX_ITEMS_PER_BATCH: usize = 500;

const WORKER_SHIFT: u32 = 64;
const ATTEMPT_SHIFT: u32 = 96;
const STRATEGY_SHIFT: u32 = 104;
const SCORE_SHIFT: u32 = 108;
const RATE_SHIFT: u32 = 124;
const ITEM_BITS: u32 = 164;

/// How an allocation came about; recorded on chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Strategy {
    /// One job to the worker that fits it best.
    #[default]
    Standard = 0,
    /// As part of an assignment of many jobs at once.
    Batch = 1,
    /// Before its turn.
    Emergency = 2,
    /// With preferences relaxed.
    Fallback = 3,
}

impl Strategy {
    /// The strategy with this number on chain.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Standard),
            1 => Some(Self::Batch),
            2 => Some(Self::Emergency),
            3 => Some(Self::Fallback),
            _ => None,
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Standard => "standard",
            Self::Batch => "batch",
            Self::Emergency => "emergency",
            Self::Fallback => "fallback",
        })
    }
}

/// "Give `attempt` of `job` to `worker`."
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AllocationItem {
    /// The job.
    pub job_id: JobId,
    /// The worker.
    pub worker_id: WorkerId,
    /// The attempt that the keeper saw queued; the contract refuses any other.
    pub attempt: Attempt,
    /// How the decision came about.
    pub strategy: Strategy,
    /// The winner's score, 0 to 10,000.
    pub score: u16,
    /// The worker's rate, as the keeper saw it; the contract refuses any other.
    pub rate: Rate,
}

impl AllocationItem {
    /// The item in one felt: job 64 bits, worker 32, attempt 8, strategy 4, score 16, rate 40, from the lowest.
    pub fn pack(&self) -> Felt {
        let low = u128::from(self.job_id.0)
            | u128::from(self.worker_id.0) << WORKER_SHIFT
            | u128::from(self.attempt.0) << ATTEMPT_SHIFT
            | u128::from(self.strategy as u8) << STRATEGY_SHIFT
            | u128::from(self.score) << SCORE_SHIFT;
        Felt::from(low) + Felt::TWO.pow(RATE_SHIFT) * Felt::from(self.rate.0)
    }

    /// Reads a packed item.
    ///
    /// # Errors
    /// Fails where bits outside the item are set, or the strategy is unknown.
    #[expect(clippy::cast_possible_truncation, reason = "each cast keeps exactly the bits of its field")]
    pub fn unpack(felt: Felt) -> Result<Self, ItemError> {
        let error = || ItemError { felt };
        let bytes = felt.to_bytes_be();
        let (high, low) = bytes.split_at(bytes.len() / 2);
        let [high, low] = [high, low].map(|half| half.iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte)));
        if high >> (ITEM_BITS - u128::BITS) != 0 {
            return Err(error());
        }
        let strategy = Strategy::from_number((low >> STRATEGY_SHIFT) as u8 & 0xf).ok_or_else(error)?;
        Ok(Self {
            job_id: JobId(low as u64),
            worker_id: WorkerId((low >> WORKER_SHIFT) as u32),
            attempt: Attempt((low >> ATTEMPT_SHIFT) as u8),
            strategy,
            score: (low >> SCORE_SHIFT) as u16,
            // The rate straddles the halves: its lowest bits are the low half's highest.
            rate: Rate((low >> RATE_SHIFT | high << (u128::BITS - RATE_SHIFT)) as u64),
        })
    }
}

/// A felt is not a packed allocation item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{felt:#x} is not a packed allocation item")]
pub struct ItemError {
    felt: Felt,
}

/// Why the contract did not apply an item. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum SkipReason {
    /// No such job.
    JobUnknown = 1,
    /// The job is not queued (any more).
    JobNotQueued = 2,
    /// Another attempt is queued.
    AttemptMismatch = 3,
    /// The job's deadline has passed.
    DeadlinePassed = 4,
    /// No such worker.
    WorkerUnknown = 5,
    /// The worker is draining or leaving.
    WorkerUnavailable = 6,
    /// The worker runs as many jobs as it has slots.
    NoFreeSlot = 7,
    /// Too few of the worker's GPUs are free.
    NoFreeGpu = 8,
    /// The worker lacks something that the job requires.
    RequirementUnmet = 9,
    /// The worker asks more than the job pays.
    RateTooHigh = 10,
    /// The worker's reputation is below what the job asks for.
    ReputationTooLow = 11,
    /// The worker stands in another region.
    RegionMismatch = 12,
    /// The worker failed this job before, or had another replica of it.
    WorkerExcluded = 13,
    /// The item has no meaning.
    ItemMalformed = 14,
    /// The worker's rate is not the item's.
    RateChanged = 15,
}

impl SkipReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::JobUnknown,
        Self::JobNotQueued,
        Self::AttemptMismatch,
        Self::DeadlinePassed,
        Self::WorkerUnknown,
        Self::WorkerUnavailable,
        Self::NoFreeSlot,
        Self::NoFreeGpu,
        Self::RequirementUnmet,
        Self::RateTooHigh,
        Self::ReputationTooLow,
        Self::RegionMismatch,
        Self::WorkerExcluded,
        Self::ItemMalformed,
        Self::RateChanged,
    ];

    /// The reason with this number on chain.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::JobUnknown => "no such job",
            Self::JobNotQueued => "the job is not queued",
            Self::AttemptMismatch => "another attempt is queued",
            Self::DeadlinePassed => "the job's deadline has passed",
            Self::WorkerUnknown => "no such worker",
            Self::WorkerUnavailable => "the worker is draining or leaving",
            Self::NoFreeSlot => "no free slot",
            Self::NoFreeGpu => "too few free GPUs",
            Self::RequirementUnmet => "a requirement is not met",
            Self::RateTooHigh => "the worker's rate is too high",
            Self::ReputationTooLow => "the worker's reputation is too low",
            Self::RegionMismatch => "the worker stands in another region",
            Self::WorkerExcluded => "the worker failed this job, or had a replica of it, before",
            Self::ItemMalformed => "malformed item",
            Self::RateChanged => "the worker changed its rate",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn reasons_are_numbered_from_one_without_gaps() {
        for (index, reason) in SkipReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index + 1);
            assert_eq!(SkipReason::from_number(reason as u8), Some(reason));
        }
        assert_eq!(SkipReason::from_number(0), None);
        assert_eq!(SkipReason::from_number(16), None);
    }

    #[test]
    fn an_items_fields_stand_where_the_contract_reads_them() {
        let item = AllocationItem {
            job_id: JobId(1),
            worker_id: WorkerId(2),
            attempt: Attempt(3),
            strategy: Strategy::Fallback,
            score: 4,
            rate: Rate(5),
        };
        let place = |value: u64, bit: u32| Felt::from(value) * Felt::TWO.pow(bit);
        let expected = [(1, 0), (2, 64), (3, 96), (3, 104), (4, 108), (5, 124)];
        assert_eq!(item.pack(), expected.into_iter().map(|(value, bit)| place(value, bit)).sum::<Felt>());
    }

    proptest! {
        #[test]
        fn items_round_trip(job: u64, worker: u32, attempt: u8, strategy in 0_u8..4, score: u16, rate in 0_u64..1 << 40) {
            let strategy = Strategy::from_number(strategy).unwrap();
            let item = AllocationItem {
                job_id: JobId(job),
                worker_id: WorkerId(worker),
                attempt: Attempt(attempt),
                strategy,
                score,
                rate: Rate(rate),
            };
            prop_assert_eq!(AllocationItem::unpack(item.pack()).unwrap(), item);
        }

        #[test]
        fn stray_bits_are_refused(bit in 164_u64..250) {
            let felt = Felt::TWO.pow(bit);
            prop_assert!(AllocationItem::unpack(felt).is_err());
        }
    }
}
