//! Views with arguments that the comparison does not try.

use keeper_types::{Felt, JobState};

use super::Generator;
use crate::{
    actors::{Actor, felt_of},
    calls::{AllocationParams, Call},
    model::Model,
};

impl Generator {
    /// Views with arguments that the comparison of all views does not try.
    pub(super) fn read(&mut self, model: &Model) -> (Actor, Call) {
        let first = self.dice.edge(u64::MAX).min(self.dice.below(40));
        let count = u8::try_from(self.dice.weighted(&[(6, 5), (3, 50), (1, 51), (1, 0), (1, 255)])).unwrap_or(0);
        let far = self.dice.edge(u64::MAX);
        let worker = Felt::from(self.worker_id(model));
        let worker = self.dice.weighted(&[(8, worker), (1, Felt::from(1_u64 << 32)), (1, Felt::MAX)]);
        let params = self.params(model);
        let commitment = self.commitment_of(model);
        let anyone = self.worker_id(model);
        let call = self.dice.weighted(&[
            (2, Call::GetJobs { first, count }),
            (1, Call::GetJobs { first: far, count }),
            (2, Call::GetWorkers { first: u32::try_from(first).unwrap_or(0), count }),
            (1, Call::GetWorkers { first: u32::MAX, count }),
            (1, Call::GetWorkerLoad(worker)),
            (1, Call::GetWorkerMetrics(worker)),
            (1, Call::MetricsReportedAt(worker)),
            (6, Call::AllocateJob(Box::new(params))),
            (3, Call::IsAlive(anyone)),
            (2, commitment),
        ]);
        (self.dice.pick(&Actor::ALL), call)
    }

    /// Parameters around what is recorded of a job.
    fn params(&mut self, model: &Model) -> AllocationParams {
        let state = self.dice.pick(&[JobState::Allocated, JobState::Revealed, JobState::Settled, JobState::Failed]);
        let (job_id, job) = self.job_in(model, state);
        let worker = job.and_then(|job| job.placement).and_then(|placement| model.worker(placement.worker_id));
        let priority = job.map_or(1, |job| job.spec.priority);
        let model_id = job.map_or(Felt::ZERO, |job| job.spec.model_id);
        let region = worker.map_or(Felt::ZERO, |worker| worker.offer.capabilities.region);
        let reputation = worker.map_or(0, |worker| u32::from(worker.reputation));
        AllocationParams {
            job_id: (job_id.0.into(), u128::from(self.dice.chance(4))),
            model_id: self.dice.weighted(&[(4, Felt::ZERO), (4, model_id), (1, felt_of("another"))]),
            priority: self.dice.weighted(&[(4, 0), (4, priority), (1, priority.wrapping_add(1))]),
            region: self.dice.weighted(&[(4, Felt::ZERO), (4, region), (1, felt_of("zz"))]),
            min_reputation: self.dice.weighted(&[(4, 0), (4, reputation), (1, reputation + 1)]),
        }
    }

    fn commitment_of(&mut self, model: &Model) -> Call {
        let (job_id, job) = self.job_in(model, JobState::Committed);
        Call::CommitmentOf {
            job_id: job_id.0,
            attempt: self.attempt_of(job).0,
            owner: self.dice.pick(&Actor::ALL).address(),
            result_hash: Felt::from(self.dice.next()),
            salt: self.dice.pick(&[Felt::ZERO, Felt::MAX, Felt::from(7)]),
        }
    }
}
