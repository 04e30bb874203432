//! `keeper worker ...`.

mod register;
mod run;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use keeper_chain::{Contracts, Receipt};
use keeper_types::{Fri, MAX_REPUTATION, Worker, WorkerId};
use serde_json::{Value, json};

use super::Global;
use crate::{context::Context, output};

/// What to do with workers.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkerCommand {
    /// Register this machine as the account's worker; what it has is probed
    Register(register::RegisterArgs),
    /// Run the account's worker agent
    Run(run::AgentArgs),
    /// List workers
    List,
    /// Show one worker
    Show(WorkerArgs),
    /// Take no more jobs
    Drain,
    /// Take jobs again
    Resume,
    /// Add to the stake
    AddStake(StakeArgs),
    /// Say on chain that the worker is alive
    Heartbeat,
    /// Leave: the stake unbonds
    Exit,
    /// Take the stake back after leaving
    Withdraw,
}

/// Which worker.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The worker's number
    id: WorkerId,
}

/// How much.
#[derive(Debug, Args)]
pub(crate) struct StakeArgs {
    /// What to add, in STRK
    #[arg(value_name = "STRK", value_parser = Fri::from_strk)]
    amount: Fri,
}

/// Runs a worker command.
///
/// # Errors
/// Says what is wrong and what to do.
pub(crate) async fn run(global: &Global, command: WorkerCommand) -> Result<()> {
    let context = Context::connect(global).await?;
    let contracts = context.contracts()?;
    match command {
        WorkerCommand::Register(args) => register::run(&context, &contracts, &args).await,
        WorkerCommand::Run(args) => Box::pin(run::run(&context, contracts, &args)).await,
        WorkerCommand::List => list(&context, &contracts).await,
        WorkerCommand::Show(args) => show(&context, &contracts, args.id).await,
        WorkerCommand::Drain => {
            let receipt = contracts.drain_worker(&context.sender().await?).await?;
            done(&context, &receipt, "drains: it finishes what it runs and takes no more jobs")
        }
        WorkerCommand::Resume => {
            let receipt = contracts.resume_worker(&context.sender().await?).await?;
            done(&context, &receipt, "takes jobs again")
        }
        WorkerCommand::AddStake(args) => {
            let receipt = contracts.add_stake(&context.sender().await?, args.amount).await?;
            done(&context, &receipt, &format!("has {} more at stake", args.amount))
        }
        WorkerCommand::Heartbeat => {
            let receipt = contracts.heartbeat(&context.sender().await?).await?;
            done(&context, &receipt, "is alive")
        }
        WorkerCommand::Exit => {
            let receipt = contracts.exit_worker(&context.sender().await?).await?;
            done(&context, &receipt, "leaves: `keeper worker withdraw` returns the stake once it is unbonded")
        }
        WorkerCommand::Withdraw => {
            let receipt = contracts.withdraw_stake(&context.sender().await?).await?;
            done(&context, &receipt, "has left with its stake")
        }
    }
}

fn done(context: &Context, receipt: &Receipt, what: &str) -> Result<()> {
    if context.json {
        return output::json(&json!({ "tx_hash": receipt.hash, "fee_fri": receipt.fee }));
    }
    println!("the worker {what}; block {}, transaction {}", receipt.block.number, receipt.hash);
    output::explorer_link(context.settings.network, receipt.hash);
    Ok(())
}

async fn list(context: &Context, contracts: &Contracts) -> Result<()> {
    let workers = contracts.workers().await?;
    if context.json {
        return output::json(&json!({ "workers": workers }));
    }
    let mut table =
        output::table(&["WORKER", "STATUS", "SLOTS", "GPUS", "VRAM", "REGION", "RATE", "REPUTATION", "STAKE", "OWNER"]);
    for worker in &workers {
        let has = &worker.capabilities;
        table.add_row([
            worker.worker_id.to_string(),
            worker.status.to_string(),
            format!("{}/{}", worker.used_slots, worker.slots),
            format!("{}/{}", worker.used_gpus, has.gpu_count),
            format!("{} GiB", has.vram_gib),
            region(worker),
            worker.rate.to_string(),
            format!("{}/{MAX_REPUTATION}", worker.reputation),
            worker.stake.to_string(),
            output::short(worker.owner),
        ]);
    }
    println!("{table}");
    Ok(())
}

async fn show(context: &Context, contracts: &Contracts, worker_id: WorkerId) -> Result<()> {
    let Some(worker) = contracts.worker(worker_id).await? else {
        bail!("worker {worker_id} does not exist\nhint: `keeper worker list` shows the workers that do");
    };
    if context.json {
        return output::json(&serde_json::to_value(&worker).unwrap_or(Value::Null));
    }
    let has = &worker.capabilities;
    let version = |number: u8| format!("{}.{}", number / 10, number % 10);
    println!("worker            {worker_id}");
    println!("status            {}", worker.status);
    println!("owner             {}", worker.owner);
    println!("slots in use      {} of {}", worker.used_slots, worker.slots);
    println!("GPUs in use       {} of {}, {} GiB each", worker.used_gpus, has.gpu_count, has.vram_gib);
    println!(
        "capability        {}, CUDA {}, driver {}",
        version(has.compute_capability),
        version(has.cuda_version),
        has.driver_version
    );
    println!("host              {} cores, {} GiB memory", has.cpu_cores, has.memory_gib);
    println!("features          {}", has.features);
    println!("region            {}", region(&worker));
    println!("rate              {}", worker.rate);
    println!("reputation        {}/{MAX_REPUTATION}", worker.reputation);
    println!("stake             {}", worker.stake);
    println!("held by           {} results that are not beyond doubt", worker.holds);
    if worker.is_static {
        println!("static            admitted by the admin");
    }
    Ok(())
}

fn region(worker: &Worker) -> String {
    worker.capabilities.region.map_or_else(|| "-".to_owned(), |region| region.to_string())
}
