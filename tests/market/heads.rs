//! A keeper that a node tells of new blocks.

use e2e::{Localnet, LocalnetOptions, LyingHeads, Workplace, eventually};

use crate::whole_loop::{all_settled, jobs, market, sound_status, submit};

/// Asked so seldom, the chain is not looked at by its turn within the test.
const AN_HOUR: [&str; 2] = ["--poll-ms", "3600000"];

async fn heads(keeper: &e2e::KeeperProcess) -> String {
    let (_, body) = keeper.probe("ready").await;
    body["checks"]["heads"]["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_keeper_that_asks_once_an_hour_works_by_the_notices_of_a_real_chain() {
    // A block for each transaction: of those that a timer makes the local chain tells nobody.
    let chain = Localnet::start(LocalnetOptions::default());
    let place = Workplace::new(&chain);
    place.deploy(&chain).await;
    let url = chain.ws_url();
    let doctor = place.run(&["doctor", "--ws-url", &url]).await;
    assert!(doctor.stdout.contains("tells of new blocks"), "{}", doctor.stdout);
    let options = [&["--ws-url", &url, "--health-listen", "127.0.0.1:0"][..], &AN_HOUR].concat();
    let keeper = place.start_keeper_with(&options).await;
    let _agent = place.start_agent(4, &keeper, 2).await;
    submit(&place, &[1, 2], &[]).await;
    eventually("both jobs settle", async || {
        chain.make_blocks(1).await;
        let jobs = jobs(&place).await;
        jobs.iter().all(|job| job["state"] == "settled").then_some(())
    })
    .await;
    sound_status(&place).await;
    let told = heads(&keeper).await;
    assert!(told.contains("subscribed; notices"), "{told}");
    assert!(keeper.stop().await);
}

async fn works_with(place: &Workplace, url: &str, seed: u64) {
    let keeper = place.start_keeper_with(&["--ws-url", url, "--health-listen", "127.0.0.1:0"]).await;
    let _agent = place.start_agent(4, &keeper, 2).await;
    submit(place, &[seed], &[]).await;
    all_settled(place, 1).await;
    eventually("the server was connected to", async || {
        let told = heads(&keeper).await;
        (!told.ends_with("connections 0")).then_some(())
    })
    .await;
    let (_, body) = keeper.probe("ready").await;
    assert_eq!(body["checks"]["heads"]["ok"], true, "{body}");
    assert!(keeper.stop().await);
}

#[tokio::test]
async fn notices_that_lie_flood_or_never_come_do_no_harm() {
    let (_chain, place) = market().await;
    let lying = LyingHeads::start().await;
    works_with(&place, &lying.url(), 1).await;
    let status = sound_status(&place).await;
    assert_eq!(status["jobs"]["settled"], 1);
    let log = place.log("keeper.log");
    assert!(!log.contains("the chain was reorganised") && !log.contains("a service failed"), "{log}");
    assert!(lying.connections() > 0);
}

#[tokio::test]
async fn an_endpoint_without_notices_is_told_once_and_without_its_key() {
    let (_chain, place) = market().await;
    // It takes connections and talks to nobody.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("wss://me:hunter2@127.0.0.1:{port}/v2/abcdefghijklmnopqrstuv?key=hunter3");
    let tries = tokio::spawn(async move {
        for _ in 0..4 {
            drop(listener.accept().await.unwrap());
        }
    });
    let keeper = place.start_keeper_with(&["--ws-url", &url]).await;
    tries.await.unwrap();
    assert!(keeper.stop().await);
    let log = place.log("keeper.log");
    let told: Vec<&str> = log.lines().filter(|line| line.contains("no notices of new blocks")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains(" WARN ") && told[0].contains(&format!("wss://me@127.0.0.1:{port}/...")), "{log}");
    assert!(!log.contains("hunter") && !log.contains("abcdefghij"), "{log}");
}
