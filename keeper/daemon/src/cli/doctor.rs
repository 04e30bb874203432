//! `keeper doctor`: what works here and what does not.

use anyhow::{Result, bail};
use keeper_chain::{Contracts, Deployment, Follower, Rpc, Sender};
use keeper_worker::{MachineProbe, Probe as _};
use serde::Serialize;

use super::{Global, RunArgs};
use crate::{context::Context, output, settings::Settings};

/// A check and how it ended.
#[derive(Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// Runs every check and prints them all.
///
/// # Errors
/// Fails where a check did, after printing them.
pub(crate) async fn run(global: &Global) -> Result<()> {
    let mut checks = Vec::new();
    run_checks(global, &mut checks).await;
    let failed = checks.iter().filter(|check| !check.ok).count();
    if global.json {
        output::json(&serde_json::json!({ "ok": failed == 0, "checks": checks }))?;
    } else {
        for check in &checks {
            let mark = if check.ok { "ok     " } else { "FAILED " };
            println!("{mark} {:<14} {}", check.name, check.detail);
        }
    }
    match failed {
        0 => Ok(()),
        1 => bail!("1 check failed"),
        _ => bail!("{failed} checks failed"),
    }
}

async fn run_checks(global: &Global, checks: &mut Vec<Check>) {
    let mut note = |name, result: Result<String>| {
        let ok = result.is_ok();
        let detail = result.unwrap_or_else(|error| format!("{error:#}").replace('\n', "; "));
        checks.push(Check { name, ok, detail });
        ok
    };
    let settings = Settings::resolve(global, &RunArgs::default());
    let shown = settings.as_ref().map(|settings| format!("network {}", settings.network));
    note("configuration", shown.map_err(|error| anyhow::anyhow!("{error:#}")));
    let Ok(settings) = settings else { return };
    note("machine", Ok(machine()));
    let artifacts = keeper_dispatch::ArtifactStore::open(&settings.artifacts);
    note("artifacts", artifacts.map(|_| settings.artifacts.clone()).map_err(Into::into));
    let rpc = Rpc::connect(settings.network, &settings.rpc_url).await;
    note("node", rpc.as_ref().map(Rpc::endpoint).map_err(|error| anyhow::anyhow!("{error}")));
    let Ok(rpc) = rpc else { return };
    let context = Context { settings, rpc, json: global.json };
    let deployment = Deployment::load(&context.settings.deployment, context.settings.network);
    note("contracts", check_contracts(&context, &deployment).await);
    if context.settings.account.is_some() {
        note("account", check_account(&context, deployment.as_ref().ok()).await);
    }
}

fn machine() -> String {
    let found = MachineProbe.inventory();
    let gpus: Vec<String> = found.gpus.iter().map(|gpu| gpu.name.clone()).collect();
    let gpus = if gpus.is_empty() { "no GPU".to_owned() } else { gpus.join(", ") };
    format!("{gpus}, {} cores, {} GiB memory", found.cpu_cores, found.memory_bytes >> 30)
}

async fn check_contracts(
    context: &Context,
    deployment: &Result<Deployment, keeper_chain::DeploymentError>,
) -> Result<String> {
    let deployment = deployment.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
    let contracts = Contracts::new(&context.rpc, deployment);
    let stats = contracts.allocation_stats().await?;
    let head = Follower::new(&context.rpc, deployment).head().await?;
    let (rounds, block) = (stats.rounds, head.number);
    Ok(format!("JobMgr {}, {rounds} rounds applied, block {block}", deployment.job_mgr.address))
}

async fn check_account(context: &Context, deployment: Option<&Deployment>) -> Result<String> {
    let credentials = context.credentials().await?;
    let sender = Sender::new(&context.rpc, &credentials, context.settings.poll());
    let nonce = sender.nonce().await?;
    let balance = sender.balance().await?;
    let mut roles = Vec::new();
    if let Some(deployment) = deployment {
        let contracts = Contracts::new(&context.rpc, deployment);
        if contracts.is_keeper(credentials.address).await? {
            roles.push("keeper".to_owned());
        }
        if let Some(worker_id) = contracts.worker_of(credentials.address).await? {
            roles.push(format!("worker {worker_id}"));
        }
    }
    let roles = if roles.is_empty() { String::new() } else { format!(", {}", roles.join(", ")) };
    let summary = format!("{} holds {balance}, nonce {nonce}{roles}", credentials.address);
    if balance.0 == 0 {
        bail!("{summary}: it cannot pay fees; fund it with STRK");
    }
    Ok(summary)
}
