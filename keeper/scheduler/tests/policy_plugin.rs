//! A policy that this crate does not know, brought by another: what a plug-in looks like, and that rounds go by it.

use std::collections::BTreeMap;

use keeper_scheduler::queueing::{
    Admission, Backfill, Cluster, NO_DEADLINE, OrderingPolicy, OrderingView, PendingRecord, QueueConfig, QueueIndex,
    Queues, Rank, RetryPolicy, TenantIndex, Tenants, in_order,
};
use keeper_types::JobId;

/// Tenants in good standing first, by a table that the keeper's operator maintains; of one standing, the priority.
#[derive(Debug)]
struct GoodStandingFirst {
    standing: BTreeMap<TenantIndex, u8>,
}

impl OrderingPolicy for GoodStandingFirst {
    fn name(&self) -> &str {
        "good-standing"
    }

    fn rank(&self, job: &PendingRecord, _view: &OrderingView<'_>) -> Rank {
        let standing = self.standing.get(&job.tenant).copied().unwrap_or(0);
        Rank { class: u8::MAX - standing, key: u64::from(u8::MAX - job.priority) }
    }

    fn backfill(&self, _head: &PendingRecord, _view: &OrderingView<'_>) -> Backfill {
        Backfill::BeforeReservation
    }
}

fn job(id: u64, tenant: u32, priority: u8, gpus: u16, limit_s: u32) -> PendingRecord {
    PendingRecord {
        job_id: JobId(id),
        submitted_s: 0,
        deadline_s: NO_DEADLINE,
        due_s: u32::MAX,
        not_before_s: 0,
        limit_s,
        tenant: TenantIndex(tenant),
        requirements: 0,
        gpus,
        priority,
        queue: QueueIndex(0),
    }
}

#[test]
fn rounds_go_by_a_policy_of_another_crate() {
    let mut tenants = Tenants::new(3_600, 8);
    (0..3).for_each(|_| _ = tenants.add(1, 0));
    let mut queues = Queues::new(QueueConfig::market(), tenants, RetryPolicy::default(), 10).unwrap();
    let policy: Box<dyn OrderingPolicy> =
        Box::new(GoodStandingFirst { standing: BTreeMap::from([(TenantIndex(2), 9), (TenantIndex(1), 3)]) });
    let jobs =
        [job(1, 0, 10, 2, 60), job(2, 1, 1, 8, 60), job(3, 2, 5, 4, 100), job(4, 2, 5, 4, 100), job(5, 1, 9, 8, 60)];
    for job in jobs {
        assert!(matches!(queues.submit(job, 0), Admission::Queued { .. }));
    }
    let expected = [3, 4, 5, 2, 1].map(JobId);
    assert_eq!(in_order(queues.pending(), policy.as_ref(), &queues.view(8, 0)), expected);

    let mut cluster = Cluster::new(vec![6]);
    cluster.add_machine(keeper_types::WorkerId(1), 8);
    let round = queues.dispatch(&mut cluster, policy.as_ref(), 0);
    let started: Vec<_> = round.starts.iter().map(|start| (start.job.job_id, start.is_backfilled)).collect();
    // Jobs 3 and 4 have machine 0's and half of machine 1's GPUs, job 5 waits for machine 1, and job 1 ends before it
    // can begin.
    assert_eq!(started, [(JobId(3), false), (JobId(4), false), (JobId(1), true)]);
    assert_eq!(round.reservation.map(|reservation| (reservation.job_id, reservation.start_s)), Some((JobId(5), 100)));
}
