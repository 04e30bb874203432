//! `keeper run`.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use keeper_chain::{Contracts, Follower, Sender};
use keeper_dispatch::{ArtifactStore, DispatchServer, Dispatcher, RetryPolicy, ServerConfig};
use keeper_store::{SqliteStore, Store};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};

use super::{Global, RunArgs};
use crate::{
    adapters::ChainAuthenticator,
    context::Context,
    output, records,
    rights::Rights,
    services::{Admission, Allocating, BelievedReceiver, Dispatching, Exiting, Following, Supervisor, stop_signal},
    settings::Settings,
};

/// Runs a keeper until it is told to stop.
///
/// # Errors
/// Fails where something that it needs is missing, or a service fails.
pub(crate) async fn run(global: &Global, args: &RunArgs) -> Result<()> {
    let stop = stop_signal()?;
    let context = Context::connect_with(global, args).await?;
    let settings = &context.settings;
    // What is wrong with it is said before anything is sent.
    settings.public_name(settings.listen)?;
    let contracts = context.contracts()?;
    let sender = Arc::new(context.sender().await?);
    check_account(&contracts, &sender, settings, args.post_bond).await?;
    let artifacts = ArtifactStore::open(&settings.artifacts)?;
    let store = open_store(&context, &contracts).await?;
    let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
        anyhow!("cannot listen on {}: {error}\nhint: choose another --listen address", settings.listen)
    })?;
    let address = listener.local_addr()?;

    let deployment = contracts.deployment().clone();
    let config =
        ServerConfig::new(settings.public_name(address)?, settings.network.chain_id(), deployment.cdc_pool.address);
    let authenticator = ChainAuthenticator { contracts: contracts.clone() };
    let (server, reports) = DispatchServer::new(config, Arc::new(authenticator));
    let (believed, seen) = watch::channel(None);
    let follower = Follower::new(&context.rpc, &deployment);
    let following = Following::resume(follower, store.clone(), settings.poll(), believed).await?;

    let mut supervisor = Supervisor::default();
    let cancel = supervisor.cancel_token();
    supervisor.start("following the chain", following.run(cancel.clone()));
    let allocating = Allocating {
        contracts: contracts.clone(),
        sender: sender.clone(),
        store,
        artifacts: artifacts.clone(),
        policy: settings.policy.clone(),
        believed: seen.clone(),
        sessions: server.sessions(),
    };
    supervisor.start("allocating jobs", allocating.run(cancel.clone()));
    let admission = Admission {
        contracts: contracts.clone(),
        account: sender.address(),
        policy: settings.policy.clone(),
        believed: seen.clone(),
    };
    supervisor.start("applying rounds", admission.run(cancel.clone()));
    if settings.exits {
        let exiting =
            Exiting { contracts, sender: sender.clone(), believed: seen.clone(), sessions: server.sessions() };
        supervisor.start("ending what is due", exiting.run(cancel.clone()));
    }
    let dispatcher = Dispatcher::new(server.clone(), artifacts, RetryPolicy::default());
    let dispatching = Dispatching { dispatcher, reports, believed: seen.clone() };
    supervisor.start("dispatching jobs", dispatching.run(cancel.clone()));
    let token = cancel.clone();
    supervisor.start("serving worker agents", async move {
        server.serve(listener, token).await.context("serving worker agents")
    });
    tracing::info!(network = %settings.network, account = %sender.address(), listen = %address, "the keeper runs");
    announce(&context, seen, address, settings.public_url.clone().unwrap_or_else(|| format!("ws://{address}")));
    supervisor.run(stop).await
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

async fn open_store(context: &Context, contracts: &Contracts) -> Result<Arc<dyn Store>> {
    let settings = &context.settings;
    std::fs::create_dir_all(&settings.data_dir)
        .with_context(|| format!("making the data directory {}", settings.data_dir.display()))?;
    Ok(Arc::new(SqliteStore::open(&settings.database(), records::identity(contracts)).await?))
}

/// Tells whoever started the keeper that it has caught up and where agents connect to.
fn announce(context: &Context, mut believed: BelievedReceiver, address: std::net::SocketAddr, url: String) {
    let json = context.json;
    tokio::spawn(async move {
        while believed.borrow_and_update().is_none() {
            if believed.changed().await.is_err() {
                return;
            }
        }
        if json {
            // A closed standard output is no reason to stop a keeper.
            output::json_line(&json!({ "ready": true, "listen": address.to_string(), "url": url })).ok();
        } else {
            println!("ready; worker agents connect to {url}");
        }
    });
}
