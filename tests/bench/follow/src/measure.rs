//! The measurement.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use keeper_chain::{DeployedContract, Deployment, Follower, Network, Rpc};
use keeper_follow::{Fold, Latch, Turn};
use keeper_store::{Identity, SqliteStore, rebuild_market};
use keeper_types::{Address, BlockNumber, Felt, Market};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use starknet::{
    core::types::{BlockId, EventFilter},
    providers::{JsonRpcClient, Provider as _, jsonrpc::HttpTransport},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};
use url::Url;

use crate::{
    history::{FIRST, History, Shape},
    render::CONTRACTS,
};

/// Turns of the fold without any progress after which something is wrong.
const MOST_IDLE: u32 = 1_000;

/// Measures, prints and writes the figures; false where what was followed is not what was replayed.
///
/// # Errors
/// Fails where the server or the store does.
pub(crate) async fn run(shape: Shape, folder: &Path, json_file: Option<&Path>) -> Result<bool> {
    let history = History::new(shape);
    let mut oracle = Market::default();
    for (position, event) in history.blocks.iter().flat_map(|block| &block.events) {
        oracle.apply(event, position).context("the history is one that contracts tell")?;
    }
    let (events, replaced) = (history.events(), history.replaced_events());
    let newest = history.blocks.last().context("a history has blocks")?.header;
    drop(history);
    let expected = digest(&oracle)?;

    let (server, url) = serve(shape).await?;
    let plain = plain_loop(&url, &server).await?;
    drop(server);

    let (server, url) = serve(shape).await?;
    let folder = tempfile::tempdir_in(folder).context("making a folder for the database")?;
    let path = folder.path().join("keeper.sqlite");
    let store = Arc::new(SqliteStore::open(&path, identity()).await?);
    let rpc = Rpc::connect(Network::Devnet, &url).await?;
    let follower = Arc::new(Follower::new(&rpc, &deployment()));
    let latch = Arc::new(Latch::new());
    let mut fold = Fold::new(follower, store.clone(), latch, Arc::new(AtomicBool::new(false)), 0, || 0);
    let before = Cpu::now(&server)?;
    let started = Instant::now();
    let (mut reverts, mut idle) = (0_u64, 0);
    let mut reverting = Duration::ZERO;
    loop {
        let turn = Instant::now();
        match fold.turn().await? {
            Turn::CaughtUp(Some(head)) if head == newest => break,
            Turn::Reverted { .. } => {
                reverts += 1;
                reverting += turn.elapsed();
            }
            Turn::Extended { .. } => idle = 0,
            _ => idle += 1,
        }
        if idle > MOST_IDLE {
            bail!("the follower does not come on");
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let used = Cpu::now(&server)?.since(&before);
    drop(server);
    let followed = digest(fold.market())?;
    let stored = digest(&rebuild_market(&*store).await?)?;
    let is_same = followed == expected && stored == expected;
    let applied = events + replaced;
    let figures = json!({
        "events": events,
        "replaced_events": replaced,
        "blocks": shape.blocks,
        "reorganisations": reverts,
        "deepest": shape.max_depth,
        "seconds": round(seconds),
        "events_per_s": per_second(applied, seconds),
        "seconds_of_reverting": round(reverting.as_secs_f64()),
        "follower_cpu_seconds": round(used.follower),
        "server_cpu_seconds": round(used.server),
        "events_per_cpu_second": per_second(applied, used.follower),
        "database_mib": std::fs::metadata(&path)?.len() / (1 << 20),
        "synchronous": "FULL",
        "state_hash": followed,
        "oracle_hash": expected,
        "is_same_state": is_same,
        "plain_loop": plain,
    });
    print!("{}", table("", &figures));
    if let Some(file) = json_file {
        std::fs::write(file, serde_json::to_string_pretty(&figures)? + "\n")
            .with_context(|| format!("writing {}", file.display()))?;
    }
    if !is_same {
        eprintln!("error: what was followed is not what was replayed");
    }
    Ok(is_same)
}

/// Starts a server, and waits until it has rendered the history.
async fn serve(shape: Shape) -> Result<(Child, Url)> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    command.args(["serve", "--blocks", &shape.blocks.to_string(), "--reorgs", &shape.reorgs.to_string()]);
    command.args(["--max-depth", &shape.max_depth.to_string()]);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().context("starting the server")?;
    let stdout = child.stdout.take().context("the server's output is piped")?;
    let line = BufReader::new(stdout).lines().next_line().await?.context("the server says where it is")?;
    Ok((child, line.parse().context("the server's address")?))
}

/// Asks for the events of the three contracts, page by page, and forgets them: what the client library can do. The chain
/// is that of the first fork, which is shown until its newest block is read.
async fn plain_loop(url: &Url, server: &Child) -> Result<Value> {
    let client = JsonRpcClient::new(HttpTransport::new(url.clone()));
    let last = client.block_number().await?;
    let before = Cpu::now(server)?;
    let started = Instant::now();
    let mut events = 0;
    for contract in CONTRACTS {
        let filter = EventFilter {
            from_block: Some(BlockId::Number(FIRST)),
            to_block: Some(BlockId::Number(last)),
            address: Some(Felt::from(contract)),
            keys: None,
        };
        let mut token = None;
        loop {
            let page = client.get_events(filter.clone(), token, 1_000).await?;
            events += page.events.len();
            token = page.continuation_token;
            if token.is_none() {
                break;
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let used = Cpu::now(server)?.since(&before);
    Ok(json!({
        "events": events,
        "events_per_s": per_second(events, seconds),
        "events_per_cpu_second": per_second(events, used.follower),
    }))
}

/// Processor time, in seconds.
#[derive(Clone, Copy, Debug)]
struct Cpu {
    follower: f64,
    server: f64,
}

impl Cpu {
    fn now(server: &Child) -> Result<Self> {
        let server = server.id().context("the server runs")?.to_string();
        Ok(Self { follower: cpu_seconds("self")?, server: cpu_seconds(&server)? })
    }

    fn since(self, before: &Self) -> Self {
        Self { follower: self.follower - before.follower, server: self.server - before.server }
    }
}

/// Processor time that a process has used, by `/proc/PID/stat`, whose 14th and 15th fields count hundredths of a second.
fn cpu_seconds(process: &str) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).context("reading processor time")?;
    let fields = text.rsplit_once(')').context("the name ends with a bracket")?.1;
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts for people"
)]
fn per_second(count: usize, seconds: f64) -> u64 {
    if seconds > 0.0 { (count as f64 / seconds).round() as u64 } else { 0 }
}

fn round(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

fn digest(market: &Market) -> Result<String> {
    // Maps are sorted, so the same market is the same text.
    let text = serde_json::to_vec(&json!({
        "jobs": market.jobs.values().collect::<Vec<_>>(),
        "workers": market.workers.values().collect::<Vec<_>>(),
        "usage": market.usage.iter().collect::<Vec<_>>(),
        "credits": market.credits.iter().collect::<Vec<_>>(),
        "rounds": market.rounds.iter().collect::<Vec<_>>(),
    }))?;
    Ok(Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn deployment() -> Deployment {
    let [cdc_pool, job_mgr, task_allocator] =
        CONTRACTS.map(|contract| DeployedContract { address: Address(Felt::from(contract)), class_hash: Felt::ONE });
    Deployment {
        network: Network::Devnet,
        token: keeper_chain::STRK_TOKEN,
        job_mgr,
        cdc_pool,
        task_allocator,
        paymaster: None,
        referee: None,
        block: BlockNumber(FIRST),
        admin: Address(Felt::ONE),
        commit: None,
    }
}

fn identity() -> Identity {
    let deployment = deployment();
    Identity {
        chain_id: deployment.network.chain_id(),
        job_mgr: deployment.job_mgr.address,
        cdc_pool: deployment.cdc_pool.address,
        task_allocator: deployment.task_allocator.address,
        deployment_block: deployment.block,
    }
}

/// A line for every figure, named by where it stands.
fn table(name: &str, value: &Value) -> String {
    let Some(object) = value.as_object() else { return format!("{name:<32} {value:>20}\n") };
    let path = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name} {key}") };
    object.iter().map(|(key, inner)| table(&path(key), inner)).collect()
}
