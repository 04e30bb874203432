//! Workers that fail and return, and attempts that fail.

use keeper_scheduler::queueing::{AfterFailure, DeadLetterReason, FailureClass};
use keeper_types::{JobId, WorkerId};

use super::{Happening, Run};
use crate::simulation::{events::Event, jobs::SECOND_MS};

impl Run<'_> {
    pub(super) fn let_fail(&mut self, worker: u32) {
        if let Some(ms) = self.machines[worker as usize].fails_after_ms() {
            self.after(ms, Event::Fail(worker));
        }
    }

    /// A worker fails, and what runs there is lost. The keeper does not know yet.
    pub(super) fn worker_fails(&mut self, worker: u32) {
        let machine = &mut self.machines[worker as usize];
        (machine.is_up, machine.down_ms) = (false, self.now_ms);
        machine.failures += 1;
        let (failure, returns_after_ms) = (machine.failures, machine.returns_after_ms());
        let jobs: Vec<JobId> = machine.jobs.iter().copied().collect();
        self.tally.counts.worker_failures += 1;
        self.tally.there.up_gpus -= u64::from(machine.kind.gpus);
        for job_id in jobs {
            self.interrupt(job_id, Some(worker));
        }
        self.after(returns_after_ms, Event::Return(worker));
        let silent_ms = self.overdue_ms(self.now_ms, self.retry.silence_timeout_s);
        self.events.at(silent_ms, Event::Notice(worker, failure));
        self.tell(Happening::Failed(WorkerId(worker)));
    }

    /// A worker has been silent for too long: it counts as gone, and what is there goes to others.
    pub(super) fn notice(&mut self, worker: u32, failure: u32) {
        let machine = &mut self.machines[worker as usize];
        if machine.is_up || machine.failures != failure {
            return;
        }
        machine.is_noticed = true;
        let jobs: Vec<JobId> = machine.jobs.iter().copied().collect();
        self.engine.worker_left(WorkerId(worker));
        let now_s = self.now_s();
        for job_id in jobs {
            let assignment = self.assignment(job_id, worker as usize);
            let class = assignment.and_then(|assignment| self.retry.overdue(&assignment, now_s));
            self.fail(job_id, worker as usize, class.unwrap_or(FailureClass::Abandoned));
        }
    }

    /// A worker is back. Where nobody has noticed its absence, it says itself what was lost.
    pub(super) fn worker_returns(&mut self, worker: u32) {
        let machine = &mut self.machines[worker as usize];
        machine.is_up = true;
        let was_noticed = std::mem::replace(&mut machine.is_noticed, false);
        self.tally.there.up_gpus += u64::from(machine.kind.gpus);
        if was_noticed {
            self.engine.worker_returned(WorkerId(worker));
            self.ask_for_round(0);
        } else {
            let jobs: Vec<JobId> = machine.jobs.iter().copied().collect();
            for job_id in jobs.into_iter().filter(|job_id| self.is_broken_by(*job_id, worker)).collect::<Vec<_>>() {
                self.fail(job_id, worker as usize, FailureClass::WorkerFault);
            }
        }
        self.tell(Happening::Returned(WorkerId(worker)));
        self.let_fail(worker);
    }

    fn is_broken_by(&self, job_id: JobId, worker: u32) -> bool {
        let attempt = self.live.get(&job_id).and_then(|live| live.attempt.as_ref());
        attempt.is_some_and(|attempt| attempt.broken_by == Some(worker))
    }

    /// An attempt has failed, and the keeper knows.
    pub(super) fn fail(&mut self, job_id: JobId, worker: usize, class: FailureClass) {
        self.take_off(job_id);
        let worker_id = WorkerId(u32::try_from(worker).unwrap_or(u32::MAX));
        let after = self.engine.fail((job_id, worker_id), class, (self.now_s(), self.seed));
        self.tally.failed(class);
        self.tell(Happening::Ended(job_id, Some(class)));
        match after.expect("the scheduler placed the attempt") {
            AfterFailure::Retry { not_before_s } => {
                self.tally.counts.retried += 1;
                let live = self.live.get(&job_id).expect("a job that failed is not over");
                self.tally.wait(&live.job);
                if let Some(passed_ms) = self.deadline_ms(&live.job) {
                    self.events.at(passed_ms.max(self.now_ms), Event::Deadline(job_id));
                }
                self.events.at((u64::from(not_before_s) * SECOND_MS).max(self.now_ms), Event::Wake);
            }
            AfterFailure::Dead(reason) => self.bury(job_id, name(reason)),
        }
        self.ask_for_round(0);
    }

    /// Ends the attempt of a job, however it went.
    pub(super) fn take_off(&mut self, job_id: JobId) {
        self.interrupt(job_id, None);
        let Some(live) = self.live.get_mut(&job_id) else { return };
        let Some(attempt) = live.attempt.take() else { return };
        for (worker, gpus) in &attempt.gang {
            self.machines[*worker as usize].release(job_id, *gpus);
        }
        self.tally.take_off(&live.job);
    }

    /// From now on the attempt computes nothing more: it is over, or a worker failed under it.
    pub(super) fn interrupt(&mut self, job_id: JobId, by: Option<u32>) {
        let Some(live) = self.live.get_mut(&job_id) else { return };
        let Some(attempt) = live.attempt.as_mut().filter(|attempt| attempt.broken_by.is_none()) else { return };
        let Some(begun_ms) = attempt.begun_ms else { return };
        attempt.broken_by = by;
        self.tally.there.busy_gpus -= u64::from(live.job.gpus);
        for (worker, gpus) in &attempt.gang {
            self.tally.busy(self.machines[*worker as usize].kind, *gpus, self.now_ms - begun_ms);
        }
    }
}

fn name(reason: DeadLetterReason) -> &'static str {
    match reason {
        DeadLetterReason::Failed { .. } => "failed",
        DeadLetterReason::Poison { .. } => "poison",
        DeadLetterReason::AttemptsSpent { .. } => "attempts_spent",
        DeadLetterReason::DeadlinePassed => "deadline_passed",
        DeadLetterReason::Shed => "shed",
    }
}
