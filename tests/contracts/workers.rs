//! Workers: what they offer, how they leave, and their stake.

use cainome::cairo_serde::ContractAddress;
use e2e::capabilities_to_chain;
use keeper_bindings::cdc_pool::{self, WorkerStatus as ChainStatus};
use keeper_types::{BlockNumber, Capabilities, Features, Felt, Fri, MarketEvent, Rate, WorkerId, WorkerStatus};
use starknet::{core::types::Call, macros::selector};

use crate::world::{
    CLIENT, KEEPER, MIN_STAKE, OTHER, RATE, STRK, UNBONDING_S, W1, W2, World, cap, refused, view_refused,
};

type Fault = (&'static str, fn(&mut Offer));

struct Offer {
    capabilities: cdc_pool::Capabilities,
    slots: u8,
    rate: u64,
}

/// Every way in which an offer can be wrong, in the order in which the contract looks.
const FAULTS: [Fault; 11] = [
    ("CdcPool: zero slots", |offer| offer.slots = 0),
    ("CdcPool: zero rate", |offer| offer.rate = 0),
    ("CdcPool: rate too high", |offer| offer.rate = 1 << 40),
    ("CdcPool: too many GPUs", |offer| offer.capabilities.gpu_count = 64),
    ("CdcPool: too much VRAM", |offer| offer.capabilities.vram_gib = 1_024),
    ("CdcPool: bad compute capability", |offer| offer.capabilities.compute_capability = 128),
    ("CdcPool: bad driver version", |offer| offer.capabilities.driver_version = 1_024),
    ("CdcPool: too many CPU cores", |offer| offer.capabilities.cpu_cores = 512),
    ("CdcPool: too much memory", |offer| offer.capabilities.memory_gib = 4_096),
    ("CdcPool: zero region", |offer| offer.capabilities.region = Felt::ZERO),
    ("CdcPool: region too long", |offer| offer.capabilities.region = Felt::from_bytes_be_slice(b"abcdef")),
];

/// Calls `action` with each fault, and with each fault and all that are looked at later.
async fn refuses_every_fault(action: impl AsyncFn(&Offer, &str)) {
    for (index, (words, fault)) in FAULTS.iter().enumerate() {
        let mut bad = Offer { capabilities: capabilities_to_chain(&cap()), slots: 2, rate: RATE };
        fault(&mut bad);
        action(&bad, words).await;
        FAULTS[index..].iter().rev().for_each(|(_, fault)| fault(&mut bad));
        action(&bad, words).await;
    }
}

fn approve_stake(world: &World, amount: u128) -> Call {
    let deployment = world.deployment();
    let calldata = vec![deployment.cdc_pool.address.0, Felt::from(amount), Felt::ZERO];
    Call { to: deployment.token.0, selector: selector!("approve"), calldata }
}

#[tokio::test]
async fn a_registered_worker_is_shown_as_it_registered() {
    let world = World::start().await;
    let (pool, owner) = (world.cdc_pool(), world.address(W1));
    let now = world.now().await;
    let before = world.balance(W1).await;
    let (worker_id, receipt) = world.register_as(W1, &cap(), 2, RATE, 10 * STRK).await.unwrap();
    assert_eq!(worker_id, WorkerId(1));
    let expected = MarketEvent::WorkerRegistered {
        worker_id,
        owner,
        capabilities: cap(),
        slots: 2,
        rate: Rate(RATE),
        stake: Fri(10 * STRK),
    };
    assert_eq!(world.contracts().events(&receipt).unwrap(), [expected]);
    assert_eq!(world.balance(W1).await, before - 10 * STRK - receipt.fee.0);
    assert_eq!(world.pool_balance().await, Fri(10 * STRK));
    let shown = cdc_pool::WorkerView {
        worker_id: 1,
        owner: ContractAddress(owner.0),
        status: ChainStatus::Active,
        capabilities: capabilities_to_chain(&cap()),
        slots: 2,
        free_slots: 2,
        free_gpus: 4,
        rate_gfri: RATE,
        stake: 10 * STRK,
        reputation: 500,
        registered_at: now.timestamp,
        exit_at: 0,
        exit_block: 0,
        is_static: false,
        holds: 0,
        reputation_at: now.timestamp,
    };
    assert_eq!(pool.get_worker(&1).call().await.unwrap(), shown);
    assert_eq!(world.contracts().worker_of(owner).await.unwrap(), Some(worker_id));
    assert_eq!(pool.worker_owner(&1).call().await.unwrap(), ContractAddress(owner.0));
    assert_eq!(pool.worker_count().call().await.unwrap(), 1);

    assert_eq!(pool.get_worker(&99).call().await.unwrap().status, ChainStatus::None);
    assert_eq!(pool.worker_owner(&99).call().await.unwrap(), ContractAddress(Felt::ZERO));
    assert_eq!(world.contracts().worker_of(world.address(OTHER)).await.unwrap(), None);
    let page = async |first: u32, count: u8| {
        let page = pool.get_workers(&first, &count).call().await.unwrap();
        page.into_iter().map(|worker| worker.worker_id).collect::<Vec<_>>()
    };
    view_refused(pool.get_workers(&1, &51).call().await, "CdcPool: too many asked");
    assert_eq!(page(0, 50).await, [1]);
    assert!(page(1, 0).await.is_empty());
    assert!(page(2, 50).await.is_empty());
    assert!(page(u32::MAX, 50).await.is_empty());
    world.conserved().await;
}

#[tokio::test]
async fn a_bad_offer_is_refused_for_its_first_fault() {
    let world = World::start().await;
    let pool = world.cdc_pool();
    let register = async |account: usize, offer: &Offer, stake: u128| {
        let Offer { capabilities, slots, rate } = offer;
        let register = pool.register_worker_getcall(capabilities, slots, rate, &stake);
        world.caller(account).send(vec![approve_stake(&world, stake), register]).await
    };
    refuses_every_fault(async |offer, words| refused(register(W1, offer, 0).await, words)).await;
    let good = Offer { capabilities: capabilities_to_chain(&cap()), slots: 2, rate: RATE };
    refused(register(W1, &good, 0).await, "CdcPool: stake too low");
    refused(register(W1, &good, 2 * MIN_STAKE - 1).await, "CdcPool: stake too low");
    let register_unpaid = pool.register_worker_getcall(&good.capabilities, &2, &RATE, &(2 * MIN_STAKE));
    refused(world.send(W1, register_unpaid).await, "ERC20: insufficient allowance");
    assert_eq!(pool.worker_count().call().await.unwrap(), 0);

    register(W1, &good, 2 * MIN_STAKE).await.unwrap();
    refused(register(W1, &good, 2 * MIN_STAKE).await, "CdcPool: already registered");
    refuses_every_fault(async |offer, _| refused(register(W1, offer, 0).await, "CdcPool: already registered")).await;

    let largest = Capabilities {
        gpu_count: 63,
        vram_gib: 1_023,
        compute_capability: 127,
        cuda_version: 255,
        driver_version: 1_023,
        cpu_cores: 511,
        memory_gib: 4_095,
        features: Features(u16::MAX),
        region: Some("zzzzz".parse().unwrap()),
    };
    let registered = world.register_as(W2, &largest, 255, Rate::MAX.0, 255 * MIN_STAKE).await;
    let worker = world.worker(registered.unwrap().0).await;
    assert_eq!((worker.capabilities, worker.slots, worker.rate), (largest, 255, Rate::MAX));
    assert_eq!((worker.used_slots, worker.used_gpus, worker.stake), (0, 0, Fri(255 * MIN_STAKE)));

    let smallest = Capabilities { region: Some("a".parse().unwrap()), ..Capabilities::default() };
    let registered = world.register_as(OTHER, &smallest, 1, 1, MIN_STAKE).await;
    assert_eq!(world.worker(registered.unwrap().0).await.capabilities, smallest);
    world.conserved().await;
}

#[tokio::test]
async fn an_offer_changes_while_nothing_runs() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let larger = Capabilities { gpu_count: 8, cuda_version: 128, region: Some("us".parse().unwrap()), ..cap() };
    let update = async |account: usize, slots: u8| {
        world.contracts().update_worker(world.sender(account), &larger, slots, Rate(5)).await
    };
    for stranger in [CLIENT, KEEPER, OTHER] {
        refused(update(stranger, 2).await, "CdcPool: caller not a worker");
    }
    refused(update(W1, 11).await, "CdcPool: stake too low");
    refuses_every_fault(async |offer, words| {
        let Offer { capabilities, slots, rate } = offer;
        let call = world.cdc_pool().update_worker_getcall(capabilities, slots, rate);
        refused(world.send(W1, call).await, words);
    })
    .await;

    let (job_id, _) = world.running(&world.spec().await, worker_id).await;
    refused(update(W1, 2).await, "CdcPool: jobs running");
    world.fail_attempt(W1, job_id, 1).await.unwrap();
    let updated = MarketEvent::WorkerUpdated { worker_id, capabilities: larger.clone(), slots: 10, rate: Rate(5) };
    assert_eq!(world.events(update(W1, 10).await), [updated]);
    let worker = world.worker(worker_id).await;
    assert_eq!((worker.capabilities, worker.slots, worker.rate), (larger.clone(), 10, Rate(5)));
    assert_eq!((worker.used_slots, worker.used_gpus), (0, 0));
    assert_eq!((worker.status, worker.reputation, worker.stake), (WorkerStatus::Active, 475, Fri(10 * STRK)));

    world.contracts().drain_worker(world.sender(W1)).await.unwrap();
    update(W1, 3).await.unwrap();
    assert_eq!(world.worker(worker_id).await.status, WorkerStatus::Draining);
    world.contracts().exit_worker(world.sender(W1)).await.unwrap();
    refused(update(W1, 3).await, "CdcPool: worker is leaving");
    world.conserved().await;
}

#[tokio::test]
async fn a_worker_drains_resumes_and_leaves() {
    let world = World::start().await;
    let (contracts, w1, w2) = (world.contracts(), world.sender(W1), world.sender(W2));
    for stranger in [CLIENT, KEEPER, OTHER] {
        let stranger = world.sender(stranger);
        refused(contracts.drain_worker(stranger).await, "CdcPool: caller not a worker");
        refused(contracts.resume_worker(stranger).await, "CdcPool: caller not a worker");
        refused(contracts.exit_worker(stranger).await, "CdcPool: caller not a worker");
        refused(contracts.withdraw_stake(stranger).await, "CdcPool: caller not a worker");
    }
    let (first, second) = (world.register(W1).await, world.register(W2).await);
    refused(contracts.resume_worker(w1).await, "CdcPool: not draining");
    let drained = world.events(contracts.drain_worker(w1).await);
    assert_eq!(drained, [MarketEvent::WorkerDrained { worker_id: first }]);
    refused(contracts.drain_worker(w1).await, "CdcPool: not active");
    let resumed = world.events(contracts.resume_worker(w1).await);
    assert_eq!(resumed, [MarketEvent::WorkerResumed { worker_id: first }]);
    refused(contracts.resume_worker(w1).await, "CdcPool: not draining");

    // From Active, and from Draining.
    contracts.drain_worker(w2).await.unwrap();
    for (worker_id, sender) in [(first, w1), (second, w2)] {
        let exit = world.now().await.after(UNBONDING_S);
        let expected = MarketEvent::WorkerExiting { worker_id, exit_at: exit.timestamp, exit_block: exit.block };
        assert_eq!(world.events(contracts.exit_worker(sender).await), [expected]);
        let shown = world.cdc_pool().get_worker(&worker_id.0).call().await.unwrap();
        assert_eq!((shown.status, shown.exit_at), (ChainStatus::Exiting, exit.timestamp));
        assert_eq!(BlockNumber(shown.exit_block), exit.block);
        refused(contracts.exit_worker(sender).await, "CdcPool: worker is leaving");
        refused(contracts.drain_worker(sender).await, "CdcPool: not active");
        refused(contracts.resume_worker(sender).await, "CdcPool: not draining");
    }
    world.conserved().await;
}

#[tokio::test]
async fn a_stake_comes_back_after_unbonding() {
    let world = World::start().await;
    let (contracts, owner, w1) = (world.contracts(), world.address(W1), world.sender(W1));
    let worker_id = world.register(W1).await;
    let withdraw = async || contracts.withdraw_stake(w1).await;
    refused(withdraw().await, "CdcPool: not exiting");
    contracts.drain_worker(w1).await.unwrap();
    refused(withdraw().await, "CdcPool: not exiting");
    contracts.resume_worker(w1).await.unwrap();

    let (job_id, _) = world.running(&world.spec().await, worker_id).await;
    let exit = world.now().await.after(UNBONDING_S);
    contracts.exit_worker(w1).await.unwrap();
    refused(withdraw().await, "CdcPool: jobs running");
    world.fail_attempt(W1, job_id, 1).await.unwrap();

    let before = world.balance(W1).await;
    let receipt = world.only_after(exit, "CdcPool: still bonded", withdraw).await;
    let amount = Fri(10 * STRK);
    let withdrawn = MarketEvent::StakeWithdrawn { worker_id, owner, amount };
    assert_eq!(contracts.events(&receipt).unwrap(), [withdrawn]);
    assert_eq!(world.balance(W1).await, before + amount.0 - receipt.fee.0);
    let worker = world.worker(worker_id).await;
    assert_eq!((worker.status, worker.stake, worker.reputation), (WorkerStatus::Exited, Fri::ZERO, 475));
    refused(withdraw().await, "CdcPool: not exiting");
    refused(contracts.exit_worker(w1).await, "CdcPool: worker is leaving");
    refused(contracts.drain_worker(w1).await, "CdcPool: not active");
    refused(contracts.resume_worker(w1).await, "CdcPool: not draining");
    world.conserved().await;

    let again = world.register(W1).await;
    assert_eq!(again, WorkerId(2));
    assert_eq!(contracts.worker_of(owner).await.unwrap(), Some(again));
    assert_eq!(world.reputation(again).await, 500);
    let old = world.worker(worker_id).await;
    assert_eq!((old.owner, old.reputation, old.status), (owner, 475, WorkerStatus::Exited));
    world.conserved().await;
}

#[tokio::test]
async fn a_worker_with_jobs_keeps_its_stake_bonded() {
    let world = World::start().await;
    let worker_id = world.register(W1).await;
    let (job_id, _) = world.running(&world.spec().await, worker_id).await;
    let exit = world.now().await.after(UNBONDING_S);
    world.contracts().exit_worker(world.sender(W1)).await.unwrap();
    world.pass(exit).await;
    refused(world.contracts().withdraw_stake(world.sender(W1)).await, "CdcPool: jobs running");
    let again = world.now().await.after(UNBONDING_S);
    world.submit_result(W1, job_id, 1).await.unwrap();
    refused(world.contracts().withdraw_stake(world.sender(W1)).await, "CdcPool: still bonded");
    world.pass(again).await;
    world.contracts().withdraw_stake(world.sender(W1)).await.unwrap();
    world.conserved().await;
}
