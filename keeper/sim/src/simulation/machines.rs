//! Workers as they are, which is not always what the scheduler believes.

use std::collections::BTreeSet;

use keeper_types::JobId;

use super::{engine::each_worker, jobs::SECOND_MS, parameters::WorkerKind};
use crate::draws::{Draws, Purpose};

/// A worker.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) kind: &'a WorkerKind,
    pub(crate) is_up: bool,
    /// Whether the scheduler knows that it has failed.
    pub(crate) is_noticed: bool,
    /// How often it has failed.
    pub(crate) failures: u32,
    /// When it failed last.
    pub(crate) down_ms: u64,
    /// Attempts that the scheduler placed here and that are not over.
    pub(crate) jobs: BTreeSet<JobId>,
    held_gpus: u16,
    draws: Draws,
}

impl<'a> Machine<'a> {
    /// All workers, by their numbers.
    pub(crate) fn all(kinds: &'a [WorkerKind], seed: u64) -> Vec<Self> {
        let machine = |(number, kind): (u32, &'a WorkerKind)| Self {
            kind,
            is_up: true,
            is_noticed: false,
            failures: 0,
            down_ms: 0,
            jobs: BTreeSet::new(),
            held_gpus: 0,
            draws: Draws::new(seed, Purpose::Worker, u64::from(number)),
        };
        each_worker(kinds).map(machine).collect()
    }

    /// Milliseconds until it fails next; none where it never does.
    pub(crate) fn fails_after_ms(&mut self) -> Option<u64> {
        self.kind.mtbf_s.map(|mean_s| self.wait_ms(mean_s))
    }

    /// Milliseconds until it is back.
    pub(crate) fn returns_after_ms(&mut self) -> u64 {
        self.wait_ms(self.kind.mttr_s)
    }

    /// A job is placed here.
    ///
    /// # Panics
    /// Where the scheduler placed more here than there is room for, which none may.
    pub(crate) fn hold(&mut self, job_id: JobId, gpus: u16) {
        self.held_gpus += gpus;
        let is_new = self.jobs.insert(job_id);
        assert!(is_new && !self.is_noticed, "job {job_id} was placed twice, or on a worker that is known to be gone");
        let (held, there) = (self.held_gpus, self.kind.gpus);
        assert!(held <= there, "job {job_id} makes {held} GPUs of the {there} of a worker `{}`", self.kind.name);
    }

    /// It is taken off.
    pub(crate) fn release(&mut self, job_id: JobId, gpus: u16) {
        if self.jobs.remove(&job_id) {
            self.held_gpus -= gpus;
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
    fn wait_ms(&mut self, mean_s: u32) -> u64 {
        let wait_s = self.draws.exponential(f64::from(mean_s));
        // A worker that is back at once would have failed for nothing.
        ((wait_s * 1_000.0) as u64).max(SECOND_MS)
    }
}
