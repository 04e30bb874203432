//! Workers and clients that pay no fee, by the keeper's own client: what they sign is handed in by a relayer, and a
//! sponsor pays.

use keeper_chain::{Contracts, NamedCall, Network, SponsoredCalls};
use keeper_types::{Fri, JobState, MarketEvent, Rate};

use crate::world::{CLIENT, RATE, STRK, W1, W2, World, cap, refused};

const SPONSOR: usize = W2 + 1;
const RELAYER: usize = W2 + 2;
const FEE: Fri = Fri(STRK / 100);
const FUNDS: Fri = Fri(50 * STRK);

/// A market whose sponsor pays for the worker and the client.
async fn sponsored() -> World {
    let world = World::start_with(RELAYER).await;
    let (contracts, sponsor) = (world.contracts(), world.sender(SPONSOR));
    contracts.deposit(sponsor, sponsor.address(), FUNDS).await.unwrap();
    contracts.set_relayer(sponsor, world.address(RELAYER), true).await.unwrap();
    for account in [W1, CLIENT] {
        let terms = Some((Fri(FEE.0 * 3), FEE));
        contracts.set_sponsorship(sponsor, world.address(account), terms).await.unwrap();
    }
    world
}

fn sign(world: &World, account: usize, nonce: u64, calls: Vec<NamedCall>) -> SponsoredCalls {
    let credentials = world.market.chain.account(account).credentials();
    let paymaster = world.deployment().paymaster.unwrap().address;
    let times = (0, u64::MAX);
    SponsoredCalls::sign(&credentials, Network::Devnet.chain_id(), paymaster, nonce.into(), times, calls).unwrap()
}

async fn relay(world: &World, signed: &SponsoredCalls) -> crate::world::Sent {
    world.contracts().relay(world.sender(RELAYER), world.address(SPONSOR), FEE, signed).await
}

/// What the Paymaster holds is what the accounts have there.
async fn covered(world: &World, expected: Fri) {
    let paymaster = world.deployment().paymaster.unwrap().address;
    let held = Contracts::balance(world.contracts().rpc(), world.deployment().token, paymaster).await.unwrap();
    let sponsor = world.contracts().deposit_of(world.address(SPONSOR)).await.unwrap();
    assert_eq!((held, sponsor), (expected, expected));
    world.conserved().await;
}

#[tokio::test]
async fn a_worker_and_a_client_begin_without_a_fee_of_their_own() {
    let world = sponsored().await;
    let (contracts, worker, client) = (world.contracts(), world.sender(W1), world.sender(CLIENT));
    let nonces = [worker.nonce().await.unwrap(), client.nonce().await.unwrap()];
    let before = [world.balance(W1).await, world.balance(CLIENT).await, world.balance(RELAYER).await];

    let calls = contracts.registration_calls(worker, &cap(), 2, Rate(RATE), Fri(10 * STRK));
    let registered = relay(&world, &sign(&world, W1, 1, calls)).await.unwrap();
    let events = contracts.events(&registered).unwrap();
    let MarketEvent::WorkerRegistered { worker_id, owner, stake, .. } = events[0].clone() else {
        panic!("no worker is registered: {events:?}");
    };
    assert_eq!((owner, stake), (worker.address(), Fri(10 * STRK)));

    let spec = world.spec().await;
    let signed = sign(&world, CLIENT, 1, contracts.submission_calls(client, std::slice::from_ref(&spec)).unwrap());
    let submitted = relay(&world, &signed).await.unwrap();
    let events = contracts.events(&submitted).unwrap();
    let MarketEvent::JobSubmitted { job_id, client: whose, .. } = events[0] else {
        panic!("no job is submitted: {events:?}");
    };
    assert_eq!(whose, client.address());
    refused(relay(&world, &signed).await, "SRC9: duplicated nonce");

    // Stake and escrow are their own; the fees were the relayer's, and were repaid to it.
    assert_eq!([worker.nonce().await.unwrap(), client.nonce().await.unwrap()], nonces);
    let after = [world.balance(W1).await, world.balance(CLIENT).await, world.balance(RELAYER).await];
    let fees = registered.fee.0 + submitted.fee.0;
    let relayed = before[2] + 2 * FEE.0 - fees;
    assert_eq!(after, [before[0] - 10 * STRK, before[1] - spec.max_price.0, relayed]);
    covered(&world, Fri(FUNDS.0 - 2 * FEE.0)).await;

    // What began so is a job like any other.
    world.allocate(job_id, worker_id).await;
    world.submit_result(W1, job_id, 1).await.unwrap();
    world.accept_result(CLIENT, job_id).await.unwrap();
    let job = world.job(job_id).await;
    assert_eq!(job.state, JobState::Settled);
    assert_eq!((world.credit(W1).await, world.credit(CLIENT).await), (job.price().0, STRK - job.price().0));
    covered(&world, Fri(FUNDS.0 - 2 * FEE.0)).await;
}

#[tokio::test]
async fn the_keepers_client_undoes_all_that_it_sets() {
    let world = sponsored().await;
    let (contracts, client, sponsor) = (world.contracts(), world.sender(CLIENT), world.sender(SPONSOR));
    let good =
        |nonce| sign(&world, CLIENT, nonce, contracts.registration_calls(client, &cap(), 1, Rate(RATE), Fri(STRK)));
    contracts.set_sponsorship(sponsor, client.address(), None).await.unwrap();
    refused(relay(&world, &good(1)).await, "Paymaster: not sponsored");
    contracts.set_relayer(sponsor, world.address(RELAYER), false).await.unwrap();
    refused(relay(&world, &good(1)).await, "Paymaster: caller not relayer");

    // A gateway with a cap, and with none.
    let gateway = world.sender(RELAYER);
    contracts.deposit(client, client.address(), Fri(2 * STRK)).await.unwrap();
    let spec = world.spec().await;
    refused(
        contracts.submit_jobs_for(gateway, client.address(), std::slice::from_ref(&spec)).await,
        "Paymaster: cap too low",
    );
    contracts.set_gateway(client, gateway.address(), Some(Fri(2 * STRK))).await.unwrap();
    let (jobs, _) = contracts.submit_jobs_for(gateway, client.address(), std::slice::from_ref(&spec)).await.unwrap();
    assert_eq!(world.job(jobs[0]).await.client, client.address());
    contracts.set_gateway(client, gateway.address(), None).await.unwrap();
    refused(
        contracts.submit_jobs_for(gateway, client.address(), std::slice::from_ref(&spec)).await,
        "Paymaster: cap too low",
    );
    assert_eq!(contracts.deposit_of(client.address()).await.unwrap(), Fri(STRK));
    let balance = world.balance(CLIENT).await;
    let withdrawn = contracts.withdraw_deposit(client, Fri(STRK)).await.unwrap();
    assert_eq!(world.balance(CLIENT).await, balance + STRK - withdrawn.fee.0);
    refused(contracts.withdraw_deposit(client, Fri(1)).await, "Paymaster: balance too low");
    covered(&world, FUNDS).await;
}
