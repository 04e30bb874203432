//! `failpoints`: the keeper dies at every named place, one after the other, and is started again each time.
//!
//! `kill` draws moments and may never hit the few instructions between a commit and what follows it. Here the keeper, built
//! with the feature `failpoints`, is told where to die. A job is submitted while no keeper runs; the keeper is started, dies
//! at its place, is started again without one, and must work again. At the end every job must be settled, once.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use keeper_failpoints::Failpoint;
use serde_json::{Value, json};

use super::{
    STUCK_AFTER, agents::Agents, figures::Figures, keeper::Keeper, sight::Sight, stage::Stage, submitting::submit,
    tally,
};

/// Workers, with more slots than there are jobs.
const WORKERS: u8 = 2;

/// Where the keeper dies.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only at these places; at every one if none is named
    names: Vec<String>,
    /// Keep the processes' logs in this folder
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Has the keeper die everywhere, and counts what was lost.
///
/// # Errors
/// Fails where the keeper does not die where it should, or does not work again.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let chosen = chosen(&args.names)?;
    println!("failpoints: the keeper dies at {} places", chosen.len());
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let (figures, places) = runtime.block_on(die_everywhere(&chosen, args))?;
    print!("{}", figures.told());
    if let Some(file) = &args.json {
        let mut figures = figures.json();
        figures["failpoints"] = places;
        std::fs::write(file, serde_json::to_string_pretty(&figures)? + "\n")
            .with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(if figures.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(names: &[String]) -> Result<Vec<Failpoint>> {
    let find = |name: &String| {
        let found = Failpoint::OF_KEEPER.iter().find(|failpoint| failpoint.name() == name).copied();
        found.with_context(|| {
            if Failpoint::ALL.iter().any(|failpoint| failpoint.name() == name) {
                return format!("a short run does not get to `{name}`; `cargo test -p keeper-store killed` does");
            }
            format!("there is no failpoint `{name}`; docs/reliability.md lists them")
        })
    };
    if names.is_empty() { Ok(Failpoint::OF_KEEPER.to_vec()) } else { names.iter().map(find).collect() }
}

/// Whether a place is only reached when L1 accepts a block.
fn needs_a_final_block(failpoint: Failpoint) -> bool {
    matches!(failpoint, Failpoint::FinalBeforeCommit | Failpoint::FinalAfterCommit)
}

/// Whether a place is only reached when the chain is reorganised.
fn needs_a_fork(failpoint: Failpoint) -> bool {
    matches!(failpoint, Failpoint::RevertBeforeCommit | Failpoint::RevertAfterCommit)
}

async fn die_everywhere(chosen: &[Failpoint], args: &Args) -> Result<(Figures, Value)> {
    let began = Instant::now();
    let stage = Arc::new(Stage::set(WORKERS, true).await?);
    let died = die(&stage, chosen).await;
    if let Some(folder) = &args.logs {
        stage.keep_logs(folder)?;
    }
    let (mut figures, places) = died?;
    figures.took = began.elapsed();
    figures.chain_rss_mb = stage.chain_rss_mb();
    Ok((figures, places))
}

async fn die(stage: &Arc<Stage>, chosen: &[Failpoint]) -> Result<(Figures, Value)> {
    let mut figures = Figures::new(None, None);
    let mut places = json!({});
    let sight = Sight::open(stage);
    let mut keeper = Keeper::start(stage, sight.seen.clone(), None).await?;
    // Nothing of value may be in what a fork takes away: forks come first.
    for failpoint in chosen.iter().copied().filter(|failpoint| needs_a_fork(*failpoint)) {
        keeper.kill().await?;
        keeper.start_to_die_at(failpoint)?;
        keeper.until_ready().await?;
        stage.fork().await;
        let recovery = die_once(&mut keeper, failpoint, &mut figures).await?;
        places[failpoint.name()] = json!({ "recovery_ms": recovery.as_millis() });
    }
    let agents = Agents::hire(stage, WORKERS, &[keeper.listen()]).await?;
    let mut acknowledged = Vec::new();
    for failpoint in chosen.iter().copied().filter(|failpoint| !needs_a_fork(*failpoint)) {
        keeper.kill().await?;
        acknowledged.extend(submit(stage, u32::try_from(acknowledged.len())?, 1).await?);
        if needs_a_final_block(failpoint) {
            stage.accept_on_l1().await;
        }
        keeper.start_to_die_at(failpoint)?;
        let recovery = die_once(&mut keeper, failpoint, &mut figures).await?;
        places[failpoint.name()] = json!({ "recovery_ms": recovery.as_millis() });
    }
    sight.until_all_is_over(acknowledged.len(), STUCK_AFTER).await?;
    keeper.stop().await?;
    let store = tally::records(stage).await?;
    figures.tally = tally::count(stage, &store, &acknowledged, &agents).await?;
    Ok((figures, places))
}

/// Waits until the keeper has died where it should; starts it again and waits until it works.
async fn die_once(keeper: &mut Keeper, failpoint: Failpoint, figures: &mut Figures) -> Result<Duration> {
    let died = keeper.until_dead().await.with_context(|| format!("{failpoint} was never reached"))?;
    ensure!(died.contains(failpoint.name()), "the keeper was to die at {failpoint}, and last said: {died}");
    figures.killed(failpoint.name());
    keeper.start_again()?;
    let recovery = keeper.until_working().await.with_context(|| format!("after {failpoint}"))?;
    figures.recovered(recovery);
    Ok(recovery.working)
}
