//! How long a job waits from its submission until a worker has it: a whole market under steady load.
//!
//! A local chain with a block every two seconds, one keeper (the program that `CIRO_KEEPER` names), a thousand registered
//! workers with sessions, and clients that submit so many jobs a second. The sessions are real: this program holds one
//! WebSocket for each worker, proves its account and answers what it is sent. It stands in for the agents' executors only:
//! no job is run, so that the chain's time goes to submissions and allocations.
//!
//! Writes one JSON object to the file that `CIRO_E2E_FIGURES` names.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a measurement fails by panicking and says what it does")]

mod crowd;
mod figures;
mod load;
mod shares;
mod watching;

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Parser;
use e2e::{Localnet, LocalnetOptions, Workplace};
use keeper_chain::{Contracts, Network, Rpc};
use serde_json::json;

use self::{figures::Figures, watching::Watching};

/// Seconds from block to block.
pub(crate) const BLOCK_S: u64 = 2;
const STRK: u128 = 1_000_000_000_000_000_000;
/// How long nothing may happen on chain before what waits counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The load.
#[derive(Clone, Copy, Debug, Parser)]
struct Load {
    /// How long jobs are submitted, in minutes
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Jobs a second
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Workers
    #[arg(long, default_value_t = 1_000)]
    workers: usize,
}

/// Where everything happens.
struct Scene {
    chain: Localnet,
    place: Workplace,
    contracts: Contracts,
}

#[tokio::main]
async fn main() {
    let load = Load::parse();
    let scene = Arc::new(Scene::set().await);
    let crowd = crowd::hire(&scene, load.workers).await;
    let options = ["--config", "keeper.toml", "--no-exits", "--log-json", "--poll-ms", "50"];
    let keeper = scene.place.start_keeper_with(&options).await;
    crowd::connect(&scene, crowd, &keeper.listen).await;
    let watching = Watching::begin(&scene).await;
    let submitted = load::submit(&scene, load).await;
    let seen = watching.until_allocated(&submitted, PATIENCE).await;
    let log = scene.place.log("keeper.log");
    let figures = Figures::of(load.rate, load.workers, &submitted, &seen, &shares::read(&log), memory_mb(&scene));
    print!("{}", figures.told());
    let text = serde_json::to_string_pretty(&figures.json()).expect("plain numbers");
    match std::env::var_os("CIRO_E2E_FIGURES").map(PathBuf::from) {
        Some(file) => std::fs::write(file, text).expect("writing the figures"),
        None => println!("{text}"),
    }
    if let Some(file) = std::env::var_os("CIRO_E2E_LOG").map(PathBuf::from) {
        std::fs::write(file, log).expect("keeping the keeper's log");
    }
    keeper.kill().await;
}

impl Scene {
    /// A chain with the contracts, and a keeper's policy that takes a block's jobs in one round.
    async fn set() -> Self {
        let options = LocalnetOptions {
            block_time: Some(BLOCK_S),
            balance: Some(1_000_000_000 * STRK),
            ..LocalnetOptions::default()
        };
        let chain = Localnet::start(options);
        let place = Workplace::new(&chain);
        place.write("keeper.toml", "[keeper]\nmax_batch = 300\n");
        let keeper = chain.account(2).address.to_string();
        let deploy = ["contracts", "deploy", "--keeper", &keeper, "--min-stake", "1", "--config", "keeper.toml"];
        place.json(1, &deploy).await;
        let contracts = place.contracts(&chain).await;
        Self { chain, place, contracts }
    }

    /// A connection of its own: what is measured must not wait behind what is counted.
    async fn connection(&self) -> Rpc {
        let url = self.chain.rpc_url().parse().expect("the chain says where it is");
        Rpc::connect(Network::Devnet, &url).await.expect("the chain answers")
    }
}

/// The chain's memory at the end, in MiB.
fn memory_mb(scene: &Scene) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", scene.chain.pid())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// What every job runs; nobody does.
pub(crate) fn manifest() -> String {
    json!({ "version": 1, "executor": { "kind": "matmul", "size": 24, "seed": 1 } }).to_string()
}
