//! Groups of replicas: which workers took part, when results are opened, and what won.

use std::collections::BTreeSet;

use super::{
    ApplyErrorKind, BlockNumber, Deserialize, EventPosition, Felt, Job, JobId, Market, REVEAL_WINDOW_S,
    SECONDS_PER_BLOCK, Serialize, WorkerId,
};

/// Replicas of one job, named by the first of them; their ids are consecutive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Replicas that were submitted.
    pub replicas: u8,
    /// Replicas that must agree.
    pub quorum: u8,
    /// Replicas that wait for a worker or are run.
    pub pending: u8,
    /// When results may be shown: the timestamp and block in which the last replica stopped pending.
    pub opened: Option<(u64, BlockNumber)>,
    /// Whether the group has come to its end: a winner, or none.
    pub is_decided: bool,
    /// The result that enough replicas agree on.
    pub winner: Option<Felt>,
    /// Workers that get no (other) replica: each that had one, and the worker that a committee judges.
    pub excluded: BTreeSet<WorkerId>,
}

impl Group {
    /// Whether results can no longer be shown at a block of this timestamp and number.
    pub fn is_closed(&self, timestamp: u64, block: BlockNumber) -> bool {
        self.reveals_end().is_some_and(|(at, at_block)| timestamp > at && block > at_block)
    }

    /// Until when results may be shown: timestamp and block, both of which must pass.
    pub fn reveals_end(&self) -> Option<(u64, BlockNumber)> {
        self.opened
            .map(|(at, block)| (at + REVEAL_WINDOW_S, BlockNumber(block.0 + REVEAL_WINDOW_S / SECONDS_PER_BLOCK)))
    }
}

impl Market {
    /// Workers that the contract will not give the job to.
    pub fn excluded_workers(&self, job: &Job) -> Vec<WorkerId> {
        let group = job.group_id.and_then(|group_id| self.groups.get(&group_id));
        let of_group = group.map(|group| &group.excluded);
        let mut workers: Vec<_> = job.excluded.iter().chain(of_group.into_iter().flatten()).copied().collect();
        workers.sort_unstable();
        workers.dedup();
        workers
    }

    /// The group of the job, where it is a replica.
    pub fn group_of(&self, job: &Job) -> Option<&Group> {
        self.groups.get(&job.group_id?)
    }

    pub(super) fn join_group(&mut self, group_id: Option<JobId>, quorum: u8) {
        let Some(group_id) = group_id else { return };
        let group = self.groups.get_or_default(group_id);
        group.replicas = group.replicas.saturating_add(1);
        group.pending = group.pending.saturating_add(1);
        group.quorum = quorum;
    }

    /// Keeps a worker from (further) replicas of a group.
    pub(super) fn exclude_from_group(&mut self, group_id: Option<JobId>, worker_id: WorkerId) {
        if let Some(group_id) = group_id {
            self.groups.get_or_default(group_id).excluded.insert(worker_id);
        }
    }

    /// A replica neither waits nor runs any more; the last one opens the results.
    pub(super) fn leave_pending(&mut self, group_id: Option<JobId>, position: &EventPosition) {
        let Some(group) = group_id.and_then(|group_id| self.groups.get_mut(&group_id)) else { return };
        group.pending = group.pending.saturating_sub(1);
        if group.pending == 0 && group.opened.is_none() {
            group.opened = Some((position.timestamp, position.block));
        }
    }

    pub(super) fn decide_group(&mut self, group_id: JobId, winner: Option<Felt>) -> Result<(), ApplyErrorKind> {
        let group = self.groups.get_mut(&group_id).ok_or(ApplyErrorKind::NoGroup(group_id))?;
        (group.is_decided, group.winner) = (true, winner);
        Ok(())
    }
}
