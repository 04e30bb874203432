// SPDX-License-Identifier: MIT

//! Checks what a client submits and turns it into what is stored. Pure.

use crate::job_mgr::errors;
use crate::job_mgr::types::{JobSpec, verification};
use crate::math::job_slot::{PlacedJob, QueuedJob};
use crate::math::job_terms::Terms;
use crate::math::lanes::Lanes;
use crate::math::{deadlines, lanes, money, reputation, worker_slot};
use crate::types::{Deadline, Requirements};

const MAX_PRIORITY: u8 = 10;
const LAST_QUEUE: u8 = 2;
/// Attempts are counted in 4 bits.
const MAX_ATTEMPTS: u8 = 15;
const MAX_LATENCY_MS: u16 = 16_383;
const MIN_REPLICAS: u8 = 3;
const MAX_REPLICAS: u8 = 15;
/// 30 days.
const MAX_EXECUTION_TIMEOUT_S: u32 = 2_592_000;
/// A year of 365 days.
const MAX_DEADLINE_AHEAD_S: u64 = 31_536_000;
/// The same of a group: a day and a week. Whoever has committed waits for the other members, with
/// its stake held and a reveal ahead.
const MAX_GROUP_TIMEOUT_S: u32 = 86_400;
const MAX_GROUP_DEADLINE_AHEAD_S: u64 = 604_800;

/// Checks every field, in the order that the interface documents, and derives the stored form: the
/// terms, still without a client, and the job in the queue.
#[inline(always)]
pub fn checked(spec: JobSpec, now: Deadline) -> (Terms, QueuedJob) {
    assert(spec.manifest_hash != 0, errors::ZERO_MANIFEST);
    assert(spec.priority != 0 && spec.priority <= MAX_PRIORITY, errors::BAD_PRIORITY);
    assert(spec.queue <= LAST_QUEUE, errors::BAD_QUEUE);
    assert(spec.max_attempts != 0 && spec.max_attempts <= MAX_ATTEMPTS, errors::BAD_MAX_ATTEMPTS);
    assert(spec.max_latency_ms <= MAX_LATENCY_MS, errors::BAD_LATENCY);
    assert_verification(spec);
    assert_requirements(spec.requirements);
    let is_replica = spec.replicas != 1;
    let (max_timeout_s, max_ahead_s) = if is_replica {
        (MAX_GROUP_TIMEOUT_S, MAX_GROUP_DEADLINE_AHEAD_S)
    } else {
        (MAX_EXECUTION_TIMEOUT_S, MAX_DEADLINE_AHEAD_S)
    };
    assert(spec.execution_timeout_s != 0, errors::ZERO_TIMEOUT);
    assert(spec.execution_timeout_s <= max_timeout_s, errors::TIMEOUT_TOO_LONG);
    assert(spec.deadline > now.timestamp, errors::DEADLINE_IN_PAST);
    assert(spec.deadline - now.timestamp <= max_ahead_s, errors::DEADLINE_TOO_FAR);

    let deadline = deadlines::after(now, spec.deadline - now.timestamp);
    let queued = QueuedJob {
        attempt: 1,
        needs: packed_lanes(spec.requirements),
        max_rate_gfri: checked_max_rate(spec),
        region: spec.requirements.region,
        deadline,
        is_replica,
    };
    let terms = Terms {
        max_price: spec.max_price,
        execution_timeout_s: spec.execution_timeout_s,
        priority: spec.priority,
        queue: spec.queue,
        deadline,
        client: 0,
        max_attempts: spec.max_attempts,
        max_latency_ms: spec.max_latency_ms,
        verification: spec.verification,
        is_replica,
    };
    (terms, queued)
}

/// The spec of a job alone from what is stored of it.
pub fn restored(
    manifest_hash: felt252, model_id: felt252, terms: Terms, requirements: Requirements,
) -> JobSpec {
    // Of no job at all everything is 0.
    let is_any = if terms.max_attempts == 0 {
        0
    } else {
        1
    };
    JobSpec {
        manifest_hash,
        model_id,
        requirements,
        priority: terms.priority,
        queue: terms.queue,
        max_price: terms.max_price,
        deadline: terms.deadline.timestamp,
        execution_timeout_s: terms.execution_timeout_s,
        max_attempts: terms.max_attempts,
        max_latency_ms: terms.max_latency_ms,
        verification: terms.verification,
        replicas: is_any,
        quorum: is_any,
    }
}

/// The requirements of a job without a result.
pub fn requirements_of_queued(queued: QueuedJob) -> Requirements {
    Requirements { region: queued.region, ..requirements_of(lanes::unpack(queued.needs)) }
}

/// What is left of the requirements once there is a result.
pub fn requirements_of_placed(placed: PlacedJob) -> Requirements {
    Requirements { gpu_count: placed.gpu_count, ..requirements_of(lanes::unpack(0)) }
}

fn requirements_of(lanes: Lanes) -> Requirements {
    Requirements {
        gpu_count: lanes.gpus,
        vram_gib: lanes.vram_gib,
        compute_capability: lanes.compute_capability,
        cuda_version: lanes.cuda_version,
        driver_version: lanes.driver_version,
        cpu_cores: lanes.cpu_cores,
        memory_gib: lanes.memory_gib,
        min_reputation: lanes.reputation,
        features: lanes.features,
        region: 0,
    }
}

/// Replicas verify one another, so that a job with more than one wants no other verification.
#[inline(always)]
fn assert_verification(spec: JobSpec) {
    let JobSpec { verification, replicas, quorum, .. } = spec;
    let is_known = verification <= verification::MATMUL;
    let is_alone = replicas <= 1;
    assert(is_known && (is_alone || verification == verification::NONE), errors::BAD_VERIFICATION);
    let is_group = replicas >= MIN_REPLICAS && replicas <= MAX_REPLICAS;
    assert(replicas == 1 || is_group, errors::BAD_REPLICAS);
    let agrees = if is_group {
        quorum > replicas / 2 && quorum < replicas
    } else {
        quorum == 1
    };
    assert(agrees, errors::BAD_QUORUM);
}

#[inline(always)]
fn assert_requirements(wanted: Requirements) {
    assert(wanted.gpu_count <= lanes::MAX_GPUS, errors::TOO_MANY_GPUS);
    assert(wanted.vram_gib <= lanes::MAX_VRAM_GIB, errors::TOO_MUCH_VRAM);
    assert(
        wanted.compute_capability <= lanes::MAX_COMPUTE_CAPABILITY, errors::BAD_COMPUTE_CAPABILITY,
    );
    assert(wanted.driver_version <= lanes::MAX_DRIVER_VERSION, errors::BAD_DRIVER_VERSION);
    assert(wanted.cpu_cores <= lanes::MAX_CPU_CORES, errors::TOO_MANY_CPU_CORES);
    assert(wanted.memory_gib <= lanes::MAX_MEMORY_GIB, errors::TOO_MUCH_MEMORY);
    assert(wanted.min_reputation <= reputation::MAX, errors::BAD_MIN_REPUTATION);
    assert(lanes::is_region(wanted.region), errors::REGION_TOO_LONG);
}

#[inline(always)]
fn checked_max_rate(spec: JobSpec) -> u64 {
    assert(spec.max_price != 0, errors::ZERO_MAX_PRICE);
    let max_rate = money::max_rate(
        spec.max_price, spec.requirements.gpu_count, spec.execution_timeout_s,
    );
    assert(max_rate != 0, errors::PRICE_TOO_LOW);
    assert(max_rate <= worker_slot::MAX_RATE_GFRI.into(), errors::PRICE_TOO_HIGH);
    max_rate.try_into().unwrap()
}

#[inline(always)]
fn packed_lanes(wanted: Requirements) -> u128 {
    let packed = lanes::pack(
        Lanes {
            gpus: wanted.gpu_count,
            vram_gib: wanted.vram_gib,
            compute_capability: wanted.compute_capability,
            cuda_version: wanted.cuda_version,
            driver_version: wanted.driver_version,
            cpu_cores: wanted.cpu_cores,
            memory_gib: wanted.memory_gib,
            reputation: wanted.min_reputation,
            features: wanted.features,
        },
    );
    packed.try_into().unwrap()
}
