//! What rounds cost, and that the largest fits into a transaction.

use e2e::{DevnetAccount, deployment_of};
use keeper_types::{Address, Felt, Fri, JobId, JobSpec, MAX_ITEMS_PER_BATCH, Rate, Requirements, WorkerId};
use starknet::{core::types::Call, macros::selector};

use crate::world::{ADMIN, CLIENT, KEEPER, OTHER, RATE, STRK, World, cap, item};

/// Each with an account of its own, and more slots than the batches take from one.
const WORKERS: usize = 250;
const SLOTS: u8 = 5;
/// Submissions that one transaction carries: each makes two events, and a transaction at most a thousand.
const SUBMISSIONS: usize = 100;

async fn submit(world: &World, count: usize) -> Vec<JobId> {
    let mut job_ids = Vec::new();
    while job_ids.len() < count {
        let spec = JobSpec { requirements: Requirements::default(), max_price: Fri(STRK / 10), ..world.spec().await };
        let specs = vec![spec; SUBMISSIONS.min(count - job_ids.len())];
        job_ids.extend(world.contracts().submit_jobs(world.sender(CLIENT), &specs).await.unwrap().0);
    }
    job_ids
}

/// Makes accounts, all of one key, and registers each as a worker. The chain could predeploy them, but takes
/// gigabytes of memory for so many.
async fn hire(world: &World) {
    let (market, admin) = (&world.market, world.caller(ADMIN));
    let model = market.chain.account(ADMIN).clone();
    let [class, key] = [&model.class_hash, &model.public_key].map(|text| Felt::from_hex(text).unwrap());
    let deployments: Vec<_> = (1..=WORKERS as u64).map(|salt| deployment_of(class, salt, &[key])).collect();
    let token = world.deployment().token.0;
    for some in deployments.chunks(50) {
        let pay = |address: &Address| Call {
            to: token,
            selector: selector!("transfer"),
            calldata: vec![address.0, Felt::from(10 * STRK), Felt::ZERO],
        };
        let calls = some.iter().flat_map(|(deploy, address)| [deploy.clone(), pay(address)]);
        admin.send(calls.collect()).await.unwrap();
    }
    for (_, address) in deployments {
        let owner = market.chain.sender_of(&DevnetAccount { address, ..model.clone() }).await;
        let stake = Fri(STRK * u128::from(SLOTS));
        world.contracts().register_worker(&owner, &cap(), SLOTS, Rate(RATE), stake).await.unwrap();
    }
}

#[tokio::test]
async fn five_hundred_allocations_fit_into_one_transaction() {
    let world = World::start_with(OTHER).await;
    hire(&world).await;
    println!("items  L2 gas an item  L1 data gas an item");
    for (round, items) in (1..).zip([1, 10, 100, MAX_ITEMS_PER_BATCH]) {
        let workers = (0..WORKERS).cycle().map(|index| WorkerId(u32::try_from(index).unwrap() + 1));
        let jobs = submit(&world, items).await;
        let packed: Vec<_> = jobs.iter().zip(workers).map(|(job_id, worker)| item(*job_id, worker).pack()).collect();
        let receipt = world.apply_batch(KEEPER, round, 0, &packed).await.unwrap();
        let done = world.contracts().round_receipt(receipt.clone());
        assert_eq!((done.allocated as usize, done.skipped), (items, 0));
        let each = items as u64;
        println!("{items:>5}  {:>14}  {:>19}", receipt.l2_gas / each, receipt.l1_data_gas / each);
    }
    world.conserved().await;
}
