//! `keeper run`.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context as _, Result, bail};
use keeper_chain::{
    ChainSource, Contracts, Follower, Heads, Network, Sender,
    lane::{Lane, LaneLease, LaneSettings},
};
use keeper_dispatch::{ArtifactStore, DispatchServer, Report, ServerConfig};
use keeper_failpoints::{Sabotage, is_sabotaged};
use keeper_follow::Latch;
use keeper_store::{Leases, PostgresStore, SqliteStore, Store, TenureHolder, lane_lease};
use keeper_types::Address;
use serde_json::json;
use tokio::sync::{Mutex, mpsc, watch};

use super::{Global, RunArgs};
use crate::{
    adapters::ChainAuthenticator,
    context::Context,
    installation::Installation,
    output, records,
    rights::Rights,
    services::{
        ALLOCATING, Admission, Allocating, Believed, BelievedReceiver, CannotListen, Claim, Dispatching, Exiting,
        Following, Health, Leadership, Leasing, Noticing, Probing, Sending, Serving, Signals, Stage, Stopped, Storing,
        Supervisor, refuse_other_numbers,
    },
    settings::Settings,
};

/// Runs a keeper until it is told to stop.
///
/// # Errors
/// Fails where something that it needs is missing, or a service fails for good.
pub(crate) async fn run(global: &Global, args: &RunArgs) -> Result<()> {
    let mut signals = Signals::install()?;
    let mut keeper = tokio::select! {
        keeper = Box::pin(Keeper::set_up(global, args)) => keeper.map_err(Stopped::at_start)?,
        signal = signals.next() => {
            tracing::info!(%signal, "stopped before it began");
            return Ok(());
        }
    };
    keeper.announce();
    let installation = keeper.installation.take();
    let ended = keeper.supervisor().run(signals).await;
    // Until here the data directory is nobody else's.
    drop(installation);
    Ok(ended?)
}

/// What the services are made of. All of it outlives their restarts.
struct Keeper {
    context: Context,
    contracts: Contracts,
    /// The account that applies rounds.
    lane: Lane,
    /// The accounts that end what is due, where those are others.
    exit_lanes: Vec<Lane>,
    store: Arc<dyn Store>,
    artifacts: ArtifactStore,
    server: DispatchServer,
    reports: Arc<Mutex<mpsc::Receiver<Report>>>,
    socket: Arc<TcpListener>,
    probes: Option<Arc<TcpListener>>,
    believed: Arc<watch::Sender<Option<Arc<Believed>>>>,
    health: Arc<Health>,
    latch: Arc<Latch>,
    leadership: Leadership,
    /// Where others say what they do, where they may.
    leases: Option<Arc<dyn Leases>>,
    /// Who leads, where others may.
    leasing: Option<Leasing>,
    /// The data directory is this process's for as long as this is held.
    installation: Option<Installation>,
}

impl Keeper {
    /// Checks everything that can be checked before the keeper begins.
    async fn set_up(global: &Global, args: &RunArgs) -> Result<Self> {
        let context = Context::connect_with(global, args).await?;
        let settings = &context.settings;
        // What is wrong with it is said before anything is sent.
        settings.public_name(settings.listen)?;
        let contracts = context.contracts()?;
        let sender = Arc::new(context.sender().await?);
        check_account(&contracts, &sender, settings, args.post_bond).await?;
        let artifacts = ArtifactStore::open(&settings.artifacts)?;
        records::leave_former_chain(&context, &contracts).await?;
        let (store, shared) = open_store(&context, &contracts).await?;
        if let Some(leases) = &shared {
            // Before anything is taken that may be others'.
            refuse_other_numbers(&**leases, settings.shards, settings.lease()).await?;
        }
        let socket = listen(settings.listen, "--listen")?;
        let probes = settings.health_listen.map(|address| listen(address, "--health-listen")).transpose()?;
        let (server, reports) = dispatch_server(settings, &contracts, socket.local_addr()?)?;
        let health = Arc::new(Health::new());
        health.admitted();
        health.polls_every(settings.poll());
        health.watch_endpoints(context.rpc.clone());
        let latch = Arc::new(Latch::new());
        let installation = shared.as_ref().map(|_| Installation::take(&settings.data_dir)).transpose()?;
        if let Some(installation) = &installation {
            health.is_named(installation.name());
        }
        let leads = Arc::new(TenureHolder::default());
        let leadership = shared.as_ref().map_or(Leadership::Alone, |_| Leadership::Shared(leads.tenure()));
        let mut lanes = Lanes {
            shared,
            claims: Vec::new(),
            leadership: leadership.clone(),
            latch: &latch,
            store: &store,
            // Public chains do not begin anew.
            node: (settings.network == Network::Devnet)
                .then(|| Arc::new(Follower::new(&context.rpc, contracts.deployment())) as Arc<dyn ChainSource>),
            sending: settings.sending.lane(settings.receipt_poll())?,
        };
        let lane = lanes.add(sender);
        let exit_lanes = lanes.add_exit_accounts(lane.address(), &context).await?;
        let Lanes { shared, claims, .. } = lanes;
        let leasing = shared.zip(installation.as_ref()).map(|(leases, installation)| Leasing {
            leases,
            holder: installation.name().to_owned(),
            time: settings.lease(),
            silence: settings.leaders_silence(),
            lanes: claims,
            shards: settings.shards,
            leads,
            sending: lane.status(),
            held: latch.closed(),
            health: health.clone(),
        });
        Ok(Self {
            leadership,
            leases: leasing.as_ref().map(|leasing| leasing.leases.clone()),
            leasing,
            installation,
            contracts,
            lane,
            exit_lanes,
            store,
            artifacts,
            server,
            reports: Arc::new(Mutex::new(reports)),
            socket,
            probes,
            believed: Arc::new(watch::Sender::new(None)),
            health,
            latch,
            context,
        })
    }

    /// The services, and in which stage of a shutdown each stops.
    fn supervisor(self) -> Supervisor {
        let settings = &self.context.settings;
        let mut supervisor = Supervisor::new(self.health.clone());
        let heads = settings.ws_url.as_ref().map(Heads::new);
        if let Some(heads) = &heads {
            self.health.watch_heads(heads.clone());
            let noticing = Noticing { heads: heads.clone() };
            supervisor.add("noticing new blocks", Stage::Belief, move |cancel| noticing.clone().run(cancel));
        }
        let following = Following {
            chain: Arc::new(Follower::new(&self.context.rpc, self.contracts.deployment())),
            store: self.store.clone(),
            poll: settings.poll(),
            heads,
            believed: self.believed.clone(),
            reindexed: Arc::new(AtomicBool::new(false)),
            latch: self.latch.clone(),
            is_local: settings.network == Network::Devnet,
            health: self.health.clone(),
        };
        supervisor.add("following the chain", Stage::Belief, move |cancel| following.clone().run(cancel));
        self.add_decisions(&mut supervisor);
        let lanes = std::iter::once(self.lane).chain(self.exit_lanes).collect();
        let sending = Sending { lanes, health: self.health.clone() };
        supervisor.add("sending transactions", Stage::Work, move |cancel| sending.clone().run(cancel));
        let dispatching = Dispatching {
            server: self.server.clone(),
            artifacts: self.artifacts,
            reports: self.reports,
            believed: self.believed.subscribe(),
            assignment_timeout: settings.assignment_timeout(),
            finality: settings.finality,
            leadership: self.leadership,
        };
        supervisor.add("dispatching jobs", Stage::Work, move |cancel| dispatching.clone().run(cancel));
        let serving = Serving { server: self.server, socket: self.socket };
        supervisor.add("serving worker agents", Stage::Work, move |cancel| serving.clone().run(cancel));
        if let Some(leasing) = self.leasing {
            // To the end of the work, which is done under leases.
            supervisor.add("keeping leases", Stage::Belief, move |cancel| leasing.clone().run(cancel));
        }
        let storing = Storing {
            store: self.store,
            health: self.health.clone(),
            believed: self.believed.subscribe(),
            history_days: settings.history_days,
        };
        supervisor.add("writing to the database", Stage::Work, move |cancel| storing.clone().run(cancel));
        if let Some(socket) = self.probes {
            let probing = Probing { socket, health: self.health };
            supervisor.add("answering probes", Stage::Probes, move |cancel| probing.clone().run(cancel));
        }
        supervisor
    }

    /// The services that decide what is sent.
    fn add_decisions(&self, supervisor: &mut Supervisor) {
        let settings = &self.context.settings;
        let allocating = Allocating {
            contracts: self.contracts.clone(),
            lane: self.lane.clone(),
            store: self.store.clone(),
            artifacts: self.artifacts.clone(),
            policy: settings.policy.clone(),
            believed: self.believed.subscribe(),
            sessions: self.server.sessions(),
            health: self.health.clone(),
            latch: self.latch.clone(),
            leadership: self.leadership.clone(),
            leases: self.leases.clone(),
        };
        supervisor.add(ALLOCATING, Stage::Work, move |cancel| allocating.clone().run(cancel));
        let admission = Admission {
            contracts: self.contracts.clone(),
            account: self.lane.address(),
            policy: settings.policy.clone(),
            believed: self.believed.subscribe(),
            health: self.health.clone(),
        };
        supervisor.add("applying rounds", Stage::Work, move |cancel| admission.clone().run(cancel));
        if settings.exits {
            let exiting = Exiting {
                contracts: self.contracts.clone(),
                lanes: if self.exit_lanes.is_empty() { vec![self.lane.clone()] } else { self.exit_lanes.clone() },
                believed: self.believed.subscribe(),
                sessions: self.server.sessions(),
                latch: self.latch.clone(),
                leadership: self.leadership.clone(),
            };
            supervisor.add("ending what is due", Stage::Work, move |cancel| exiting.clone().run(cancel));
        }
    }

    /// Tells whoever started the keeper when it has caught up, and where agents connect to.
    fn announce(&self) {
        let settings = &self.context.settings;
        // The sockets are bound, so that they have addresses.
        let address = self.socket.local_addr().unwrap_or(settings.listen);
        let probes = self.probes.as_ref().and_then(|socket| socket.local_addr().ok());
        tracing::info!(
            network = %settings.network, account = %self.lane.address(), listen = %address,
            health_listen = probes.map(tracing::field::display),
            keeper = self.installation.as_ref().map(Installation::name), "the keeper runs"
        );
        let url = settings.public_url.clone().unwrap_or_else(|| format!("ws://{address}"));
        let (json, believed) = (self.context.json, self.believed.subscribe());
        tokio::spawn(async move {
            if !caught_up(believed).await {
                return;
            }
            if json {
                let probes = probes.map(|probes| probes.to_string());
                let ready =
                    json!({ "ready": true, "listen": address.to_string(), "url": url, "health_listen": probes });
                // A closed standard output is no reason to stop a keeper.
                output::json_line(&ready).ok();
            } else {
                println!("ready; worker agents connect to {url}");
            }
        });
    }
}

/// What agents connect to, known to them by the URL of `address`, and what they will report.
fn dispatch_server(
    settings: &Settings,
    contracts: &Contracts,
    address: SocketAddr,
) -> Result<(DispatchServer, mpsc::Receiver<Report>)> {
    let audience = settings.public_name(address)?;
    let cdc_pool = contracts.deployment().cdc_pool.address;
    let config =
        ServerConfig::new(audience, settings.network.chain_id(), cdc_pool).with_silence_limit(settings.agent_silence());
    let authenticator = ChainAuthenticator { contracts: contracts.clone() };
    Ok(DispatchServer::new(config, Arc::new(authenticator)))
}

/// What lanes have in common.
struct Lanes<'a> {
    /// Where accounts have leases.
    shared: Option<Arc<dyn Leases>>,
    claims: Vec<Arc<Claim>>,
    /// What is decided under.
    leadership: Leadership,
    latch: &'a Latch,
    store: &'a Arc<dyn Store>,
    /// Where it is looked whether the node is on the recorded chain, where it may be exchanged.
    node: Option<Arc<dyn ChainSource>>,
    sending: LaneSettings,
}

impl Lanes<'_> {
    fn add(&mut self, sender: Arc<Sender>) -> Lane {
        let lease = self.shared.clone().map(|leases| {
            let claim = Claim::to(lane_lease(sender.address()));
            let lease = LaneLease { leases, tenure: claim.tenure(), duties: Arc::new(self.leadership.clone()) };
            self.claims.push(claim);
            lease
        });
        let lane = Lane::under(lease, self.latch.closed(), sender, self.store.clone(), self.sending);
        match self.node.clone() {
            Some(node) => lane.only_on_recorded(node),
            None => lane,
        }
    }

    async fn add_exit_accounts(&mut self, first: Address, context: &Context) -> Result<Vec<Lane>> {
        let mut lanes = Vec::new();
        for account in &context.settings.sending.exit_accounts {
            lanes.push(self.add(Arc::new(context.sender_of(account).await?)));
        }
        check_exit_accounts(first, &lanes)?;
        Ok(lanes)
    }
}

/// Waits until the keeper has caught up with the chain; false where it ends before.
async fn caught_up(mut believed: BelievedReceiver) -> bool {
    believed.wait_for(Option::is_some).await.is_ok()
}

fn listen(address: SocketAddr, option: &'static str) -> Result<Arc<TcpListener>, CannotListen> {
    TcpListener::bind(address).map(Arc::new).map_err(|source| CannotListen { address, option, source })
}

async fn check_account(contracts: &Contracts, sender: &Sender, settings: &Settings, post_bond: bool) -> Result<()> {
    sender.nonce().await?;
    let balance = sender.balance().await?;
    if balance.0 == 0 {
        return Err(keeper_chain::SendError::Unfunded {
            account: sender.address(),
            reason: "it holds no STRK".to_owned(),
        }
        .into());
    }
    let rights = Rights::read(contracts, sender.address(), &settings.policy).await?;
    match rights.missing_bond() {
        Some(missing) if post_bond => {
            let receipt = contracts.post_bond(sender, missing).await?;
            tracing::info!(%missing, tx = %receipt.hash, "posted what the keeper's bond lacked");
            Rights::read(contracts, sender.address(), &settings.policy).await?.check()?;
        }
        _ => rights.check()?,
    }
    Ok(())
}

/// Two lanes of one account would take each other's nonces.
fn check_exit_accounts(first: Address, others: &[Lane]) -> Result<()> {
    let mut seen = BTreeSet::from([first]);
    for lane in others {
        let address = lane.address();
        if !seen.insert(address) {
            bail!("sending.exit_accounts names account {address} twice, or the keeper's own\nhint: leave it out");
        }
    }
    Ok(())
}

/// The database, and where others may use it too, its leases.
async fn open_store(context: &Context, contracts: &Contracts) -> Result<(Arc<dyn Store>, Option<Arc<dyn Leases>>)> {
    let settings = &context.settings;
    std::fs::create_dir_all(&settings.data_dir)
        .with_context(|| format!("making the data directory {}", settings.data_dir.display()))?;
    let identity = records::identity(contracts);
    Ok(match &settings.database {
        Some(url) => {
            let store = Arc::new(PostgresStore::open(url, identity).await?);
            // What is done wrong on purpose: nobody asks whether another keeper is at work.
            let leases = (!is_sabotaged(Sabotage::NoLeases)).then(|| store.clone() as Arc<dyn Leases>);
            (store, leases)
        }
        None => (Arc::new(SqliteStore::open(&settings.database_file(), identity).await?), None),
    })
}
