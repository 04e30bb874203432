//! The index beside plans made the plain way, on fleets large enough for several levels of nodes.

use std::collections::BTreeSet;

use keeper_types::{Capabilities, Features, JobId, Rate, Region, Requirements, WorkerId, WorkerStatus};
use proptest::{collection::vec, prelude::*, strategy::Strategy};

use super::*;
use crate::{
    PendingJob, Policy, Snapshot, Weights, WorkerView,
    plan::{self, fixtures, oracle},
};

fn region() -> impl Strategy<Value = Option<Region>> {
    prop_oneof![Just(None), Just(Some("eu-w1")), Just(Some("us-e1")), Just(Some("ap-s1"))]
        .prop_map(|text| text.map(|text: &str| text.parse().unwrap()))
}

/// Kinds of machines: a few with many workers each, or nearly as many as workers.
fn capabilities() -> impl Strategy<Value = Capabilities> {
    (0..5_u8, 0..3_u8, any::<bool>(), region(), (0..3_u16, 0..3_u16)).prop_map(
        |(gpus, model, linked, region, (cpu, memory))| Capabilities {
            gpu_count: [1, 2, 4, 8, 70][usize::from(gpus)],
            vram_gib: [24, 80, u16::MAX][usize::from(model)],
            compute_capability: 80 + model * 5,
            cuda_version: 118 + model,
            driver_version: 530 + u16::from(model) * 10,
            cpu_cores: [8, 64, u16::MAX][usize::from(cpu)],
            memory_gib: [64, 512, 4_000][usize::from(memory)],
            features: Features(u16::from(linked) + 2),
            region,
        },
    )
}

/// Rates in narrow and in wide ranges, so that scores tie and differ.
fn rate() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 900..1_000_u64, 4 => 1..5_u64, 2 => 1..1_u64 << 40, 1 => any::<u64>()]
}

fn worker(kind: Capabilities) -> impl Strategy<Value = WorkerView> {
    let status = prop_oneof![12 => Just(WorkerStatus::Active), 1 => Just(WorkerStatus::Draining), 1 => Just(WorkerStatus::Exited)];
    let room = (0..=8_u8, 0..=8_u8, 0..20_u8);
    (status, room, rate(), prop_oneof![400..420_u16, 0..=1_000_u16, 990..1_100_u16], 0..10_u8).prop_map(
        move |(status, (slots, used, busy), rate, reputation, lot)| WorkerView {
            status,
            slots,
            free_slots: slots.saturating_sub(used),
            // Snapshots made by hand may even have more free than there are.
            free_gpus: if lot == 9 { kind.gpu_count.saturating_add(1) } else { kind.gpu_count.saturating_sub(busy) },
            capabilities: kind.clone(),
            rate: Rate(rate),
            reputation,
            online: lot > 0,
            ..fixtures::worker(0)
        },
    )
}

fn fleet(kinds: std::ops::Range<usize>, size: usize) -> impl Strategy<Value = Vec<WorkerView>> {
    vec(capabilities(), kinds).prop_flat_map(move |kinds| {
        let one = proptest::sample::select(kinds).prop_flat_map(worker);
        (vec(one, 0..size), 1..4_u32).prop_map(|(mut workers, gap)| {
            (1..).zip(&mut workers).for_each(|(id, worker)| worker.worker_id = WorkerId(id * gap));
            workers
        })
    })
}

fn requirements() -> impl Strategy<Value = Requirements> {
    let sizes = (0..6_u8, prop_oneof![Just(0_u16), Just(24), Just(80), Just(81)], 0..2_u16, 0..2_u16);
    (
        sizes,
        prop_oneof![4 => Just(None), 1 => region(), 1 => Just(Some("other".parse().unwrap()))],
        0..4_u16,
        0..600_u16,
    )
        .prop_map(|((gpus, vram_gib, cpu, memory), region, features, reputation)| Requirements {
            gpu_count: [0, 1, 2, 3, 8, 66][usize::from(gpus)],
            vram_gib,
            compute_capability: 80,
            cuda_version: 118,
            driver_version: 530,
            cpu_cores: cpu * 9,
            memory_gib: memory * 65,
            min_reputation: reputation.saturating_sub(200),
            features: Features(features & 3),
            region,
        })
}

fn job() -> impl Strategy<Value = PendingJob> {
    (
        requirements(),
        rate(),
        vec((1..90_u32).prop_map(WorkerId), 0..4),
        proptest::option::weighted(0.3, 1..4_u64),
        0..8_000_u64,
    )
        .prop_map(|(requirements, max_rate, excluded, group_id, waited)| PendingJob {
            requirements,
            max_rate: Rate(max_rate),
            excluded: excluded.into_iter().collect::<BTreeSet<_>>().into_iter().collect(),
            group_id: group_id.map(JobId),
            submitted_at: fixtures::NOW - waited,
            ..fixtures::job(0)
        })
}

fn policy() -> impl Strategy<Value = Policy> {
    let weights = prop_oneof![
        Just(Policy::BALANCED.weights),
        // Everything ties.
        Just(Weights { fit: 0, load: 0, reputation: 0, price: 0, fragmentation: 0, age: 10_000 }),
        Just(Weights { fit: 0, load: 10_000, reputation: 0, price: 0, fragmentation: 0, age: 0 }),
        Just(Weights { fit: 100, load: 900, reputation: 0, price: 4_000, fragmentation: 5_000, age: 0 }),
        Just(Weights { fit: 8_000, load: 0, reputation: 1_000, price: 999, fragmentation: 1, age: 0 }),
    ];
    weights.prop_map(|weights| Policy { weights, ..Policy::BALANCED })
}

fn snapshot(workers: Vec<WorkerView>, mut jobs: Vec<PendingJob>) -> Snapshot {
    (1..).zip(&mut jobs).for_each(|(id, job)| job.job_id = JobId(id));
    Snapshot { jobs, workers, ..fixtures::snapshot(Vec::new(), Vec::new()) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn large_fleets_get_the_plans_made_the_plain_way(
        workers in prop_oneof![fleet(1..6, 400), fleet(50..120, 200)],
        jobs in vec(job(), 1..60),
        policy in policy(),
    ) {
        let snapshot = snapshot(workers, jobs);
        prop_assert_eq!(plan::plan(&snapshot, &policy), oracle::plan(&snapshot, &policy));
    }

    /// Workers are given jobs and get their room back; the index stands as one made of what is left.
    #[test]
    fn an_index_that_was_changed_decides_as_a_new_one(
        mut workers in fleet(1..6, 300),
        steps in vec((job(), any::<bool>()), 1..30),
        policy in policy(),
    ) {
        workers.retain(|worker| worker.free_gpus <= worker.capabilities.gpu_count);
        let mut index = WorkerIndex::new(&workers, &policy);
        let mut given = Vec::new();
        for (job, is_released) in steps {
            let (need, excluded) = (Need::of(&job), &job.excluded[..job.excluded.len().min(1)]);
            let mut new = WorkerIndex::new(&workers, &policy);
            let decision = index.decide(&need, 7, excluded);
            prop_assert_eq!(decision, new.decide(&need, 7, excluded));
            prop_assert_eq!(index.rejections(&need, excluded), new.rejections(&need, excluded));
            let Some(decision) = decision else { continue };
            given.push((decision.winner.worker_id, need.gpus()));
            change(&mut workers, decision.winner.worker_id, |worker| {
                worker.free_slots -= 1;
                worker.free_gpus -= need.gpus();
            });
            prop_assert!(index.reserve(decision.winner.worker_id, need.gpus()));
            if is_released {
                let (worker_id, gpus) = given.swap_remove(0);
                change(&mut workers, worker_id, |worker| {
                    worker.free_slots += 1;
                    worker.free_gpus += gpus;
                });
                prop_assert!(index.release(worker_id, gpus));
            }
        }
    }
}

fn change(workers: &mut [WorkerView], worker_id: WorkerId, change: impl FnOnce(&mut WorkerView)) {
    change(workers.iter_mut().find(|worker| worker.worker_id == worker_id).unwrap());
}
