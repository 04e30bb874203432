//! A keeper whose node goes away, and one that is told to stop in the middle of its work.

use std::time::{Duration, Instant};

use e2e::{KeeperProcess, Proxy, Workplace, eventually};

use crate::whole_loop::{all_settled, jobs, market, sound_status, submit};

/// How long a keeper may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Answers probes on a free port.
const PROBED: [&str; 2] = ["--health-listen", "127.0.0.1:0"];

/// Waits until `/ready` answers with this status.
async fn until_ready_is(keeper: &KeeperProcess, wanted: u16) {
    eventually(&format!("/ready answers {wanted}"), async || {
        let (live, body) = keeper.probe("live").await;
        assert_eq!(live, 200, "the keeper lives all the while: {body}");
        (keeper.probe("ready").await.0 == wanted).then_some(())
    })
    .await;
}

/// The node goes away by `outage(true)` with jobs queued, and comes back by `outage(false)`.
async fn survives(place: &Workplace, keeper: &KeeperProcess, outage: impl Fn(bool)) {
    let (_first, _second) = (place.start_agent(4, keeper, 2).await, place.start_agent(5, keeper, 2).await);
    until_ready_is(keeper, 200).await;
    submit(place, &[1, 2, 3, 4, 5, 6], &[]).await;
    outage(true);
    until_ready_is(keeper, 503).await;
    let (_, body) = keeper.probe("ready").await;
    assert_eq!(body["checks"]["chain"]["ok"], false, "{body}");
    assert_eq!(body["checks"]["store"]["ok"], true, "{body}");
    outage(false);
    until_ready_is(keeper, 200).await;
    all_settled(place, 6).await;
    let status = sound_status(place).await;
    assert_eq!(status["money"]["held_fri"], "0");
    let log = place.log("keeper.log");
    assert!(!log.contains("started again"), "an outage of the node costs no restart: {log}");
}

#[tokio::test]
async fn a_node_that_hangs_makes_the_keeper_wait_and_nothing_is_lost() {
    let (chain, place) = market().await;
    let keeper = place.start_keeper_with(&PROBED).await;
    survives(&place, &keeper, |is_away| chain.pause(is_away)).await;
    assert!(keeper.stop().await);
}

#[tokio::test]
async fn a_node_that_refuses_connections_makes_the_keeper_wait_and_nothing_is_lost() {
    let (chain, mut place) = market().await;
    let proxy = Proxy::before(chain.rpc_url()).await;
    place.use_node(&proxy.rpc_url());
    let keeper = place.start_keeper_with(&PROBED).await;
    // Clients and workers have a node of their own.
    place.use_chain(&chain);
    survives(&place, &keeper, |is_away| proxy.set_open(!is_away)).await;
    assert!(keeper.stop().await);
}

/// Tells the keeper to stop, and checks that it does so in order and in time.
async fn stop_in_time(keeper: KeeperProcess, place: &Workplace) {
    let began = Instant::now();
    let in_order = keeper.stop().await;
    let took = began.elapsed();
    assert!(in_order, "{}", place.log("keeper.log"));
    assert!(took < STOP_LIMIT, "it took {took:?}");
}

#[tokio::test]
async fn a_keeper_that_is_told_to_stop_under_load_stops_in_time_and_loses_and_doubles_nothing() {
    let (chain, place) = market().await;
    let mut keeper = place.start_keeper_with(&PROBED).await;
    let listen = keeper.listen.clone();
    let restarted = [["--listen", &listen], PROBED].concat();
    let (_first, _second) = (place.start_agent(4, &keeper, 2).await, place.start_agent(5, &keeper, 2).await);
    let mut submitted = 0;
    for (burst, wanted) in ["queued", "allocated", "revealed", "queued", "allocated"].into_iter().enumerate() {
        let seeds: Vec<u64> = (1..=4).map(|seed| burst as u64 * 10 + seed).collect();
        submit(&place, &seeds, &[]).await;
        submitted += seeds.len();
        eventually("a job is in the state to stop in", async || {
            let states = jobs(&place).await;
            let over = states.iter().all(|job| job["state"] == "settled");
            (over || states.iter().any(|job| job["state"] == wanted)).then_some(())
        })
        .await;
        // The last two times the node hangs meanwhile, so that nothing that is being sent can be finished.
        chain.pause(burst >= 3);
        stop_in_time(keeper, &place).await;
        chain.pause(false);
        keeper = place.start_keeper_with(&restarted).await;
    }
    all_settled(&place, submitted).await;
    let status = sound_status(&place).await;
    assert_eq!((status["jobs"]["submitted"].as_u64(), &status["money"]["held_fri"]), (Some(20), &"0".into()));
    assert!(place.log("worker-4.log").contains("the keeper is going down"), "{}", place.log("worker-4.log"));
    stop_in_time(keeper, &place).await;
}

#[tokio::test]
async fn what_no_restart_can_mend_has_an_exit_code_of_its_own() {
    let (_chain, place) = market().await;
    let keeper = place.start_keeper_with(&PROBED).await;
    let run = async |more: &[&str]| {
        let mut arguments = vec!["run", "--account", "devnet-2"];
        arguments.extend_from_slice(more);
        place.run(&arguments).await
    };
    // A data directory has one keeper.
    let in_use = run(&["--listen", "127.0.0.1:0"]).await;
    assert_eq!(in_use.code, Some(13), "{}", in_use.stderr);
    assert!(in_use.stderr.contains("error: the keeper cannot start: another keeper is running"), "{}", in_use.stderr);
    let not_admitted = place.run(&["run", "--account", "devnet-7", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(not_admitted.code, Some(12), "{}", not_admitted.stderr);
    let taken = keeper.listen.clone();
    assert!(keeper.stop().await);
    let _somebody = std::net::TcpListener::bind(&taken).unwrap();
    let cannot_listen = run(&["--listen", &taken]).await;
    assert_eq!(cannot_listen.code, Some(14), "{}", cannot_listen.stderr);
    assert!(cannot_listen.stderr.contains("hint: choose another --listen address"), "{}", cannot_listen.stderr);
    let no_probes = run(&["--listen", "127.0.0.1:0", "--health-listen", &taken]).await;
    assert_eq!(no_probes.code, Some(14), "{}", no_probes.stderr);
    assert!(no_probes.stderr.contains("hint: choose another --health-listen address"), "{}", no_probes.stderr);
}
