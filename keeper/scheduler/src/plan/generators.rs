//! Jobs, workers and policies drawn for property tests: small numbers and few names, so that jobs and workers meet and miss
//! each other about equally often.

use keeper_types::{
    Address, AgentProfile, AgentView, Attempt, BlockNumber, Capabilities, ExecutorKind, Features, Felt, ManifestView,
    Placement, Preferences, Queue, Rate, Refusals, Region, Requirements, RunningJob, TrustTier, WorkerId, WorkerStatus,
};
use proptest::{collection::vec, prelude::*, strategy::Strategy};

use super::{fixtures::*, *};
use crate::{
    Balancing, Ordering, OverflowRule, WorkerView,
    geography::{RegionLatencies, RegionLatency},
};

fn region() -> impl Strategy<Value = Region> {
    prop_oneof![Just("eu-w1"), Just("us-e1")].prop_map(|text| text.parse().unwrap())
}

prop_compose! {
    fn requirements()(
        (gpu_count, vram_gib, compute_capability) in (0_u8..4, 0_u16..3, 0_u8..3),
        (cpu_cores, memory_gib, min_reputation) in (0_u16..3, 0_u16..3, 0_u16..700),
        (cuda_version, driver_version) in (0_u8..2, 0_u16..2),
        features in 0_u16..4,
        region in proptest::option::weighted(0.2, region()),
    ) -> Requirements {
        Requirements {
            gpu_count, vram_gib, compute_capability, cuda_version, driver_version, cpu_cores, memory_gib,
            min_reputation, features: Features(features & features >> 1), region,
        }
    }
}

prop_compose! {
    fn capabilities()(
        (gpu_count, vram_gib, compute_capability) in (0_u8..8, 1_u16..4, 1_u8..4),
        (cpu_cores, memory_gib) in (1_u16..4, 1_u16..4),
        (cuda_version, driver_version) in (0_u8..4, 0_u16..4),
        features in 0_u16..4,
        region in proptest::option::weighted(0.9, region()),
    ) -> Capabilities {
        Capabilities {
            gpu_count, vram_gib, compute_capability, cuda_version, driver_version, cpu_cores, memory_gib,
            features: Features(features), region,
        }
    }
}

fn manifest() -> impl Strategy<Value = ManifestStatus> {
    prop_oneof![
        8 => Just(ManifestStatus::Available),
        1 => Just(ManifestStatus::Missing),
        1 => Just(ManifestStatus::Malformed("unreadable".to_owned())),
    ]
}

fn preferences() -> impl Strategy<Value = Preferences> {
    use proptest::option::weighted;
    (
        any::<bool>(),
        weighted(0.3, region()),
        weighted(0.3, 0_u32..90),
        weighted(0.3, 1_u64..20),
        weighted(0.3, 0_u16..700),
        weighted(0.4, region()),
    )
        .prop_map(|(warm_model, region, max_latency_ms, max_rate, min_reputation, near)| Preferences {
            warm_model,
            region,
            max_latency_ms,
            max_rate: max_rate.map(Rate),
            min_reputation,
            near,
        })
}

/// What a manifest says: mostly nothing, so that most jobs go the quick way.
fn manifest_view() -> impl Strategy<Value = ManifestView> {
    let asks = (0_u32..3, 0_u8..3, any::<bool>(), any::<bool>(), preferences());
    let said = asks.prop_map(|(disk_gib, pcie_generation, is_h100, is_admitted, prefers)| ManifestView {
        executor: if is_h100 { ExecutorKind::Matmul } else { ExecutorKind::Process },
        placement: Placement {
            gpu_models: if is_h100 { vec!["h100".to_owned()] } else { Vec::new() },
            disk_gib,
            pcie_generation,
            trust: if is_admitted { TrustTier::Admitted } else { TrustTier::Staked },
            prefers,
        },
    });
    prop_oneof![3 => Just(ManifestView::default()), 1 => said]
}

fn agent() -> impl Strategy<Value = AgentView> {
    let profile = (any::<bool>(), 0_u32..4, 0_u8..4, any::<bool>(), 0_u8..8);
    let stalled = proptest::bool::weighted(0.1);
    (profile, proptest::option::weighted(0.8, 1_u32..100), stalled).prop_map(
        |((is_h100, disk_gib, pcie_generation, is_warm, refused), latency_ms, is_stalled)| AgentView {
            profile: AgentProfile {
                gpu_model: if is_h100 { "NVIDIA H100".to_owned() } else { "NVIDIA L4".to_owned() },
                disk_gib,
                pcie_generation,
                models: is_warm.then_some(Felt::THREE).into_iter().collect(),
                refuses: Refusals {
                    clients: (refused == 1).then_some(client(1)).into_iter().collect(),
                    executors: (refused == 2).then_some(ExecutorKind::Process).into_iter().collect(),
                },
            },
            latency_ms,
            is_stalled,
        },
    )
}

fn client(number: u64) -> Address {
    Address(Felt::from(number))
}

prop_compose! {
    pub(super) fn any_job()(
        requirements in requirements(),
        (attempt, priority, max_rate) in (1_u8..4, 1_u8..=10, 1_u64..20),
        queue in prop_oneof![Just(Queue::Default), Just(Queue::High), Just(Queue::Low)],
        (deadline_delta, deadline_block) in (prop_oneof![0_u64..40, 60_u64..100], 997_u64..1_010),
        waited in 0_u64..4_000,
        excluded in vec((1_u32..12).prop_map(WorkerId), 0..3),
        manifest in manifest(),
        manifest_view in manifest_view(),
        (owner, execution_timeout_s, queued) in (1_u64..4, 1_u32..900, 0_u64..8),
        (max_latency_ms, is_modelled) in (prop_oneof![3 => Just(0), 1 => 1_u16..100], any::<bool>()),
    ) -> PendingJob {
        PendingJob {
            client: client(owner), execution_timeout_s, queued_at: NOW - queued, max_latency_ms, manifest_view,
            model_id: if is_modelled { Felt::THREE } else { Felt::ZERO },
            attempt: Attempt(attempt), requirements, priority, queue, max_rate: Rate(max_rate),
            deadline: (NOW - 10 + deadline_delta, BlockNumber(deadline_block)),
            submitted_at: NOW - waited, excluded, manifest, ..job(0)
        }
    }
}

prop_compose! {
    pub(super) fn any_worker()(
        capabilities in capabilities(),
        status in prop_oneof![
            8 => Just(WorkerStatus::Active),
            1 => Just(WorkerStatus::Draining),
            1 => Just(WorkerStatus::Exiting),
            1 => Just(WorkerStatus::Exited),
        ],
        slots in 1_u8..5,
        (used_slots, used_gpus) in (0_u8..5, 0_u8..8),
        (rate, reputation) in (1_u64..20, 0_u16..=1_000),
        online in proptest::bool::weighted(0.8),
        (is_static, agent) in (proptest::bool::weighted(0.2), agent()),
    ) -> WorkerView {
        WorkerView {
            status, slots, free_slots: slots.saturating_sub(used_slots),
            free_gpus: capabilities.gpu_count.saturating_sub(used_gpus),
            capabilities, rate: Rate(rate), reputation, online, is_static,
            agent: if online { agent } else { AgentView::default() }, ..worker(0)
        }
    }
}

pub(crate) fn any_snapshot(jobs: usize, workers: usize) -> impl Strategy<Value = Snapshot> {
    let held = vec((1..12_u32, 0_u8..4, 1_u64..4, 0_u64..900), 0..10);
    let used = vec((1_u64..4, 1_u64..10_000_000), 0..3);
    let chance = (any::<u64>(), proptest::option::of((1_u32..15).prop_map(WorkerId)));
    (vec(any_job(), 0..jobs), vec(any_worker(), 0..workers), held, used, chance).prop_map(
        |(mut jobs, mut workers, held, used, (seed, turn))| {
            (1..).zip(&mut jobs).for_each(|(id, job)| job.job_id = JobId(id));
            (1..).zip(&mut workers).for_each(|(id, worker)| worker.worker_id = WorkerId(id));
            let held = (1_000..).zip(held).map(|(id, (worker_id, gpus, owner, left))| RunningJob {
                gpus,
                client: client(owner),
                ends_by: NOW + left,
                ..running(id, worker_id)
            });
            Snapshot {
                seed,
                turn,
                running: held.collect(),
                used_milli: used.into_iter().map(|(owner, used)| (client(owner), used)).collect(),
                ..snapshot(jobs, workers)
            }
        },
    )
}

fn any_ordering() -> impl Strategy<Value = Ordering> {
    use Ordering::{Balanced, EarliestDeadline, FairShare, Fifo, Priority};
    prop_oneof![Just(Balanced), Just(Fifo), Just(Priority), Just(FairShare), Just(EarliestDeadline)]
}

fn any_geography() -> impl Strategy<Value = RegionLatencies> {
    let regions = ["eu-w1", "us-e1", "ap-s1"].map(|text| text.parse::<Region>().unwrap());
    let pairs: Vec<_> = regions.iter().flat_map(|from| regions.iter().map(|to| (*from, *to))).collect();
    let given = proptest::sample::subsequence(pairs, 0..6).prop_shuffle();
    (given, vec(0_u32..4, 6), 0_u32..4, 0_u32..4).prop_map(|(given, latencies, within_ms, missing_pair_ms)| {
        let latency = |((from, to), latency_ms)| RegionLatency { from, to, latency_ms };
        RegionLatencies {
            within_ms,
            missing_pair_ms,
            latencies: given.into_iter().zip(latencies).map(latency).collect(),
        }
    })
}

pub(super) fn any_policy() -> impl Strategy<Value = Policy> {
    let orders = Just(vec![0_u16, 500, 1_000, 2_000, 2_500, 4_000]).prop_shuffle();
    let waits = (prop_oneof![Just(0_u32), 1_u32..1_000], 1_u64..5_000);
    let patience = prop_oneof![Just(0), 1_u32..12];
    let rules = (0_u8..4, 8_u8..12, 1_u32..10, 1_u32..6, 1_u32..5, patience);
    let balancing = prop_oneof![Just(Balancing::Score), proptest::sample::select(Balancing::ALL.to_vec())];
    (orders, 1_usize..12, waits, (any_ordering(), balancing, any_geography()), rules).prop_map(
        |(weights, max_items, (aging_interval_s, age_full_s), (ordering, balancing, geography), rules)| {
            let [fit, load, reputation, price, fragmentation, age] = weights[..] else { unreachable!() };
            let weights = crate::Weights { fit, load, reputation, price, fragmentation, age };
            let (reservations, emergency_priority, max_jobs, retry_base_s, weight, preference_wait_s) = rules;
            let mut policy = Policy {
                weights,
                max_items,
                ordering,
                aging_interval_s,
                age_full_s,
                reservations,
                emergency_priority,
                retry_base_s,
                balancing,
                preference_wait_s,
                geography,
                client_weights: [(client(2), weight)].into(),
                ..Policy::BALANCED
            };
            policy.queues.low.max_jobs = max_jobs;
            policy.queues.high.max_jobs = max_jobs;
            policy.queues.high.overflow = OverflowRule::Hold;
            policy
        },
    )
}
