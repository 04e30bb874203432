//! The keeper's command line, as the demo uses it: what is typed, and what comes back.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::process::capture;

const DEPLOY: &[&str] = &["contracts", "deploy", "--challenge-window", "2s"];
const RUN: &[&str] = &["run", "--listen", "127.0.0.1:0", "--post-bond"];
const REGISTER: &[&str] =
    &["worker", "register", "--slots", "2", "--region", "local", "--rate", "1", "--allow-processes"];
const WORK: &[&str] = &["worker", "run", "--allow-processes"];
/// A local chain makes a block a second, whatever network it is taken for.
const POLL_MS: &str = "250";
const SUBMIT: &[&str] = &["job", "submit", "--max-price", "1", "--deadline", "10m", "--timeout", "60s"];
const LIST: &[&str] = &["job", "list"];
const STATUS: &[&str] = &["status"];
const WITHDRAW: &[&str] = &["account", "withdraw"];

/// The states that a job never leaves.
const FINAL_STATES: [&str; 4] = ["settled", "cancelled", "expired", "failed"];

const HINT: &str = "the command can be repeated by hand while the demo runs without --once";

/// Which network the keeper is told that the local chain is.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Network {
    /// A local chain: accounts are named by number.
    Devnet,
    /// The public test network, whose chain id the local chain has: accounts come from files, keys from the
    /// environment, as they do there.
    Sepolia,
}

impl Network {
    fn name(self) -> &'static str {
        match self {
            Self::Devnet => "devnet",
            Self::Sepolia => "sepolia",
        }
    }
}

/// What the local chain says when it is ready.
#[derive(Debug, Deserialize)]
pub(super) struct Chain {
    pub(super) rpc_url: String,
    accounts: Vec<Account>,
}

#[derive(Debug, Deserialize)]
struct Account {
    address: String,
    class_hash: String,
    public_key: String,
    private_key: String,
}

impl Account {
    /// The account file that Starknet's command-line tools share.
    fn file(&self) -> Value {
        json!({
            "version": 1,
            "variant": { "type": "open_zeppelin", "version": 1, "public_key": self.public_key, "legacy": false },
            "deployment": { "status": "deployed", "class_hash": self.class_hash, "address": self.address },
        })
    }
}

/// Who acts; each has an account of its own on the local chain.
#[derive(Debug, Clone, Copy)]
pub(super) enum Actor {
    /// Deploys the contracts and is their admin.
    Deployer,
    /// Allocates jobs.
    Keeper,
    /// Submits jobs.
    Client,
    /// Runs jobs; numbered from 1.
    Worker(u8),
}

impl Actor {
    /// How many accounts the chain needs for `workers` workers.
    pub(super) fn count(workers: u8) -> usize {
        Self::Worker(workers).number()
    }

    /// The account's place on the chain, from 1.
    fn number(self) -> usize {
        match self {
            Self::Deployer => 1,
            Self::Keeper => 2,
            Self::Client => 3,
            Self::Worker(number) => 3 + usize::from(number),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deployer => formatter.write_str("deployer"),
            Self::Keeper => formatter.write_str("keeper"),
            Self::Client => formatter.write_str("client"),
            Self::Worker(number) => write!(formatter, "worker-{number}"),
        }
    }
}

/// The keeper's program, with this run's chain and folders.
#[derive(Debug)]
pub(super) struct Keeper {
    program: PathBuf,
    folder: PathBuf,
    network: Network,
    chain: Chain,
}

/// What `keeper job submit` answers.
#[derive(Debug, Deserialize)]
pub(super) struct SubmittedJobs {
    pub(super) jobs: Vec<SubmittedJob>,
    pub(super) submitted_at_ms: u64,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub(super) struct SubmittedJob {
    pub(super) job_id: u64,
}

/// A job in `keeper job list`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct JobRow {
    pub(super) job_id: u64,
    pub(super) state: String,
    #[serde(default)]
    pub(super) worker_id: Option<u32>,
    #[serde(default)]
    pub(super) attempt: u8,
    #[serde(default, rename = "price_fri")]
    pub(super) paid_fri: Option<String>,
}

impl JobRow {
    pub(super) fn is_final(&self) -> bool {
        FINAL_STATES.contains(&self.state.to_lowercase().as_str())
    }

    pub(super) fn is_settled(&self) -> bool {
        self.state.eq_ignore_ascii_case("settled")
    }
}

/// What `keeper status` answers.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) rounds: u64,
    pub(super) allocations: u64,
    pub(super) money: Money,
    #[serde(default)]
    pub(super) l2_gas_per_allocation: Option<u64>,
    #[serde(default)]
    pub(super) allocations_list: Vec<Allocation>,
}

/// The escrow's books, in fri.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Money {
    pub(super) escrow_in_fri: String,
    pub(super) paid_fri: String,
    pub(super) refunded_fri: String,
    pub(super) held_fri: String,
    pub(super) owed_fri: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Allocation {
    job_id: u64,
    allocated_at_ms: Option<u64>,
}

impl Status {
    /// When each job was first allocated, in milliseconds since 1970.
    pub(super) fn allocated_at_ms(&self) -> BTreeMap<u64, u64> {
        let mut first = BTreeMap::new();
        for allocation in &self.allocations_list {
            let Some(allocated_at_ms) = allocation.allocated_at_ms else { continue };
            let at = first.entry(allocation.job_id).or_insert(allocated_at_ms);
            *at = allocated_at_ms.min(*at);
        }
        first
    }
}

#[derive(Debug, Deserialize)]
struct Registered {
    worker_id: u32,
}

#[derive(Debug, Deserialize)]
struct JobRows {
    jobs: Vec<JobRow>,
}

impl Keeper {
    /// Writes the accounts' files where the network wants files.
    pub(super) fn new(program: PathBuf, folder: &Path, network: Network, chain: Chain) -> Result<Self> {
        let keeper = Self { program, folder: folder.to_owned(), network, chain };
        if matches!(network, Network::Sepolia) {
            fs::create_dir_all(folder.join("accounts")).context("making a folder for the accounts")?;
            for (index, account) in keeper.chain.accounts.iter().enumerate() {
                let file = keeper.account_file(index + 1);
                fs::write(&file, account.file().to_string()).with_context(|| format!("writing {}", file.display()))?;
            }
        }
        Ok(keeper)
    }

    fn account_file(&self, number: usize) -> PathBuf {
        self.folder.join(format!("accounts/{number}.json"))
    }

    /// The file with the contracts' addresses.
    pub(super) fn deployment(&self) -> PathBuf {
        self.folder.join("deployment.json")
    }

    /// Deploys the contracts and authorises the keeper.
    pub(super) fn deploy(&self) -> Result<()> {
        let keeper = self.chain.accounts.get(Actor::Keeper.number() - 1).context("the chain has too few accounts")?;
        let mut command = self.command(Actor::Deployer, DEPLOY);
        capture(command.args(["--keeper", &keeper.address, "--json"]), HINT).map(drop)
    }

    /// The keeper's long-running process.
    pub(super) fn run_command(&self) -> Command {
        let mut command = self.command(Actor::Keeper, RUN);
        command.arg("--json");
        command
    }

    /// Registers a worker on chain and returns its id.
    pub(super) fn register_worker(&self, number: u8) -> Result<u32> {
        self.ask::<Registered>(&mut self.command(Actor::Worker(number), REGISTER)).map(|worker| worker.worker_id)
    }

    /// A worker agent's long-running process.
    pub(super) fn worker_command(&self, number: u8, listen: &str) -> Command {
        let mut command = self.command(Actor::Worker(number), WORK);
        command.arg("--keeper").arg(format!("ws://{listen}")).arg("--json");
        command
    }

    /// Submits jobs for the client, in one transaction.
    pub(super) fn submit_jobs(&self, manifests: &[PathBuf], priority: u32) -> Result<SubmittedJobs> {
        let mut command = self.command(Actor::Client, SUBMIT);
        for manifest in manifests {
            command.arg("--manifest").arg(manifest);
        }
        self.ask(command.arg("--priority").arg(priority.to_string()))
    }

    /// All jobs.
    pub(super) fn jobs(&self) -> Result<Vec<JobRow>> {
        self.ask::<JobRows>(&mut self.command(Actor::Keeper, LIST)).map(|rows| rows.jobs)
    }

    /// The market's figures.
    pub(super) fn status(&self) -> Result<Status> {
        self.ask(&mut self.command(Actor::Keeper, STATUS))
    }

    /// Pays an actor what the contract owes to it.
    pub(super) fn withdraw(&self, actor: Actor) -> Result<()> {
        self.ask::<Value>(&mut self.command(actor, WITHDRAW)).map(drop)
    }

    /// A command line as a person would type it who looks around: as the client, with what the keeper has recorded, so
    /// that whatever is put behind it works.
    pub(super) fn typed(&self, arguments: &[&str]) -> String {
        let words: Vec<OsString> = std::iter::once(self.program.clone().into_os_string())
            .chain(self.options(Actor::Client, Actor::Keeper))
            .chain(arguments.iter().map(OsString::from))
            .collect();
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    fn ask<T: DeserializeOwned>(&self, command: &mut Command) -> Result<T> {
        let answer = capture(command.arg("--json"), HINT)?;
        serde_json::from_str(&answer).with_context(|| format!("reading the keeper's answer `{}`", answer.trim_end()))
    }

    fn command(&self, actor: Actor, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.global(actor)).args(arguments).env("KEEPER_POLL_MS", POLL_MS);
        if let (Network::Sepolia, Some(account)) = (self.network, self.chain.accounts.get(actor.number() - 1)) {
            command.env("STARKNET_PRIVATE_KEY", &account.private_key);
        }
        command
    }

    /// The options that every command of this run shares.
    fn global(&self, actor: Actor) -> Vec<OsString> {
        self.options(actor, actor)
    }

    /// The same for whoever acts as `actor` with the data of `owner`.
    fn options(&self, actor: Actor, owner: Actor) -> Vec<OsString> {
        let data = self.folder.join("data").join(owner.to_string());
        let account = match self.network {
            Network::Devnet => format!("devnet-{}", actor.number()).into(),
            Network::Sepolia => self.account_file(actor.number()).into(),
        };
        let options: [(&str, OsString); 6] = [
            ("--network", self.network.name().into()),
            ("--rpc-url", self.chain.rpc_url.clone().into()),
            ("--account", account),
            ("--deployment", self.deployment().into()),
            ("--data-dir", data.into()),
            ("--artifacts", self.folder.join("artifacts").into()),
        ];
        options.into_iter().flat_map(|(name, value)| [OsString::from(name), value]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(network: Network, folder: &Path) -> Keeper {
        let account = |number: usize| json!({"address": format!("0x{number}"), "class_hash": "0xc", "public_key": "0xb", "private_key": "0xa"});
        let accounts: Vec<Value> = (1..=Actor::count(2)).map(account).collect();
        let chain = json!({ "rpc_url": "http://127.0.0.1:5050/rpc", "accounts": accounts, "seed": 42 });
        Keeper::new("/bin/keeper".into(), folder, network, serde_json::from_value(chain).unwrap()).unwrap()
    }

    #[test]
    fn on_a_local_chain_every_actor_has_a_numbered_account() {
        let keeper = keeper(Network::Devnet, Path::new("/run"));
        let command = keeper.command(Actor::Worker(2), &["worker", "show"]);
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        assert!(words.join(" ").contains("--account devnet-5 "), "{words:?}");
        assert!(words.join(" ").ends_with("--data-dir /run/data/worker-2 --artifacts /run/artifacts worker show"));
        let command = keeper.command(Actor::Keeper, RUN);
        assert!(command.get_envs().all(|(name, _)| name != "STARKNET_PRIVATE_KEY"));
    }

    #[test]
    fn what_is_typed_acts_as_the_client_on_what_the_keeper_recorded() {
        let typed = keeper(Network::Devnet, Path::new("/run")).typed(&["job", "explain", "1"]);
        assert!(
            typed.starts_with("/bin/keeper --network devnet --rpc-url http://127.0.0.1:5050/rpc --account devnet-3 ")
        );
        assert!(typed.ends_with("--data-dir /run/data/keeper --artifacts /run/artifacts job explain 1"), "{typed}");
    }

    #[test]
    fn on_a_public_network_accounts_are_files_and_keys_come_from_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(Network::Sepolia, folder.path());
        let file: Value = serde_json::from_slice(&fs::read(folder.path().join("accounts/3.json")).unwrap()).unwrap();
        assert_eq!(file["deployment"]["address"], "0x3");
        let command = keeper.command(Actor::Client, LIST);
        assert!(command.get_args().any(|argument| argument == folder.path().join("accounts/3.json")));
        assert!(command.get_envs().any(|(name, _)| name == "STARKNET_PRIVATE_KEY"));
    }

    #[test]
    fn the_first_allocation_of_a_job_counts() {
        let status: Status = serde_json::from_str(
            r#"{"jobs":{"submitted":1},"rounds":2,"allocations":2,"l2_gas_per_allocation":300000,
                "money":{"escrow_in_fri":"5","paid_fri":"1","refunded_fri":"3","held_fri":"1","owed_fri":"4"},
                "allocations_list":[
                  {"job_id":7,"worker_id":1,"attempt":2,"tx_hash":"0x2","allocated_at_ms":900},
                  {"job_id":7,"worker_id":2,"attempt":1,"tx_hash":"0x1","allocated_at_ms":400}]}"#,
        )
        .unwrap();
        assert_eq!(status.allocated_at_ms(), BTreeMap::from([(7, 400)]));
    }

    #[test]
    fn a_jobs_end_is_recognised() {
        let row =
            |state: &str| JobRow { job_id: 1, state: state.to_owned(), worker_id: None, attempt: 0, paid_fri: None };
        assert!(row("settled").is_settled() && row("Settled").is_final() && row("expired").is_final());
        assert!(!row("allocated").is_final() && !row("failed").is_settled());
    }
}
