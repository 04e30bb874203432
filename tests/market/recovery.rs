//! Processes that die and chains that change their mind.

use e2e::{Localnet, LocalnetOptions, Workplace, eventually};
use keeper_store::{Identity, IntentAction, IntentTransaction, NewIntent, Purpose, SqliteStore, Store as _};
use keeper_types::{BlockNumber, Felt, Fri, TxHash};
use serde_json::json;

use crate::whole_loop::{all_settled, jobs, market, sound_status, submit};

#[tokio::test]
async fn a_keeper_that_is_killed_and_started_again_loses_nothing_and_doubles_nothing() {
    let (_chain, place) = market().await;
    let mut keeper = place.start_keeper().await;
    // Agents connect to where the keeper was; the one that follows must listen there as well.
    let listen = keeper.listen.clone();
    let _first = place.start_agent(4, &keeper, 2).await;
    let _second = place.start_agent(5, &keeper, 2).await;
    for (burst, seeds) in [[1, 2, 3], [4, 5, 6], [7, 8, 9]].into_iter().enumerate() {
        submit(&place, &seeds, &[]).await;
        // Killed at another moment each time: at once, in the middle of a round, while jobs run.
        let wanted = ["queued", "allocated", "revealed"][burst];
        eventually("a job is in the state to be killed in", async || {
            let states = jobs(&place).await;
            let any = states.iter().any(|job| job["state"] == wanted);
            let over = states.iter().all(|job| job["state"] == "settled");
            (any || over).then_some(())
        })
        .await;
        keeper.kill().await;
        keeper = place.start_keeper_with(&["--listen", &listen]).await;
    }
    all_settled(&place, 9).await;
    let status = sound_status(&place).await;
    assert_eq!(status["jobs"]["submitted"], 9);
    assert_eq!(status["money"]["held_fri"], "0");
}

#[tokio::test]
async fn a_keeper_that_lost_its_database_believes_the_same_again() {
    let (_chain, place) = market().await;
    let keeper = place.start_keeper().await;
    let listen = keeper.listen.clone();
    let _agent = place.start_agent(4, &keeper, 1).await;
    submit(&place, &[1], &[]).await;
    all_settled(&place, 1).await;
    keeper.kill().await;
    for name in ["keeper.sqlite", "keeper.sqlite-wal", "keeper.sqlite-shm"] {
        std::fs::remove_file(place.path("data").join(name)).ok();
    }
    let _keeper = place.start_keeper_with(&["--listen", &listen]).await;
    submit(&place, &[2], &[]).await;
    all_settled(&place, 2).await;
    sound_status(&place).await;
}

#[tokio::test]
async fn a_reorganisation_takes_back_what_it_took_back() {
    let chain = Localnet::start(LocalnetOptions { archive: true, ..LocalnetOptions::default() });
    let place = Workplace::new(&chain);
    place.deploy(&chain).await;
    let _keeper = place.start_keeper().await;
    submit(&place, &[1], &[]).await;
    let before = chain.ask("starknet_blockNumber", json!([])).await.as_u64().unwrap();
    submit(&place, &[2], &[]).await;
    let seen = async |id: &'static str| {
        let explained = place.run(&["job", "explain", id, "--json"]).await;
        explained.success && explained.json()["decision"].is_object()
    };
    eventually("the keeper has seen both jobs", async || seen("2").await.then_some(())).await;

    let from = json!({ "block_number": before + 1 });
    chain.ask("devnet_abortBlocks", json!({ "starting_block_id": from })).await;
    chain.make_blocks(3).await;
    assert!(place.run(&["job", "show", "2"]).await.error().contains("job 2 does not exist"));
    // The number is used again, by another job, which the keeper must see as a new one.
    submit(&place, &[3], &["--priority", "9"]).await;
    let log = eventually("the keeper notices", async || {
        let log = place.log("keeper.log");
        log.contains("the chain was reorganised").then_some(log)
    })
    .await;
    assert!(!log.contains("do not fit"), "{log}");
    eventually("the keeper decides about the new job 2", async || {
        let explained = place.run(&["job", "explain", "2", "--json"]).await;
        let decision = explained.success.then(|| explained.json()["decision"].clone())?;
        (decision["snapshot_block"].as_u64()? > before + 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_killed_and_started_again_runs_its_job() {
    let (_chain, place) = market().await;
    let keeper = place.start_keeper().await;
    let mut agent = place.start_agent(4, &keeper, 1).await;
    submit(&place, &[1], &[]).await;
    eventually("the job is allocated", async || {
        jobs(&place).await.iter().any(|job| job["state"] != "queued").then_some(())
    })
    .await;
    agent.child.kill().await.unwrap();
    let _again = place.start_registered_agent(4, &keeper.listen).await;
    all_settled(&place, 1).await;
    sound_status(&place).await;
}

/// A keeper died between writing an intent and sending it, and its account sent something else since.
#[tokio::test]
async fn an_intent_whose_nonce_was_used_holds_nothing_up() {
    let (chain, place) = market().await;
    let keeper = place.start_keeper().await;
    let listen = keeper.listen.clone();
    let _agent = place.start_agent(4, &keeper, 1).await;
    submit(&place, &[1], &[]).await;
    all_settled(&place, 1).await;
    assert!(keeper.stop().await);

    let contracts = place.contracts(&chain).await;
    let deployment = contracts.deployment();
    let identity = Identity {
        chain_id: keeper_types::ChainId::SEPOLIA,
        job_mgr: deployment.job_mgr.address,
        cdc_pool: deployment.cdc_pool.address,
        task_allocator: deployment.task_allocator.address,
        deployment_block: deployment.block,
    };
    let store = SqliteStore::open(&place.path("data/keeper.sqlite"), identity).await.unwrap();
    let signed = IntentTransaction {
        tx_hash: TxHash(Felt::from(0xdead)),
        purpose: Purpose::Action,
        request: None,
        tip: 0,
        l2_gas_price: 1,
        max_fee: Fri(1),
        signed_ms: 1,
        sent_ms: None,
    };
    let lost = NewIntent {
        action: IntentAction::ApplyBatch { round: 9, snapshot_block: BlockNumber(1), items: Vec::new() },
        account: chain.account(2).address,
        signed: Some((0, signed)),
        created_ms: 1,
    };
    store.record_intent(&lost).await.unwrap();
    store.close().await;

    let _keeper = place.start_keeper_with(&["--listen", &listen]).await;
    submit(&place, &[2], &[]).await;
    all_settled(&place, 2).await;
    assert!(place.log("keeper.log").contains("settled an intent of an earlier run"));
}
