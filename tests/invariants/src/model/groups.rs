//! Replicas of a job: when they may be revealed, and what they agree on.

use std::collections::BTreeMap;

use keeper_types::{Felt, JobId, JobState};

use super::Model;
use crate::{actors::Contract, calls::Moment};

/// Seconds for revealing what was committed to.
pub(super) const REVEAL_WINDOW_S: u64 = 21_600;

/// What the replicas have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) replicas: u8,
    pub(crate) quorum: u8,
    /// Whether it judges a disputed result.
    pub(crate) is_committee: bool,
    /// How often one was allocated.
    pub(crate) allocations: u8,
    /// Since when none is Queued or Allocated.
    pub(crate) opened: Option<Moment>,
    /// Results by how often they were revealed.
    tally: BTreeMap<Felt, u8>,
    /// The first result that reached the quorum.
    pub(crate) winner: Option<Felt>,
    /// Whether it was reported what they agreed on, or that they did not.
    pub(crate) is_decided: bool,
}

impl Group {
    pub(super) fn new(replicas: u8, quorum: u8, is_committee: bool) -> Self {
        Self {
            replicas,
            quorum,
            is_committee,
            allocations: 0,
            opened: None,
            tally: BTreeMap::new(),
            winner: None,
            is_decided: false,
        }
    }

    pub(crate) fn revealed(&self) -> u8 {
        self.tally.values().sum()
    }

    /// Until when results are revealed.
    pub(crate) fn closes(&self) -> Option<Moment> {
        self.opened.map(|opened| opened.after(REVEAL_WINDOW_S))
    }

    /// Whether nothing can be revealed any more.
    pub(super) fn is_closed(&self, now: Moment) -> bool {
        self.closes().is_some_and(|closes| closes.has_passed(now))
    }

    /// Whether results are revealed now.
    pub(super) fn takes_reveals(&self, now: Moment) -> bool {
        self.opened.is_some() && !self.is_closed(now)
    }
}

impl Model {
    /// The replicas of a group.
    pub(crate) fn members(&self, group: u64) -> Vec<JobId> {
        let count = self.job_mgr.groups.get(&group).map_or(0, |group| group.replicas);
        (group..group + u64::from(count)).map(JobId).collect()
    }

    /// Replicas that are not yet committed to and can still be.
    pub(crate) fn pending(&self, group: u64) -> u8 {
        let is_pending = |job_id: &JobId| {
            self.job(*job_id).is_some_and(|job| matches!(job.state, JobState::Queued | JobState::Allocated))
        };
        self.members(group).iter().filter(|job_id| is_pending(job_id)).count() as u8
    }

    /// Opens the reveals of a replica's group where it was the last that was waited for.
    pub(super) fn has_left_the_pending(&mut self, job_id: JobId) {
        let group = self.job(job_id).map_or(0, |job| job.group);
        if group == 0 || self.pending(group) > 0 {
            return;
        }
        let now = self.now;
        let members = self.job_mgr.groups.get_mut(&group).expect("a replica has a group");
        members.opened.get_or_insert(now);
    }

    /// Counts a revealed result, and reports the winner that it makes.
    pub(super) fn count_result(&mut self, group: u64, result_hash: Felt) {
        let members = self.job_mgr.groups.get_mut(&group).expect("a replica has a group");
        let votes = members.tally.entry(result_hash).or_default();
        *votes += 1;
        if *votes == members.quorum && members.winner.is_none() {
            members.winner = Some(result_hash);
            members.is_decided = true;
            self.report_decision(group, result_hash);
        }
    }

    /// Reports, once, that the replicas have not agreed.
    pub(super) fn give_up_on(&mut self, group: u64) {
        let members = self.job_mgr.groups.get_mut(&group).expect("a replica has a group");
        if !members.is_decided {
            members.is_decided = true;
            self.report_decision(group, Felt::ZERO);
        }
    }

    fn report_decision(&mut self, group: u64, winner: Felt) {
        self.emit(Contract::JobMgr, "GroupDecided", vec![("group_id", group.into()), ("winner", winner)]);
    }
}
