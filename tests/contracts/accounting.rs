//! What always holds in a [`World`]: every fri is accounted for, and the events tell what the views show.

use keeper_chain::{ChainJob, Follower, Step};
use keeper_types::{BlockHeader, Fri, Job, JobSpec, Requirements};

use crate::world::World;

/// What the events told so far.
#[derive(Default)]
pub(crate) struct Followed {
    cursor: Option<BlockHeader>,
    told: keeper_types::Market,
}

impl World {
    /// Every fri is accounted for, and the events tell exactly what the views show.
    pub(crate) async fn conserved(&self) {
        let told = self.told().await;
        let jobs = self.contracts().jobs().await.unwrap();
        assert_eq!(jobs.len(), told.jobs.len());
        let mut held = 0;
        for (job, told) in jobs.iter().zip(told.jobs.values()) {
            agree(job, told);
            let out = told.paid.0 + told.refunded.0;
            assert_eq!(out, if job.state.is_final() { job.spec.max_price.0 } else { 0 }, "{told:?}");
            held += job.spec.max_price.0 - out;
        }
        for (account, credit) in told.credits.iter() {
            assert_eq!(self.contracts().credit_of(*account).await.unwrap(), *credit, "the credit of {account}");
            held += credit.0;
        }
        assert_eq!(self.contracts().held().await.unwrap(), Fri(held));

        let mut workers = self.contracts().workers().await.unwrap();
        for (worker, told) in workers.iter_mut().zip(told.workers.values()) {
            // The local chain shows contracts the time of the block before.
            worker.reputation_at = told.reputation_at;
        }
        assert_eq!(workers, told.workers.values().cloned().collect::<Vec<_>>());
        assert_eq!(self.pool_balance().await, Fri(workers.iter().map(|worker| worker.stake.0).sum()));
    }

    /// The fold of every event so far.
    pub(crate) async fn told(&self) -> keeper_types::Market {
        let follower = Follower::new(self.contracts().rpc(), self.deployment());
        let mut followed = self.followed.lock().await;
        while let Step::Extended { blocks, .. } = follower.step(followed.cursor).await.unwrap() {
            for block in blocks {
                for (position, event) in &block.events {
                    followed.told.apply(event, position).unwrap();
                }
                followed.cursor = Some(block.header);
            }
        }
        followed.told.clone()
    }
}

/// A view and the fold of the events show the same job. The time of allocation is left out: the local chain
/// shows contracts the time of the block before.
fn agree(job: &ChainJob, told: &Job) {
    assert_eq!((job.job_id, job.client, &job.spec), (told.job_id, told.client, &shown_spec(told)));
    assert_eq!((job.state, job.attempt, job.worker_id), (told.state, told.attempt, told.worker_id), "{told:?}");
    assert_eq!((job.rate, job.score), (told.rate.unwrap_or_default(), told.score.unwrap_or_default()), "{told:?}");
    assert_eq!(job.deadline_block, told.deadline_block);
    assert_eq!(job.result_hash, told.result_hash.unwrap_or_default());
    if let (Some((deadline, block)), Some(allocated_at)) = (told.attempt_deadline, told.allocated_at) {
        assert_eq!(
            (job.attempt_deadline - job.allocated_at, job.attempt_deadline_block),
            (deadline - allocated_at, block)
        );
    }
    if let Some(ends) = told.challenge_ends {
        assert_eq!((job.challenge_ends_at, job.challenge_ends_block), ends);
    }
}

/// What a view shows of a job's spec: once there is a result, only the number of GPUs of its requirements.
fn shown_spec(job: &Job) -> JobSpec {
    let mut spec = job.spec.clone();
    if job.result_hash.is_some() {
        spec.requirements = Requirements { gpu_count: spec.requirements.gpu_count, ..Requirements::default() };
    }
    spec
}
