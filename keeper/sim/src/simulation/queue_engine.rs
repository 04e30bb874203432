//! The queues of `keeper_scheduler::queueing`, as they are.

use keeper_scheduler::queueing::{
    Admission, AfterFailure, Balanced, Cluster, EarliestDeadline, FailureClass, FairShare, Fifo, JobPrioritizer,
    NO_DEADLINE, OrderingPolicy, PendingRecord, QueueIndex, Queues, TenantIndex, Tenants,
};
use keeper_types::{JobId, WorkerId};

use super::{
    engine::{Engine, Placement, Submission, each_worker},
    jobs::Job,
    parameters::{Ordering, QueuesSet, WorkerKind},
};
use crate::philly::SlurmMultifactor;

/// Dead letters that are kept. What becomes of every job is counted elsewhere.
const MAX_DEAD_LETTERS: usize = 0;

pub(crate) struct QueueEngine {
    queues: Queues,
    cluster: Cluster,
    policy: Box<dyn OrderingPolicy>,
    gpus: Vec<u16>,
    queue_names: Vec<String>,
}

impl QueueEngine {
    pub(crate) fn new(set: &QueuesSet, workers: &[WorkerKind], tenants: &[(String, u32)]) -> Self {
        let gpus: Vec<u16> = each_worker(workers).map(|(_, kind)| kind.gpus).collect();
        let cluster = Cluster::new(gpus.clone());
        let mut accounts = Tenants::new(set.half_life_s, cluster.capacity());
        for (_, weight) in tenants {
            accounts.add(*weight, 0);
        }
        let queues = Queues::new(set.queues.clone(), accounts, set.retry, MAX_DEAD_LETTERS);
        Self {
            queues: queues.expect("the parameters were checked"),
            queue_names: set.queues.iter().map(|queue| queue.name.clone()).collect(),
            policy: policy(&set.policy),
            cluster,
            gpus,
        }
    }

    fn queue(&self, name: &str) -> QueueIndex {
        let place = self.queue_names.iter().position(|queue| queue == name).unwrap_or(0);
        QueueIndex(u8::try_from(place).unwrap_or(0))
    }
}

fn policy(ordering: &Ordering) -> Box<dyn OrderingPolicy> {
    match *ordering {
        Ordering::Balanced { size, width, fairness, priority, queue } => {
            let default = Balanced::default();
            Box::new(Balanced {
                size: size.unwrap_or(default.size),
                width: width.unwrap_or(default.width),
                fairness: fairness.unwrap_or(default.fairness),
                priority: priority.unwrap_or(default.priority),
                queue: queue.unwrap_or(default.queue),
            })
        }
        Ordering::Fifo { backfill } => Box::new(Fifo { backfill: backfill.into() }),
        Ordering::FairShare { backfill } => Box::new(FairShare { backfill: backfill.into() }),
        Ordering::EarliestDeadline { backfill } => Box::new(EarliestDeadline { backfill: backfill.into() }),
        Ordering::Priority { aging_interval_s, backfill } => {
            Box::new(JobPrioritizer { aging_interval_s, backfill: backfill.into() })
        }
        Ordering::SlurmMultifactor {} => Box::new(SlurmMultifactor),
    }
}

impl Engine for QueueEngine {
    fn submit(&mut self, job: &Job, now_s: u32) -> Submission {
        let record = PendingRecord {
            job_id: job.job_id,
            submitted_s: now_s,
            deadline_s: job.deadline_s.unwrap_or(NO_DEADLINE),
            due_s: 0,
            not_before_s: 0,
            limit_s: job.limit_s,
            tenant: TenantIndex(job.tenant),
            requirements: 0,
            gpus: job.gpus,
            priority: job.priority,
            queue: self.queue(&job.queue),
        };
        match self.queues.submit(record, now_s) {
            Admission::Queued { shed, .. } => Submission::Queued { shed },
            Admission::QueueFull { .. } | Admission::Duplicate => Submission::Refused,
        }
    }

    fn decide(&mut self, now_s: u32) -> Vec<Placement> {
        let round = self.queues.dispatch(&mut self.cluster, self.policy.as_ref(), now_s);
        round.starts.into_iter().map(|start| Placement { job_id: start.job.job_id, gang: start.gang }).collect()
    }

    fn succeed(&mut self, job_id: JobId, now_s: u32) {
        self.queues.succeed(&mut self.cluster, job_id, now_s);
    }

    fn fail(&mut self, attempt: (JobId, WorkerId), class: FailureClass, now: (u32, u64)) -> Option<AfterFailure> {
        self.queues.fail(&mut self.cluster, attempt, class, now)
    }

    fn cancel(&mut self, job_id: JobId, now_s: u32) -> bool {
        self.queues.cancel(job_id, now_s)
    }

    fn expire(&mut self, now_s: u32) -> Vec<JobId> {
        self.queues.expire(now_s)
    }

    fn worker_left(&mut self, worker_id: WorkerId) {
        self.cluster.remove_machine(worker_id);
    }

    fn worker_returned(&mut self, worker_id: WorkerId) {
        self.cluster.add_machine(worker_id, self.gpus[worker_id.0 as usize]);
    }

    fn waiting(&self) -> usize {
        self.queues.pending().len()
    }
}
