//! How sure a block must be before something irreversible is done because of it.
//!
//! Blocks that are not accepted on L1 have been taken back, for up to an hour. What is done on chain goes back with
//! them; paid work on a GPU does not. So the more a job is worth, the surer its escrow must be before its work begins.
//!
//! An attempt's time runs meanwhile: the contract gives it the execution timeout and a minute. Waiting longer than that
//! minute makes an honest worker fail, which costs it reputation for certain where a reorganisation costs it work
//! perhaps. So the wait is bounded by it.

use keeper_types::{BlockHeader, BlockNumber, Fri, Job};
use serde::{Deserialize, Serialize};

/// How long work waits after its attempt was allocated at most, in seconds, of the minute that the contract allows.
const LONGEST_WAIT_S: u64 = 45;

/// What a job's escrow must have become before its work begins, by its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalityPolicy {
    /// Blocks on top of the submission, and of the allocation, that every job waits for.
    pub blocks: u64,
    /// Seconds of the chain's time after their submission that jobs wait for from `medium_from_strk` on.
    pub medium_seconds: u64,
    /// Jobs worth this many STRK and more wait for `medium_seconds`; none do where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medium_from_strk: Option<u64>,
    /// Jobs worth this many STRK and more wait until their submission is accepted on L1; none do where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub large_from_strk: Option<u64>,
}

impl FinalityPolicy {
    /// Waits for nothing: for local chains.
    pub const NONE: Self = Self { blocks: 0, medium_seconds: 0, medium_from_strk: None, large_from_strk: None };
    /// For public networks: two blocks; 20 minutes from 100 STRK on; accepted on L1 from 10,000 STRK on.
    pub const PUBLIC: Self =
        Self { blocks: 2, medium_seconds: 1_200, medium_from_strk: Some(100), large_from_strk: Some(10_000) };

    /// Whether the work of an allocated job may begin, as of `head`.
    pub fn may_begin(&self, job: &Job, head: &BlockHeader, final_block: Option<BlockNumber>) -> bool {
        let (Some(allocated_at), Some(allocated_block)) = (job.allocated_at, job.allocated_block) else { return false };
        let is_overdue = head.timestamp >= allocated_at.saturating_add(LONGEST_WAIT_S);
        let has_blocks = |block: BlockNumber| head.number.0 >= block.0.saturating_add(self.blocks);
        is_overdue
            || (has_blocks(allocated_block) && has_blocks(job.submitted_block) && self.is_sure(job, head, final_block))
    }

    /// Whether the escrow of a job is as sure as its value asks for.
    fn is_sure(&self, job: &Job, head: &BlockHeader, final_block: Option<BlockNumber>) -> bool {
        let is_worth = |strk: Option<u64>| strk.is_some_and(|strk| job.spec.max_price >= Fri::of_strk(strk));
        if is_worth(self.large_from_strk) {
            return final_block.is_some_and(|block| block >= job.submitted_block);
        }
        !is_worth(self.medium_from_strk) || head.timestamp >= job.submitted_at.saturating_add(self.medium_seconds)
    }
}

#[cfg(test)]
mod tests {
    use keeper_types::{EventPosition, Felt, JobId, Market, MarketEvent, TxHash};

    use super::*;

    /// A job worth so many STRK, submitted in block 10 at 1,000 s and allocated in block 100 at 1,180 s.
    fn job(strk: u64) -> Job {
        let blocks = crate::simulation::SimulatedChain::new(40).blocks();
        let submission = blocks
            .into_iter()
            .flat_map(|block| block.events)
            .find(|(_, event)| matches!(event, MarketEvent::JobSubmitted { job_id: JobId(1), .. }));
        let (_, event) = submission.unwrap();
        let at = EventPosition { block: BlockNumber(10), timestamp: 1_000, index: 0, tx_hash: TxHash(Felt::ONE) };
        let mut market = Market::default();
        market.apply(&event, &at).unwrap();
        let mut job = market.jobs[&JobId(1)].clone();
        job.spec.max_price = Fri::of_strk(strk);
        (job.allocated_at, job.allocated_block) = (Some(1_180), Some(BlockNumber(100)));
        job
    }

    fn head(number: u64, timestamp: u64) -> BlockHeader {
        BlockHeader { number: BlockNumber(number), hash: Felt::ONE, parent_hash: Felt::ZERO, timestamp }
    }

    #[test]
    fn the_more_a_job_is_worth_the_surer_its_escrow_must_be() {
        let may = |strk, head: BlockHeader, accepted: Option<u64>| {
            FinalityPolicy::PUBLIC.may_begin(&job(strk), &head, accepted.map(BlockNumber))
        };
        assert!(!may(99, head(101, 1_182), None), "a block too few on the allocation");
        assert!(may(99, head(102, 1_184), None));
        assert!(!may(100, head(102, 1_184), None), "20 minutes have not passed since the submission");
        let mut waited = job(100);
        waited.submitted_at = 0;
        assert!(!FinalityPolicy::PUBLIC.may_begin(&waited, &head(102, 1_199), None));
        assert!(FinalityPolicy::PUBLIC.may_begin(&waited, &head(102, 1_200), None));
        assert!(!may(10_000, head(102, 1_184), Some(9)), "its submission is not accepted on L1");
        assert!(may(10_000, head(102, 1_184), Some(10)));
        assert!(FinalityPolicy::NONE.may_begin(&job(u64::MAX), &head(100, 1_180), None));
    }

    #[test]
    fn no_wait_makes_a_worker_late() {
        let policy = FinalityPolicy::PUBLIC;
        assert!(!policy.may_begin(&job(10_000), &head(100, 1_224), None));
        assert!(policy.may_begin(&job(10_000), &head(100, 1_225), None), "the contract gives a minute");
    }

    #[test]
    fn a_job_that_is_not_allocated_does_not_begin() {
        let mut job = job(1);
        job.allocated_at = None;
        assert!(!FinalityPolicy::NONE.may_begin(&job, &head(200, 2_000), None));
    }
}
