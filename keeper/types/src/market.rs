//! The fold of the contracts' events: what the keeper believes about jobs and workers.
//!
//! [`Market::apply`] mirrors the contracts' state machine. An event that does not follow from what came before
//! is refused, since it means that events were lost or misread; the keeper then reads the chain again rather
//! than guess.
//!
//! ```text
//!            JobsAllocated            ResultSubmitted             JobSettled
//!  Queued ----------------> Allocated -----------------> Revealed ----------> Settled
//!   ^  |                     |  |                        ^ |    |                ^
//!   |  +--> Cancelled,       |  | ResultCommitted        | |    | ResultDisputed |
//!   |       Expired          |  +-------> Committed -----+ |    +-> Disputed ----+
//!   |   AttemptFailed        |               |             |          |
//!   +------------------------+---------------+             |          |
//!                            +--------> Failed <-----------+----------+
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use starknet_types_core::felt::Felt;

use crate::{
    Address, AdminEvent, Attempt, BlockNumber, EventPosition, Fri, Job, JobId, JobState, MarketContract, MarketEvent,
    PolicyId, Usage, Versioned, Worker, WorkerId,
};

mod groups;
mod jobs;
mod keepers;
mod standing;
mod turns;
mod workers;

pub use groups::Group;
pub use keepers::{KeeperBond, PolicyState};
pub use standing::RunningJob;
pub use turns::Turns;

/// What a worker has to show the result that it is committed to, in seconds; as in JobMgr.
const REVEAL_WINDOW_S: u64 = 21_600;
/// Seconds that a deadline counts as one block; as in `deadlines.cairo`.
const SECONDS_PER_BLOCK: u64 = 10;

/// Jobs and workers as of some event. A copy costs next to nothing ([`Versioned`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Market {
    /// Every job ever submitted.
    pub jobs: Versioned<JobId, Job>,
    /// Every group of replicas, by its first job.
    pub groups: Versioned<JobId, Group>,
    /// Every worker ever registered.
    pub workers: Versioned<WorkerId, Worker>,
    /// The latest heartbeat epoch in which a worker was reported.
    pub beats: Versioned<WorkerId, u64>,
    /// What each client's jobs have used of the workers.
    pub usage: Versioned<Address, Usage>,
    /// What JobMgr owes to accounts.
    pub credits: Versioned<Address, Fri>,
    /// Each keeper's latest round.
    pub rounds: Versioned<Address, u64>,
    /// The block of the latest round of any keeper.
    pub last_round_block: Option<BlockNumber>,
    /// Who was given jobs, and who last.
    pub turns: Turns,
    /// Every keeper ever admitted, with its bond.
    pub keepers: Versioned<Address, KeeperBond>,
    /// Every policy ever announced.
    pub policies: Versioned<PolicyId, PolicyState>,
    /// Contracts that take nothing new at present.
    pub paused: BTreeSet<MarketContract>,
    /// Which jobs are where.
    standing: standing::Standing,
}

/// An event does not follow from the ones before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event} at block {block} does not follow from what came before: {kind}")]
pub struct ApplyError {
    event: &'static str,
    block: u64,
    kind: ApplyErrorKind,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum ApplyErrorKind {
    #[error("job {0} is unknown")]
    JobUnknown(JobId),
    #[error("job {0} exists already")]
    JobKnown(JobId),
    #[error("job {job_id} is {state}")]
    JobState { job_id: JobId, state: JobState },
    #[error("job {job_id} is at attempt {known}, not {told}")]
    Attempt { job_id: JobId, known: Attempt, told: Attempt },
    #[error("job {0} has no worker")]
    NoWorker(JobId),
    #[error("job {0} is not in dispute")]
    NoDispute(JobId),
    #[error("job {0} is not the first of a group")]
    NoGroup(JobId),
    #[error("worker {0} is unknown")]
    WorkerUnknown(WorkerId),
    #[error("worker {0} exists already")]
    WorkerKnown(WorkerId),
    #[error("worker {0} would run more than it has room for")]
    OverCapacity(WorkerId),
    #[error("{account} has a credit of {credit}, not {told}")]
    Credit { account: Address, credit: Fri, told: Fri },
    #[error("policy {0} was not announced")]
    PolicyUnknown(PolicyId),
}

impl Market {
    /// Applies one event. Nothing changes where it is refused.
    ///
    /// # Errors
    /// Fails where the event does not follow from the ones before.
    pub fn apply(&mut self, event: &MarketEvent, position: &EventPosition) -> Result<(), ApplyError> {
        let before = self.states_of(event);
        let applied = match event {
            MarketEvent::JobsAllocated { items } => self.allocate_all(items, position),
            MarketEvent::JobSubmitted { .. }
            | MarketEvent::ResultCommitted { .. }
            | MarketEvent::ResultSubmitted { .. }
            | MarketEvent::ResultDisputed { .. }
            | MarketEvent::DisputeRuled { .. }
            | MarketEvent::ResultRejected { .. }
            | MarketEvent::JobSettled { .. }
            | MarketEvent::AttemptFailed { .. }
            | MarketEvent::JobCancelled { .. }
            | MarketEvent::JobExpired { .. }
            | MarketEvent::JobFailed { .. } => self.apply_to_job(event, position),
            MarketEvent::GroupDecided { group_id, winner } => self.decide_group(*group_id, *winner),
            MarketEvent::CreditWithdrawn { account, amount } => self.take_credit(*account, *amount),
            MarketEvent::CreditSpent { account, amount } => self.take_credit(*account, *amount),
            MarketEvent::RoundApplied { .. }
            | MarketEvent::PolicyAnnounced { .. }
            | MarketEvent::PolicyRetired { .. }
            | MarketEvent::KeeperAdded { .. }
            | MarketEvent::KeeperRemoved { .. }
            | MarketEvent::BondPosted { .. }
            | MarketEvent::KeeperLeft { .. }
            | MarketEvent::BondWithdrawn { .. } => self.apply_to_keeper(event, position),
            MarketEvent::Administered { contract, admin_event } => {
                self.administer(*contract, admin_event);
                Ok(())
            }
            MarketEvent::AllocationSkipped { .. }
            | MarketEvent::JobClaimed { .. }
            | MarketEvent::JobMgrSet { .. }
            | MarketEvent::TaskAllocatorSet { .. }
            | MarketEvent::PaymasterSet { .. }
            | MarketEvent::RefereeSet { .. }
            | MarketEvent::WorkerMetricsUpdated { .. } => Ok(()),
            _ => self.apply_to_worker(event, position),
        };
        applied.map_err(|kind| ApplyError { event: event.name(), block: position.block.0, kind })?;
        self.note_moves(&before);
        Ok(())
    }

    /// What JobMgr owes to `account`.
    pub fn credit_of(&self, account: Address) -> Fri {
        self.credits.get(&account).copied().unwrap_or_default()
    }

    fn administer(&mut self, contract: MarketContract, event: &AdminEvent) {
        match event {
            AdminEvent::Paused { .. } => _ = self.paused.insert(contract),
            AdminEvent::Unpaused { .. } => _ = self.paused.remove(&contract),
            _ => {}
        }
    }

    fn give_credit(&mut self, account: Address, amount: Fri) {
        if amount == Fri::ZERO {
            return;
        }
        let credit = self.credits.get_or_default(account);
        // Every amount is part of what somebody paid in, so the sum stays below the token's supply.
        *credit = Fri(credit.0.saturating_add(amount.0));
    }

    fn take_credit(&mut self, account: Address, amount: Fri) -> Result<(), ApplyErrorKind> {
        let credit = self.credit_of(account);
        let left = credit.checked_sub(amount).ok_or(ApplyErrorKind::Credit { account, credit, told: amount })?;
        if left == Fri::ZERO {
            self.credits.remove(&account);
        } else {
            self.credits.insert(account, left);
        }
        Ok(())
    }

    fn job(&mut self, job_id: JobId) -> Result<&mut Job, ApplyErrorKind> {
        self.jobs.get_mut(&job_id).ok_or(ApplyErrorKind::JobUnknown(job_id))
    }

    fn job_in(&mut self, job_id: JobId, expected: &[JobState]) -> Result<&mut Job, ApplyErrorKind> {
        let job = self.job(job_id)?;
        if expected.contains(&job.state) { Ok(job) } else { Err(ApplyErrorKind::JobState { job_id, state: job.state }) }
    }

    fn worker(&mut self, worker_id: WorkerId) -> Result<&mut Worker, ApplyErrorKind> {
        self.workers.get_mut(&worker_id).ok_or(ApplyErrorKind::WorkerUnknown(worker_id))
    }
}

#[cfg(test)]
mod tests;
