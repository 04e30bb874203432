//! Time: seconds without blocks, blocks without seconds, and the very edge of every deadline.

use keeper_types::{JobId, JobState, WorkerStatus};

use super::Generator;
use crate::{
    actors::{Actor, Contract},
    calls::{Call, Moment, Step},
    model::Model,
};

/// Seconds after which a reputation decays.
const PERIOD_S: u64 = 30 * 86_400;

/// Where a sequence's time ends: contracts hold timestamps in 32 bits, and closing a sequence takes years.
const LAST_TIMESTAMP: u64 = 2_600_000_000;

impl Generator {
    /// Seconds and blocks before the next call.
    pub(super) fn pause(&mut self, model: &Model) -> (u64, u64) {
        let (after_s, after_blocks) = match self.dice.weighted(&[
            (120, 0), // at once
            (80, 1),  // the next block
            (24, 2),  // a while
            (6, 3),   // the chain stands still
            (6, 4),   // the clock stands still
            (1, 5),   // long
        ]) {
            0 => (0, 0),
            1 => (self.dice.between(1, 6), 1),
            2 => {
                let seconds = self.dice.between(5, 90);
                (seconds, seconds / 4)
            }
            3 => (self.dice.between(100, 4_000), 0),
            4 => (0, self.dice.between(10, 500)),
            _ => {
                let seconds = self.dice.between(1_000, 40_000_000);
                (seconds, seconds / 3)
            }
        };
        if model.now.timestamp + after_s > LAST_TIMESTAMP { (0, after_blocks) } else { (after_s, after_blocks) }
    }

    /// A call that depends on a deadline, made a second or a block before, at, or after it.
    pub(super) fn at_a_deadline(&mut self, model: &Model) -> Option<Step> {
        let pending = self.pending(model);
        // Jobs in the queue are many, and each other deadline would be behind theirs.
        let is_late = self.dice.chance(70);
        let later: Vec<_> =
            pending.iter().filter(|(_, _, call)| !is_late || !is_about_the_queue(call)).cloned().collect();
        let (deadline, caller, call) = self.dice.pick_any(&later)?;
        let mut reach = |from: u64, to: u64| {
            let target = to + self.dice.weighted(&[(3, 0), (6, 1), (1, 2)]);
            target.checked_sub(from)
        };
        let after_s = reach(model.now.timestamp, deadline.timestamp).unwrap_or_default();
        let after_blocks = reach(model.now.block, deadline.block).unwrap_or_default();
        let is_too_far = model.now.timestamp + after_s > LAST_TIMESTAMP;
        if is_too_far { None } else { Some(Step { after_s, after_blocks, caller, call }) }
    }

    /// Deadlines with the calls that wait for them. The job's own is met by an allocation as well.
    fn pending(&mut self, model: &Model) -> Vec<(Moment, Actor, Call)> {
        let anyone = self.dice.pick(&Actor::ALL);
        let mut pending = Vec::new();
        for (job, id) in model.job_mgr.jobs.iter().zip(1..) {
            let job_id = JobId(id);
            match job.state {
                JobState::Queued => {
                    let items = vec![self.item(model, job_id)];
                    pending.push((job.deadline, anyone, Call::ExpireJob(job_id)));
                    let (keeper, batch) = self.batch_of(model, items);
                    pending.push((job.deadline, keeper, batch));
                }
                JobState::Allocated | JobState::Committed => {
                    if let Some(due) = model.answer_due(job) {
                        pending.push((due, anyone, Call::ExpireAttempt(job_id)));
                        if job.state == JobState::Allocated && self.dice.chance(40) {
                            let (owner, late) = self.answer(model);
                            pending.push((due, owner, late));
                        }
                    }
                }
                JobState::Revealed => {
                    let closes = model.job_mgr.groups.get(&job.group).and_then(|group| group.closes());
                    if let Some(ends) = job.challenge_ends.or(closes) {
                        pending.push((ends, anyone, Call::Settle(job_id)));
                        pending.push((ends, super::client_of(Some(job)), Call::DisputeResult(job_id)));
                    }
                }
                JobState::Disputed => {
                    let ends = model.job_mgr.disputes[&id].ends;
                    pending.push((ends, anyone, Call::SettleDispute(job_id)));
                }
                _ => {}
            }
        }
        self.pending_elsewhere(model, &mut pending);
        for worker in model.cdc_pool.workers.iter().filter(|worker| worker.status == WorkerStatus::Exiting) {
            let owner = Actor::of_address(worker.owner).unwrap_or(Actor::Worker1);
            pending.push((worker.exit.unwrap_or_default(), owner, Call::WithdrawStake));
        }
        pending
    }

    /// Deadlines that no job has.
    fn pending_elsewhere(&mut self, model: &Model, pending: &mut Vec<(Moment, Actor, Call)>) {
        for keeper in Actor::KEEPERS {
            if let Some(leaves) = model.keeper(keeper.address()).leaves {
                pending.push((leaves, keeper, Call::WithdrawBond));
            }
        }
        for contract in Contract::OURS {
            let control = model.control(contract);
            if let Some((_, ready)) = control.upgrade {
                let admin = Actor::of_address(control.admin).unwrap_or(Actor::Admin);
                pending.push((ready, admin, Call::Upgrade(contract)));
            }
        }
        if self.dice.chance(20) {
            for (worker, id) in model.cdc_pool.workers.iter().zip(1..) {
                let periods = self.dice.weighted(&[(6, 1), (1, 2), (1, 40)]);
                let decays = Moment { timestamp: worker.reputation_at + periods * PERIOD_S - 1, block: 0 };
                pending.push((decays, Actor::Client2, Call::DecayReputation(id)));
            }
        }
        let has_queued = model.job_mgr.jobs.iter().any(|job| job.state == JobState::Queued);
        if has_queued && self.dice.chance(40) {
            let quiet = Moment { timestamp: 0, block: model.task_allocator.last_round_block + 100 };
            let (worker, call) = self.claim(model);
            pending.push((quiet, worker, call));
        }
    }
}

fn is_about_the_queue(call: &Call) -> bool {
    matches!(call, Call::ExpireJob(_) | Call::ApplyBatch { .. })
}
