//! Who may do what, and that the contracts are wired once.

use cainome::cairo_serde::ContractAddress;
use keeper_bindings::{
    cdc_pool::{AttemptFailure, CdcPoolConfig, WorkerFault},
    job_mgr::JobMgrConfig,
    task_allocator::TaskAllocatorConfig,
};
use keeper_chain::{Contracts, DeployedContract, Deployment, STRK_TOKEN, built_in_class};
use keeper_types::{Address, Felt, Fri, JobId, MarketContract, MarketEvent, WorkerId};

use crate::world::{
    ADMIN, CHALLENGE_S, CLIENT, KEEPER, MIN_STAKE, NOT_ADMIN, OTHER, STRK, UNBONDING_S, W1, W2, World, item, refused,
};

/// The longest time that the contracts can keep.
const TWO_YEARS_S: u64 = 63_072_000;
const DELAY_S: u64 = 60;
const DISPUTE_S: u64 = 900;
const BOND: u128 = 7;
const POLICY_DELAY_S: u64 = 40;

fn class(name: &str) -> Felt {
    built_in_class(name).unwrap().class_hash
}

/// The contracts as the constructors leave them.
async fn unwired(world: &World) -> Deployment {
    let admin = world.address(ADMIN);
    let deploy = async |name, arguments: &[Felt]| {
        let address = world.caller(ADMIN).deploy(class(name), 7, arguments).await.unwrap();
        DeployedContract { address, class_hash: class(name) }
    };
    let (token, delay) = (STRK_TOKEN.0, Felt::from(DELAY_S));
    let terms = [admin.0, token, Felt::from(MIN_STAKE), Felt::from(UNBONDING_S), delay];
    let cdc_pool = deploy("CdcPool", &terms).await;
    let pool = cdc_pool.address.0;
    let (challenge, dispute) = (Felt::from(CHALLENGE_S), Felt::from(DISPUTE_S));
    let job_mgr = deploy("JobMgr", &[admin.0, token, pool, challenge, dispute, delay]).await;
    let jobs = job_mgr.address.0;
    let terms = [admin.0, jobs, pool, token, Felt::from(BOND), Felt::from(POLICY_DELAY_S), delay];
    let task_allocator = deploy("TaskAllocator", &terms).await;
    Deployment { cdc_pool, job_mgr, task_allocator, ..world.deployment().clone() }
}

#[tokio::test]
async fn constructors_refuse_what_cannot_work() {
    let world = World::start_with(OTHER).await;
    let some = Felt::from(5);
    let admin = world.caller(ADMIN);
    let refuses = async |name, arguments: &[Felt], words| {
        refused(admin.deploy(class(name), 1, arguments).await, words);
    };
    for zero in 0..3 {
        let with_zero = |mut arguments: Vec<Felt>| {
            arguments[zero] = Felt::ZERO;
            arguments
        };
        refuses("JobMgr", &with_zero(vec![some; 6]), zero_words("JobMgr", zero)).await;
        refuses("TaskAllocator", &with_zero(vec![some; 7]), zero_words("TaskAllocator", zero)).await;
        refuses("CdcPool", &with_zero(vec![some; 5]), zero_words("CdcPool", zero)).await;
    }
    refuses("TaskAllocator", &[some, some, some, Felt::ZERO, some, some, some], "TaskAllocator: zero address").await;
    let (longest, too_long) = (Felt::from(TWO_YEARS_S), Felt::from(TWO_YEARS_S + 1));
    refuses("CdcPool", &[some, some, some, too_long, some], "CdcPool: unbonding too long").await;
    refuses("TaskAllocator", &[some, some, some, some, some, too_long, some], "TaskAllocator: delay too long").await;
    admin.deploy(class("TaskAllocator"), 1, &[some, some, some, some, some, longest, some]).await.unwrap();
    let pool = admin.deploy(class("CdcPool"), 1, &[some, some, some, longest, some]).await.unwrap().0;
    refuses("JobMgr", &[some, some, pool, too_long, some, some], "JobMgr: window too long").await;
    refuses("JobMgr", &[some, some, pool, some, too_long, some], "JobMgr: window too long").await;
    admin.deploy(class("JobMgr"), 1, &[some, some, pool, longest, longest, some]).await.unwrap();
    // A result must not outlast the stake behind it.
    let short = admin.deploy(class("CdcPool"), 2, &[some, some, some, Felt::from(99), some]).await.unwrap().0;
    let windows = |challenge: u64| [some, some, short, Felt::from(challenge), some, some];
    refuses("JobMgr", &windows(100), "JobMgr: unbonding too short").await;
    admin.deploy(class("JobMgr"), 2, &windows(99)).await.unwrap();

    // The notice of upgrades has an end everywhere.
    let words = "Upgradeable: delay too long";
    refuses("CdcPool", &[some, some, some, some, too_long], words).await;
    refuses("JobMgr", &[some, some, pool, some, some, too_long], words).await;
    refuses("TaskAllocator", &[some, some, some, some, some, some, too_long], words).await;
}

/// What a constructor says where its first, second or third argument is zero.
fn zero_words(contract: &str, argument: usize) -> &'static str {
    match (contract, argument) {
        (_, 0) => "Access: zero admin",
        ("CdcPool", 2) => "CdcPool: zero min stake",
        ("CdcPool", _) => "CdcPool: zero address",
        ("JobMgr", _) => "JobMgr: zero address",
        _ => "TaskAllocator: zero address",
    }
}

#[tokio::test]
async fn the_admin_wires_the_contracts_once() {
    let world = World::start_with(OTHER).await;
    let deployment = unwired(&world).await;
    let (jobs, pool, allocator) =
        (deployment.job_mgr.address, deployment.cdc_pool.address, deployment.task_allocator.address);
    let contracts = Contracts::new(world.contracts().rpc(), &deployment);
    let job_mgr = world.caller(ADMIN).job_mgr(&deployment);
    let cdc_pool = world.caller(ADMIN).cdc_pool(&deployment);

    // Nobody is the zero address, which an unset role equals.
    for account in [ADMIN, KEEPER, CLIENT, OTHER] {
        refused(world.send(account, job_mgr.allocate_batch_getcall(&vec![])).await, "JobMgr: caller not allocator");
        refused(
            world.send(account, cdc_pool.release_getcall(&1, &0, &ContractAddress(Felt::ONE), &false)).await,
            "CdcPool: caller not job manager",
        );
    }

    let set = |address: Address| job_mgr.set_task_allocator_getcall(&ContractAddress(address.0));
    refused(world.send(OTHER, set(allocator)).await, NOT_ADMIN);
    refused(world.send(ADMIN, set(Address::default())).await, "JobMgr: zero address");
    let events = contracts.events(&world.send(ADMIN, set(allocator)).await.unwrap()).unwrap();
    let contract = MarketContract::JobMgr;
    assert_eq!(events, [MarketEvent::TaskAllocatorSet { contract, task_allocator: allocator }]);
    refused(world.send(ADMIN, set(allocator)).await, "JobMgr: allocator set before");

    let set = |address: Address| cdc_pool.set_job_mgr_getcall(&ContractAddress(address.0));
    refused(world.send(OTHER, set(jobs)).await, NOT_ADMIN);
    refused(world.send(ADMIN, set(Address::default())).await, "CdcPool: zero address");
    let events = contracts.events(&world.send(ADMIN, set(jobs)).await.unwrap()).unwrap();
    assert_eq!(events, [MarketEvent::JobMgrSet { job_mgr: jobs }]);
    refused(world.send(ADMIN, set(jobs)).await, "CdcPool: job manager set before");

    let set = |address: Address| cdc_pool.set_task_allocator_getcall(&ContractAddress(address.0));
    refused(world.send(OTHER, set(allocator)).await, NOT_ADMIN);
    refused(world.send(ADMIN, set(Address::default())).await, "CdcPool: zero address");
    let events = contracts.events(&world.send(ADMIN, set(allocator)).await.unwrap()).unwrap();
    let contract = MarketContract::CdcPool;
    assert_eq!(events, [MarketEvent::TaskAllocatorSet { contract, task_allocator: allocator }]);
    refused(world.send(ADMIN, set(allocator)).await, "CdcPool: allocator set before");

    let paymaster = Address(KEEPER.into());
    let set = |address: Address| job_mgr.set_paymaster_getcall(&ContractAddress(address.0));
    refused(world.send(OTHER, set(paymaster)).await, NOT_ADMIN);
    refused(world.send(ADMIN, set(Address::default())).await, "JobMgr: zero address");
    let events = contracts.events(&world.send(ADMIN, set(paymaster)).await.unwrap()).unwrap();
    assert_eq!(events, [MarketEvent::PaymasterSet { paymaster }]);
    refused(world.send(ADMIN, set(paymaster)).await, "JobMgr: paymaster set before");

    let referee = Address(OTHER.into());
    let set = |address: Address| job_mgr.set_referee_getcall(&ContractAddress(address.0));
    refused(world.send(OTHER, set(referee)).await, NOT_ADMIN);
    refused(world.send(ADMIN, set(Address::default())).await, "JobMgr: zero address");
    let events = contracts.events(&world.send(ADMIN, set(referee)).await.unwrap()).unwrap();
    assert_eq!(events, [MarketEvent::RefereeSet { referee }]);
    refused(world.send(ADMIN, set(referee)).await, "JobMgr: referee set before");

    let [admin, token, jobs, pool, allocator] =
        [world.address(ADMIN), STRK_TOKEN, jobs, pool, allocator].map(|address| ContractAddress(address.0));
    let config = JobMgrConfig {
        admin,
        token,
        cdc_pool: pool,
        task_allocator: allocator,
        paymaster: ContractAddress(KEEPER.into()),
        referee: ContractAddress(OTHER.into()),
        challenge_window_s: CHALLENGE_S,
        dispute_window_s: DISPUTE_S,
        reveal_window_s: 21_600,
    };
    assert_eq!(job_mgr.get_config().call().await.unwrap(), config);
    let config = CdcPoolConfig {
        admin,
        token,
        job_mgr: jobs,
        task_allocator: allocator,
        min_stake_per_slot: MIN_STAKE,
        unbonding_s: UNBONDING_S,
    };
    assert_eq!(cdc_pool.get_config().call().await.unwrap(), config);
    let config = TaskAllocatorConfig {
        admin,
        job_mgr: jobs,
        cdc_pool: pool,
        token,
        min_keeper_bond: BOND,
        policy_delay_s: POLICY_DELAY_S,
    };
    assert_eq!(world.caller(ADMIN).task_allocator(&deployment).get_config().call().await.unwrap(), config);
}

#[tokio::test]
async fn the_admin_adds_and_removes_keepers() {
    let world = World::start_with(OTHER).await;
    let allocator = world.task_allocator();
    let keeper = world.address(OTHER);
    let add = |address: Address| allocator.add_keeper_getcall(&ContractAddress(address.0));
    let remove = |address: Address| allocator.remove_keeper_getcall(&ContractAddress(address.0));
    let items = [item(JobId(1), WorkerId(1)).pack()];

    assert!(!world.contracts().is_keeper(keeper).await.unwrap());
    refused(world.apply_batch(OTHER, 1, 0, &items).await, "TaskAllocator: not a keeper");
    for stranger in [OTHER, KEEPER, CLIENT] {
        refused(world.send(stranger, add(keeper)).await, NOT_ADMIN);
    }
    refused(world.send(ADMIN, add(Address::default())).await, "TaskAllocator: zero address");
    assert_eq!(world.events(world.send(ADMIN, add(keeper)).await), [MarketEvent::KeeperAdded { keeper }]);
    refused(world.send(ADMIN, add(keeper)).await, "TaskAllocator: already keeper");
    // It works once its bond is posted.
    assert!(!world.contracts().is_keeper(keeper).await.unwrap());
    refused(world.apply_batch(OTHER, 5, 0, &items).await, "TaskAllocator: not a keeper");
    let terms = world.task_allocator().get_config().call().await.unwrap();
    let bond = Fri(terms.min_keeper_bond);
    let posted = world.events(world.contracts().post_bond(world.sender(OTHER), bond).await);
    assert_eq!(posted, [MarketEvent::BondPosted { keeper, amount: bond, bond }]);
    assert!(world.contracts().is_keeper(keeper).await.unwrap());
    world.apply_batch(OTHER, 5, 0, &items).await.unwrap();

    refused(world.send(OTHER, remove(keeper)).await, NOT_ADMIN);
    refused(world.send(ADMIN, remove(world.address(CLIENT))).await, "TaskAllocator: unknown keeper");
    assert_eq!(world.events(world.send(ADMIN, remove(keeper)).await), [MarketEvent::KeeperRemoved { keeper }]);
    refused(world.send(ADMIN, remove(keeper)).await, "TaskAllocator: unknown keeper");
    assert!(!world.contracts().is_keeper(keeper).await.unwrap());
    refused(world.apply_batch(OTHER, 6, 0, &items).await, "TaskAllocator: not a keeper");

    // Back again once it has its bond back, its rounds go on where they were.
    refused(world.send(ADMIN, add(keeper)).await, "TaskAllocator: still bonded");
    world.pass(world.now().await.after(terms.policy_delay_s)).await;
    world.contracts().withdraw_bond(world.sender(OTHER)).await.unwrap();
    world.send(ADMIN, add(keeper)).await.unwrap();
    world.contracts().post_bond(world.sender(OTHER), bond).await.unwrap();
    assert_eq!(world.contracts().last_round(keeper).await.unwrap(), 5);
    refused(world.apply_batch(OTHER, 5, 0, &items).await, "TaskAllocator: stale round");
    world.apply_batch(OTHER, 6, 0, &items).await.unwrap();
    world.conserved().await;
}

#[tokio::test]
async fn what_is_for_contracts_is_closed_to_every_account() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let (job_id, _) = world.running(&world.spec().await, worker_id).await;
    let owner = ContractAddress(world.address(W1).0);
    let (jobs, pool) = (world.job_mgr(), world.cdc_pool());
    let before = (world.job(job_id).await, world.worker(worker_id).await);
    for account in [ADMIN, KEEPER, CLIENT, W1, W2, OTHER] {
        let items = vec![item(job_id, worker_id).pack()];
        refused(world.send(account, jobs.allocate_batch_getcall(&items)).await, "JobMgr: caller not allocator");
        let words = "CdcPool: caller not job manager";
        refused(world.send(account, pool.reserve_batch_getcall(&vec![Felt::ONE])).await, words);
        refused(world.send(account, pool.release_getcall(&worker_id.0, &1, &owner, &false)).await, words);
        refused(world.send(account, pool.record_settlement_getcall(&worker_id.0, &false)).await, words);
        refused(world.send(account, pool.hold_getcall(&worker_id.0)).await, words);
        refused(world.send(account, pool.unhold_getcall(&worker_id.0)).await, words);
        for fault in [WorkerFault::Unrevealed, WorkerFault::Wrong] {
            let record = pool.record_fault_getcall(&worker_id.0, &fault, &STRK, &owner, &owner);
            refused(world.send(account, record).await, words);
        }
        for failure in [AttemptFailure::Failed, AttemptFailure::Expired] {
            refused(world.send(account, pool.record_failure_getcall(&worker_id.0, &1, &failure)).await, words);
        }
    }
    assert_eq!((world.job(job_id).await, world.worker(worker_id).await), before);
    world.conserved().await;
}
