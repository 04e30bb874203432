//! What must hold for every sequence of jobs: the bound on waiting, the head's reservation, and nobody lost.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use keeper_types::{JobId, WorkerId};
use proptest::prelude::*;

use super::{fixtures::record, *};

/// A job to come: tenant, GPUs, limit, run time in percent of the limit, seconds after the one before, queue.
type Arrival = (u32, u16, u32, u32, u32, u8);

fn arrivals(tenants: u32, widest: u16, longest_s: u32) -> impl Strategy<Value = Vec<Arrival>> {
    let arrival = (0..tenants, 1..=widest, 1..=longest_s, 1_u32..=100, 0_u32..20, 0_u8..3);
    prop::collection::vec(arrival, 1..120)
}

/// Runs the arrivals to their end, with a round at every event and whenever a job falls due; calls `watch` after every
/// round. Gives when every job was due and when it started.
fn run(
    queues: &mut Queues,
    cluster: &mut Cluster,
    policy: &dyn OrderingPolicy,
    arrivals: &[Arrival],
    mut watch: impl FnMut(&Queues, &Round, u32),
) -> BTreeMap<JobId, (u32, u32)> {
    let mut jobs = BTreeMap::new();
    let mut now_s = 1_000;
    for (id, (tenant, gpus, limit_s, percent, after_s, queue)) in (1_u64..).zip(arrivals) {
        now_s += after_s;
        let job = PendingRecord {
            tenant: TenantIndex(*tenant),
            gpus: *gpus,
            limit_s: *limit_s,
            queue: QueueIndex(*queue),
            ..record(id)
        };
        jobs.entry(now_s).or_insert_with(Vec::new).push((job, (limit_s * percent).div_ceil(100)));
    }
    let durations: BTreeMap<JobId, u32> =
        jobs.values().flatten().map(|(job, duration_s)| (job.job_id, *duration_s)).collect();
    let mut events: BinaryHeap<Reverse<(u32, Option<JobId>)>> =
        jobs.keys().map(|at_s| Reverse((*at_s, None))).collect();
    let mut started = BTreeMap::new();
    while let Some(Reverse((now_s, ended))) = events.pop() {
        let mut ended: Vec<JobId> = ended.into_iter().collect();
        while let Some(Reverse((_, more))) = events.peek().filter(|Reverse((at_s, _))| *at_s == now_s).copied() {
            events.pop();
            ended.extend(more);
        }
        for job_id in ended {
            assert!(queues.succeed(cluster, job_id, now_s));
        }
        for (job, _) in jobs.remove(&now_s).unwrap_or_default() {
            assert!(matches!(queues.submit(job, now_s), Admission::Queued { .. }));
            events.push(Reverse((queues.pending().get(job.job_id).unwrap().due_s.max(now_s), None)));
        }
        let round = queues.dispatch(cluster, policy, now_s);
        for start in &round.starts {
            started.insert(start.job.job_id, (start.job.due_s, now_s));
            events.push(Reverse((now_s + durations[&start.job.job_id], Some(start.job.job_id))));
        }
        watch(queues, &round, now_s);
    }
    assert!(queues.pending().is_empty() && queues.running().is_empty());
    started
}

fn queues(max_waits_s: [u32; 3], weights: &[u32], promised_gpus: u32) -> Queues {
    let mut tenants = Tenants::new(3_600, promised_gpus);
    weights.iter().for_each(|weight| _ = tenants.add(*weight, 0));
    let mut configs = QueueConfig::market();
    configs.iter_mut().zip(max_waits_s).for_each(|(config, max_wait_s)| config.max_wait_s = max_wait_s);
    Queues::new(configs, tenants, RetryPolicy::default(), 100).unwrap()
}

proptest! {
    #[test]
    fn no_job_waits_longer_than_the_bound(
        arrivals in arrivals(4, 6, 200), weights in prop::collection::vec(1_u32..5, 4), spread in 0_u32..100, machines in 6_u32..16
    ) {
        let limits = MarketLimits { capacity_gpus: machines, widest_gpus: 6, longest_limit_s: 200, tenants: 4, max_wait_spread_s: spread };
        let mut queues = queues([30, 30 + spread, 30], &weights, limits.promised_gpus());
        // Machines of one GPU: any GPUs will do.
        let mut cluster = Cluster::new(vec![1; machines as usize]);
        let started = run(&mut queues, &mut cluster, &Balanced::default(), &arrivals, |_, _, _| ());
        prop_assert_eq!(started.len(), arrivals.len());
        for (job_id, (due_s, start_s)) in started {
            prop_assert!(u64::from(start_s) <= u64::from(due_s) + limits.lateness_s(), "job {job_id}: due {due_s}, started {start_s}");
        }
    }

    #[test]
    fn a_backfilled_job_never_delays_the_heads_reserved_start(
        arrivals in arrivals(3, 20, 100), machines in 3_usize..6, which in 0_usize..4
    ) {
        let policies: [&dyn OrderingPolicy; 4] = [
            &Fifo::default(),
            &Fifo { backfill: Backfill::BeforeReservation },
            &EarliestDeadline::default(),
            &Balanced::default(),
        ];
        let mut queues = queues([60, 60, 60], &[1, 2, 3], 4);
        let mut cluster = Cluster::new(vec![8; machines]);
        let mut reserved: Option<(JobId, u32)> = None;
        let mut broken = None;
        run(&mut queues, &mut cluster, policies[which], &arrivals, |_, round, now_s| {
            if let Some((head, by_s)) = reserved {
                let in_turn = round.starts.iter().find(|start| !start.is_backfilled).map(|start| start.job.job_id);
                let is_overtaken = in_turn.is_some_and(|job_id| job_id != head);
                let started = round.starts.iter().any(|start| start.job.job_id == head);
                let moved = round.reservation.as_ref().is_some_and(|reservation| reservation.job_id == head && reservation.start_s > by_s);
                // Fair-share and age may put another job first in turn; first in, first out may not.
                if (!is_overtaken || which < 2) && ((started && now_s > by_s) || moved) {
                    broken = Some((head, by_s, now_s));
                }
            }
            reserved = round.reservation.as_ref().map(|reservation| (reservation.job_id, reservation.start_s));
        });
        prop_assert_eq!(broken, None);
    }

    #[test]
    fn gpus_are_never_given_twice(arrivals in arrivals(3, 20, 100), machines in 3_usize..6) {
        let mut queues = queues([60, 60, 60], &[1, 1, 1], 4);
        let mut cluster = Cluster::new(vec![8; machines]);
        let capacity = cluster.capacity();
        let mut used = BTreeMap::new();
        let mut over = false;
        run(&mut queues, &mut cluster, &Balanced::default(), &arrivals, |queues, round, _| {
            used.retain(|job_id, _| queues.running().contains_key(job_id));
            for start in &round.starts {
                let machines: BTreeSet<u32> = start.gang.iter().map(|(machine, _)| *machine).collect();
                over |= machines.len() != start.gang.len();
                over |= start.gang.iter().map(|(_, gpus)| u32::from(*gpus)).sum::<u32>() != u32::from(start.job.gpus);
                used.insert(start.job.job_id, start.gang.clone());
            }
            let mut by_machine = BTreeMap::new();
            used.values().flatten().for_each(|(machine, gpus)| *by_machine.entry(*machine).or_insert(0) += gpus);
            over |= by_machine.values().any(|gpus| *gpus > 8);
        });
        prop_assert!(!over);
        prop_assert_eq!(cluster.free(), capacity);
    }

    #[test]
    fn the_order_does_not_depend_on_the_places_in_the_pool(jobs in arrivals(3, 8, 100), swaps in any::<u64>()) {
        let mut tenants = Tenants::new(3_600, 8);
        (0..3).for_each(|_| _ = tenants.add(1, 0));
        let view = OrderingView { now_s: 5_000, tenants: &tenants, capacity_gpus: 8, queue_weights: &[] };
        let records: Vec<_> = (1_u64..).zip(&jobs).map(|(id, job)| PendingRecord { tenant: TenantIndex(job.0), gpus: job.1, limit_s: job.2, ..record(id) }).collect();
        let (mut forwards, mut shuffled) = (PendingPool::new(), PendingPool::new());
        records.iter().for_each(|job| _ = forwards.insert(*job));
        let mut others = records;
        others.sort_by_key(|job| job.job_id.0.wrapping_mul(swaps | 1).rotate_left(17));
        others.iter().for_each(|job| _ = shuffled.insert(*job));
        for policy in [&Balanced::default() as &dyn OrderingPolicy, &Fifo::default(), &FairShare::default(), &JobPrioritizer::default()] {
            prop_assert_eq!(in_order(&forwards, policy, &view), in_order(&shuffled, policy, &view));
        }
    }

    #[test]
    fn every_job_is_in_exactly_one_place(steps in prop::collection::vec((0_u8..8, 1_u64..20, 0_u32..4), 1..200)) {
        let mut queues = queues([60, 60, 60], &[1, 1, 1], 4);
        let mut cluster = Cluster::new(vec![2, 2]);
        let (mut entered, mut left) = (BTreeSet::new(), BTreeSet::new());
        for (now_s, (step, id, worker)) in (0_u32..).step_by(5).zip(steps) {
            let job_id = JobId(id);
            match step {
                0..=2 if !entered.contains(&job_id) => {
                    queues.submit(PendingRecord { deadline_s: now_s + 200, gpus: 1 + (id % 4) as u16, ..record(id) }, now_s);
                    entered.insert(job_id);
                }
                3 => if queues.succeed(&mut cluster, job_id, now_s) { left.insert(job_id); },
                4 => if queues.cancel(job_id, now_s) { left.insert(job_id); },
                5 => _ = queues.fail(&mut cluster, (job_id, WorkerId(worker)), FailureClass::ALL[(id % 7) as usize], (now_s, 1)),
                6 => _ = queues.expire(now_s),
                _ => _ = queues.dispatch(&mut cluster, &Balanced::default(), now_s),
            }
            let waiting: Vec<_> = queues.pending().iter().map(|job| job.job_id).collect();
            let dead = queues.dead_letters().iter().map(|letter| letter.job.job_id);
            let mut places: Vec<_> = waiting.into_iter().chain(queues.running().keys().copied()).chain(dead).chain(left.iter().copied()).collect();
            places.sort_unstable();
            prop_assert_eq!(places, entered.iter().copied().collect::<Vec<_>>());
            let lengths: u32 = queues.metrics().map(|(_, metrics)| metrics.length).sum();
            prop_assert_eq!(lengths as usize, queues.pending().len());
        }
    }
}

/// A tenant floods the cluster with short jobs, which alone would keep a wide, long one waiting for as long as the
/// flood lasts.
#[test]
fn a_flood_of_short_jobs_does_not_starve_another_tenants_wide_one() {
    let limits =
        MarketLimits { capacity_gpus: 8, widest_gpus: 8, longest_limit_s: 1_000, tenants: 2, max_wait_spread_s: 0 };
    let wide_job = (1, 8, 1_000, 100, 0, 0);
    let flood = (0..2_000).map(|index| (0, 1 + index % 3, 20, 100, 5, 0));
    let arrivals: Vec<Arrival> = std::iter::once((0, 8, 50, 100, 0, 0)).chain([wide_job]).chain(flood).collect();
    let wait_s = |max_wait_s, promised_gpus| {
        let mut queues = queues([max_wait_s; 3], &[1, 1], promised_gpus);
        let started = run(&mut queues, &mut Cluster::new(vec![1; 8]), &Balanced::default(), &arrivals, |_, _, _| ());
        let (due_s, start_s) = started[&JobId(2)];
        (start_s - 1_000, start_s.saturating_sub(due_s))
    };
    let (_, late_s) = wait_s(600, limits.promised_gpus());
    assert!(u64::from(late_s) <= limits.lateness_s());
    let (with_s, _) = wait_s(600, 8);
    let (without_s, _) = wait_s(u32::MAX, 8);
    assert!(with_s < 3_000 && without_s > 9_000, "{with_s} {without_s}");
}
