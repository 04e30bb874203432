//! Books that are kept beside a run, from what it says that happens, and that object to what must not.

use std::collections::BTreeMap;

use keeper_scheduler::queueing::{FailureClass, Gang};
use keeper_sim::{
    philly::Trace,
    simulation::{Figures, Happening, Job, ParameterSet, Parameters, watch},
};
use keeper_types::JobId;

/// A round's decision.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) job_id: JobId,
    pub(crate) at_ms: u64,
    pub(crate) gang: Gang,
}

/// An attempt that is over.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) job_id: JobId,
    pub(crate) gang: Gang,
    pub(crate) placed_ms: u64,
    pub(crate) begun_ms: Option<u64>,
    pub(crate) at_ms: u64,
    pub(crate) class: Option<FailureClass>,
}

impl Ended {
    pub(crate) fn ran_on(&self, worker: u32) -> bool {
        self.gang.iter().any(|(on, _)| *on == worker)
    }
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) submissions: Vec<Job>,
    pub(crate) placements: Vec<Placed>,
    pub(crate) ends: Vec<Ended>,
    /// When a worker failed, and which.
    pub(crate) failures: Vec<(u64, u32)>,
    /// Jobs that were given up or taken back.
    pub(crate) left: u64,
    pub(crate) figures: Figures,
    placed: BTreeMap<JobId, (Placed, Option<u64>)>,
    over: BTreeMap<JobId, ()>,
    held: BTreeMap<u32, u16>,
    down: BTreeMap<u32, ()>,
}

impl Books {
    pub(crate) fn of(parameters: &Parameters, set: &ParameterSet, trace: Option<&Trace>, seed: u64) -> Self {
        let mut books = Self::default();
        let capacity: Vec<u16> =
            parameters.workers.iter().flat_map(|kind| vec![kind.gpus; kind.count as usize]).collect();
        let figures = watch(parameters, set, trace, seed, &mut |at_ms, happening| {
            books.note(parameters, &capacity, at_ms, happening);
        });
        Self { figures, ..books }
    }

    pub(crate) fn ends_of(&self, class: FailureClass) -> Vec<&Ended> {
        self.ends.iter().filter(|end| end.class == Some(class)).collect()
    }

    pub(crate) fn succeeded(&self) -> u64 {
        self.ends.iter().filter(|end| end.class.is_none()).count() as u64
    }

    pub(crate) fn running(&self) -> u64 {
        self.placed.len() as u64
    }

    fn job(&self, job_id: JobId) -> &Job {
        let place = usize::try_from(job_id.0).expect("jobs are numbered from 0");
        &self.submissions[place]
    }

    fn note(&mut self, parameters: &Parameters, capacity: &[u16], at_ms: u64, happening: Happening) {
        let network = parameters.network;
        match happening {
            Happening::Submitted(job) => {
                assert_eq!(job.submitted_ms, at_ms);
                self.submissions.push(job);
            }
            Happening::Placed(job_id, gang) => {
                assert!(at_ms.checked_rem(network.round_ms).unwrap_or(0) == 0, "placed at {at_ms}, between rounds");
                assert!(!self.over.contains_key(&job_id), "{job_id} was over");
                let job = self.job(job_id);
                assert_eq!(gang.iter().map(|(_, gpus)| gpus).sum::<u16>(), job.gpus);
                for (worker, gpus) in &gang {
                    let held = self.held.entry(*worker).or_default();
                    *held += gpus;
                    assert!(*held <= capacity[*worker as usize], "worker {worker} holds {held}");
                }
                let placed = Placed { job_id, at_ms, gang };
                self.placements.push(placed.clone());
                assert!(self.placed.insert(job_id, (placed, None)).is_none(), "{job_id} runs already");
            }
            Happening::Begun(job_id) => {
                let (placed, begun_ms) = self.placed.get_mut(&job_id).expect("what begins was placed");
                let delay_ms = at_ms - placed.at_ms;
                assert!((network.delay_ms..=network.delay_ms + network.jitter_ms).contains(&delay_ms));
                assert!(placed.gang.iter().all(|(worker, _)| !self.down.contains_key(worker)));
                assert!(begun_ms.replace(at_ms).is_none(), "{job_id} began twice");
            }
            Happening::Ended(job_id, class) => {
                let (Placed { at_ms: placed_ms, gang, .. }, begun_ms) =
                    self.placed.remove(&job_id).expect("what ends was placed");
                for (worker, gpus) in &gang {
                    *self.held.get_mut(worker).expect("what ends was held") -= gpus;
                }
                if class.is_none() {
                    let job = self.job(job_id);
                    assert_eq!(
                        at_ms - begun_ms.expect("what succeeds began"),
                        job.duration_ms,
                        "{job_id} ran for another time"
                    );
                    assert!(self.over.insert(job_id, ()).is_none());
                }
                self.ends.push(Ended { job_id, gang, placed_ms, begun_ms, at_ms, class });
            }
            Happening::Left(job_id) => {
                assert!(!self.placed.contains_key(&job_id), "{job_id} left while it was placed");
                assert!(self.over.insert(job_id, ()).is_none(), "{job_id} was over");
                self.left += 1;
            }
            Happening::Failed(worker) => {
                assert!(self.down.insert(worker.0, ()).is_none());
                self.failures.push((at_ms, worker.0));
            }
            Happening::Returned(worker) => assert!(self.down.remove(&worker.0).is_some()),
        }
    }
}
