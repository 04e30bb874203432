//! One urgent job, for which others may be put off.

use std::collections::BTreeMap;

use keeper_types::{JobId, Strategy, WorkerId};
use serde::{Deserialize, Serialize};

use super::{
    PreferenceSet,
    candidate::{Allocation, Candidate},
};
use crate::queueing::MAX_PRIORITY;

/// Who may put others off, and whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmergencyRules {
    /// The least priority of a job that may put others off, 2 to 10.
    pub min_priority: u8,
    /// How long a job runs before it may be put off, in seconds.
    pub min_run_time_s: u64,
}

/// Jobs of the highest priority may put off what has run for five minutes.
impl Default for EmergencyRules {
    fn default() -> Self {
        Self { min_priority: MAX_PRIORITY, min_run_time_s: 300 }
    }
}

/// Rules make no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmergencyError {
    /// Nobody is below the lowest priority or above the highest.
    #[error("min_priority is {min_priority}, but only jobs of priority 2 to {MAX_PRIORITY} can put others off")]
    MinPriority {
        /// What was asked for.
        min_priority: u8,
    },
}

impl EmergencyRules {
    /// Checks that the rules can be worked with.
    ///
    /// # Errors
    /// Names the setting that makes no sense, and what it may be.
    pub fn validate(&self) -> Result<(), EmergencyError> {
        if !(2..=MAX_PRIORITY).contains(&self.min_priority) {
            return Err(EmergencyError::MinPriority { min_priority: self.min_priority });
        }
        Ok(())
    }
}

/// The urgent job. It takes one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmergencyNeed {
    /// 1 to 10.
    pub priority: u8,
    /// GPUs on one worker.
    pub gpus: u8,
}

/// A worker that meets every requirement of the job, if not now then when others have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// The worker. Preferences do not count in an emergency.
    pub candidate: Candidate,
    /// Slots that are free.
    pub free_slots: u8,
    /// GPUs that are free.
    pub free_gpus: u8,
}

/// A job that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningJob {
    /// The job.
    pub job_id: JobId,
    /// Where it runs.
    pub worker_id: WorkerId,
    /// 1 to 10.
    pub priority: u8,
    /// Whether it may be put off at all.
    pub is_preemptible: bool,
    /// When it began: Unix timestamp in seconds.
    pub began_s: u64,
    /// GPUs that it holds.
    pub gpus: u8,
}

impl RunningJob {
    fn ran_s(&self, now_s: u64) -> u64 {
        now_s.saturating_sub(self.began_s)
    }

    /// What is lost when it is put off, in GPU-seconds; a job without GPUs counts as one with one.
    fn work_lost(&self, now_s: u64) -> u64 {
        self.ran_s(now_s).saturating_mul(u64::from(self.gpus.max(1)))
    }
}

/// Where the urgent job would go, and who would have to go for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmergencyAllocation {
    /// The worker.
    pub allocation: Allocation,
    /// Whom to put off, in the order in which they were chosen; nobody where there was room.
    pub preempt: Vec<JobId>,
    /// What is lost by that, in GPU-seconds.
    pub work_lost_gpu_s: u64,
}

/// Where an urgent job goes, and whom to put off for it; none where nobody has room and nobody may be put off.
///
/// On each worker, those that may be put off are taken by the lowest priority, then by the least work lost, then by the
/// lowest id, until the job fits; whoever was not needed after all is let go again, the dearest first. A job may be put
/// off that allows it, has a lower priority than the urgent one, and has run for [`EmergencyRules::min_run_time_s`].
/// Then the worker is taken where the highest priority among the victims is the lowest, nobody lowest of all; then
/// where the least work is lost; then where the fewest are put off; then static before dynamic, the higher score, the
/// lower id.
pub fn emergency(
    need: &EmergencyNeed,
    hosts: &[Host],
    running: &[RunningJob],
    rules: &EmergencyRules,
    now_s: u64,
) -> Option<EmergencyAllocation> {
    let mut victims: BTreeMap<WorkerId, Vec<&RunningJob>> = BTreeMap::new();
    if need.priority >= rules.min_priority {
        let may_be_put_off = |job: &&RunningJob| {
            job.is_preemptible && job.priority < need.priority && job.ran_s(now_s) >= rules.min_run_time_s
        };
        for job in running.iter().filter(may_be_put_off) {
            victims.entry(job.worker_id).or_default().push(job);
        }
        for on_worker in victims.values_mut() {
            on_worker.sort_unstable_by_key(|job| (job.priority, job.work_lost(now_s), job.job_id));
        }
    }
    let options = hosts.iter().filter_map(|host| {
        let on_worker = victims.get(&host.candidate.worker_id).map_or(&[][..], Vec::as_slice);
        let chosen = choose(need, host, on_worker)?;
        let highest = chosen.iter().map(|job| job.priority).max();
        let lost = chosen.iter().fold(0_u64, |sum, job| sum.saturating_add(job.work_lost(now_s)));
        Some(((highest, lost, chosen.len(), host.candidate.place()), host, chosen))
    });
    let ((_, work_lost_gpu_s, ..), host, chosen) = options.min_by_key(|(key, ..)| *key)?;
    Some(EmergencyAllocation {
        allocation: host.candidate.allocation(Strategy::Emergency, PreferenceSet::NONE),
        preempt: chosen.into_iter().map(|job| job.job_id).collect(),
        work_lost_gpu_s,
    })
}

/// Whom to put off on one worker, of those that may be, the cheapest first; none where all together are not enough.
fn choose<'a>(need: &EmergencyNeed, host: &Host, victims: &[&'a RunningJob]) -> Option<Vec<&'a RunningJob>> {
    let mut slots = usize::from(host.free_slots);
    let mut gpus = u32::from(host.free_gpus);
    let has_room = |slots: usize, gpus: u32| slots >= 1 && gpus >= u32::from(need.gpus);
    let mut chosen = Vec::new();
    for &victim in victims {
        if has_room(slots, gpus) {
            break;
        }
        chosen.push(victim);
        slots += 1;
        gpus += u32::from(victim.gpus);
    }
    if !has_room(slots, gpus) {
        return None;
    }
    for at in (0..chosen.len()).rev() {
        let spared = u32::from(chosen[at].gpus);
        if has_room(slots - 1, gpus - spared) {
            slots -= 1;
            gpus -= spared;
            chosen.remove(at);
        }
    }
    Some(chosen)
}
