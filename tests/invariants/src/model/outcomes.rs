//! What the outcomes of attempts do to a worker's reputation and stake.

use keeper_types::WorkerStatus;

use super::{
    Answered, Model, Refusal,
    cdc_pool::{INITIAL_REPUTATION, UNKNOWN_WORKER, is_covered},
    ensure,
};
use crate::actors::{Contract, burn_address};
use keeper_types::Felt;

const MAX_REPUTATION: u16 = 1000;
/// Seconds without an outcome after which a reputation decays.
const PERIOD_S: u64 = 30 * 86_400;
/// Periods that are looked at.
const MAX_PERIODS: u64 = 36;

/// How an attempt ended, as far as reputation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Settled,
    Failed,
    Expired,
    Wrong,
}

/// What takes some of a worker's stake, by its number in events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Unrevealed = 1,
    Wrong = 2,
}

/// The rule by which an outcome moves a reputation.
pub(crate) fn reputation_after(reputation: u16, outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Settled => reputation + (MAX_REPUTATION - reputation).div_ceil(50),
        Outcome::Failed => reputation - reputation.div_ceil(20),
        Outcome::Expired => reputation - reputation.div_ceil(5),
        Outcome::Wrong => reputation - reputation.div_ceil(3),
    }
}

/// What is left of a reputation after so many periods without an outcome.
pub(crate) fn decayed(reputation: u16, periods: u64) -> u16 {
    (0..periods.min(MAX_PERIODS))
        .fold(reputation, |reputation, _| reputation - reputation.saturating_sub(INITIAL_REPUTATION).div_ceil(10))
}

impl Model {
    /// Moves a worker's reputation by the rules.
    pub(super) fn record_outcome(&mut self, worker_id: u32, outcome: Outcome) {
        let now = self.now.timestamp;
        let worker = self.worker_mut(worker_id);
        let old = worker.reputation;
        let periods = (now - worker.reputation_at) / PERIOD_S;
        worker.reputation = reputation_after(decayed(old, periods), outcome);
        worker.reputation_at = now;
        self.report_reputation(worker_id, old);
    }

    pub(super) fn decay_reputation(&mut self, worker_id: u32) -> Answered {
        let now = self.now.timestamp;
        let worker = self.worker(worker_id).ok_or(UNKNOWN_WORKER)?;
        // What is not looked at now is left to the next time.
        let periods = ((now - worker.reputation_at) / PERIOD_S).min(MAX_PERIODS);
        ensure(periods > 0, "CdcPool: nothing to decay")?;
        let old = worker.reputation;
        let worker = self.worker_mut(worker_id);
        worker.reputation = decayed(old, periods);
        worker.reputation_at += periods * PERIOD_S;
        self.report_reputation(worker_id, old);
        Ok(Vec::new())
    }

    fn report_reputation(&mut self, worker_id: u32, old: u16) {
        let new = self.worker_mut(worker_id).reputation;
        if old != new {
            let fields =
                vec![("worker_id", worker_id.into()), ("old_reputation", old.into()), ("new_reputation", new.into())];
            self.emit(Contract::CdcPool, "ReputationChanged", fields);
        }
    }

    /// Lowers a worker's reputation and takes some of its stake; without a client all of that is burnt.
    pub(super) fn record_fault(
        &mut self,
        worker_id: u32,
        fault: Fault,
        penalty: u128,
        challenger: Felt,
        client: Felt,
    ) -> Result<(), Refusal> {
        let outcome = if fault == Fault::Wrong { Outcome::Wrong } else { Outcome::Expired };
        self.record_outcome(worker_id, outcome);
        let terms = self.terms;
        let worker = self.worker_mut(worker_id);
        let full = penalty.max(terms.min_stake_per_slot);
        let amount = if fault == Fault::Wrong { full } else { full / 2 }.min(worker.stake);
        worker.stake -= amount;
        let is_drained = worker.status == WorkerStatus::Active && !is_covered(&worker.offer, worker.stake, &terms);
        if is_drained {
            worker.status = WorkerStatus::Draining;
        }
        let share = if client == Felt::ZERO { 0 } else { amount / 4 };
        let burned = amount - 2 * share;
        for (receiver, amount) in [(challenger, share), (client, share), (burn_address(), burned)] {
            if amount != 0 {
                self.pay(Contract::CdcPool, receiver, amount)?;
            }
        }
        let fields = vec![
            ("worker_id", worker_id.into()),
            ("fault", Felt::from(fault as u8)),
            ("amount", amount.into()),
            ("burned", burned.into()),
            ("to_challenger", share.into()),
            ("to_client", share.into()),
        ];
        self.emit(Contract::CdcPool, "WorkerSlashed", fields);
        if is_drained {
            self.emit(Contract::CdcPool, "WorkerDrained", vec![("worker_id", worker_id.into())]);
        }
        Ok(())
    }
}
