//! A keeper with several nodes, of which some are bad.

use e2e::{Fault, LyingProxy, Workplace, eventually};

use crate::whole_loop::{all_settled, market, sound_status, submit};

/// Three endpoints before one chain, and their addresses as one option.
async fn three(rpc_url: &str) -> (Vec<LyingProxy>, String) {
    let mut proxies = Vec::new();
    for seed in 0..3 {
        proxies.push(LyingProxy::before(rpc_url, seed).await);
    }
    let urls: Vec<String> = proxies.iter().map(LyingProxy::rpc_url).collect();
    (proxies, urls.join(","))
}

fn standings(doctor: &serde_json::Value) -> Vec<bool> {
    let checks = doctor["checks"].as_array().unwrap();
    checks.iter().filter(|check| check["name"] == "node").map(|check| check["ok"] == true).collect()
}

#[tokio::test]
async fn a_keeper_works_while_one_of_its_three_nodes_lies_and_says_which() {
    let (chain, mut place) = market().await;
    let (proxies, urls) = three(chain.rpc_url()).await;
    place.use_node(&urls);
    let keeper = place.start_keeper_with(&["--health-listen", "127.0.0.1:0"]).await;
    eventually("all three are healthy", async || {
        let (_, body) = keeper.probe("ready").await;
        (body["checks"]["endpoints"]["detail"] == "3 of 3 healthy").then_some(())
    })
    .await;
    place.use_chain(&chain);
    let (_first, _second) = (place.start_agent(4, &keeper, 2).await, place.start_agent(5, &keeper, 2).await);
    for (round, fault) in [Fault::ForkedHead, Fault::MissingEvents, Fault::ServerError].into_iter().enumerate() {
        proxies[round].lie(fault, 100).await;
        submit(&place, &[round as u64 * 2 + 1, round as u64 * 2 + 2], &[]).await;
        all_settled(&place, (round + 1) * 2).await;
        assert!(proxies[round].injected() > 0, "it was asked");
        proxies[round].be_honest();
    }
    sound_status(&place).await;
    let log = place.log("keeper.log");
    assert!(!log.contains("the chain was reorganised"), "nobody reorganised it: {log}");
    assert!(keeper.stop().await);
}

#[tokio::test]
async fn a_node_of_another_chain_is_named_and_left_out_and_none_at_all_ends_the_start() {
    let (chain, _) = market().await;
    let (proxies, urls) = three(chain.rpc_url()).await;
    let place = Workplace::at(&urls);
    let doctor = place.run(&["doctor", "--json"]).await;
    let doctor: serde_json::Value = serde_json::from_str(&doctor.stdout).unwrap();
    assert_eq!(standings(&doctor), [true, true, true], "{doctor}");
    proxies[1].lie(Fault::WrongChain, 100).await;
    let outcome = place.run(&["doctor", "--json"]).await;
    let doctor: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(standings(&doctor), [true, false, true], "{doctor}");
    assert!(outcome.stderr.contains("is on chain SN_MAIN"), "{}", outcome.stderr);
    proxies[0].lie(Fault::WrongChain, 100).await;
    proxies[2].lie(Fault::WrongChain, 100).await;
    let status = place.run(&["status"]).await;
    assert!(status.error().contains("is on chain SN_MAIN"), "{}", status.stderr);
}
