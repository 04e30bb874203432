//! A keeper with two nodes, of which one hides events after a reorganisation, as nodes have done: they are in neither its
//! index nor its receipts, and everything else that it says is true.

use e2e::{Fault, KeeperProcess, Localnet, LocalnetOptions, LyingProxy, Workplace, eventually};
use serde_json::json;

use crate::whole_loop::{all_settled, jobs, sound_status, submit};

async fn newest(chain: &Localnet) -> u64 {
    chain.ask("starknet_blockNumber", json!([])).await.as_u64().unwrap()
}

/// Replaces the newest blocks.
async fn reorganise(chain: &Localnet, depth: u64) {
    let from = json!({ "block_number": newest(chain).await + 1 - depth });
    chain.ask("devnet_abortBlocks", json!({ "starting_block_id": from })).await;
    chain.make_blocks(depth + 1).await;
}

/// Waits until the keeper has read a block.
async fn has_read(keeper: &KeeperProcess, block: u64) {
    eventually("the keeper reads the block", async || {
        let (_, body) = keeper.probe("ready").await;
        let detail = body["checks"]["chain"]["detail"].as_str()?.to_owned();
        let read: u64 = detail.strip_prefix("read up to block ")?.split(' ').next()?.parse().ok()?;
        (read >= block).then_some(())
    })
    .await;
}

fn state(jobs: &[serde_json::Value], job_id: u64) -> &str {
    jobs.iter().find(|job| job["job_id"] == job_id).and_then(|job| job["state"].as_str()).unwrap()
}

/// Waits until so many jobs are settled, and the keeper has seen what it sent for each: it waits minutes for the receipt of a
/// transaction that a reorganisation took.
async fn all_paid(place: &Workplace, count: usize) {
    all_settled(place, count).await;
    eventually("the worker is paid out for each", async || {
        (place.log("keeper.log").matches("paid out").count() >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn events_that_one_of_two_nodes_hides_are_not_lost() {
    let options = LocalnetOptions { block_time: Some(1), archive: true, ..LocalnetOptions::default() };
    let chain = Localnet::start(options);
    let mut place = Workplace::new(&chain);
    place.deploy(&chain).await;
    let honest = LyingProxy::before(chain.rpc_url(), 1).await;
    let hiding = LyingProxy::before(chain.rpc_url(), 2).await;
    place.use_node(&format!("{},{}", honest.rpc_url(), hiding.rpc_url()));
    let keeper = place.start_keeper_with(&["--health-listen", "127.0.0.1:0"]).await;
    place.use_chain(&chain);
    let _agent = place.start_agent(4, &keeper, 2).await;
    submit(&place, &[1], &[]).await;
    all_paid(&place, 1).await;

    // While the other node tells of them, nothing is believed: of two, neither can be outvoted.
    reorganise(&chain, 1).await;
    hiding.lie(Fault::HiddenEvents, 100).await;
    submit(&place, &[2], &[]).await;
    eventually("the two contradict each other", async || {
        let log = place.log("keeper.log");
        (hiding.injected() > 0 && log.contains("contradict each other")).then_some(())
    })
    .await;
    hiding.be_honest();
    all_paid(&place, 2).await;

    // The other is silent: the only one that answers is believed, and the job is never heard of.
    honest.lie(Fault::ServerError, 100).await;
    reorganise(&chain, 2).await;
    hiding.lie(Fault::HiddenEvents, 100).await;
    submit(&place, &[3], &[]).await;
    has_read(&keeper, newest(&chain).await + 3).await;
    assert_eq!(state(&jobs(&place).await, 3), "queued", "the keeper cannot know of it");
    // JobMgr knows it, and is asked every minute.
    eventually("the difference is noticed", async || {
        place.log("keeper.log").contains("what is believed differs from what the contracts hold").then_some(())
    })
    .await;
    honest.be_honest();
    hiding.be_honest();
    all_settled(&place, 3).await;

    let status = sound_status(&place).await;
    assert_eq!((&status["jobs"]["settled"], &status["money"]["held_fri"]), (&json!(3), &json!("0")), "{status}");
    eventually("the keeper agrees with the contracts", async || {
        let (_, body) = keeper.probe("ready").await;
        (body["checks"]["reconciliation"]["ok"] == true && body["ready"] == true).then_some(())
    })
    .await;
    assert!(keeper.stop().await);
}
