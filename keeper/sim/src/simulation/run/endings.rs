//! Jobs that are over without having succeeded, and the end of the run.

use keeper_types::JobId;

use super::{Happening, Live, Run};
use crate::simulation::{
    figures::Figures,
    jobs::{Job, SECOND_MS},
};

impl Run<'_> {
    /// When a waiting job is given up because of its deadline; none where it is not.
    pub(super) fn deadline_ms(&self, job: &Job) -> Option<u64> {
        let deadline_s = job.deadline_s.filter(|_| self.parameters.clients.expire_at_deadline)?;
        Some((u64::from(deadline_s) + 1) * SECOND_MS)
    }

    /// A client takes back a job that was never placed.
    pub(super) fn cancel(&mut self, job_id: JobId) {
        if self.live.get(&job_id).is_none_or(|live| live.tries > 0) {
            return;
        }
        let was_waiting = self.engine.cancel(job_id, self.now_s());
        assert!(was_waiting, "job {job_id} was never placed, and the scheduler does not know that it waits");
        if let Some(live) = self.leave_line(job_id) {
            self.tally.counts.cancelled += 1;
            self.tell(Happening::Left(live.job.job_id));
        }
    }

    pub(super) fn deadline_passes(&mut self, job_id: JobId) {
        if self.live.get(&job_id).is_none_or(|live| live.attempt.is_some()) {
            return;
        }
        for expired in self.engine.expire(self.now_s()) {
            self.give_up_waiting(expired, "deadline_passed");
        }
    }

    /// A job that waits is given up.
    pub(super) fn give_up_waiting(&mut self, job_id: JobId, reason: &'static str) {
        if let Some(live) = self.leave_line(job_id) {
            self.tally.dead(&live.job, reason);
            self.tell(Happening::Left(job_id));
        }
    }

    fn leave_line(&mut self, job_id: JobId) -> Option<Live> {
        let live = self.live.remove(&job_id)?;
        assert!(live.attempt.is_none(), "job {job_id} was given up while it was placed");
        self.tally.wait_no_more(&live.job);
        if !live.has_begun {
            self.tally.never_began(&live.job);
        }
        Some(live)
    }

    /// A job whose last attempt is over is given up.
    pub(super) fn bury(&mut self, job_id: JobId, reason: &'static str) {
        let Some(live) = self.live.remove(&job_id) else { return };
        if !live.has_begun {
            self.tally.never_began(&live.job);
        }
        self.tally.dead(&live.job, reason);
        self.tell(Happening::Left(job_id));
    }

    /// Counts what is left, and makes sure that nothing was lost on the way.
    pub(super) fn finish(mut self) -> Figures {
        let left: Vec<JobId> = self.live.keys().copied().collect();
        for job_id in left {
            self.interrupt(job_id, None);
        }
        for live in self.live.values() {
            self.tally.left_over(&live.job, live.attempt.is_some());
            if !live.has_begun {
                self.tally.never_began(&live.job);
            }
        }
        let counts = &self.tally.counts;
        assert!(counts.is_complete(), "jobs were lost or counted twice: {counts:?}");
        let (waiting, believed) = (counts.waiting, self.engine.waiting() as u64);
        assert!(waiting == believed, "{waiting} jobs wait, but the scheduler holds {believed}");
        self.tally.finish(self.seed)
    }
}
