//! `nonce`: payments go through lanes to a real chain, by a mempool that loses, forgets, holds back and doubles them.
//!
//! Each payment goes to an account of its own, so that the chain itself says what arrived how often. Besides, somebody
//! else sends from the same accounts, some payments revert, and the lanes are killed and started again from their log.

mod figures;
mod load;
mod pool;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use e2e::{Localnet, LocalnetOptions};
use keeper_chain::{
    Network, Rpc, Sender,
    lane::{LaneSettings, LaneTimes},
};
use rand::Rng as _;

use self::{figures::Figures, load::Load, pool::Pool};

/// Intents after which the lanes are killed and started again.
const RESTART_EVERY: u64 = 500;

/// How much is sent, and by how many.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many payments have to arrive
    #[arg(long, default_value_t = 5_000)]
    transactions: u64,
    /// Accounts, each with a lane of its own
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=16))]
    accounts: u8,
    /// How long a transaction may be missing before it is sent again, in milliseconds
    #[arg(long, default_value_t = 10_000)]
    resend_after_ms: u64,
    /// Seconds between two blocks
    #[arg(long, default_value_t = 2)]
    block_time: u64,
    /// Payments between two restarts of an account's lane
    #[arg(long, default_value_t = RESTART_EVERY)]
    restart_every: u64,
    /// What faults are drawn from; a fresh one if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Never send anything again: this must get stuck
    #[arg(long)]
    sabotage: bool,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Sends, and counts what was lost, doubled or stuck.
///
/// # Errors
/// Fails where the chain, the store or the machine does.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| rand::rng().random());
    println!("nonce: {} payments from {} accounts, --seed {seed}", args.transactions, args.accounts);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(send_all(args, seed))?;
    print!("{}", figures.told());
    if let Some(file) = &args.json {
        std::fs::write(file, format!("{:#}\n", figures.json()))
            .with_context(|| format!("writing {}", file.display()))?;
    }
    // A lane that never sends again has to be noticed.
    let is_as_expected = if args.sabotage { figures.stuck > 0 } else { figures.is_clean() };
    Ok(if is_as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn send_all(args: &Args, seed: u64) -> Result<Figures> {
    let accounts = usize::from(args.accounts);
    let block_time = Some(args.block_time);
    let options = LocalnetOptions { accounts: Some(args.accounts), block_time, ..LocalnetOptions::default() };
    let chain = Arc::new(tokio::task::spawn_blocking(move || Localnet::start(options)).await?);
    let pool = Pool::before(chain.rpc_url(), seed).await?;
    let behind = Rpc::connect(Network::Devnet, &pool.url().parse()?).await?;
    let folder = tempfile::tempdir()?;
    let times = LaneTimes {
        gap_after_ms: if args.sabotage { u64::MAX } else { args.resend_after_ms },
        // As 300 s is to 10 s.
        life_ms: if args.sabotage { u64::MAX } else { args.resend_after_ms * 30 },
        ..LaneTimes::default()
    };
    let settings = LaneSettings {
        times,
        poll: Duration::from_millis(250),
        send_timeout: Duration::from_secs(2),
        ..LaneSettings::default()
    };
    let mut loads = Vec::new();
    for number in 0..accounts {
        let credentials = chain.account(number + 1).credentials();
        let share =
            args.transactions / accounts as u64 + u64::from((number as u64) < args.transactions % accounts as u64);
        let load = Load {
            number: number as u64,
            payments: share,
            seed,
            settings,
            restart_every: args.restart_every,
            // More than the life of a transaction, after which whatever else failed is replaced.
            patience: if args.sabotage {
                Duration::from_secs(15)
            } else {
                Duration::from_millis(40 * args.resend_after_ms + 60_000)
            },
            database: folder.path().join(format!("{number}.sqlite")),
            sender: Arc::new(Sender::new(&behind, &credentials, Duration::from_millis(50))),
            outsider: Arc::new(Sender::new(&chain.rpc().await, &credentials, Duration::from_millis(50))),
        };
        loads.push(tokio::spawn(load.run()));
    }
    let mut figures = Figures::new(seed, args.sabotage, args.resend_after_ms);
    for load in loads {
        figures.add(&load.await??);
    }
    figures.faults = pool.faults();
    figures.recoveries = pool.healed();
    Ok(figures)
}
