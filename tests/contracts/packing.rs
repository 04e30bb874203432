//! What is packed comes back as it went in, at its largest, and does not touch what lies beside it.

use keeper_types::Felt;

use crate::{
    parties::{Item, Needs, Spec, item, outcome},
    stage::{Stage, W3, W4, felts, refused},
    world::{ADMIN, CLIENT, OTHER, STRK, W1, W2},
};

/// The highest rate, gFri per GPU-second.
const HIGHEST_RATE: u64 = (1 << 40) - 1;

/// Everything that fits into the fields.
fn largest() -> Needs {
    Needs {
        gpus: 63,
        vram: 1_023,
        compute_capability: 127,
        cuda: 255,
        driver: 1_023,
        cores: 511,
        memory: 4_095,
        reputation: 1_000,
        features: u16::MAX,
        region: Felt::from_bytes_be_slice(b"zzzzz"),
    }
}

async fn register_largest(stage: &Stage, account: usize) -> u32 {
    let stake = 255 * STRK;
    let arguments = [largest().offer(), felts![255, HIGHEST_RATE, stake]].concat();
    let calls = vec![stage.approve("CdcPool", stake), stage.call("CdcPool", "register_worker", &arguments)];
    let done = stage.send(account, calls).await.unwrap();
    u32::try_from(done.said[0].keys[0]).unwrap()
}

#[tokio::test]
async fn a_job_of_the_largest_fields_is_kept_through_its_life() {
    let stage = Stage::start().await;
    let worker = register_largest(&stage, W1).await;
    let spec = Spec {
        manifest_hash: Felt::TWO.pow(248_u32) - Felt::ONE,
        model_id: Felt::ZERO - Felt::ONE,
        needs: Needs { reputation: 500, ..largest() },
        priority: 10,
        queue: 2,
        max_price: 63 * u128::from(HIGHEST_RATE) * 1_000_000_000 + 62,
        deadline: stage.now().await.at + 31_536_000 - 100,
        timeout: 1,
        max_attempts: 15,
        max_latency_ms: 16_383,
        verification: 1,
        replicas: 1,
        quorum: 1,
    };
    let spec_felts = spec.felts();
    let kept = async |job: u64| {
        let raw = stage.ask_felts("JobMgr", "get_job", &felts![job]).await;
        assert_eq!(raw[5..5 + spec_felts.len()], spec_felts);
    };
    let job = stage.submit(&spec).await;
    kept(job).await;
    let packed = Item { strategy: 3, score: u16::MAX, rate: HIGHEST_RATE, ..item(job, worker) };
    assert_eq!(stage.apply(&[packed]).await[0].name, "JobsAllocated");
    kept(job).await;
    let shown = stage.job(job).await.numbers(["worker_id", "rate_gfri", "score", "strategy", "attempt"]);
    assert_eq!(shown, [worker.into(), HIGHEST_RATE.into(), u16::MAX.into(), 3, 1]);
    assert_eq!(stage.worker(worker).await.numbers(["free_slots", "free_gpus", "slots"]), [254, 0, 255]);
    stage.commit(W1, job, 1, outcome("largest")).await.unwrap();
    kept(job).await;
    let commitment = stage.job(job).await["commitment"].felt();
    assert_ne!(commitment, Felt::ZERO);
    stage.reveal(W1, job, 1, outcome("largest")).await.unwrap();
    kept(job).await;
    let shown = stage.job(job).await;
    assert_eq!((shown["result_hash"].felt(), shown["commitment"].felt()), (outcome("largest"), commitment));
    stage.on_job(CLIENT, "accept_result", job).await.unwrap();
    kept(job).await;
    assert_eq!((stage.credit(W1).await, stage.credit(CLIENT).await), (spec.max_price - 62, 62));
    stage.conserved().await;
}

#[tokio::test]
async fn a_worker_of_the_largest_fields_is_kept() {
    let stage = Stage::start().await;
    let worker = register_largest(&stage, W1).await;
    let offered = |raw: &[Felt]| raw[3..12].to_vec();
    let raw = stage.ask_felts("CdcPool", "get_worker", &felts![worker]).await;
    assert_eq!(offered(&raw), largest().offer());
    stage.act(ADMIN, "CdcPool", "admit_worker", &felts![worker]).await.unwrap();
    let spec = Spec { needs: Needs { gpus: 63, ..stage.spec().await.needs }, ..stage.spec().await };
    let spec = Spec { max_price: 63 * u128::from(HIGHEST_RATE) * 1_000_000_000, timeout: 1, ..spec };
    let spec = Spec { needs: Needs { region: Felt::ZERO, ..spec.needs }, ..spec };
    let job = stage.submit(&spec).await;
    stage.allocate(job, worker).await;
    let shown = stage.worker(worker).await;
    assert_eq!(shown.numbers(["free_slots", "free_gpus", "rate_gfri"]), [254, 0, HIGHEST_RATE.into()]);
    assert!(shown["is_static"].is_true());
    let raw = stage.ask_felts("CdcPool", "get_worker", &felts![worker]).await;
    assert_eq!(offered(&raw), largest().offer());
    stage.fail_attempt(W1, job, 1).await.unwrap();
    assert_eq!(stage.worker(worker).await.numbers(["free_slots", "free_gpus", "holds"]), [255, 63, 0]);
    stage.conserved().await;
}

#[tokio::test]
async fn a_group_of_the_largest_size_is_kept() {
    let stage = Stage::start().await;
    let spec = Spec { replicas: 15, quorum: 14, max_attempts: 15, ..stage.spec().await };
    let group = stage.submit(&spec).await;
    let expected = [group.into(), 15, 14, 15, 0];
    assert_eq!(stage.group(group).await.numbers(["group_id", "replicas", "quorum", "pending", "revealed"]), expected);
    let worker = stage.register(W1).await;
    stage.allocate(group + 14, worker).await;
    stage.commit(W1, group + 14, 1, outcome("one")).await.unwrap();
    assert_eq!(stage.group(group).await.numbers(["pending", "quorum"]), [14, 14]);
    let deadline = stage.job(group).await.numbers(["deadline_block"])[0];
    stage.reach_block(u64::try_from(deadline).unwrap() + 1).await;
    stage.set_time(spec.deadline + 1).await;
    for job in group..group + 14 {
        stage.on_job(OTHER, "expire_job", job).await.unwrap();
    }
    assert_eq!(stage.group(group).await["pending"].number(), 0);
    stage.reveal(W1, group + 14, 1, outcome("one")).await.unwrap();
    assert_eq!(stage.group(group).await["revealed"].number(), 1);
    refused(stage.on_job(OTHER, "settle", group + 14).await, "JobMgr: group open");
    stage.conserved().await;
}

/// Four workers share a word of storage; the fifth has another.
#[tokio::test]
async fn neighbours_do_not_touch_each_others_loads() {
    let stage = Stage::start().await;
    let accounts = [W1, W2, W3, W4, OTHER];
    let mut workers = Vec::new();
    for (account, slots) in accounts.into_iter().zip([255, 1, 2, 255, 3]) {
        workers.push(stage.register_with(account, slots, u128::from(slots) * STRK).await);
    }
    let spec = Spec { needs: Needs { gpus: 4, ..stage.spec().await.needs }, ..stage.spec().await };
    let loads = async || {
        let mut loads = Vec::new();
        for worker in &workers {
            loads.push(stage.worker(*worker).await.numbers(["free_slots", "free_gpus", "holds"]));
        }
        loads
    };
    let mut expected = vec![[255, 4, 0], [1, 4, 0], [2, 4, 0], [255, 4, 0], [3, 4, 0]];
    assert_eq!(loads().await, expected);
    // In every order, and all of them in one round.
    let mut jobs = Vec::new();
    for _ in &workers {
        jobs.push(stage.submit(&spec).await);
    }
    let order = [3, 0, 4, 1, 2];
    let items: Vec<_> = order.iter().map(|index| item(jobs[*index], workers[*index])).collect();
    let said = stage.apply(&items).await;
    assert_eq!(said[0].data.len(), 6);
    for load in &mut expected {
        *load = [load[0] - 1, 0, 0];
    }
    assert_eq!(loads().await, expected);
    for index in [2, 0] {
        stage.commit(accounts[index], jobs[index], 1, outcome("kept")).await.unwrap();
        expected[index] = [expected[index][0] + 1, 4, 1];
        assert_eq!(loads().await, expected);
    }
    for index in [1, 3] {
        stage.fail_attempt(accounts[index], jobs[index], 1).await.unwrap();
        expected[index] = [expected[index][0] + 1, 4, 0];
        assert_eq!(loads().await, expected);
    }
    stage.act(accounts[4], "CdcPool", "exit_worker", &[]).await.unwrap();
    stage.act(accounts[0], "CdcPool", "exit_worker", &[]).await.unwrap();
    assert_eq!(loads().await, expected);
    stage.submit_result(accounts[4], jobs[4], 1, outcome("left")).await.unwrap();
    expected[4] = [3, 4, 0];
    assert_eq!(loads().await, expected);
    stage.conserved().await;
}
