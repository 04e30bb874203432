//! Configuration: flags over environment variables over the TOML file over defaults.
//!
//! Flags and environment variables come through clap, which knows which of the two it was; the file is read
//! with unknown fields refused. Secrets are never in the file: a key is in a keystore or the environment.

mod sending;
mod worker;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use keeper_chain::{Network, shown_url};
use keeper_dispatch::session_url;
use keeper_scheduler::Policy;
use serde::{Deserialize, Serialize};
use url::Url;

pub(crate) use self::{
    sending::{ExitAccount, SendingSettings},
    worker::WorkerSettings,
};
use crate::cli::{Global, RunArgs};

/// Where the dispatcher listens unless told otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:7070";
/// Items in one round unless told otherwise: where the gas per item stops falling.
const DEFAULT_MAX_BATCH: usize = 100;

/// Everything that can be configured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// The network.
    pub(crate) network: Network,
    /// The node.
    #[serde(serialize_with = "without_key")]
    pub(crate) rpc_url: Url,
    /// Where the contracts' addresses are.
    pub(crate) deployment: PathBuf,
    /// starkli's account file, or `devnet-N`.
    pub(crate) account: Option<String>,
    /// The account's keystore.
    pub(crate) keystore: Option<PathBuf>,
    /// Where the keeper's database is.
    pub(crate) data_dir: PathBuf,
    /// Where manifests and outputs are.
    pub(crate) artifacts: String,
    /// Where the dispatcher listens.
    pub(crate) listen: SocketAddr,
    /// Where `/live` and `/ready` are answered, if anywhere.
    pub(crate) health_listen: Option<SocketAddr>,
    /// What agents know the keeper as, where that is not where it listens.
    pub(crate) public_url: Option<String>,
    /// How often the node is asked for news, in milliseconds.
    pub(crate) poll_ms: u64,
    /// Whether the keeper expires and settles what is due.
    pub(crate) exits: bool,
    /// How transactions are sent.
    pub(crate) sending: SendingSettings,
    /// What the file says about the worker; flags of `keeper worker run` win over it.
    pub(crate) worker: WorkerSettings,
    /// The scheduler's policy.
    pub(crate) policy: Policy,
}

/// The TOML file. Every field may be left out.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    chain: ChainSection,
    account: AccountSection,
    keeper: KeeperSection,
    sending: SendingSettings,
    worker: WorkerSettings,
    policy: Option<Policy>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct ChainSection {
    network: Option<Network>,
    rpc_url: Option<Url>,
    deployment: Option<PathBuf>,
    poll_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct AccountSection {
    account: Option<String>,
    keystore: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct KeeperSection {
    data_dir: Option<PathBuf>,
    artifacts: Option<String>,
    listen: Option<SocketAddr>,
    health_listen: Option<SocketAddr>,
    public_url: Option<String>,
    max_batch: Option<usize>,
    exits: Option<bool>,
}

impl Settings {
    /// Puts flags, environment, file and defaults together.
    ///
    /// # Errors
    /// Names the field that is wrong and what it may be.
    pub(crate) fn resolve(global: &Global, run: &RunArgs) -> Result<Self> {
        let file = match &global.config {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        let network = global.network.or(file.chain.network).unwrap_or(Network::Devnet);
        let Some(rpc_url) = global.rpc_url.clone().or(file.chain.rpc_url).or_else(|| network.default_rpc_url()) else {
            bail!("no node is named for {network}\nhint: pass --rpc-url, or set STARKNET_RPC or chain.rpc_url");
        };
        let data_dir = global.data_dir.clone().or(file.keeper.data_dir);
        let data_dir = data_dir.unwrap_or_else(|| default_data_dir(network));
        let artifacts = global.artifacts.clone().or(file.keeper.artifacts);
        let max_batch = run.max_batch.or(file.keeper.max_batch);
        let policy = match file.policy {
            Some(policy) => Policy { max_items: max_batch.unwrap_or(policy.max_items), ..policy },
            None => Policy { max_items: max_batch.unwrap_or(DEFAULT_MAX_BATCH), ..Policy::default() },
        };
        let settings = Self {
            network,
            rpc_url,
            deployment: global.deployment.clone().or(file.chain.deployment).unwrap_or_else(|| deployment_of(network)),
            account: global.account.clone().or(file.account.account),
            keystore: global.keystore.clone().or(file.account.keystore),
            artifacts: artifacts.unwrap_or_else(|| data_dir.join("artifacts").display().to_string()),
            data_dir,
            listen: match run.listen.or(file.keeper.listen) {
                Some(listen) => listen,
                None => DEFAULT_LISTEN.parse().context("the built-in listen address")?,
            },
            health_listen: run.health_listen.or(file.keeper.health_listen),
            public_url: run.public_url.clone().or(file.keeper.public_url),
            poll_ms: global.poll_ms.or(file.chain.poll_ms).unwrap_or(default_poll_ms(network)),
            exits: !run.no_exits && file.keeper.exits.unwrap_or(true),
            sending: file.sending.with_flags(run),
            worker: file.worker,
            policy,
        };
        settings.validate()?;
        Ok(settings)
    }

    fn validate(&self) -> Result<()> {
        if !matches!(self.rpc_url.scheme(), "http" | "https") {
            bail!("chain.rpc_url is {}, but must begin with http:// or https://", self.rpc_url);
        }
        let local = match self.rpc_url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if self.network == Network::Devnet && !local {
            bail!(
                "chain.network is devnet, but {} is not on this machine\n\
                 hint: for a public network pass --network sepolia or mainnet",
                self.rpc_url
            );
        }
        if !(50..=60_000).contains(&self.poll_ms) {
            bail!("chain.poll_ms is {}, but must be 50 to 60000", self.poll_ms);
        }
        if let Some(public_url) = &self.public_url {
            session_url(public_url).context("keeper.public_url")?;
        }
        let most = keeper_types::MAX_ITEMS_PER_BATCH;
        if self.policy.max_items == 0 || self.policy.max_items > most {
            bail!("keeper.max_batch is {}, but must be 1 to {most}", self.policy.max_items);
        }
        self.sending.validate()?;
        self.worker.profile(PathBuf::new())?;
        self.policy.validate().context("policy")
    }

    /// What is in force, in the form of the file.
    ///
    /// # Errors
    /// Fails where a value has no TOML form, which none of these lacks.
    pub(crate) fn to_toml(&self) -> Result<String> {
        let file = File {
            chain: ChainSection {
                network: Some(self.network),
                rpc_url: shown_url(&self.rpc_url).parse().ok(),
                deployment: Some(self.deployment.clone()),
                poll_ms: Some(self.poll_ms),
            },
            account: AccountSection { account: self.account.clone(), keystore: self.keystore.clone() },
            keeper: KeeperSection {
                data_dir: Some(self.data_dir.clone()),
                artifacts: Some(self.artifacts.clone()),
                listen: Some(self.listen),
                health_listen: self.health_listen,
                public_url: self.public_url.clone(),
                max_batch: Some(self.policy.max_items),
                exits: Some(self.exits),
            },
            sending: self.sending.clone(),
            worker: self.worker.clone(),
            policy: Some(self.policy.clone()),
        };
        toml::to_string(&file).context("writing the configuration as TOML")
    }

    /// What agents know the keeper as that listens on `address`. Their proofs are for this URL, so it must be the one
    /// that they are told to connect to.
    ///
    /// # Errors
    /// Fails where the address is every address of the machine, and so names none.
    pub(crate) fn public_name(&self, address: SocketAddr) -> Result<Url> {
        if let Some(public_url) = &self.public_url {
            return Ok(session_url(public_url)?);
        }
        if address.ip().is_unspecified() {
            bail!(
                "the keeper listens on every address of this machine, and agents must know it by one\n                 hint: pass the URL that they connect to, as --public-url ws://HOST:{}",
                address.port()
            );
        }
        Ok(session_url(&format!("ws://{address}"))?)
    }

    /// The keeper's database.
    pub(crate) fn database(&self) -> PathBuf {
        self.data_dir.join("keeper.sqlite")
    }

    /// How often the node is asked for news.
    pub(crate) fn poll(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.poll_ms)
    }
}

fn without_key<S: serde::Serializer>(url: &Url, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown_url(url))
}

impl File {
    fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading the configuration {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("the configuration {}", path.display()))
    }
}

/// Blocks come every second or two; a local chain is on this machine and can be asked more often.
fn default_poll_ms(network: Network) -> u64 {
    match network {
        Network::Devnet => 250,
        Network::Sepolia | Network::Mainnet => 2_000,
    }
}

fn deployment_of(network: Network) -> PathBuf {
    PathBuf::from(format!("deployments/{network}.json"))
}

fn default_data_dir(network: Network) -> PathBuf {
    let home = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    home.unwrap_or_else(|| PathBuf::from(".")).join("ciro-keeper").join(network.name())
}

#[cfg(test)]
mod tests;
