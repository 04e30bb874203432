//! Which part of the market a round is about, where several keepers decide at once.
//!
//! A market is dealt out into shards by what everybody can compute: the numbers of jobs and workers, and the block. A job
//! stays in its shard. A worker goes round, one shard on every [`ROTATION_BLOCKS`] blocks, so that a job whose only worker
//! is elsewhere now meets it within as many periods as there are shards. Workers do not go on all at once: each has a block
//! of its own within the period.
//!
//! ```text
//! mix(x)                   the finaliser of SplitMix64 (G. Steele, D. Lea, C. Flood, 2014)
//! shard of a job           mix(job) mod N
//! shard of an account      mix(low 64 bits of its address) mod N
//! shard of a worker        (low 32 bits of mix(worker) + period) mod N
//!   period                 (block + high 32 bits of mix(worker) mod ROTATION) / ROTATION, rounded down
//! ```
//!
//! A keeper decides one round for all the shards that it leads, its [`Portion`]. At one block no worker is in two shards,
//! and at no block any job. Two keepers may look at two blocks, between which a worker has gone on: what others have on
//! its way is left out of a portion by name, and behind that the contracts skip what does not hold any more.

use std::{collections::BTreeSet, fmt};

use keeper_types::{Address, BlockNumber, JobId, WorkerId};
use serde::{Deserialize, Serialize};

use crate::{Snapshot, inputs::low_bits, sharing::SplitMix64};

/// The most shards that a market is dealt out into.
pub const MAX_SHARDS: u8 = 16;
/// Blocks for which a worker stays in a shard: long enough for what was decided there to land many times over, short
/// enough for a job to wait some minutes at most for a worker that is elsewhere.
pub const ROTATION_BLOCKS: u64 = 10;

/// The shard of a job among `count`, for good.
///
/// # Panics
/// Panics where there are no shards.
pub fn shard_of_job(job_id: JobId, count: u8) -> u8 {
    place(SplitMix64::mix(job_id.0), count)
}

/// The shard of a worker among `count` as of a block.
///
/// # Panics
/// Panics where there are no shards.
pub fn shard_of_worker(worker_id: WorkerId, block: BlockNumber, count: u8) -> u8 {
    let mixed = SplitMix64::mix(u64::from(worker_id.0));
    let (shard, phase) = (mixed & 0xffff_ffff, (mixed >> 32) % ROTATION_BLOCKS);
    let period = block.0.saturating_add(phase) / ROTATION_BLOCKS;
    // Both are far below 64 bits.
    place(shard + period, count)
}

/// The shard of an account among `count`, for good: whose leader pays it out.
///
/// # Panics
/// Panics where there are no shards.
pub fn shard_of_account(account: Address, count: u8) -> u8 {
    place(SplitMix64::mix(low_bits(account.0)), count)
}

fn place(mixed: u64, count: u8) -> u8 {
    u8::try_from(mixed % u64::from(count)).expect("it is below a number of 8 bits")
}

/// Some of a market's shards, at least one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Dealt", into = "Dealt")]
pub struct ShardSet {
    count: u8,
    members: BTreeSet<u8>,
}

/// A [`ShardSet`] as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dealt {
    count: u8,
    members: BTreeSet<u8>,
}

impl From<ShardSet> for Dealt {
    fn from(ShardSet { count, members }: ShardSet) -> Self {
        Self { count, members }
    }
}

impl TryFrom<Dealt> for ShardSet {
    type Error = ShardError;

    fn try_from(Dealt { count, members }: Dealt) -> Result<Self, Self::Error> {
        Self::new(count, members)
    }
}

impl ShardSet {
    /// Shards `members` of `count`.
    ///
    /// # Errors
    /// Fails where there are not 2 to [`MAX_SHARDS`], where none is named, or where one is named that is not among them.
    pub fn new(count: u8, members: impl IntoIterator<Item = u8>) -> Result<Self, ShardError> {
        let members: BTreeSet<u8> = members.into_iter().collect();
        if !(2..=MAX_SHARDS).contains(&count) {
            return Err(ShardError::Count { count });
        }
        match members.last() {
            None => Err(ShardError::None),
            Some(last) if *last >= count => Err(ShardError::Unknown { shard: *last, count }),
            Some(_) => Ok(Self { count, members }),
        }
    }

    /// How many shards the market has.
    pub fn count(&self) -> u8 {
        self.count
    }

    /// Which of them these are, ascending.
    pub fn members(&self) -> impl ExactSizeIterator<Item = u8> {
        self.members.iter().copied()
    }

    /// Whether a job is in one of them.
    pub fn has_job(&self, job_id: JobId) -> bool {
        self.members.contains(&shard_of_job(job_id, self.count))
    }

    /// Whether a worker is in one of them as of this block.
    pub fn has_worker(&self, worker_id: WorkerId, block: BlockNumber) -> bool {
        self.members.contains(&shard_of_worker(worker_id, block, self.count))
    }

    /// Whether an account is in one of them.
    pub fn has_account(&self, account: Address) -> bool {
        self.members.contains(&shard_of_account(account, self.count))
    }
}

/// As in `shards 0 and 2 of 3`.
impl fmt::Display for ShardSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.members.iter().map(ToString::to_string).collect();
        match names.split_last() {
            Some((last, [])) => write!(f, "shard {last} of {}", self.count),
            Some((last, others)) => write!(f, "shards {} and {last} of {}", others.join(", "), self.count),
            None => write!(f, "no shard of {}", self.count),
        }
    }
}

/// Shards that there cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// So many there are not.
    #[error("{count} shards, but there are 2 to {MAX_SHARDS}")]
    Count {
        /// How many were named.
        count: u8,
    },
    /// Not one is named.
    #[error("no shard is named")]
    None,
    /// There is no such shard.
    #[error("shard {shard} of {count}: the first is 0")]
    Unknown {
        /// The one that was named.
        shard: u8,
        /// How many there are.
        count: u8,
    },
}

/// What of a market a round is about: the shards that its keeper leads, without what another has on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Portion {
    /// The shards.
    pub shards: ShardSet,
    /// Queued jobs of these shards that are left out, since another keeper has sent them to a worker.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub withheld_jobs: BTreeSet<JobId>,
    /// Workers of these shards that are left out, since another keeper has sent them a job.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub withheld_workers: BTreeSet<WorkerId>,
}

impl Portion {
    /// All of these shards.
    pub fn of(shards: ShardSet) -> Self {
        Self { shards, withheld_jobs: BTreeSet::new(), withheld_workers: BTreeSet::new() }
    }

    /// Whether a queued job is decided about.
    pub fn has_job(&self, job_id: JobId) -> bool {
        self.shards.has_job(job_id) && !self.withheld_jobs.contains(&job_id)
    }

    /// Whether a worker may get something.
    pub fn has_worker(&self, worker_id: WorkerId, block: BlockNumber) -> bool {
        self.shards.has_worker(worker_id, block) && !self.withheld_workers.contains(&worker_id)
    }
}

/// A snapshot has what its portion of the market does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// A job of another shard, or one that is said to be left out.
    #[error("job {job_id} is of shard {shard}, or left out")]
    Job {
        /// The job.
        job_id: JobId,
        /// The shard that it is in.
        shard: u8,
    },
    /// A worker that is in another shard at the block, or one that is said to be left out.
    #[error("worker {worker_id} is in shard {shard} at that block, or left out")]
    Worker {
        /// The worker.
        worker_id: WorkerId,
        /// The shard that it is in.
        shard: u8,
    },
}

impl Snapshot {
    /// What of this snapshot, of a whole market, a round about `portion` is decided from.
    ///
    /// Running jobs stay that are of these shards, since they count for their clients, or that hold one of their workers.
    /// What a client has used counts by the part of the shards, as do the GPUs that are shared out: a shard's clients are
    /// held to what they use of it.
    #[must_use]
    pub fn of_portion(mut self, portion: Portion) -> Self {
        let Portion { shards, withheld_jobs, withheld_workers } = portion;
        let is_queued = |job_id: &JobId| self.jobs.iter().any(|job| job.job_id == *job_id);
        let is_registered = |worker_id: &WorkerId| self.workers.iter().any(|worker| worker.worker_id == *worker_id);
        let portion = Portion {
            withheld_jobs: withheld_jobs.into_iter().filter(|id| shards.has_job(*id) && is_queued(id)).collect(),
            withheld_workers: withheld_workers
                .into_iter()
                .filter(|id| shards.has_worker(*id, self.block) && is_registered(id))
                .collect(),
            shards,
        };
        let (shards, block) = (&portion.shards, self.block);
        self.jobs.retain(|job| portion.has_job(job.job_id));
        self.workers.retain(|worker| portion.has_worker(worker.worker_id, block));
        self.running.retain(|job| shards.has_job(job.job_id) || shards.has_worker(job.worker_id, block));
        let clients: BTreeSet<Address> = self.jobs.iter().map(|job| job.client).collect();
        let (part, whole) = (shards.members.len() as u64, u64::from(shards.count));
        self.used_milli.retain(|client, used| {
            *used = (u128::from(*used) * u128::from(part) / u128::from(whole)).try_into().unwrap_or(u64::MAX);
            clients.contains(client) && *used > 0
        });
        self.portion = Some(portion);
        self
    }

    /// Checks that the snapshot has no more than what its portion names; of a whole market there is nothing to check.
    ///
    /// # Errors
    /// Names the first that does not belong.
    pub fn check_portion(&self) -> Result<(), Misplaced> {
        let Some(portion) = &self.portion else { return Ok(()) };
        let count = portion.shards.count;
        for job in &self.jobs {
            if !portion.has_job(job.job_id) {
                return Err(Misplaced::Job { job_id: job.job_id, shard: shard_of_job(job.job_id, count) });
            }
        }
        for worker_id in self.workers.iter().map(|worker| worker.worker_id) {
            if !portion.has_worker(worker_id, self.block) {
                return Err(Misplaced::Worker { worker_id, shard: shard_of_worker(worker_id, self.block, count) });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
