//! `keeper doctor`: what works here and what does not.

use anyhow::{Result, anyhow, bail};
use keeper_chain::{Contracts, EndpointHealth, Follower, Heads, Rpc, Sender, Standing};
use keeper_dispatch::ArtifactStore;
use keeper_store::PostgresStore;
use keeper_worker::{MachineProbe, Probe as _};
use serde::Serialize;

use super::{Global, RunArgs};
use crate::{context::Context, output, rights::Rights, settings::Settings};

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
        let detail = result.unwrap_or_else(|error| in_one_line(&error));
        checks.push(Check { name, ok, detail });
    };
    let settings = match Settings::resolve(global, &RunArgs::default()) {
        Ok(settings) => settings,
        Err(error) => return note("configuration", Err(error)),
    };
    note("configuration", Ok(format!("network {}", settings.network)));
    note("machine", Ok(machine()));
    note("artifacts", check_artifacts(&settings.artifacts));
    if let Some(url) = &settings.database {
        let version = PostgresStore::server_version(url).await;
        let told = version.map(|version| format!("{url}, PostgreSQL {version}, durable"));
        note("database", told.map_err(Into::into));
    }
    let rpc = match Rpc::connect_all(settings.network, &settings.rpc_urls, settings.pool.clone()).await {
        Ok(rpc) => rpc,
        Err(error) => return note("node", Err(error.into())),
    };
    let is_only = settings.rpc_urls.len() == 1;
    if !is_only {
        rpc.look_at_endpoints().await;
    }
    for endpoint in rpc.endpoints() {
        note("node", if is_only { Ok(endpoint.url) } else { check_endpoint(&endpoint) });
    }
    if let Some(url) = &settings.ws_url {
        let heads = Heads::new(url);
        let shown = heads.health().url;
        let told = match heads.check().await {
            Ok(()) => Ok(format!("{shown} tells of new blocks")),
            Err(reason) => Err(anyhow!("{shown} does not tell of new blocks: {reason}")),
        };
        note("heads", told);
    }
    let context = Context { settings, rpc, json: global.json };
    let contracts = context.contracts();
    let known = contracts.as_ref().ok().cloned();
    note("contracts", check_contracts(&context, contracts).await);
    if let Some(contracts) = &known {
        note("pauses", check_pauses(contracts).await);
    }
    if context.settings.account.is_some() {
        note("account", check_account(&context, known.as_ref()).await);
        if let Some(result) = check_rights(&context, known.as_ref()).await {
            note("rounds", result);
        }
    }
}

/// What is wrong, and what to do about it.
fn in_one_line(error: &anyhow::Error) -> String {
    let (message, hint) = output::described(error);
    hint.map_or_else(|| message.clone(), |hint| format!("{message}; hint: {hint}"))
}

fn machine() -> String {
    let found = MachineProbe.inventory();
    let gpus: Vec<String> = found.gpus.iter().map(|gpu| gpu.name.clone()).collect();
    let gpus = if gpus.is_empty() { "no GPU".to_owned() } else { gpus.join(", ") };
    format!("{gpus}, {} cores, {} GiB memory", found.cpu_cores, found.memory_bytes >> 30)
}

/// Whether artifacts can be kept there. Nothing is made: a check only looks.
fn check_artifacts(location: &str) -> Result<String> {
    if ArtifactStore::is_made(location)? {
        return Ok(location.to_owned());
    }
    Ok(format!("{location}, which is not there yet: what first keeps something makes it"))
}

/// Whether an endpoint is asked, and if not, why.
fn check_endpoint(endpoint: &EndpointHealth) -> Result<String> {
    let told = output::endpoint(endpoint);
    if endpoint.standing == Standing::Healthy { Ok(told) } else { Err(anyhow!("{told}")) }
}

async fn check_contracts(context: &Context, contracts: Result<Contracts>) -> Result<String> {
    let contracts = contracts?;
    let rounds = contracts.allocation_stats().await?.rounds;
    let head = Follower::new(&context.rpc, contracts.deployment()).head().await?;
    Ok(format!("JobMgr {}, {rounds} rounds applied, block {}", contracts.deployment().job_mgr.address, head.number))
}

/// Whether anything new gets into the contracts.
async fn check_pauses(contracts: &Contracts) -> Result<String> {
    pauses(&contracts.paused().await?)
}

fn pauses(paused: &[&'static str]) -> Result<String> {
    if paused.is_empty() {
        return Ok("no contract is paused".to_owned());
    }
    let stopped: Vec<String> = paused.iter().map(|name| format!("{name} (no {})", stopped_by(name))).collect();
    let options: Vec<String> = paused.iter().map(|name| format!(" --contract {name}")).collect();
    bail!("paused: {}\nhint: the admin ends it with `keeper admin unpause{}`", stopped.join(", "), options.concat())
}

/// What does not happen while this contract is paused.
fn stopped_by(contract: &str) -> &'static str {
    match contract {
        "JobMgr" => "new jobs, no allocations",
        "CdcPool" => "new workers",
        "TaskAllocator" => "rounds",
        _ => "deposits and sponsored transactions",
    }
}

/// Whether the account may apply rounds, where it is a keeper's or was.
async fn check_rights(context: &Context, contracts: Option<&Contracts>) -> Option<Result<String>> {
    let contracts = contracts?;
    let account = context.credentials().await.ok()?.address;
    match Rights::read(contracts, account, &context.settings.policy).await {
        Ok(rights) if rights.is_of_a_keeper() => {
            let may = format!("the account may apply rounds, with a bond of {}", rights.bond());
            Some(rights.check().map(|()| may).map_err(Into::into))
        }
        Ok(_) => None,
        Err(error) => Some(Err(error.into())),
    }
}

async fn check_account(context: &Context, contracts: Option<&Contracts>) -> Result<String> {
    let credentials = context.credentials().await?;
    let sender = Sender::new(&context.rpc, &credentials, context.settings.poll());
    let nonce = sender.nonce().await?;
    let balance = sender.balance().await?;
    let mut roles = Vec::new();
    if let Some(contracts) = contracts {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_for_artifacts_makes_no_folder() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("data/artifacts");
        let told = check_artifacts(folder.to_str().unwrap()).unwrap();
        assert!(told.contains("not there yet"), "{told}");
        assert!(!place.path().join("data").exists());
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(check_artifacts(folder.to_str().unwrap()).unwrap(), folder.to_str().unwrap());
        std::fs::write(place.path().join("file"), "").unwrap();
        let error = check_artifacts(place.path().join("file").to_str().unwrap()).unwrap_err();
        assert!(error.to_string().contains("no folder"), "{error}");
    }

    #[test]
    fn a_pause_names_the_contract_what_it_stops_and_the_remedy() {
        assert_eq!(pauses(&[]).unwrap(), "no contract is paused");
        let paused = in_one_line(&pauses(&["JobMgr", "TaskAllocator"]).unwrap_err());
        assert_eq!(
            paused,
            "paused: JobMgr (no new jobs, no allocations), TaskAllocator (no rounds); hint: the admin ends it with \
             `keeper admin unpause --contract JobMgr --contract TaskAllocator`"
        );
    }
}
