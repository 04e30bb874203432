//! A local chain that was started again, with the data directory of a keeper of the one before.

use std::{sync::Arc, time::Duration};

use e2e::{Localnet, LocalnetOptions, Proxy, Workplace, eventually};
use keeper_store::conformance::Server;
use serde_json::{Value, json};

use crate::whole_loop::{all_settled, market, submit};

/// Another chain on which the contracts have the same addresses.
async fn began_anew(place: &mut Workplace) -> Localnet {
    let chain = Localnet::start(LocalnetOptions { block_time: Some(1), ..LocalnetOptions::default() });
    place.use_chain(&chain);
    place.deploy(&chain).await;
    chain
}

/// The database of the former chain, by the name that it was set aside under.
fn set_aside(place: &Workplace) -> Vec<String> {
    let names = std::fs::read_dir(place.path("data")).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("keeper.sqlite.chain-")).collect()
}

#[tokio::test]
async fn a_keeper_goes_on_at_once_on_a_local_chain_that_began_anew() {
    let (old, mut place) = market().await;
    let keeper = place.start_keeper().await;
    let agent = place.start_agent(4, &keeper, 2).await;
    submit(&place, &[1, 2], &[]).await;
    all_settled(&place, 2).await;
    assert!(keeper.stop().await);
    drop((agent, old));

    let _chain = began_anew(&mut place).await;
    let before = place.log("keeper.log").len();
    let keeper = place.start_keeper_with(&["--health-listen", "127.0.0.1:0"]).await;
    let _agent = place.start_agent(4, &keeper, 1).await;
    submit(&place, &[7], &[]).await;
    all_settled(&place, 1).await;
    let log = place.log("keeper.log")[before..].to_owned();
    let told = log.lines().filter(|line| line.contains("the local chain began anew")).count();
    assert_eq!(told, 1, "{log}");
    for alarm in ["somebody else sends", "settled an intent of an earlier run", "reorganised", " ERROR "] {
        assert!(!log.contains(alarm), "{alarm}: {log}");
    }
    let (status, ready): (u16, Value) = keeper.probe("ready").await;
    assert_eq!(status, 200, "{ready}");
    let checked = place.run(&["db", "check"]).await;
    assert!(checked.stdout.contains("nothing is wrong with it"), "{} {}", checked.stdout, checked.stderr);
    // Nothing is deleted, and a restart on the same chain sets nothing aside.
    assert_eq!(set_aside(&place).len(), 1);
    assert!(keeper.stop().await);
    let keeper = place.start_keeper().await;
    assert_eq!(set_aside(&place).len(), 1);
    assert!(keeper.stop().await);
}

#[tokio::test]
async fn a_keeper_whose_chain_is_exchanged_while_it_runs_ends_and_says_so() {
    let (old, mut place) = market().await;
    let port = Proxy::before(old.rpc_url()).await;
    place.use_node(&port.rpc_url());
    let keeper = place.start_keeper().await;
    let chain = began_anew(&mut place).await;
    // What was read of the old chain stays as it is until the keeper is started again.
    port.set_node(chain.rpc_url());
    assert_eq!(keeper.ended().await, Some(11));
    let log = place.log("keeper.log");
    assert!(log.contains("none of the recorded blocks is on it"), "{log}");
    assert!(log.contains("hint: start the keeper again"), "{log}");
    place.use_node(&port.rpc_url());
    let keeper = place.start_keeper().await;
    eventually("the keeper has read the new chain", async || place.run(&["status"]).await.success.then_some(())).await;
    assert_eq!(set_aside(&place).len(), 1);
    assert!(keeper.stop().await);
}

/// The nonce of the keeper's account in the newest block.
async fn keepers_nonce(chain: &Localnet) -> Value {
    let account = chain.account(2).address;
    chain.ask("starknet_getNonce", json!({ "block_id": "latest", "contract_address": account })).await
}

/// Makes blocks until it is stopped.
fn with_blocks(chain: &Arc<Localnet>) -> tokio::task::JoinHandle<()> {
    let chain = chain.clone();
    tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(100));
        loop {
            pace.tick().await;
            chain.make_blocks(1).await;
        }
    })
}

/// Waits until so many transactions wait for the next block.
async fn waiting(chain: &Localnet, what: &str) {
    let count = async || chain.ask("starknet_getBlockTransactionCount", json!({ "block_id": "pre_confirmed" })).await;
    eventually(what, async || (count().await != 0).then_some(())).await;
}

/// A round is on its way when the chain is exchanged, and would fit the new one: same account, nonce and chain id. The keeper
/// looks for new blocks less and less often while its node is away, but sends again what is not there after ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_for_the_chain_before_is_not_sent_to_the_one_in_its_place() {
    let options = LocalnetOptions { block_time: Some(100_000), ..LocalnetOptions::default() };
    let old = Arc::new(Localnet::start(options));
    let mut place = Workplace::new(&old);
    let blocks = with_blocks(&old);
    place.deploy(&old).await;
    let port = Proxy::before(old.rpc_url()).await;
    place.use_node(&port.rpc_url());
    let keeper = place.start_keeper().await;
    let _agent = place.start_agent(4, &keeper, 1).await;
    blocks.abort();
    blocks.await.ok();

    // The job is in a block, what the keeper sends for it in none.
    let submitting = submit(&place, &[1], &[]);
    let once = async {
        waiting(&old, "the job is on its way").await;
        old.make_blocks(1).await;
    };
    tokio::join!(submitting, once);
    waiting(&old, "the round is on its way").await;
    let nonce = keepers_nonce(&old).await;
    port.set_open(false);

    let new = began_anew(&mut place).await;
    place.json(2, &["contracts", "bond"]).await;
    assert_eq!(keepers_nonce(&new).await, nonce, "what is on its way would fit");
    let seldom = "retry_in=8s";
    eventually("the keeper looks seldom", async || place.log("keeper.log").contains(seldom).then_some(())).await;
    port.set_node(new.rpc_url());
    port.set_open(true);
    assert_eq!(keeper.ended().await, Some(11));
    let log = place.log("keeper.log");
    new.make_blocks(2).await;
    assert_eq!(keepers_nonce(&new).await, nonce, "something was sent to the new chain: {log}");
    assert!(log.contains("nothing is sent to it until it is"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_servers_database_of_a_former_chain_is_refused_and_not_touched() {
    let server = Server::start(&[]).unwrap();
    let url = server.create_database().await.to_string();
    let database = ["--database", url.as_str()];
    let (old, mut place) = market().await;
    assert!(place.start_keeper_with(&database).await.stop().await);
    drop(old);

    let _chain = began_anew(&mut place).await;
    let before = place.run(&[&["db", "check"], &database[..]].concat()).await.stdout;
    let run = ["run", "--post-bond", "--account", "devnet-2", "--listen", "127.0.0.1:0"];
    let refused = place.run(&[&run[..], &database].concat()).await;
    assert_eq!(refused.code, Some(11), "{}", refused.stderr);
    assert!(refused.error().contains("was recorded from another chain"), "{}", refused.error());
    assert!(
        refused.error().contains("hint: make the database anew, with PostgreSQL's `dropdb`"),
        "{}",
        refused.error()
    );
    assert_eq!(place.run(&[&["db", "check"], &database[..]].concat()).await.stdout, before);
}
