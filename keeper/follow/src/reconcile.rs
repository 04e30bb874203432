//! Comparing what is believed with what the contracts hold.
//!
//! Nodes have lost events: a page whose continuation token was missing, an index that was empty after a reorganisation.
//! The market then lacks what happened, and nothing in the chain of blocks shows it. The contracts' own state does. So
//! every job that is open, the gaps between jobs and what comes after the last are asked of the contract, as of the very
//! block that the market is as of.
//!
//! A difference is answered by reading again from the last block at which everything agreed; where that does not mend
//! it, from the start. What still differs then is told, and left: the node hides it, and the contract refuses what is
//! decided by it.

use keeper_chain::JobStanding;
use keeper_types::{BlockNumber, BlockRef, Job, JobId, JobState};
use serde::Serialize;

use crate::{Fold, FollowError};

/// Jobs in one page; the contract gives no more at once.
const PAGE: u8 = 50;
/// Pages that one call asks for at most, so that following does not wait for long.
const PAGES_AT_ONCE: usize = 20;
/// Differences that are told one by one.
const MOST_TOLD: usize = 10;
/// Rounds of comparison after which a difference that reading from the start did not mend is answered so again.
const READ_AGAIN_AFTER: u32 = 10;

/// How far the comparison has come.
#[derive(Debug, Default)]
pub(crate) struct Reconciler {
    /// The first job of the next page; none between two rounds.
    next: Option<JobId>,
    /// The block at which this round began.
    began: Option<BlockRef>,
    /// Jobs compared in this round.
    jobs: u64,
    /// The block at which everything agreed.
    agreed: Option<BlockRef>,
    /// Rounds with a difference, one after the other.
    differing: u32,
}

/// A job that the contract holds otherwise than is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The job.
    pub job_id: JobId,
    /// The block as of which it was asked.
    pub block: BlockNumber,
    /// The state that is believed; none where the job is not known.
    pub believed: Option<JobState>,
    /// The state that the contract holds; none where it has no such job.
    pub held: Option<JobState>,
}

/// What comparing came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// Everything that was compared agrees, and there is more.
    Continues,
    /// Everything agrees.
    Agreed {
        /// Jobs that were compared.
        jobs: u64,
    },
    /// This is held otherwise; from `standing` on, or from the start, everything is read again if `is_reread`.
    Differs {
        /// The first differences.
        differences: Vec<Difference>,
        /// How many there are.
        count: u64,
        /// Whether what is recorded was reverted, to be read again.
        is_reread: bool,
    },
    /// The node does not know the state of that block any more, or the block is gone.
    Unavailable,
}

impl Fold {
    /// Compares some pages of jobs with the contract. To be called when the market is as of the newest block, until it
    /// says that everything agrees or that something differs.
    ///
    /// # Errors
    /// Fails where the chain or the store fails.
    pub async fn reconcile(&mut self) -> Result<Reconciled, FollowError> {
        let Some(at) = self.folded.map(|header| header.reference()) else { return Ok(Reconciled::Unavailable) };
        let mut next = self.reconciler.next.unwrap_or(JobId(1));
        if self.reconciler.next.is_none() {
            (self.reconciler.began, self.reconciler.jobs) = (Some(at), 0);
        }
        let mut differences = Vec::new();
        for _ in 0..PAGES_AT_ONCE {
            let held = match self.chain.jobs_at(at, next, PAGE).await {
                Ok(held) => held,
                Err(error) if error.is_refusal() => return Ok(Reconciled::Unavailable),
                Err(error) => return Err(error.into()),
            };
            self.reconciler.jobs += held.len() as u64;
            let last = JobId(next.0 + u64::from(PAGE) - 1);
            differences.extend(self.differences(at.number, next..=last, &held));
            let known = self.market.jobs.keys().next_back().map_or(0, |job_id| job_id.0);
            let has_more = held.len() == usize::from(PAGE) || last.0 < known;
            if !has_more {
                self.reconciler.next = None;
                return self.conclude(differences).await;
            }
            next = self.next_of_interest(JobId(last.0 + 1));
        }
        self.reconciler.next = Some(next);
        if differences.is_empty() { Ok(Reconciled::Continues) } else { self.conclude(differences).await }
    }

    /// The first job from `from` on that is open or not known.
    fn next_of_interest(&self, from: JobId) -> JobId {
        let mut expected = from;
        for (job_id, job) in self.market.jobs.range(from..) {
            if *job_id != expected || !job.state.is_final() {
                break;
            }
            expected = JobId(job_id.0 + 1);
        }
        expected
    }

    fn differences(
        &self,
        block: BlockNumber,
        page: std::ops::RangeInclusive<JobId>,
        held: &[JobStanding],
    ) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut held = held.iter().peekable();
        let (mut number, last) = (page.start().0, page.end().0);
        while number <= last {
            let job_id = JobId(number);
            let believed = self.market.jobs.get(&job_id);
            let standing = held.next_if(|standing| standing.job_id == job_id);
            if !agrees(believed, standing) {
                differences.push(Difference {
                    job_id,
                    block,
                    believed: believed.map(|job| job.state),
                    held: standing.map(|standing| standing.state),
                });
            }
            number += 1;
        }
        differences
    }

    /// Ends a round: with agreement, or by reading again.
    async fn conclude(&mut self, differences: Vec<Difference>) -> Result<Reconciled, FollowError> {
        let (began, jobs) = (self.reconciler.began, self.reconciler.jobs);
        self.reconciler.next = None;
        if differences.is_empty() {
            (self.reconciler.agreed, self.reconciler.differing) = (began, 0);
            self.proved();
            return Ok(Reconciled::Agreed { jobs });
        }
        let count = differences.len() as u64;
        let told: Vec<_> = differences.into_iter().take(MOST_TOLD).collect();
        let attempt = self.reconciler.differing;
        self.reconciler.differing += 1;
        let agreed = match self.reconciler.agreed.filter(|_| attempt == 0) {
            Some(agreed) if self.store.block_hash(agreed.number).await? == Some(agreed.hash) => Some(agreed.number),
            _ => None,
        };
        let is_reread = attempt < 2 || attempt.is_multiple_of(READ_AGAIN_AFTER);
        tracing::error!(
            count, first = ?told.first(), from = agreed.map(|block| block.0), is_reread,
            "what is believed differs from what the contracts hold"
        );
        if is_reread {
            self.revert_to(agreed).await?;
        }
        Ok(Reconciled::Differs { differences: told, count, is_reread })
    }
}

/// Whether a job is believed to be what it is held to be.
fn agrees(believed: Option<&Job>, held: Option<&JobStanding>) -> bool {
    let (Some(job), Some(standing)) = (believed, held) else { return believed.is_none() == held.is_none() };
    if job.state != standing.state {
        return false;
    }
    let has_worker = matches!(
        job.state,
        JobState::Allocated | JobState::Committed | JobState::Revealed | JobState::Disputed | JobState::Settled
    );
    job.state.is_final() || (job.attempt == standing.attempt && (!has_worker || job.worker_id == standing.worker_id))
}
