//! Ten defects of an earlier system of this kind, each with a test that this one does not have it.

use std::path::PathBuf;

use e2e::{LocalnetOptions, Market};
use keeper_chain::{Follower, Step};
use keeper_scheduler::{ManifestStatus, Plan, Policy, Snapshot, plan};
use keeper_store::{Identity, SqliteStore, Store as _, rebuild_market};
use keeper_types::{
    AgentView, AllocationItem, Attempt, BlockNumber, BlockRef, Capabilities, ChainId, EventPosition, Fri, JobId,
    JobSpec, JobState, ManifestView, MarketEvent, SkipReason, TxHash, WorkerId,
};
use serde_json::json;

use crate::{
    abi::Abi,
    parties::{Spec, outcome},
    stage::{REFEREE, Stage, W3, felts, refused as denied, told},
    world::{CLIENT, GRACE_S, OTHER, RATE, STRK, W1, W2, World, cap, item, refused, result_of},
};

/// What the keeper would do now, by its default policy.
async fn planned(world: &World) -> (Snapshot, Plan) {
    let (market, now) = (world.told().await, world.now().await);
    let at = (now.block, now.timestamp);
    let available = |_: &_| (ManifestStatus::Available, ManifestView::default());
    let snapshot = Snapshot::of_market(&market, at, 0, available, |_| Some(AgentView::default()));
    let plan = plan(&snapshot, &Policy::default());
    (snapshot, plan)
}

/// The worker that the keeper would choose for its only job.
async fn chosen(world: &World) -> AllocationItem {
    let (_, plan) = planned(world).await;
    assert_eq!(plan.items.len(), 1, "{plan:?}");
    plan.items[0]
}

/// There: the first worker with enough memory got the job, whatever it cost and whoever asked.
#[tokio::test]
async fn defect_01_the_first_available_worker_wins() {
    let world = World::start_with(W3).await;
    let small = Capabilities { vram_gib: 8, ..cap() };
    let first = world.register_as(W1, &small, 2, RATE, 10 * STRK).await.unwrap().0;
    let dear = world.register_as(W2, &cap(), 2, 9 * RATE, 10 * STRK).await.unwrap().0;
    let best = world.register(W3).await;
    let job_id = world.submit(&world.spec().await).await;
    // The contract believes nobody: neither who may not propose, nor a proposal that does not fit.
    refused(world.apply_batch(OTHER, 1, 0, &[item(job_id, best).pack()]).await, "TaskAllocator: not a keeper");
    let unfit = AllocationItem { rate: world.worker(first).await.rate, ..item(job_id, first) };
    let skipped = world.apply(&[unfit]).await;
    assert!(matches!(skipped[0], MarketEvent::AllocationSkipped { reason: SkipReason::RequirementUnmet, .. }));
    // The keeper looks at all of them.
    assert_eq!(chosen(&world).await.worker_id, best);
    let dear = AllocationItem { rate: world.worker(dear).await.rate, ..item(job_id, dear) };
    assert!(matches!(world.apply(&[dear]).await[0], MarketEvent::JobsAllocated { .. }), "dear, but it fits");
    world.conserved().await;
}

/// There: anyone could change a worker's reputation and load.
#[tokio::test]
async fn defect_02_anyone_changes_reputation_and_load() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    stage.running(&stage.spec().await, worker).await;
    let before = stage.worker(worker).await;
    for account in 1..=REFEREE {
        let owner = stage.address(account);
        let calls = [
            ("reserve_batch", felts![2, 0, worker]),
            ("release", felts![worker, 1, owner, false]),
            ("record_failure", felts![worker, 1, 0]),
            ("record_fault", felts![worker, 1, STRK, owner, owner]),
            ("record_settlement", felts![worker, false]),
            ("hold", felts![worker]),
            ("unhold", felts![worker]),
        ];
        for (function, arguments) in calls {
            let sent = stage.act(account, "CdcPool", function, &arguments).await;
            denied(sent, "CdcPool: caller not job manager");
        }
    }
    assert_eq!(stage.worker(worker).await, before);
    stage.conserved().await;
}

/// There: constants stood for the worker's performance, so that reputation could only rise.
#[tokio::test]
async fn defect_03_reputation_only_rises() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let spec = Spec { deadline: stage.now().await.at + 100_000, verification: 2, ..stage.spec().await };
    let job = stage.answered(&spec, W1, worker, outcome("right")).await;
    stage.on_job(CLIENT, "accept_result", job).await.unwrap();
    assert_eq!(stage.reputation(worker).await, 510);
    let job = stage.running(&spec, worker).await;
    stage.fail_attempt(W1, job, 1).await.unwrap();
    assert_eq!(stage.reputation(worker).await, 484);
    let job = stage.running(&spec, worker).await;
    let due = stage.now().await.after(u64::from(spec.timeout) + GRACE_S);
    stage.pass(due).await;
    stage.on_job(OTHER, "expire_attempt", job).await.unwrap();
    assert_eq!(stage.reputation(worker).await, 387);
    let job = stage.answered(&spec, W1, worker, outcome("wrong")).await;
    stage.dispute(CLIENT, job, 50 * STRK).await.unwrap();
    stage.act(REFEREE, "JobMgr", "rule_dispute", &felts![job, false]).await.unwrap();
    assert_eq!(stage.reputation(worker).await, 258);
    stage.conserved().await;
}

/// There: only the admin could free the escrow of a job that expired or was abandoned.
#[tokio::test]
async fn defect_04_the_escrow_of_an_abandoned_job_is_stuck() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let now = stage.now().await;
    let spec = Spec { max_attempts: 1, ..stage.spec().await };
    let (unplaced, abandoned) = (stage.submit(&spec).await, stage.running(&spec, worker).await);
    let before = stage.balance(CLIENT).await;
    stage.pass(now.after(10_000)).await;
    told(stage.on_job(OTHER, "expire_job", unplaced).await);
    told(stage.on_job(OTHER, "expire_attempt", abandoned).await);
    told(stage.act(OTHER, "JobMgr", "withdraw", &[stage.address(CLIENT)]).await);
    assert_eq!(stage.balance(CLIENT).await, before + 2 * STRK);
    assert_eq!(stage.balance_at(stage.at("JobMgr")).await, 0);
    // And nobody has another way to the money: the only function that pays out is the one just called.
    let abi = Abi::of("JobMgr");
    let paying = abi.functions.keys().filter(|name| name.contains("withdraw") || name.contains("emergency"));
    assert_eq!(paying.collect::<Vec<_>>(), ["withdraw"]);
    stage.conserved().await;
}

/// There: a job that the coordinator assigned stayed in the list of waiting ones.
#[tokio::test]
async fn defect_05_an_assigned_job_stays_pending() {
    let world = World::start().await;
    let (first, second) = (world.register(W1).await, world.register(W2).await);
    let job_id = world.submit(&world.spec().await).await;
    assert_eq!(planned(&world).await.0.jobs.len(), 1);
    world.allocate(job_id, first).await;
    assert_eq!(planned(&world).await.0.jobs.len(), 0);
    let again = world.apply(&[item(job_id, second)]).await;
    assert!(matches!(again[0], MarketEvent::AllocationSkipped { reason: SkipReason::JobNotQueued, .. }), "{again:?}");
    refused(world.cancel_job(CLIENT, job_id).await, "JobMgr: not queued");
    assert_eq!(world.state(job_id).await, JobState::Allocated);
    world.conserved().await;
}

/// There: no job ever came back from a worker that was lost.
#[tokio::test]
async fn defect_06_a_lost_worker_loses_the_job() {
    let world = World::start().await;
    let (first, second) = (world.register(W1).await, world.register(W2).await);
    let spec = JobSpec { deadline: world.now().await.timestamp + 100_000, ..world.spec().await };
    let (job_id, allocated) = world.running(&spec, first).await;
    world.pass(allocated.after(u64::from(spec.execution_timeout_s) + GRACE_S)).await;
    world.expire_attempt(OTHER, job_id).await.unwrap();
    let job = world.job(job_id).await;
    assert_eq!((job.state, job.attempt), (JobState::Queued, Attempt(2)));
    world.allocate(job_id, second).await;
    world.submit_result(W2, job_id, 2).await.unwrap();
    world.accept_result(CLIENT, job_id).await.unwrap();
    assert_eq!(world.state(job_id).await, JobState::Settled);
    world.conserved().await;
}

/// There: the tests of the contracts were kept in a folder for broken ones. Here each file of this folder is part
/// of the one test program, and none of its tests is left out.
#[test]
fn defect_07_the_contracts_tests_do_not_run() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("contracts");
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    let main = read(folder.join("main.rs"));
    let manifest = read(folder.join("../Cargo.toml"));
    assert!(manifest.contains("path = \"contracts/main.rs\"") && !manifest.contains("harness"));
    let left_out = ["#[", "ignore"].concat();
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(name == "main" || main.contains(&format!("\nmod {name};\n")), "{name} is in no test program");
        assert!(!read(path).contains(&left_out), "{name} leaves a test out");
        files += 1;
    }
    assert!(files > 20, "{files} files");
}

async fn store_of(market: &Market, path: &std::path::Path) -> SqliteStore {
    let deployment = market.deployment();
    let identity = Identity {
        chain_id: ChainId::SEPOLIA,
        job_mgr: deployment.job_mgr.address,
        cdc_pool: deployment.cdc_pool.address,
        task_allocator: deployment.task_allocator.address,
        deployment_block: deployment.block,
    };
    SqliteStore::open(path, identity).await.unwrap()
}

/// Follows the chain to its end and keeps what it says; whether the chain was still the one known.
async fn follow(market: &Market, store: &SqliteStore) -> bool {
    let follower = Follower::new(market.contracts.rpc(), market.deployment());
    loop {
        let cursor = store.cursor().await.unwrap();
        match follower.step(cursor).await.unwrap() {
            Step::Extended { blocks, .. } => store.append_blocks(&blocks).await.unwrap(),
            Step::UpToDate => return true,
            Step::Reorganised => return false,
        }
    }
}

/// There: the cursor was in memory, a restart looked back a hundred blocks, an event that could not be handled
/// was passed over, and nothing noticed a reorganisation.
#[tokio::test]
async fn defect_08_events_are_lost_at_a_restart() {
    let market = Market::start_with(LocalnetOptions { archive: true, ..LocalnetOptions::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keeper.sqlite");
    let store = store_of(&market, &path).await;
    let first = market.submit(&e2e::job_spec(market.now().await)).await;
    assert!(follow(&market, &store).await);
    store.close().await;
    // Down for more blocks than anyone would look back.
    let second = market.submit(&e2e::job_spec(market.now().await)).await;
    market.chain.make_blocks(150).await;
    let block = market.chain.ask("starknet_blockNumber", json!([])).await.as_u64().unwrap();
    let store = store_of(&market, &path).await;
    assert!(follow(&market, &store).await);
    let mut known = rebuild_market(&store).await.unwrap();
    assert_eq!(known.jobs.keys().copied().collect::<Vec<_>>(), [first, second]);

    // An event that does not fit what is known is an error and changes nothing.
    let before = known.clone();
    let reference = BlockRef { number: BlockNumber(block), hash: keeper_types::Felt::ONE };
    let position = EventPosition { block: reference.number, ..position_of(&store).await };
    let client = market.client.address();
    let stray = MarketEvent::JobCancelled { job_id: JobId(99), client, refunded: Fri(1) };
    known.apply(&stray, &position).unwrap_err();
    assert_eq!(known, before);

    // Blocks that are taken back are noticed.
    market.submit(&e2e::job_spec(market.now().await)).await;
    assert!(follow(&market, &store).await);
    let from = json!({ "block_number": block + 1 });
    market.chain.ask("devnet_abortBlocks", json!({ "starting_block_id": from })).await;
    market.chain.make_blocks(2).await;
    assert!(!follow(&market, &store).await);
    store.revert_to(BlockNumber(block)).await.unwrap();
    assert!(follow(&market, &store).await);
    assert_eq!(rebuild_market(&store).await.unwrap().jobs, before.jobs);
}

/// Where some event of the store stands.
async fn position_of(store: &SqliteStore) -> EventPosition {
    use futures::StreamExt as _;
    let mut events = store.load_events(BlockNumber(0));
    events.next().await.expect("there is an event").unwrap().0
}

/// There: reassignment was to be written, results were only said to be on the chain, and GPUs were not counted.
#[tokio::test]
async fn defect_09_reassignment_and_results_are_simulated() {
    let world = World::start().await;
    let (first, second) = (world.register(W1).await, world.register(W2).await);
    let mut spec = JobSpec { deadline: world.now().await.timestamp + 100_000, ..world.spec().await };
    spec.requirements.gpu_count = 3;
    let job_id = world.submit(&spec).await;
    let allocated = world.now().await;
    let proposed = chosen(&world).await;
    assert!(matches!(world.apply(&[proposed]).await[0], MarketEvent::JobsAllocated { .. }));
    assert_eq!(world.worker(proposed.worker_id).await.free_gpus(), 1);
    world.pass(allocated.after(u64::from(spec.execution_timeout_s) + GRACE_S)).await;
    world.expire_attempt(OTHER, job_id).await.unwrap();

    // The keeper waits a little; its next plan is for the other worker, and the chain takes it.
    world.pass(world.now().await.after(u64::from(Policy::default().retry_base_s))).await;
    let again = chosen(&world).await;
    assert_eq!((again.attempt, again.worker_id == proposed.worker_id), (Attempt(2), false));
    assert!([first, second].contains(&again.worker_id));
    assert!(matches!(world.apply(&[again]).await[0], MarketEvent::JobsAllocated { .. }));
    let owner = if again.worker_id == first { W1 } else { W2 };
    let receipt = world.submit_result(owner, job_id, 2).await.unwrap();
    assert_ne!(receipt.hash, TxHash::default());
    let job = world.job(job_id).await;
    assert_eq!((job.state, job.result_hash), (JobState::Revealed, result_of(job_id).to_felt()));
    assert_eq!(world.worker(again.worker_id).await.free_gpus(), 4);
    world.conserved().await;
}

/// There: one over the bid in base units was the price's term, which is nothing; and equals were ranked by chance.
#[tokio::test]
async fn defect_10_the_price_does_not_count() {
    let world = World::start_with(W3).await;
    let mut workers = Vec::new();
    for (account, rate) in [(W1, RATE), (W2, RATE - RATE / 4), (W3, RATE)] {
        workers.push(world.register_as(account, &cap(), 2, rate, 10 * STRK).await.unwrap().0);
    }
    world.submit(&JobSpec { max_price: Fri(STRK / 10), ..world.spec().await }).await;
    let (snapshot, plan) = planned(&world).await;
    assert_eq!(plan.items[0].worker_id, workers[1]);
    // In whatever order they are listed; and among equals the lowest number.
    let mut others = snapshot.clone();
    others.workers.reverse();
    assert_eq!(keeper_scheduler::plan(&others, &Policy::default()), plan);
    others.workers.retain(|worker| worker.worker_id != workers[1]);
    assert_eq!(keeper_scheduler::plan(&others, &Policy::default()).items[0].worker_id, WorkerId(1));
    world.conserved().await;
}
