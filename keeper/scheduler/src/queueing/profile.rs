//! How many GPUs are promised when: reservations for every job (conservative backfill) and deadlines that hold.

use std::collections::BTreeMap;

use super::pending::{NO_DEADLINE, PendingRecord};

/// GPUs in use over time, as steps. All GPUs are alike here; where a job must sit on one machine, a start in the
/// profile is necessary and [`Cluster::find`](super::Cluster::find) decides.
#[derive(Clone, Debug)]
pub struct CapacityProfile {
    capacity: u32,
    /// GPUs in use from each time on. The last step is for ever.
    used: BTreeMap<u32, u32>,
}

impl CapacityProfile {
    /// Nothing in use, from `now_s` (Unix timestamp in seconds) on.
    pub fn new(capacity: u32, now_s: u32) -> Self {
        Self { capacity, used: BTreeMap::from([(now_s, 0)]) }
    }

    /// The earliest start not before `not_before_s` from which `gpus` are free for `duration_s` seconds; none where
    /// there are never so many.
    pub fn earliest_start(&self, gpus: u32, duration_s: u32, not_before_s: u32) -> Option<u32> {
        if gpus > self.capacity {
            return None;
        }
        let room = self.capacity - gpus;
        let mut start_s = not_before_s.max(*self.used.keys().next()?);
        // The step that the start falls into counts too.
        let from = self.used.range(..=start_s).next_back().map_or(0, |(at_s, _)| *at_s);
        let mut free_since = None;
        for (at_s, used) in self.used.range(from..) {
            if free_since.is_some() && *at_s >= start_s.saturating_add(duration_s) {
                return Some(start_s);
            }
            if *used > room {
                free_since = None;
            } else if free_since.is_none() {
                start_s = start_s.max(*at_s);
                free_since = Some(start_s);
            }
        }
        free_since
    }

    /// Marks `gpus` as used from `start_s` for `duration_s` seconds, up to the capacity.
    pub fn reserve(&mut self, gpus: u32, start_s: u32, duration_s: u32) {
        let end_s = start_s.saturating_add(duration_s);
        for at_s in [start_s, end_s] {
            let before = self.used.range(..=at_s).next_back().map_or(0, |(_, used)| *used);
            self.used.entry(at_s).or_insert(before);
        }
        for (_, used) in self.used.range_mut(start_s..end_s) {
            *used = used.saturating_add(gpus).min(self.capacity);
        }
    }

    /// Reserves a start for every job, in the order given: no job is delayed by one behind it (conservative
    /// backfill). None for jobs that never fit.
    pub fn reserve_all<'a>(&mut self, jobs: impl IntoIterator<Item = &'a PendingRecord>) -> Vec<Option<u32>> {
        let reserved = jobs.into_iter().map(|job| {
            let start_s = self.earliest_start(u32::from(job.gpus), job.limit_s, job.not_before_s)?;
            self.reserve(u32::from(job.gpus), start_s, job.limit_s);
            Some(start_s)
        });
        reserved.collect()
    }
}

/// Whether a deadline can be promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineVerdict {
    /// It can, and every deadline that was promised before still holds.
    Holds {
        /// When the job would start: Unix timestamp in seconds.
        start_s: u32,
    },
    /// Even behind the earlier deadlines alone, the job would end too late, or never fit.
    TooLate {
        /// When it could end at the earliest; none where it is too wide for the cluster.
        earliest_end_s: Option<u32>,
    },
    /// It could be met, but a job with a deadline would then miss its own.
    Displaces {
        /// That job's deadline: Unix timestamp in seconds.
        deadline_s: u32,
    },
}

/// The feasibility test of EDF at submission: would the job meet its deadline beside what runs (`profile`) and the
/// jobs with deadlines that were admitted before, all at their limits?
///
/// Every job is given the earliest start that the jobs with earlier deadlines leave. The test is sufficient, not
/// necessary: a job that it refuses may still be lucky, since jobs end before their limits.
pub fn deadline_holds(profile: &CapacityProfile, admitted: &[PendingRecord], job: &PendingRecord) -> DeadlineVerdict {
    let mut jobs: Vec<&PendingRecord> = admitted.iter().filter(|admitted| admitted.deadline_s != NO_DEADLINE).collect();
    jobs.push(job);
    jobs.sort_by_key(|job| (job.deadline_s, job.submitted_s, job.job_id));
    let mut profile = profile.clone();
    let starts = profile.reserve_all(jobs.iter().copied());
    let mut start_of_job = None;
    for (other, start_s) in jobs.into_iter().zip(starts) {
        let end_s = start_s.map(|start_s| start_s.saturating_add(other.limit_s));
        let is_met = end_s.is_some_and(|end_s| end_s <= other.deadline_s);
        if other.job_id == job.job_id {
            if !is_met {
                return DeadlineVerdict::TooLate { earliest_end_s: end_s };
            }
            start_of_job = start_s;
        } else if !is_met && start_of_job.is_some() {
            // Jobs with earlier deadlines do not feel this one: only those behind it can be displaced.
            return DeadlineVerdict::Displaces { deadline_s: other.deadline_s };
        }
    }
    match start_of_job {
        Some(start_s) => DeadlineVerdict::Holds { start_s },
        None => DeadlineVerdict::TooLate { earliest_end_s: None },
    }
}

#[cfg(test)]
mod tests {
    use keeper_types::JobId;
    use proptest::prelude::*;

    use super::*;
    use crate::queueing::fixtures::record;

    fn job(id: u64, gpus: u16, limit_s: u32, deadline_s: u32) -> PendingRecord {
        PendingRecord { gpus, limit_s, deadline_s, ..record(id) }
    }

    #[test]
    fn a_gap_is_used_only_where_it_is_long_enough() {
        let mut profile = CapacityProfile::new(8, 100);
        profile.reserve(8, 150, 50);
        assert_eq!(profile.earliest_start(1, 50, 0), Some(100));
        assert_eq!(profile.earliest_start(1, 51, 0), Some(200));
        assert_eq!(profile.earliest_start(1, 10, 120), Some(120));
        assert_eq!(profile.earliest_start(1, 10, 145), Some(200));
        assert_eq!(profile.earliest_start(9, 1, 0), None);
    }

    #[test]
    fn a_deadline_is_admitted_refused_or_would_displace_another() {
        let mut profile = CapacityProfile::new(8, 0);
        profile.reserve(8, 0, 100);
        assert_eq!(deadline_holds(&profile, &[], &job(1, 8, 50, 150)), DeadlineVerdict::Holds { start_s: 100 });
        let too_late = DeadlineVerdict::TooLate { earliest_end_s: Some(150) };
        assert_eq!(deadline_holds(&profile, &[], &job(1, 8, 50, 149)), too_late);
        assert_eq!(
            deadline_holds(&profile, &[], &job(1, 9, 1, 999)),
            DeadlineVerdict::TooLate { earliest_end_s: None }
        );
        let admitted = [job(2, 8, 50, 160)];
        let displaces = DeadlineVerdict::Displaces { deadline_s: 160 };
        assert_eq!(deadline_holds(&profile, &admitted, &job(1, 8, 50, 155)), displaces);
        let holds = DeadlineVerdict::Holds { start_s: 150 };
        assert_eq!(deadline_holds(&profile, &admitted, &job(1, 8, 50, 200)), holds);
    }

    proptest! {
        #[test]
        fn reservations_never_exceed_the_capacity_and_none_could_be_earlier(
            jobs in prop::collection::vec((1_u16..=8, 1_u32..50, 0_u32..60), 1..25)
        ) {
            let jobs: Vec<_> = (1..).zip(jobs).map(|(id, (gpus, limit_s, not_before_s))| PendingRecord { not_before_s, ..job(id, gpus, limit_s, NO_DEADLINE) }).collect();
            let starts = CapacityProfile::new(8, 0).reserve_all(&jobs);
            let mut used = vec![0_u32; 4_000];
            for (job, start_s) in jobs.iter().zip(starts) {
                let start_s = start_s.unwrap();
                let fits = |at: u32| (at..at + job.limit_s).all(|second| used[second as usize] + u32::from(job.gpus) <= 8);
                let earliest = (job.not_before_s..).find(|at| fits(*at)).unwrap();
                prop_assert_eq!(start_s, earliest, "job {}", job.job_id);
                (start_s..start_s + job.limit_s).for_each(|second| used[second as usize] += u32::from(job.gpus));
            }
        }

        #[test]
        fn admitted_deadlines_all_hold_under_edf(jobs in prop::collection::vec((1_u16..=8, 1_u32..50, 1_u32..300), 1..25)) {
            let mut profile = CapacityProfile::new(8, 0);
            let mut admitted: Vec<PendingRecord> = Vec::new();
            for (id, (gpus, limit_s, deadline_s)) in (1..).zip(jobs) {
                let job = job(id, gpus, limit_s, deadline_s);
                if matches!(deadline_holds(&profile, &admitted, &job), DeadlineVerdict::Holds { .. }) {
                    admitted.push(job);
                }
            }
            admitted.sort_by_key(|job| (job.deadline_s, job.submitted_s, job.job_id));
            let starts = profile.reserve_all(&admitted);
            for (job, start_s) in admitted.iter().zip(starts) {
                prop_assert!(start_s.unwrap() + job.limit_s <= job.deadline_s);
            }
            prop_assert!(admitted.iter().all(|job| job.job_id != JobId(0)));
        }
    }
}
