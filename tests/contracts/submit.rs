//! Submitting jobs: what is kept, what is refused, and the escrow.

use cainome::cairo_serde::ContractAddress;
use e2e::{capabilities_to_chain, spec_to_chain};
use keeper_bindings::job_mgr;
use keeper_types::{
    Address, BlockNumber, Features, Felt, Fri, JobId, JobSpec, JobState, MarketEvent, Queue, Requirements, Verification,
};
use starknet::{core::types::Call, macros::selector};

use crate::world::{BALANCE, CLIENT, OTHER, STRK, World, cap, refused, spec, view_refused};

const GFRI: u128 = 1_000_000_000;

fn approve(world: &World, spender: Address, amount: u128) -> Call {
    let calldata = vec![spender.0, Felt::from(amount), Felt::ZERO];
    Call { to: world.deployment().token.0, selector: selector!("approve"), calldata }
}

fn approve_escrow(world: &World, amount: u128) -> Call {
    approve(world, world.deployment().job_mgr.address, amount)
}

#[tokio::test]
async fn a_submitted_job_waits_in_the_queue() {
    let world = World::start().await;
    let jobs = world.job_mgr();
    for number in 1..=2 {
        let now = world.now().await;
        let spec = spec(now.timestamp);
        let before = world.balance(CLIENT).await;
        let sent = world.contracts().submit_jobs(world.sender(CLIENT), std::slice::from_ref(&spec)).await;
        let (ids, receipt) = sent.unwrap();
        let (job_id, client) = (JobId(number), world.address(CLIENT));
        assert_eq!(ids, [job_id]);
        let deadline_block = BlockNumber(now.block.0 + 60);
        let expected =
            MarketEvent::JobSubmitted { job_id, client, spec: Box::new(spec.clone()), deadline_block, group_id: None };
        assert_eq!(world.contracts().events(&receipt).unwrap(), [expected]);
        assert_eq!(world.balance(CLIENT).await, before - STRK - receipt.fee.0);
        assert_eq!(world.contracts().held().await.unwrap(), Fri(u128::from(number) * STRK));
        let queued = job_mgr::JobView {
            job_id: number,
            client: ContractAddress(client.0),
            state: job_mgr::JobState::Queued,
            attempt: 1,
            worker_id: 0,
            spec: spec_to_chain(&spec),
            rate_gfri: 0,
            score: 0,
            strategy: 0,
            allocated_at: 0,
            attempt_deadline: 0,
            deadline_block: deadline_block.0,
            attempt_deadline_block: 0,
            result_hash: Felt::ZERO,
            challenge_ends_at: 0,
            challenge_ends_block: 0,
            commitment: Felt::ZERO,
            group_id: 0,
        };
        assert_eq!(jobs.get_job(&number).call().await.unwrap(), queued);
        assert_eq!(jobs.job_count().call().await.unwrap(), number);
    }
    world.submit(&world.spec().await).await;

    assert_eq!(jobs.get_job(&999).call().await.unwrap().state, job_mgr::JobState::None);
    let ids = async |first: u64, count: u8| {
        let page = jobs.get_jobs(&first, &count).call().await.unwrap();
        page.into_iter().map(|job| job.job_id).collect::<Vec<_>>()
    };
    view_refused(jobs.get_jobs(&1, &51).call().await, "JobMgr: too many asked");
    assert_eq!(ids(0, 3).await, [1, 2, 3]);
    assert_eq!(ids(0, 50).await, [1, 2, 3]);
    assert_eq!(ids(2, 1).await, [2]);
    assert_eq!(ids(3, 50).await, [3]);
    assert!(ids(1, 0).await.is_empty());
    assert!(ids(4, 50).await.is_empty());
    assert!(ids(u64::MAX, 50).await.is_empty());
    world.conserved().await;
}

type Fault = (&'static str, fn(&mut job_mgr::JobSpec));

/// Every way in which a spec can be wrong, in the order in which the contract looks, where `deadline` is now.
const FAULTS: [Fault; 33] = [
    ("JobMgr: zero manifest hash", |spec| spec.manifest_hash = Felt::ZERO),
    ("JobMgr: bad priority", |spec| spec.priority = 0),
    ("JobMgr: bad priority", |spec| spec.priority = 11),
    ("JobMgr: bad queue", |spec| spec.queue = 3),
    ("JobMgr: bad max attempts", |spec| spec.max_attempts = 0),
    ("JobMgr: bad max attempts", |spec| spec.max_attempts = 16),
    ("JobMgr: bad latency", |spec| spec.max_latency_ms = 16_384),
    ("JobMgr: bad verification", |spec| spec.verification = 3),
    ("JobMgr: bad verification", |spec| (spec.replicas, spec.quorum, spec.verification) = (3, 2, 1)),
    ("JobMgr: bad replicas", |spec| spec.replicas = 0),
    ("JobMgr: bad replicas", |spec| (spec.replicas, spec.quorum) = (2, 1)),
    ("JobMgr: bad replicas", |spec| (spec.replicas, spec.quorum) = (16, 9)),
    ("JobMgr: bad quorum", |spec| spec.quorum = 2),
    ("JobMgr: bad quorum", |spec| (spec.replicas, spec.quorum) = (4, 2)),
    ("JobMgr: bad quorum", |spec| (spec.replicas, spec.quorum) = (3, 3)),
    ("JobMgr: too many GPUs", |spec| spec.requirements.gpu_count = 64),
    ("JobMgr: too much VRAM", |spec| spec.requirements.vram_gib = 1_024),
    ("JobMgr: bad compute capability", |spec| spec.requirements.compute_capability = 128),
    ("JobMgr: bad driver version", |spec| spec.requirements.driver_version = 1_024),
    ("JobMgr: too many CPU cores", |spec| spec.requirements.cpu_cores = 512),
    ("JobMgr: too much memory", |spec| spec.requirements.memory_gib = 4_096),
    ("JobMgr: bad min reputation", |spec| spec.requirements.min_reputation = 1_001),
    ("JobMgr: region too long", |spec| spec.requirements.region = Felt::from_bytes_be_slice(b"abcdef")),
    ("JobMgr: zero timeout", |spec| spec.execution_timeout_s = 0),
    ("JobMgr: timeout too long", |spec| spec.execution_timeout_s = 2_592_001),
    ("JobMgr: timeout too long", |spec| {
        (spec.replicas, spec.quorum, spec.execution_timeout_s) = (3, 2, 86_401);
    }),
    ("JobMgr: deadline in the past", |spec| spec.deadline -= 600),
    ("JobMgr: deadline too far", |spec| spec.deadline += 31_536_001 - 600),
    ("JobMgr: deadline too far", |spec| {
        (spec.replicas, spec.quorum) = (3, 2);
        spec.deadline += 604_801 - 600;
    }),
    ("JobMgr: zero max price", |spec| spec.max_price = 0),
    ("JobMgr: price too low", |spec| spec.max_price = GFRI * 100 - 1),
    ("JobMgr: price too high", |spec| spec.max_price = (1 << 40) * GFRI * 100),
    ("JobMgr: price too high", |spec| spec.max_price = u128::MAX),
];

#[tokio::test]
async fn a_bad_spec_is_refused_for_its_first_fault() {
    let world = World::start_with(OTHER).await;
    let submit = async |spec: &job_mgr::JobSpec| {
        let calls = vec![approve_escrow(&world, spec.max_price), world.job_mgr().submit_job_getcall(spec)];
        world.caller(CLIENT).send(calls).await
    };
    let good = spec_to_chain(&world.spec().await);
    for (index, (words, fault)) in FAULTS.iter().enumerate() {
        let mut bad = good.clone();
        fault(&mut bad);
        refused(submit(&bad).await, words);
        // With everything wrong that is looked at later, too.
        let mut worse = good.clone();
        FAULTS[index..].iter().rev().for_each(|(_, fault)| {
            worse.deadline = good.deadline;
            fault(&mut worse);
        });
        refused(submit(&worse).await, words);
    }
    assert_eq!(world.job_mgr().job_count().call().await.unwrap(), 0);
    assert_eq!(world.contracts().held().await.unwrap(), Fri::ZERO);
    submit(&good).await.unwrap();
    world.conserved().await;
}

/// Every field as large as it may be.
fn largest(now: u64) -> JobSpec {
    JobSpec {
        manifest_hash: Felt::TWO.pow(248_u32) - Felt::ONE,
        model_id: Felt::from(77),
        requirements: Requirements {
            gpu_count: 63,
            vram_gib: 1_023,
            compute_capability: 127,
            cuda_version: 255,
            driver_version: 1_023,
            cpu_cores: 511,
            memory_gib: 4_095,
            min_reputation: 1_000,
            features: Features(u16::MAX),
            region: Some("zzzzz".parse().unwrap()),
        },
        priority: 10,
        queue: Queue::Low,
        max_price: Fri(63 * 2_592_000 * GFRI * 612 + 17),
        deadline: now + 31_536_000,
        execution_timeout_s: 2_592_000,
        max_attempts: 15,
        max_latency_ms: 16_383,
        verification: Verification::Matmul,
        replicas: 1,
        quorum: 1,
    }
}

#[tokio::test]
async fn a_spec_at_its_limits_is_kept_as_it_is() {
    let world = World::start_with(OTHER).await;
    let highest = Fri(((1 << 40) - 1) * GFRI * 100 + GFRI * 100 - 1);
    let bends: [fn(&mut JobSpec); 14] = [
        |_| {},
        |spec| (spec.priority, spec.queue, spec.max_attempts) = (1, Queue::High, 1),
        |spec| spec.deadline -= 599,
        |spec| spec.max_price = Fri(GFRI * 100),
        |spec| (spec.execution_timeout_s, spec.max_price) = (1, Fri(GFRI)),
        |spec| spec.requirements = Requirements::default(),
        |spec| spec.model_id = Felt::ZERO - Felt::ONE,
        |spec| spec.manifest_hash = Felt::ZERO - Felt::ONE,
        |spec| spec.requirements.region = Some("a".parse().unwrap()),
        |spec| spec.verification = Verification::Rerun,
        |spec| spec.verification = Verification::Matmul,
        |spec| (spec.replicas, spec.quorum) = (3, 2),
        |spec| (spec.replicas, spec.quorum) = (15, 14),
        |spec| {
            (spec.replicas, spec.quorum, spec.execution_timeout_s) = (3, 2, 86_400);
            spec.deadline += 604_800 - 600;
        },
    ];
    for bend in bends {
        let mut spec = world.spec().await;
        bend(&mut spec);
        let job_id = world.submit(&spec).await;
        assert_eq!(world.job(job_id).await.spec, spec);
    }
    let spec = JobSpec { max_price: highest, ..world.spec().await };
    let job_id = world.submit(&spec).await;
    assert_eq!(world.job(job_id).await.spec, spec);

    let spec = largest(world.now().await.timestamp);
    let job_id = world.submit(&spec).await;
    let job = world.job(job_id).await;
    assert_eq!((job.spec, job.state), (spec, JobState::Queued));
    world.conserved().await;
}

#[tokio::test]
async fn what_the_contract_takes_as_a_region_can_be_read() {
    let world = World::start().await;
    let deployment = world.deployment();
    // Either is well: that nobody can submit such a job or register such a worker, or that nobody stumbles over
    // it. A keeper that stops at an event stops for everyone.
    for (account, region) in (CLIENT..).zip([&b"\x01"[..], b"a\0b", b"e u", b"\xff\xff\xff\xff\xff"]) {
        let region = Felt::from_bytes_be_slice(region);
        let mut spec = spec_to_chain(&world.spec().await);
        spec.requirements.region = region;
        let approve = approve(&world, deployment.job_mgr.address, spec.max_price);
        drop(world.caller(CLIENT).send(vec![approve, world.job_mgr().submit_job_getcall(&spec)]).await);

        let offer = keeper_bindings::cdc_pool::Capabilities { region, ..capabilities_to_chain(&cap()) };
        let approve = self::approve(&world, deployment.cdc_pool.address, STRK);
        let register = world.cdc_pool().register_worker_getcall(&offer, &1, &1, &STRK);
        drop(world.caller(account).send(vec![approve, register]).await);
    }
    world.conserved().await;
}

#[tokio::test]
async fn a_job_without_its_escrow_is_refused() {
    let world = World::start_with(OTHER).await;
    let spec = world.spec().await;
    let submit = world.job_mgr().submit_job_getcall(&spec_to_chain(&spec));
    let unapproved = "ERC20: insufficient allowance";
    refused(world.send(OTHER, submit.clone()).await, unapproved);
    let short = vec![approve_escrow(&world, STRK - 1), submit.clone()];
    refused(world.caller(OTHER).send(short).await, unapproved);

    let poor = JobSpec { max_price: Fri(BALANCE + 1), execution_timeout_s: 2_592_000, ..spec.clone() };
    let calls = vec![approve_escrow(&world, u128::MAX), world.job_mgr().submit_job_getcall(&spec_to_chain(&poor))];
    refused(world.caller(OTHER).send(calls).await, "ERC20: insufficient balance");

    // One job too many: none of the batch is submitted.
    let half = JobSpec { max_price: Fri(BALANCE / 2), execution_timeout_s: 2_592_000, ..spec };
    world.contracts().submit_jobs(world.sender(OTHER), &[half.clone(), half]).await.unwrap_err();
    assert_eq!(world.job_mgr().job_count().call().await.unwrap(), 0);
    world.conserved().await;
}
