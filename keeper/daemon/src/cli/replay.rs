//! `keeper replay`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use keeper_scheduler::{Outcome, Plan, Policy, Snapshot, plan, plan_root, policy_id, snapshot_root};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Global, complaints};
use crate::output;

const HINT: &str = "hint: `keeper verify allocation ID --save FILE` writes one of a round on chain";

/// Which decision.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The snapshot and its policy (JSON)
    file: PathBuf,
}

/// A decision's whole input: the same file gives the same plan on every machine.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recording {
    pub(super) policy: Policy,
    pub(super) snapshot: Snapshot,
}

impl Recording {
    /// Writes it to a file.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    fn load(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).map_err(|error| complaints::unreadable("FILE", path.as_os_str(), &error))?;
        let recording: Self = serde_json::from_str(&text)
            .map_err(|error| anyhow!("{} is no snapshot with its policy: {error}\n{HINT}", path.display()))?;
        recording.policy.validate().with_context(|| path.display().to_string())?;
        recording.snapshot.check_portion().with_context(|| {
            format!("{} has what a round about {} does not", path.display(), shards_of(&recording.snapshot))
        })?;
        Ok(recording)
    }
}

/// The shards that a snapshot is of.
fn shards_of(snapshot: &Snapshot) -> String {
    snapshot.portion.as_ref().map_or_else(|| "the whole market".to_owned(), |portion| portion.shards.to_string())
}

/// Plans by the file and prints what was decided, and the names that a round's header would have.
///
/// # Errors
/// Fails where the file cannot be read, or its policy makes no sense.
pub(super) fn run(global: &Global, args: &ReplayArgs) -> Result<()> {
    let recording = Recording::load(&args.file)?;
    let Recording { policy, snapshot } = &recording;
    let plan = plan(snapshot, policy);
    let batch = plan.batch();
    if global.json {
        return output::json(&json!({
            "portion": snapshot.portion,
            "policy_id": policy_id(policy),
            "snapshot_root": snapshot_root(snapshot),
            "plan_root": plan_root(&batch),
            "items": batch,
            "explanations": plan.explanations.values().collect::<Vec<_>>(),
        }));
    }
    println!("policy    {}", policy_id(policy));
    println!(
        "snapshot  {:#066x}, {} jobs and {} workers at block {}",
        snapshot_root(snapshot),
        snapshot.jobs.len(),
        snapshot.workers.len(),
        snapshot.block
    );
    if snapshot.portion.is_some() {
        println!("portion   {}", shards_of(snapshot));
    }
    println!("plan      {:#066x}, {} allocations", plan_root(&batch), batch.len());
    print_decisions(&plan);
    Ok(())
}

fn print_decisions(plan: &Plan) {
    let mut table = output::table(&["JOB", "ATTEMPT", "DECISION", "WORKER", "SCORE, OF 10000"]);
    for explanation in plan.explanations.values() {
        let winner = explanation.winner.as_ref().filter(|_| matches!(explanation.outcome, Outcome::Placed { .. }));
        let (worker, score) = winner.map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |winner| (winner.worker_id.to_string(), winner.total.to_string()),
        );
        let decision = explanation.outcome.code().to_owned();
        table.add_row([explanation.job_id.to_string(), explanation.attempt.to_string(), decision, worker, score]);
    }
    println!("{table}");
}
