//! `keeper worker register`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use keeper_chain::Contracts;
use keeper_types::{Capabilities, Features, Fri, Rate, Region};
use keeper_worker::{MachineProbe, ProbeReport};
use serde_json::json;

use crate::{cli::paymaster, context::Context, output};

/// What the worker offers; what it has is probed.
#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// Jobs at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    slots: u8,
    /// Where the machine stands: at most five characters, such as eu-w1
    #[arg(long)]
    region: Region,
    /// What a GPU costs for an hour, in STRK; a job without a GPU is billed as one
    #[arg(long, value_name = "STRK", value_parser = Rate::from_strk_per_gpu_hour)]
    rate: Rate,
    /// Run clients' commands too, with this user's rights: they are bounded, but not isolated
    #[arg(long)]
    allow_processes: bool,
    /// What to stake, in STRK [default: the least that the slots need]
    #[arg(long, value_name = "STRK", value_parser = Fri::from_strk)]
    stake: Option<Fri>,
    /// Send nothing: sign the registration and write it to a file, for somebody else to relay and pay for
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
}

/// Registers the worker, or brings what it offers up to date.
///
/// # Errors
/// Says what is wrong and what to do.
pub(super) async fn run(context: &Context, contracts: &Contracts, args: &RegisterArgs) -> Result<()> {
    let capabilities = probe(args);
    let sender = context.sender().await?;
    if let Some(worker_id) = contracts.worker_of(sender.address()).await? {
        if args.stake.is_some() {
            bail!(
                "worker {worker_id} is registered before: --stake is for a new one\n\
                 hint: leave it out, and use `keeper worker add-stake` to stake more"
            );
        }
        if args.sign.is_some() {
            bail!("worker {worker_id} is registered before, and only a registration can be signed for others to send");
        }
        let receipt = contracts.update_worker(&sender, &capabilities, args.slots, args.rate).await?;
        if context.json {
            return output::json(&json!({ "worker_id": worker_id, "tx_hash": receipt.hash, "updated": true }));
        }
        println!("worker {worker_id} was registered before; what it offers is now up to date");
        return Ok(());
    }
    let least = Fri(contracts.min_stake_per_slot().await?.0.saturating_mul(u128::from(args.slots)));
    let stake = args.stake.unwrap_or(least);
    if stake < least {
        bail!("--stake is {stake}, but {} slots need at least {least}", args.slots);
    }
    let balance = sender.balance().await?;
    if balance < stake {
        bail!(
            "account {} holds {balance}, but {stake} is to be staked\nhint: fund the account with STRK, or register fewer --slots",
            sender.address()
        );
    }
    if let Some(file) = &args.sign {
        let calls = contracts.registration_calls(&sender, &capabilities, args.slots, args.rate, stake);
        return paymaster::write_signed(context, contracts, calls, file).await;
    }
    let (worker_id, receipt) = contracts.register_worker(&sender, &capabilities, args.slots, args.rate, stake).await?;
    if context.json {
        return output::json(&json!({
            "worker_id": worker_id,
            "tx_hash": receipt.hash,
            "capabilities": capabilities,
            "stake_fri": stake,
        }));
    }
    println!("worker {worker_id} registered in block {}, transaction {}", receipt.block.number, receipt.hash);
    println!(
        "{} GPU, {} cores, {} GiB memory; {} slots at {}, {stake} staked",
        capabilities.gpu_count, capabilities.cpu_cores, capabilities.memory_gib, args.slots, args.rate
    );
    output::explorer_link(context.settings.network, receipt.hash);
    Ok(())
}

/// What this machine has; what could not be found out is said aloud.
fn probe(args: &RegisterArgs) -> Capabilities {
    let report = ProbeReport::of(&MachineProbe, args.region);
    for warning in report.warnings {
        tracing::warn!("{warning}");
    }
    let mut capabilities = report.capabilities;
    if args.allow_processes {
        capabilities.features = capabilities.features.union(Features::PROCESSES);
    }
    capabilities
}
