//! Results that are verified: by other workers, and by a contract.

use e2e::{Localnet, LocalnetOptions, Workplace, eventually};
use keeper_types::{ContentHash, Felt};
use serde_json::Value;

use crate::whole_loop::{all_settled, jobs, market, sound_status, submit};

async fn job(place: &Workplace, id: &str) -> Value {
    place.json(3, &["job", "show", id]).await
}

#[tokio::test]
async fn replicas_agree_and_each_worker_is_paid() {
    let (_chain, place) = market().await;
    let keeper = place.start_keeper().await;
    let mut agents = Vec::new();
    for account in 4..=6 {
        agents.push(place.start_agent(account, &keeper, 2).await);
    }
    let ids = submit(&place, &[1], &["--replicas", "3", "--quorum", "2"]).await;
    assert_eq!(ids, [1, 2, 3], "a number for each replica");
    all_settled(&place, 3).await;

    let listed = jobs(&place).await;
    let mut workers: Vec<_> = listed.iter().map(|job| job["worker_id"].as_u64()).collect();
    workers.sort_unstable();
    assert_eq!(workers, [Some(1), Some(2), Some(3)], "each replica had a worker of its own");
    assert!(listed.iter().all(|job| job["result_hash"] == listed[0]["result_hash"]), "all agree");
    assert!(listed.iter().all(|job| job["group_id"] == 1 && job["commitment"] != "0x0"), "all were committed to");
    let status = eventually("the workers are paid out", async || {
        let status = sound_status(&place).await;
        let client = place.json(3, &["account", "credit"]).await["credit_fri"].clone();
        (status["money"]["owed_fri"] == client).then_some(status)
    })
    .await;
    assert_eq!(status["money"]["escrow_in_fri"], "3000000000000000000");
    assert_eq!(status["money"]["held_fri"], "0");
    for id in ["1", "2", "3"] {
        assert_eq!(place.json(3, &["worker", "show", id]).await["holds"], 0);
    }
}

#[tokio::test]
async fn an_agent_that_is_killed_after_its_commitment_reveals_when_it_is_back() {
    let (_chain, place) = market().await;
    let keeper = place.start_keeper().await;
    let mut first = place.start_agent(4, &keeper, 1).await;
    let _second = place.start_agent(5, &keeper, 1).await;
    // There is no third worker yet, so that reveals stay closed.
    submit(&place, &[1], &["--replicas", "3"]).await;
    eventually("two replicas are committed", async || {
        let committed = jobs(&place).await.iter().filter(|job| job["state"] == "committed").count();
        (committed == 2).then_some(())
    })
    .await;
    first.child.kill().await.unwrap();
    let _third = place.start_agent(6, &keeper, 1).await;
    let _again = place.start_registered_agent(4, &keeper.listen).await;
    all_settled(&place, 3).await;
    sound_status(&place).await;
}

#[tokio::test]
async fn a_disputed_product_is_judged_by_the_contract() {
    let chain = Localnet::start(LocalnetOptions { block_time: Some(1), ..LocalnetOptions::default() });
    let place = Workplace::new(&chain);
    let keeper = chain.account(2).address.to_string();
    place.json(1, &["contracts", "deploy", "--keeper", &keeper, "--challenge-window", "30s"]).await;
    let keeper = place.start_keeper().await;
    let _agent = place.start_agent(4, &keeper, 1).await;
    let manifest = r#"{"version":1,"executor":{"kind":"matmul","size":6,"seed":5}}"#;
    place.write("spaced.json", &manifest.replace(':', ": "));
    let terms = ["--max-price", "2", "--verification", "matmul", "--account", "devnet-3"];
    let refused = place.run(&[&["job", "submit", "--manifest", "spaced.json"], &terms[..]].concat()).await;
    assert!(refused.error().contains("use exactly"), "{}", refused.error());
    place.write("job.json", manifest);
    let submitted = place.run(&[&["job", "submit", "--manifest", "job.json"], &terms[..]].concat()).await;
    assert!(submitted.success, "{}", submitted.stderr);
    eventually("there is a result", async || (job(&place, "1").await["state"] == "revealed").then_some(())).await;
    place.json(3, &["job", "dispute", "1"]).await;
    let disputed = job(&place, "1").await;
    assert_eq!(disputed["state"], "disputed");
    assert_eq!(place.json(3, &["worker", "show", "1"]).await["holds"], 1);
    let status = eventually("the dispute shows", async || Some(sound_status(&place).await)).await;
    assert_eq!(status["money"]["bonds_fri"], "50000000000000000000", "the least bond");

    let result: Felt = serde_json::from_value(disputed["result_hash"].clone()).unwrap();
    let result = ContentHash::from_felt(result).unwrap().to_string();
    let output = place.path(&format!("data/artifacts/sha256/{}/{result}", &result[..2])).display().to_string();
    place.json(4, &["job", "judge", "1", "--manifest", "job.json", "--output", &output]).await;
    assert_eq!(job(&place, "1").await["state"], "settled");
    let status = sound_status(&place).await;
    assert_eq!((&status["money"]["held_fri"], &status["money"]["bonds_fri"]), (&"0".into(), &"0".into()));
    assert_eq!(place.json(3, &["worker", "show", "1"]).await["holds"], 0);
    // What is left of the escrow is the client's; the bond was the price of a dispute that was lost.
    place.json(3, &["account", "withdraw"]).await;
    eventually("the worker is paid out", async || {
        (sound_status(&place).await["money"]["balance_fri"] == "0").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_committee_runs_a_disputed_job_again() {
    let chain = Localnet::start(LocalnetOptions { block_time: Some(1), ..LocalnetOptions::default() });
    let place = Workplace::new(&chain);
    let keeper = chain.account(2).address.to_string();
    place.json(1, &["contracts", "deploy", "--keeper", &keeper, "--challenge-window", "30s"]).await;
    let keeper = place.start_keeper().await;
    let _accused = place.start_agent(4, &keeper, 1).await;
    submit(&place, &[1], &["--verification", "rerun"]).await;
    eventually("there is a result", async || (job(&place, "1").await["state"] == "revealed").then_some(())).await;
    place.json(3, &["job", "dispute", "1"]).await;
    let mut committee = Vec::new();
    for account in 5..=7 {
        committee.push(place.start_agent(account, &keeper, 1).await);
    }
    // The committee's replicas settle among themselves; then the keeper ends the dispute as they found.
    all_settled(&place, 4).await;
    let listed = jobs(&place).await;
    assert!(listed[1..].iter().all(|job| job["worker_id"] != listed[0]["worker_id"]), "nobody judges itself");
    assert!(listed[1..].iter().all(|job| job["result_hash"] == listed[0]["result_hash"]));
    let status = sound_status(&place).await;
    assert_eq!(status["money"]["escrow_in_fri"], "4000000000000000000", "the committee's escrow is the client's too");
}

#[tokio::test]
async fn a_worker_takes_a_job_itself_while_no_keeper_is_at_work() {
    let chain = Localnet::start(LocalnetOptions::default());
    let place = Workplace::new(&chain);
    place.deploy(&chain).await;
    place.json(4, &["worker", "register", "--slots", "1", "--region", "test", "--rate", "1"]).await;
    submit(&place, &[1], &[]).await;
    let early = place.run(&["job", "claim", "1", "--account", "devnet-4"]).await;
    assert!(early.error().contains("JobMgr: keepers active"), "{}", early.error());
    chain.make_blocks(101).await;
    place.json(4, &["job", "claim", "1"]).await;
    let claimed = job(&place, "1").await;
    assert_eq!(
        (&claimed["state"], &claimed["worker_id"], &claimed["score"]),
        (&"allocated".into(), &1.into(), &0.into())
    );

    place.json(4, &["worker", "heartbeat"]).await;
    place.json(4, &["worker", "add-stake", "5"]).await;
    assert_eq!(place.json(4, &["worker", "show", "1"]).await["stake"], "15000000000000000000");
    sound_status(&place).await;
}
