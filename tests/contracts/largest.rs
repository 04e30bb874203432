//! The largest product that can be judged, through the keeper's own client: its bounds must let the transaction
//! through.

use keeper_types::{Attempt, JobState, MarketEvent, Verification};
use keeper_worker::MAX_JUDGED_SIZE;

use crate::{
    referee::Evidence,
    world::{CLIENT, OTHER, STRK, W1, World, refused},
};

/// What one transaction may use.
const MOST_L2_GAS: u64 = 1_110_000_000;

/// Has a result of this disputed, and judged; returns what the contracts said of the ruling, and its L2 gas.
async fn judged(world: &World, evidence: &Evidence) -> (Vec<MarketEvent>, u64) {
    let contracts = world.contracts();
    let mut spec = world.spec().await;
    spec.verification = Verification::Matmul;
    spec.manifest_hash = evidence.manifest_hash();
    let worker_id = contracts.workers().await.unwrap()[0].worker_id;
    let (job_id, _) = world.running(&spec, worker_id).await;
    contracts.submit_result(world.sender(W1), job_id, Attempt(1), evidence.hash()).await.unwrap();
    let client = world.sender(CLIENT);
    contracts.dispute_result(client, &world.job(job_id).await).await.unwrap();
    assert_eq!(world.state(job_id).await, JobState::Disputed);
    let product = (evidence.job.size, evidence.job.seed);
    let receipt = contracts.judge(world.sender(OTHER), job_id, product, &evidence.felts()).await.unwrap();
    refused(contracts.judge(world.sender(OTHER), job_id, product, &evidence.felts()).await, "Referee: not disputed");
    (contracts.events(&receipt).unwrap(), receipt.l2_gas)
}

#[tokio::test]
async fn a_product_of_the_largest_size_is_judged_in_one_transaction() {
    let world = World::start().await;
    world.register(W1).await;
    let right = Evidence::right(MAX_JUDGED_SIZE, 0x1234_5678_9abc_def0);
    let wrong = right.bent(|entries| entries[MAX_JUDGED_SIZE as usize] ^= 1);
    for (evidence, expected) in [(right, true), (wrong, false)] {
        let (events, l2_gas) = judged(&world, &evidence).await;
        let MarketEvent::DisputeRuled { is_right, by_default, .. } = events[0] else { panic!("{events:?}") };
        assert_eq!((is_right, by_default), (expected, false));
        // Half as much again would be more than there is: the client's margin has to give way.
        assert!((MOST_L2_GAS / 3 * 2..=MOST_L2_GAS).contains(&l2_gas), "{l2_gas}");
        println!("judging size {MAX_JUDGED_SIZE}: {l2_gas} L2 gas");
        world.conserved().await;
    }
    assert_eq!(world.worker(keeper_types::WorkerId(1)).await.stake.0, 9 * STRK);
}
