//! In which order jobs are taken: a policy is a trait, so that others can bring their own.

mod balanced;
mod deadline;
mod fair_share;
mod fifo;
mod priority;

use std::{cmp::Ordering, fmt};

pub use balanced::Balanced;
pub use deadline::EarliestDeadline;
pub use fair_share::FairShare;
pub use fifo::Fifo;
pub use priority::{JobPrioritizer, MAX_PRIORITY};

use super::{
    pending::PendingRecord,
    tenants::{Tenant, Tenants},
};

/// What an order may depend on besides the jobs.
#[derive(Clone, Copy, Debug)]
pub struct OrderingView<'a> {
    /// Unix timestamp in seconds.
    pub now_s: u32,
    /// The tenants, their use settled until now.
    pub tenants: &'a Tenants,
    /// GPUs of the whole cluster, free or not.
    pub capacity_gpus: u32,
    /// The queues' weights, by [`QueueIndex`](super::QueueIndex); a queue that is missing has a weight of 1.
    pub queue_weights: &'a [u32],
}

impl<'a> OrderingView<'a> {
    /// The account of a job's tenant.
    pub fn tenant(&self, job: &PendingRecord) -> &'a Tenant {
        self.tenants.get(job.tenant)
    }

    /// The weight of a job's queue; at least 1.
    pub fn queue_weight(&self, job: &PendingRecord) -> u32 {
        self.queue_weights.get(usize::from(job.queue.0)).copied().unwrap_or(1).max(1)
    }
}

/// A job's place: a lower class first, then a lower key. Equal ranks are told apart by [`OrderingPolicy::place`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// Compared first.
    pub class: u8,
    /// Compared second.
    pub key: u64,
}

/// What may start before the job at the head of the queue, while that does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backfill {
    /// Nothing: the queue stands still.
    None,
    /// What leaves the head's reservation as it is (EASY; Lifka 1995): it ends before the reserved start, or takes
    /// GPUs that the head will not need then.
    #[default]
    Easy,
    /// Only what ends before the reserved start. The jobs behind the head are then not delayed either.
    BeforeReservation,
}

/// An order of pending jobs.
///
/// A policy is a function of its arguments: the same job and view give the same rank, on every machine. Ranks are
/// integers and are made total by submission and job id, so that no two jobs are ever equal.
///
/// ```
/// use keeper_scheduler::queueing::{OrderingPolicy, OrderingView, PendingRecord, Rank};
///
/// /// Fewest GPUs first.
/// #[derive(Debug)]
/// struct Narrowest;
///
/// impl OrderingPolicy for Narrowest {
///     fn name(&self) -> &str {
///         "narrowest"
///     }
///
///     fn rank(&self, job: &PendingRecord, _view: &OrderingView<'_>) -> Rank {
///         Rank { class: 0, key: u64::from(job.gpus) }
///     }
/// }
/// ```
pub trait OrderingPolicy: fmt::Debug + Send + Sync {
    /// The policy's name, as in a configuration.
    fn name(&self) -> &str;

    /// The job's rank at this moment.
    ///
    /// Within a round, a start may put other jobs of its tenant further back (they are asked again) and must leave all
    /// other ranks as they are; how that may be is up to [`OrderingView`], in which nothing else changes.
    fn rank(&self, job: &PendingRecord, view: &OrderingView<'_>) -> Rank;

    /// What may start while `head` waits for room. EASY backfill unless the policy says otherwise.
    fn backfill(&self, head: &PendingRecord, view: &OrderingView<'_>) -> Backfill {
        let _ = (head, view);
        Backfill::Easy
    }

    /// The rank with what makes it a total order: the earlier submission, then the lower id.
    fn place(&self, job: &PendingRecord, view: &OrderingView<'_>) -> (Rank, u32, u64) {
        (self.rank(job, view), job.submitted_s, job.job_id.0)
    }

    /// Which of two jobs goes first; equal only for a job and itself.
    fn compare(&self, left: &PendingRecord, right: &PendingRecord, view: &OrderingView<'_>) -> Ordering {
        self.place(left, view).cmp(&self.place(right, view))
    }
}
