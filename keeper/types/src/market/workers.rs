//! What events do to workers.

use super::{ApplyErrorKind, EventPosition, Felt, Market, MarketEvent, WorkerId};
use crate::{Fri, MAX_REPUTATION, Worker, WorkerStatus};

/// A new worker's reputation.
const INITIAL_REPUTATION: u16 = MAX_REPUTATION / 2;
/// Workers in one group of heartbeats.
const WORKERS_PER_GROUP: u32 = 100;

impl Market {
    pub(super) fn apply_to_worker(
        &mut self,
        event: &MarketEvent,
        position: &EventPosition,
    ) -> Result<(), ApplyErrorKind> {
        match event {
            MarketEvent::WorkerRegistered { .. } => self.register(event, position)?,
            MarketEvent::WorkerUpdated { worker_id, capabilities, slots, rate } => {
                let worker = self.worker(*worker_id)?;
                worker.capabilities = capabilities.clone();
                (worker.slots, worker.rate) = (*slots, *rate);
            }
            MarketEvent::WorkerDrained { worker_id } => self.worker(*worker_id)?.status = WorkerStatus::Draining,
            MarketEvent::WorkerResumed { worker_id } => self.worker(*worker_id)?.status = WorkerStatus::Active,
            MarketEvent::WorkerExiting { worker_id, .. } => self.worker(*worker_id)?.status = WorkerStatus::Exiting,
            MarketEvent::WorkerAdmitted { worker_id } => self.worker(*worker_id)?.is_static = true,
            MarketEvent::WorkerDismissed { worker_id } => self.worker(*worker_id)?.is_static = false,
            MarketEvent::StakeAdded { worker_id, stake, .. } => self.worker(*worker_id)?.stake = *stake,
            MarketEvent::StakeWithdrawn { worker_id, .. } => {
                let worker = self.worker(*worker_id)?;
                (worker.status, worker.stake) = (WorkerStatus::Exited, Fri::ZERO);
            }
            MarketEvent::WorkerSlashed { worker_id, amount, .. } => {
                let worker = self.worker(*worker_id)?;
                worker.stake = worker.stake.checked_sub(*amount).unwrap_or(Fri::ZERO);
            }
            MarketEvent::ReputationChanged { worker_id, new_reputation, .. } => {
                let worker = self.worker(*worker_id)?;
                (worker.reputation, worker.reputation_at) = (*new_reputation, position.timestamp);
            }
            MarketEvent::HeartbeatsRecorded { epoch, groups, .. } => {
                for worker_id in groups.iter().flat_map(|group| workers_of(*group)) {
                    if self.workers.contains_key(&worker_id) {
                        self.beats.insert(worker_id, *epoch);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn register(&mut self, event: &MarketEvent, position: &EventPosition) -> Result<(), ApplyErrorKind> {
        let MarketEvent::WorkerRegistered { worker_id, owner, capabilities, slots, rate, stake } = event else {
            return Ok(());
        };
        if self.workers.contains_key(worker_id) {
            return Err(ApplyErrorKind::WorkerKnown(*worker_id));
        }
        let worker = Worker {
            worker_id: *worker_id,
            owner: *owner,
            status: WorkerStatus::Active,
            capabilities: capabilities.clone(),
            slots: *slots,
            used_slots: 0,
            used_gpus: 0,
            rate: *rate,
            stake: *stake,
            reputation: INITIAL_REPUTATION,
            reputation_at: position.timestamp,
            is_static: false,
            holds: 0,
        };
        self.workers.insert(*worker_id, worker);
        Ok(())
    }
}

/// The workers of a group of heartbeats: a bit for each of a hundred, with the group's number above.
fn workers_of(group: Felt) -> Vec<WorkerId> {
    let bytes = group.to_bytes_le();
    let bit = |place: u32| bytes.get((place / 8) as usize).is_some_and(|byte| byte >> (place % 8) & 1 == 1);
    let number =
        (0..u32::BITS).filter(|place| bit(WORKERS_PER_GROUP + place)).fold(0_u32, |all, place| all | 1 << place);
    let first = number.saturating_mul(WORKERS_PER_GROUP).saturating_add(1);
    (0..WORKERS_PER_GROUP).filter(|place| bit(*place)).map(|place| WorkerId(first.saturating_add(place))).collect()
}
