//! `keeper worker run`.

use std::{collections::BTreeSet, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use keeper_chain::{Contracts, SaltSource, Sender};
use keeper_dispatch::{AgentIdentity, ArtifactStore, Connector as _, RetryPolicy, WebSocketConnector, session_url};
use keeper_types::{Address, ExecutorKind, Features, Worker};
use keeper_worker::{
    Agent, AgentConfig, AgentParts, Executors, HelperCommand, MachineProbe, MachineProfile, OtherKeeper, Probe as _,
    ProcessConfig, ProcessExecutor,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    EXEC_JOB,
    adapters::{AccountSigner, AgentChain},
    context::Context,
    output,
    services::{Signals, Stopped},
    settings::WorkerSettings,
};

/// How long giving up unfinished jobs on chain may take at a shutdown.
const GIVE_UP_LIMIT: Duration = Duration::from_secs(40);

/// The chain need not be asked more often whether a result may be shown: there are minutes to show it.
const SHORTEST_REVEAL_POLL: Duration = Duration::from_secs(1);

/// The longest an agent of several keepers waits before it tries again to reach one of them.
const LONGEST_AWAY: Duration = Duration::from_secs(5);

/// How the agent works.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// The keeper to connect to; repeated, or with commas, for several that share a database
    #[arg(
        long,
        env = "KEEPER_URL",
        value_name = "ws://HOST:PORT",
        value_delimiter = ',',
        default_value = "ws://127.0.0.1:7070"
    )]
    keeper: Vec<String>,
    /// What a single keeper calls itself, where it is reached by another way, such as a tunnel [default: --keeper]
    #[arg(long, env = "KEEPER_NAME", value_name = "URL")]
    keeper_name: Option<String>,
    /// Run clients' commands too, with this user's rights: they are bounded, but not isolated
    #[arg(long)]
    allow_processes: bool,
    /// The folder that jobs run below [default: jobs in the data directory]
    #[arg(long, value_name = "DIR")]
    workspaces: Option<PathBuf>,
    /// How long running jobs may go on after the agent was told to stop
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    grace: humantime::Duration,
    #[command(flatten)]
    profile: ProfileArgs,
}

/// What the worker holds, and what it does not take.
#[derive(Debug, Args)]
struct ProfileArgs {
    /// Refuse this client's jobs; may be repeated
    #[arg(long = "refuse-client", env = "KEEPER_REFUSE_CLIENTS", value_name = "ADDRESS", value_delimiter = ',')]
    refuse_clients: Vec<Address>,
    /// Refuse jobs of this kind; may be repeated
    #[arg(
        long = "refuse-executor",
        env = "KEEPER_REFUSE_EXECUTORS",
        value_name = "KIND",
        value_delimiter = ',',
        value_parser = executor_kind()
    )]
    refuse_executors: Vec<ExecutorKind>,
    /// A folder whose entries are models that the worker holds, by the names that jobs use
    #[arg(long, env = "KEEPER_MODELS_DIR", value_name = "DIR")]
    models_dir: Option<PathBuf>,
    /// A model that the worker holds, wherever it is; may be repeated
    #[arg(long = "model", env = "KEEPER_MODELS", value_name = "NAME", value_delimiter = ',')]
    models: Vec<String>,
}

fn executor_kind() -> impl TypedValueParser<Value = ExecutorKind> {
    PossibleValuesParser::new(["process", "matmul"]).map(|kind| match kind.as_str() {
        "matmul" => ExecutorKind::Matmul,
        _ => ExecutorKind::Process,
    })
}

/// Runs the agent until it is told to stop.
///
/// # Errors
/// Fails where the account has no worker, or something that the agent needs is missing.
pub(super) async fn run(context: &Context, contracts: Contracts, args: &AgentArgs) -> Result<()> {
    let signals = Signals::install()?;
    // Clients' commands run as this user. They must not read the agent's memory and environment, where its key is.
    nix::sys::prctl::set_dumpable(false).context("protecting the agent's memory")?;
    let credentials = context.credentials().await?;
    let sender = Sender::new(&context.rpc, &credentials, context.settings.poll());
    let worker = own_worker(&contracts, &sender).await?;
    let executors = executors(&worker, args)?;
    let (connector, audience, others) = keepers(&args.keeper, args.keeper_name.as_deref())?;
    let identity = AgentIdentity {
        worker_id: worker.worker_id,
        account: credentials.address,
        chain_id: context.settings.network.chain_id(),
        cdc_pool: contracts.deployment().cdc_pool.address,
        audience,
    };
    let workspaces = args.workspaces.clone().unwrap_or_else(|| context.settings.data_dir.join("jobs"));
    let profile = profile(&context.settings.worker, &args.profile, workspaces.clone())?;
    let config = AgentConfig {
        slots: worker.slots,
        gpus: worker.capabilities.gpu_count,
        shutdown_grace: Duration::from(args.grace),
        commitments: context.settings.data_dir.join("commitments"),
        reveal_poll: context.settings.poll().max(SHORTEST_REVEAL_POLL),
        ..AgentConfig::new(identity, workspaces)
    };
    let config = match others.len() {
        0 => config,
        // Any of several may lead next, and can place nothing here before it has a session.
        _ => AgentConfig { reconnect: RetryPolicy { longest: LONGEST_AWAY, ..config.reconnect }, ..config },
    };
    let parts = AgentParts {
        chain: Arc::new(AgentChain { contracts, sender, salts: SaltSource::new(&credentials) }),
        signer: Arc::new(AccountSigner { credentials }),
        connector: Arc::new(connector),
        others,
        profile: Arc::new(profile),
        artifacts: ArtifactStore::open(&context.settings.artifacts)?,
        executor: Arc::new(executors),
    };
    // After the grace the agent gives up on chain what it could not finish, which takes a few blocks.
    let limit = Duration::from(args.grace) + GIVE_UP_LIMIT;
    let cancel = CancellationToken::new();
    let agent = Agent::new(config, parts).run(cancel.clone());
    tracing::info!(worker_id = %worker.worker_id, keepers = args.keeper.join(", "), "the agent runs");
    if context.json {
        output::json_line(&json!({ "ready": true, "worker_id": worker.worker_id }))?;
    } else {
        println!("worker {} is ready and connects to {}", worker.worker_id, args.keeper.join(", "));
    }
    run_until_told(async { agent.await.context("running jobs") }, &cancel, signals, limit).await
}

/// The first keeper, what it calls itself, and the others.
fn keepers(urls: &[String], name: Option<&str>) -> Result<(WebSocketConnector, String, Vec<OtherKeeper>)> {
    if name.is_some() && urls.len() > 1 {
        bail!("--keeper-name is for one --keeper\nhint: connect to each of several by the URL that it calls itself");
    }
    let mut targets = BTreeSet::new();
    let mut connectors = Vec::new();
    for url in urls {
        let connector = WebSocketConnector::new(url)?;
        // Two sessions of one worker with one keeper push each other out.
        if targets.insert(connector.target()) {
            connectors.push(connector);
        }
    }
    let mut connectors = connectors.into_iter();
    let first = connectors.next().context("--keeper names no keeper")?;
    let audience = match name {
        Some(name) => session_url(name)?.to_string(),
        None => first.target(),
    };
    let others =
        connectors.map(|connector| OtherKeeper { audience: connector.target(), connector: Arc::new(connector) });
    Ok((first, audience, others.collect()))
}

/// Runs the agent until a signal comes, and then for so long at most; a second signal ends it at once.
async fn run_until_told(
    agent: impl Future<Output = Result<()>>,
    cancel: &CancellationToken,
    mut signals: Signals,
    limit: Duration,
) -> Result<()> {
    let mut agent = pin!(agent);
    tokio::select! {
        ended = &mut agent => {
            ended.context("the agent failed")?;
            bail!("the agent ended by itself");
        }
        signal = signals.next() => tracing::info!(%signal, "stopping"),
    }
    cancel.cancel();
    tokio::select! {
        ended = tokio::time::timeout(limit, agent) => match ended {
            Ok(ended) => ended.context("the agent failed"),
            Err(_) => Err(Stopped::stuck("the agent", limit).into()),
        },
        signal = signals.next() => Err(Stopped::at_once(signal).into()),
    }
}

async fn own_worker(contracts: &Contracts, sender: &Sender) -> Result<Worker> {
    let address = sender.address();
    let Some(worker_id) = contracts.worker_of(address).await? else {
        bail!("account {address} has no worker\nhint: register it with `keeper worker register`");
    };
    match contracts.worker(worker_id).await? {
        Some(worker) => Ok(worker),
        None => bail!("worker {worker_id} of account {address} cannot be found"),
    }
}

/// What the agent says about the machine that it runs on.
fn profile(file: &WorkerSettings, args: &ProfileArgs, workspaces: PathBuf) -> Result<MachineProfile> {
    let ProfileArgs { refuse_clients, refuse_executors, models_dir, models } = args;
    let flags = WorkerSettings {
        refuse_clients: refuse_clients.clone(),
        refuse_executors: refuse_executors.clone(),
        models_dir: models_dir.clone(),
        models: models.clone(),
    };
    let config = file.under(&flags).profile(workspaces)?;
    if let Some(folder) = config.models_dir.as_ref().filter(|folder| !folder.is_dir()) {
        bail!("the folder for models {} is not there\nhint: make it, or leave --models-dir out", folder.display());
    }
    Ok(MachineProfile::new(config, &MachineProbe.inventory()))
}

fn executors(worker: &Worker, args: &AgentArgs) -> Result<Executors> {
    let registered = worker.capabilities.features.contains(Features::PROCESSES);
    match (registered, args.allow_processes) {
        (true, false) => bail!(
            "worker {} is registered as one that runs clients' commands, but --allow-processes is not given\n\
             hint: pass --allow-processes, or where no commands shall run, `keeper worker register` again without \
             --allow-processes",
            worker.worker_id
        ),
        (false, true) => tracing::warn!("no job with a command will come: the worker is not registered for them"),
        _ => {}
    }
    if !args.allow_processes {
        return Ok(Executors::safe());
    }
    let helper = HelperCommand::own_binary(EXEC_JOB).context("finding this program")?;
    Ok(Executors::safe().with_processes(ProcessExecutor::new(helper, ProcessConfig::default())))
}

#[cfg(test)]
mod tests {
    use keeper_types::{Capabilities, Felt, Fri, Rate, WorkerId, WorkerStatus};

    use super::*;

    #[test]
    fn who_is_registered_for_commands_is_told_both_ways_out() {
        let worker = Worker {
            worker_id: WorkerId(3),
            owner: Address(Felt::ONE),
            status: WorkerStatus::Active,
            capabilities: Capabilities { features: Features::PROCESSES, ..Capabilities::default() },
            slots: 1,
            used_slots: 0,
            used_gpus: 0,
            rate: Rate(1),
            stake: Fri::ZERO,
            reputation: 500,
            reputation_at: 0,
            is_static: false,
            holds: 0,
        };
        let profile =
            ProfileArgs { refuse_clients: vec![], refuse_executors: vec![], models_dir: None, models: vec![] };
        let args = AgentArgs {
            keeper: vec![],
            keeper_name: None,
            allow_processes: false,
            workspaces: None,
            grace: Duration::ZERO.into(),
            profile,
        };
        let (message, hint) = output::described(&executors(&worker, &args).unwrap_err());
        assert!(message.starts_with("worker 3 is registered as one that runs clients' commands"), "{message}");
        let expected = "pass --allow-processes, or where no commands shall run, `keeper worker register` again without \
                        --allow-processes";
        assert_eq!(hint.unwrap(), expected);
    }

    #[test]
    fn each_keeper_is_connected_to_once_and_known_by_its_url() {
        let urls = ["ws://a:7070", "ws://b:7070/v1/session", "ws://a:7070/v1/session"].map(ToOwned::to_owned);
        let (first, audience, others) = keepers(&urls, None).unwrap();
        assert_eq!((first.target(), audience.as_str()), (audience.clone(), "ws://a:7070/v1/session"));
        let others: Vec<_> = others.iter().map(|other| other.audience.as_str()).collect();
        assert_eq!(others, ["ws://b:7070/v1/session"]);
        let error = keepers(&urls, Some("ws://c:7070")).map(drop).unwrap_err().to_string();
        assert!(error.starts_with("--keeper-name is for one --keeper"), "{error}");
        let (_, audience, others) = keepers(&urls[..1], Some("ws://c:7070")).unwrap();
        assert_eq!((audience.as_str(), others.len()), ("ws://c:7070/v1/session", 0));
    }
}
