//! Configuration: flags over environment variables over the TOML file over defaults.
//!
//! Flags and environment variables come through clap, which knows which of the two it was; the file is read
//! with unknown fields refused. Secrets are never in the file: a key is in a keystore or the environment.

mod agents;
mod endpoints;
mod sending;
mod worker;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use keeper_chain::{Network, PoolSettings};
use keeper_dispatch::session_url;
use keeper_follow::FinalityPolicy;
use keeper_scheduler::{MAX_SHARDS, Policy};
use keeper_store::DatabaseUrl;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

pub(crate) use self::{
    sending::{ExitAccount, SendingSettings},
    worker::WorkerSettings,
};
use crate::cli::{Global, RunArgs, complaints::unreadable};

/// Where the dispatcher listens unless told otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:7070";
/// How long a lease lasts unless told otherwise, in milliseconds: a keeper that is gone is missed for about so long.
const DEFAULT_LEASE_MS: u64 = 3_000;
/// How many shards the market is dealt out into unless told otherwise.
const DEFAULT_SHARDS: u8 = 1;
/// How many days the database keeps what is over unless told otherwise.
const DEFAULT_HISTORY_DAYS: u32 = 90;
/// The longest pause between two looks for a receipt.
const LONGEST_RECEIPT_POLL: std::time::Duration = std::time::Duration::from_secs(2);
/// Items in one round unless told otherwise: where the gas per item stops falling.
const DEFAULT_MAX_BATCH: usize = 100;

/// Everything that can be configured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// The network.
    pub(crate) network: Network,
    /// The nodes.
    #[serde(rename = "rpc_url", serialize_with = "endpoints::without_keys")]
    pub(crate) rpc_urls: Vec<Url>,
    /// The node that is asked to tell of new blocks.
    #[serde(serialize_with = "endpoints::maybe_without_key")]
    pub(crate) ws_url: Option<Url>,
    /// How they are asked.
    #[serde(skip)]
    pub(crate) pool: PoolSettings,
    /// Where the contracts' addresses are.
    pub(crate) deployment: PathBuf,
    /// starkli's account file, or `devnet-N`.
    pub(crate) account: Option<String>,
    /// The account's keystore.
    pub(crate) keystore: Option<PathBuf>,
    /// Where the keeper's files are, its database among them where it is not a server's.
    pub(crate) data_dir: PathBuf,
    /// The server's database; shown without its password.
    #[serde(serialize_with = "shown")]
    pub(crate) database: Option<DatabaseUrl>,
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
    /// How long the lease of a keeper lasts that it does not renew, in milliseconds.
    pub(crate) lease_ms: u64,
    /// How many shards the market is dealt out into, each led by one of several keepers.
    pub(crate) shards: u8,
    /// How long an agent may be silent before its session ends, in seconds.
    pub(crate) agent_silence_s: u64,
    /// How long a worker has to begin a job that it was offered before it gets no other, in seconds.
    pub(crate) assignment_timeout_s: u64,
    /// How many days the database keeps what is over; 0 for ever.
    pub(crate) history_days: u32,
    /// How sure a job must be before its work begins.
    pub(crate) finality: FinalityPolicy,
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
    finality: Option<FinalityPolicy>,
    sending: SendingSettings,
    worker: WorkerSettings,
    policy: Option<Policy>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct ChainSection {
    network: Option<Network>,
    #[serde(deserialize_with = "endpoints::one_or_several", serialize_with = "endpoints::without_keys")]
    rpc_url: Vec<Url>,
    #[serde(deserialize_with = "endpoints::maybe_one", serialize_with = "endpoints::maybe_without_key")]
    ws_url: Option<Url>,
    deployment: Option<PathBuf>,
    poll_ms: Option<u64>,
    rpc: endpoints::Asking,
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
    database: Option<String>,
    artifacts: Option<String>,
    listen: Option<SocketAddr>,
    health_listen: Option<SocketAddr>,
    public_url: Option<String>,
    max_batch: Option<usize>,
    exits: Option<bool>,
    lease_ms: Option<u64>,
    shards: Option<u8>,
    agent_silence_s: Option<u64>,
    assignment_timeout_s: Option<u64>,
    history_days: Option<u32>,
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
        let given = [global.rpc_url.clone(), file.chain.rpc_url].into_iter().find(|urls| !urls.is_empty());
        let Some(rpc_urls) = given.or_else(|| network.default_rpc_url().map(|url| vec![url])) else {
            bail!("no node is named for {network}\nhint: pass --rpc-url, or set STARKNET_RPC or chain.rpc_url");
        };
        let data_dir = global.data_dir.clone().or(file.keeper.data_dir);
        let data_dir = data_dir.unwrap_or_else(|| default_data_dir(network));
        let database = database(global.database.as_ref(), file.keeper.database.as_deref())?;
        let artifacts = global.artifacts.clone().or(file.keeper.artifacts);
        let max_batch = run.max_batch.or(file.keeper.max_batch);
        let policy = match file.policy {
            Some(policy) => Policy { max_items: max_batch.unwrap_or(policy.max_items), ..policy },
            None => Policy { max_items: max_batch.unwrap_or(DEFAULT_MAX_BATCH), ..Policy::default() },
        };
        let mut settings = Self {
            network,
            rpc_urls,
            ws_url: global.ws_url.clone().or(file.chain.ws_url),
            pool: file.chain.rpc.pool(),
            deployment: global.deployment.clone().or(file.chain.deployment).unwrap_or_else(|| deployment_of(network)),
            account: global.account.clone().or(file.account.account),
            keystore: global.keystore.clone().or(file.account.keystore),
            artifacts: artifacts.unwrap_or_else(|| data_dir.join("artifacts").display().to_string()),
            data_dir,
            database,
            listen: match run.listen.or(file.keeper.listen) {
                Some(listen) => listen,
                None => DEFAULT_LISTEN.parse().context("the built-in listen address")?,
            },
            health_listen: run.health_listen.or(file.keeper.health_listen),
            public_url: run.public_url.clone().or(file.keeper.public_url),
            poll_ms: global.poll_ms.or(file.chain.poll_ms).unwrap_or(default_poll_ms(network)),
            exits: !run.no_exits && file.keeper.exits.unwrap_or(true),
            lease_ms: run.lease_ms.or(file.keeper.lease_ms).unwrap_or(DEFAULT_LEASE_MS),
            shards: run.shards.or(file.keeper.shards).unwrap_or(DEFAULT_SHARDS),
            agent_silence_s: file.keeper.agent_silence_s.unwrap_or(agents::DEFAULT_SILENCE_S),
            assignment_timeout_s: file.keeper.assignment_timeout_s.unwrap_or(agents::DEFAULT_ASSIGNMENT_TIMEOUT_S),
            history_days: file.keeper.history_days.unwrap_or(DEFAULT_HISTORY_DAYS),
            finality: file.finality.unwrap_or(default_finality(network)),
            sending: file.sending.with_flags(run),
            worker: file.worker,
            policy,
        };
        if settings.database.is_some() {
            // What a keeper sent before it was cut off must not arrive once another does its work.
            settings.pool.unacknowledged = settings.lease() * 2 / 3;
        }
        settings.validate()?;
        Ok(settings)
    }

    fn validate(&self) -> Result<()> {
        endpoints::check(self.network, &self.rpc_urls)?;
        endpoints::check_heads(self.network, self.ws_url.as_ref())?;
        endpoints::check_pool(&self.pool)?;
        if !(50..=3_600_000).contains(&self.poll_ms) {
            bail!("chain.poll_ms is {}, but must be 50 to 3600000", self.poll_ms);
        }
        if !(1_000..=60_000).contains(&self.lease_ms) {
            bail!("keeper.lease_ms is {}, but must be 1000 to 60000", self.lease_ms);
        }
        if !(1..=MAX_SHARDS).contains(&self.shards) {
            bail!("keeper.shards is {}, but must be 1 to {MAX_SHARDS}", self.shards);
        }
        self.check_agents()?;
        if self.shards > 1 && self.database.is_none() {
            bail!(
                "keeper.shards is {}, but the database is one keeper's own file: nobody could lead the other shards\n\
                 hint: name a PostgreSQL database (--database, KEEPER_DATABASE, keeper.database), or leave keeper.shards out",
                self.shards
            );
        }
        if let Some(public_url) = &self.public_url {
            session_url(public_url).context("keeper.public_url")?;
        }
        let most = keeper_types::MAX_ITEMS_PER_BATCH;
        if self.policy.max_items == 0 || self.policy.max_items > most {
            bail!("keeper.max_batch is {}, but must be 1 to {most}", self.policy.max_items);
        }
        if let (Some(medium), Some(large)) = (self.finality.medium_from_strk, self.finality.large_from_strk)
            && medium > large
        {
            bail!("finality.medium_from_strk is {medium}, but must be at most finality.large_from_strk, {large}");
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
                rpc_url: self.rpc_urls.clone(),
                ws_url: self.ws_url.clone(),
                rpc: endpoints::Asking::of(&self.pool),
                deployment: Some(self.deployment.clone()),
                poll_ms: Some(self.poll_ms),
            },
            account: AccountSection { account: self.account.clone(), keystore: self.keystore.clone() },
            keeper: KeeperSection {
                data_dir: Some(self.data_dir.clone()),
                database: self.database.as_ref().map(ToString::to_string),
                artifacts: Some(self.artifacts.clone()),
                listen: Some(self.listen),
                health_listen: self.health_listen,
                public_url: self.public_url.clone(),
                max_batch: Some(self.policy.max_items),
                exits: Some(self.exits),
                lease_ms: Some(self.lease_ms),
                shards: Some(self.shards),
                agent_silence_s: Some(self.agent_silence_s),
                assignment_timeout_s: Some(self.assignment_timeout_s),
                history_days: Some(self.history_days),
            },
            finality: Some(self.finality),
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
                "the keeper listens on every address of this machine, and agents must know it by one\n\
                 hint: pass the URL that they connect to, as --public-url ws://HOST:{}",
                address.port()
            );
        }
        Ok(session_url(&format!("ws://{address}"))?)
    }

    /// The keeper's database where it is a file.
    pub(crate) fn database_file(&self) -> PathBuf {
        self.data_dir.join("keeper.sqlite")
    }

    /// How often the node is asked for news.
    pub(crate) fn poll(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.poll_ms)
    }

    /// How long the lease of a keeper lasts that it does not renew.
    pub(crate) fn lease(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.lease_ms)
    }

    /// How long the newest block may be unknown to a keeper that leads: somewhat longer than a lease lasts, and than the
    /// node is left alone.
    pub(crate) fn leaders_silence(&self) -> std::time::Duration {
        (self.lease() * 4 / 3).max(self.poll() * 4)
    }

    /// How often a receipt is looked for: nobody announces it, so it is not left to a long pause.
    pub(crate) fn receipt_poll(&self) -> std::time::Duration {
        self.poll().min(LONGEST_RECEIPT_POLL)
    }
}

/// The server's database, where one is named by flag, variable or file.
fn database(given: Option<&SecretString>, in_file: Option<&str>) -> Result<Option<DatabaseUrl>> {
    if let Some(given) = given {
        return Ok(Some(given.expose_secret().parse().context("the URL of --database (KEEPER_DATABASE)")?));
    }
    let Some(text) = in_file else { return Ok(None) };
    let url: DatabaseUrl = text.parse().context("keeper.database")?;
    if url.holds_password() {
        bail!(
            "keeper.database holds a password, which is never read from the file\n\
             hint: give the URL in KEEPER_DATABASE, or the password in PGPASSWORD or in PostgreSQL's password file"
        );
    }
    Ok(Some(url))
}

fn shown<S: serde::Serializer>(url: &Option<DatabaseUrl>, serializer: S) -> Result<S::Ok, S::Error> {
    url.as_ref().map(ToString::to_string).serialize(serializer)
}

impl File {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| unreadable("--config (KEEPER_CONFIG)", path.as_os_str(), &error))?;
        let context = || format!("the configuration {}", path.display());
        let mut file: Self = toml::from_str(&text).with_context(context)?;
        // What a policy has where nothing is said is no choice of the operator's.
        let said: toml::Table = toml::from_str(&text).with_context(context)?;
        let says_items = said.get("policy").and_then(|policy| policy.get("max_items")).is_some();
        if let Some(policy) = file.policy.as_mut().filter(|_| !says_items) {
            policy.max_items = DEFAULT_MAX_BATCH;
        }
        Ok(file)
    }
}

/// Blocks come every second or two; a local chain is on this machine and can be asked more often.
fn default_poll_ms(network: Network) -> u64 {
    match network {
        Network::Devnet => 250,
        Network::Sepolia | Network::Mainnet => 2_000,
    }
}

/// A local chain is not reorganised by others, and nobody wants to wait for it.
fn default_finality(network: Network) -> FinalityPolicy {
    match network {
        Network::Devnet => FinalityPolicy::NONE,
        Network::Sepolia | Network::Mainnet => FinalityPolicy::PUBLIC,
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
