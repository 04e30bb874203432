use super::*;
use crate::queueing::{Fifo, fixtures::record};

const DEFAULT: QueueIndex = QueueIndex(0);
const HIGH: QueueIndex = QueueIndex(1);
const LOW: QueueIndex = QueueIndex(2);

fn queues(max_jobs: [u32; 3]) -> Queues {
    let mut configs = QueueConfig::market();
    configs.iter_mut().zip(max_jobs).for_each(|(config, max_jobs)| config.max_jobs = max_jobs);
    let mut tenants = Tenants::new(3_600, 8);
    tenants.add(1, 0);
    Queues::new(configs, tenants, RetryPolicy::default(), 10).unwrap()
}

fn job(id: u64, queue: QueueIndex, priority: u8) -> PendingRecord {
    PendingRecord { queue, priority, ..record(id) }
}

fn metrics(queues: &Queues, queue: QueueIndex) -> &QueueMetrics {
    queues.metrics().nth(usize::from(queue.0)).unwrap().1
}

#[test]
fn a_full_queue_spills_and_the_last_one_sheds_its_lowest() {
    let mut queues = queues([1, 1, 2]);
    let queued = |queue| Admission::Queued { queue, shed: None };
    assert_eq!(queues.submit(job(1, HIGH, 5), 0), queued(HIGH));
    assert_eq!(queues.submit(job(2, HIGH, 5), 0), queued(DEFAULT));
    assert_eq!(queues.submit(job(3, HIGH, 3), 0), queued(LOW));
    assert_eq!(queues.submit(job(4, DEFAULT, 3), 1), queued(LOW));
    let for_a_higher_one = Admission::Queued { queue: LOW, shed: Some(JobId(4)) };
    assert_eq!(queues.submit(job(5, HIGH, 4), 2), for_a_higher_one, "the latest of the lowest goes");
    assert_eq!(queues.submit(job(6, LOW, 3), 3), Admission::QueueFull { queue: LOW }, "none is lower");
    assert_eq!(queues.submit(job(5, LOW, 9), 3), Admission::Duplicate);
    let letter = queues.dead_letters().iter().next().unwrap();
    assert_eq!((letter.job.job_id, letter.reason, letter.at_s), (JobId(4), DeadLetterReason::Shed, 2));
    let low = metrics(&queues, LOW);
    assert_eq!((low.queued, low.spilled_in, low.shed, low.rejected, low.length), (3, 3, 1, 1, 2));
}

#[test]
fn a_queue_that_rejects_refuses() {
    let mut configs = QueueConfig::market();
    (configs[0].max_jobs, configs[0].overflow) = (1, Overflow::Reject);
    let mut tenants = Tenants::new(3_600, 8);
    tenants.add(1, 0);
    let mut queues = Queues::new(configs, tenants, RetryPolicy::default(), 10).unwrap();
    queues.submit(job(1, DEFAULT, 1), 0);
    assert_eq!(queues.submit(job(2, DEFAULT, 10), 0), Admission::QueueFull { queue: DEFAULT });
    assert_eq!(metrics(&queues, DEFAULT).overflow_rate_bps(), 5_000);
}

#[test]
fn waits_misses_and_ends_are_counted_where_they_happen() {
    let mut queues = queues([10; 3]);
    let mut cluster = Cluster::new(vec![1]);
    for id in 1..=4 {
        queues.submit(PendingRecord { deadline_s: 5_000, ..job(id, HIGH, 5) }, 0);
    }
    let mut start = |queues: &mut Queues, now_s| {
        let round = queues.dispatch(&mut cluster, &Fifo::default(), now_s);
        let job_id = round.starts[0].job.job_id;
        (job_id, cluster.clone())
    };
    let (first, _) = start(&mut queues, 100);
    assert!(queues.succeed(&mut cluster, first, 150));
    // The high queue's SLA is 300 seconds.
    queues.dispatch(&mut cluster, &Fifo::default(), 301);
    let failed = (JobId(2), WorkerId(9));
    let after = queues.fail(&mut cluster, failed, FailureClass::ClientFault, (310, 1));
    assert!(matches!(after, Some(AfterFailure::Dead(_))));
    assert!(queues.cancel(JobId(3), 320) && !queues.cancel(JobId(3), 320));
    assert_eq!(queues.expire(5_000), []);
    assert_eq!(queues.expire(5_001), [JobId(4)]);
    let high = metrics(&queues, HIGH);
    assert_eq!((high.queued, high.started, high.succeeded, high.dead, high.abandoned), (4, 2, 1, 1, 2));
    assert_eq!((high.sla_misses, high.length, high.max_length), (3, 0, 4));
    assert_eq!((high.wait_s.count(), high.wait_s.max(), high.wait_s.mean_milli()), (2, 301, 200_500));
    assert_eq!(high.success_rate_bps(), 5_000);
}

#[test]
fn a_failed_job_waits_out_its_delay_and_keeps_its_place() {
    let mut queues = queues([10; 3]);
    let mut cluster = Cluster::new(vec![1]);
    queues.submit(job(1, DEFAULT, 5), 0);
    queues.dispatch(&mut cluster, &Fifo::default(), 0);
    let after = queues.fail(&mut cluster, (JobId(1), WorkerId(3)), FailureClass::WorkerFault, (100, 1));
    let Some(AfterFailure::Retry { not_before_s }) = after else { panic!("a worker's fault is retried") };
    assert!((105..=110).contains(&not_before_s));
    assert!(!queues.failures().admits(JobId(1), WorkerId(3)));
    assert_eq!(queues.dispatch(&mut cluster, &Fifo::default(), not_before_s - 1).starts, []);
    queues.submit(job(2, DEFAULT, 5), 101);
    let round = queues.dispatch(&mut cluster, &Fifo::default(), not_before_s);
    assert_eq!(round.starts[0].job.job_id, JobId(1));
    assert_eq!(metrics(&queues, DEFAULT).wait_s.count(), 1, "the wait for a retry is none of the queue's");
}
