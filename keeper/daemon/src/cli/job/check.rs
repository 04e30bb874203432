//! `keeper job check`: where, when and at what price a job would run that nobody has submitted.

mod report;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use keeper_chain::{Contracts, Follower};
use keeper_dispatch::ArtifactStore;
use keeper_scheduler::{
    Explanation, ManifestStatus, Outcome, PendingJob, Policy, RoundInputs, Snapshot, plan, seed_of,
};
use keeper_types::{
    Address, AgentView, Attempt, BlockEvents, BlockHeader, BlockNumber, ContentHash, Felt, Fri, Job, JobId, JobSpec,
    Manifest, ManifestView, Market, MarketEvent, Worker, WorkerId, WorkerStatus,
};
use serde::Serialize;

use super::submit;
use crate::{
    cli::verify::{market_at, round::read},
    context::Context,
    output,
};

/// Where no price is given: as much as any worker may ask.
const ANY_PRICE: Fri = Fri(1 << 100);

/// The job that might be submitted.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// What would be run (JSON; docs/manifest.md describes it)
    #[arg(value_name = "FILE", required_unless_present = "manifest", conflicts_with = "manifest")]
    spec: Option<PathBuf>,
    /// The same, as `job submit` takes it
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// What would go into escrow and be paid at most, in STRK [default: whatever it costs]
    #[arg(long, value_name = "STRK", value_parser = Fri::from_strk)]
    max_price: Option<Fri>,
    #[command(flatten)]
    terms: submit::Terms,
}

impl CheckArgs {
    /// Reads and checks the manifest.
    ///
    /// # Errors
    /// Names the file and the field that is wrong.
    pub(super) fn manifest(&self) -> Result<(bytes::Bytes, Manifest)> {
        let spec = self.spec.as_ref().map(|path| ("FILE", path));
        let named = spec.or(self.manifest.as_ref().map(|path| ("--manifest", path)));
        let (named_by, path) = named.context("no manifest is named")?;
        submit::read_manifest(named_by, path, self.terms.verification())
    }
}

/// Whether the job would be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// In the next round.
    Now,
    /// Some of its replicas in the next round, the others not.
    Partly,
    /// When a worker that fits has room.
    Later,
    /// Not unless something other than time changes.
    No,
}

/// What is known of the agents, and how the keeper decides.
struct Basis {
    /// Those of the latest round on chain, with the block that it was decided at.
    inputs: Option<(RoundInputs, BlockNumber)>,
    policy: Policy,
}

impl Basis {
    /// The market at its head: with the agents that the latest round had, or with every active worker's where it is not
    /// known.
    fn snapshot(&self, market: &Market, head: &BlockHeader) -> Snapshot {
        let at = (head.number, head.timestamp);
        if let Some((inputs, _)) = &self.inputs {
            return inputs.snapshot(market, at, head.hash);
        }
        let is_active = |worker: &&Worker| worker.status == WorkerStatus::Active;
        let agent = |worker_id| market.workers.get(&worker_id).filter(is_active).map(|_| AgentView::default());
        let manifest = |_: &Job| (ManifestStatus::Available, ManifestView::default());
        Snapshot::of_market(market, at, seed_of(head.hash), manifest, agent).with_turn(market, &self.policy)
    }
}

/// Says whether the job would be placed now, where, when, and at what price. Nothing is sent or stored.
///
/// # Errors
/// Names the field of the job that is wrong, or fails where the node does not answer.
pub(super) async fn run(context: &Context, contracts: &Contracts, args: &CheckArgs) -> Result<()> {
    let (bytes, manifest) = args.manifest()?;
    let follower = Follower::new(&context.rpc, contracts.deployment());
    let blocks = read(&follower).await?;
    let head = follower.head().await?;
    let market = market_at(&blocks, BlockNumber(u64::MAX))?;
    let basis = basis(context, &blocks).await?;
    let max_price = args.max_price.unwrap_or(ANY_PRICE);
    let spec = args.terms.spec(&manifest, ContentHash::of(&bytes), max_price, head.timestamp)?;
    let client = asker(context).await;
    let address = client.address.unwrap_or(Address(Felt::ZERO));

    let snapshot = basis.snapshot(&market, &head);
    let job = hypothetical(&spec, address, &manifest, head.timestamp);
    let replicas = replicas(&snapshot, &basis.policy, &job, &spec)?;
    report::Report { spec: &spec, client: &client, replicas: &replicas, snapshot: &snapshot, basis: &basis }
        .print(context.json)
}

/// Whose job it would be.
#[derive(Debug)]
struct Asker {
    /// None where the answer is for a client that nobody knows: without jobs of its own, and refused by no worker.
    address: Option<Address>,
    /// Why that is so.
    unknown: Option<String>,
}

/// The account that is named, so far as it can be used; what is asked needs none.
async fn asker(context: &Context) -> Asker {
    if context.settings.account.is_none() {
        return Asker { address: None, unknown: Some("no --account is named".to_owned()) };
    }
    match context.credentials().await {
        Ok(credentials) => Asker { address: Some(credentials.address), unknown: None },
        Err(error) => {
            let (reason, _) = output::described(&error);
            Asker { address: None, unknown: Some(format!("--account cannot be used: {reason}")) }
        }
    }
}

/// What would become of one replica; of the job itself where it has but one.
#[derive(Debug, Serialize)]
struct Replica {
    verdict: Verdict,
    /// The worker that gets it, or is kept for it.
    worker_id: Option<WorkerId>,
    /// When it starts at the latest: Unix timestamp in seconds.
    start_by: Option<u64>,
    /// The most that it costs.
    price_fri: Option<Fri>,
    #[serde(serialize_with = "report::unnumbered")]
    explanation: Explanation,
}

/// Decides as a keeper would that finds all replicas of the job beside what waits already: each goes to another worker.
fn replicas(snapshot: &Snapshot, policy: &Policy, job: &PendingJob, spec: &JobSpec) -> Result<Vec<Replica>> {
    // No jobs on chain have these numbers.
    let first = u64::MAX - u64::from(spec.replicas.saturating_sub(1));
    let mut round = snapshot.clone();
    for job_id in first..=u64::MAX {
        let group_id = (spec.replicas > 1).then_some(JobId(first));
        round.jobs.push(PendingJob { job_id: JobId(job_id), group_id, ..job.clone() });
    }
    let mut plan = plan(&round, policy);
    let replica = |job_id| {
        let explanation = plan.explanations.remove(&job_id).context("the plan does not mention the job")?;
        let rate = plan.items.iter().find(|item| item.job_id == job_id).map(|item| item.rate);
        let verdict = verdict(&explanation.outcome);
        let worker_id = match explanation.outcome {
            Outcome::Placed { worker_id } => Some(worker_id),
            _ => explanation.reservation.map(|reservation| reservation.worker_id),
        };
        let asked = snapshot.workers.iter().find(|worker| Some(worker.worker_id) == worker_id);
        let rate = rate.or(asked.map(|worker| worker.rate));
        let price_fri = rate.map(|rate| rate.cost(spec.requirements.billed_units(), spec.execution_timeout_s));
        let start_by = match verdict {
            Verdict::Now => Some(snapshot.now),
            _ => explanation.reservation.map(|reservation| reservation.start_by),
        };
        Ok(Replica { verdict, worker_id, start_by, price_fri, explanation })
    };
    (first..=u64::MAX).map(JobId).map(replica).collect()
}

/// What the verdicts on its replicas say of a job: it is not placed before all of them are.
fn overall(replicas: &[Replica]) -> Verdict {
    let is = |verdict: Verdict| move |replica: &Replica| replica.verdict == verdict;
    if replicas.iter().all(is(Verdict::Now)) {
        Verdict::Now
    } else if replicas.iter().any(is(Verdict::Now)) {
        Verdict::Partly
    } else if replicas.iter().any(is(Verdict::No)) {
        Verdict::No
    } else {
        Verdict::Later
    }
}

/// How the latest round on chain was decided, as far as it was published where this command can read it.
async fn basis(context: &Context, blocks: &[BlockEvents]) -> Result<Basis> {
    let latest = blocks.iter().flat_map(|block| &block.events).rev().find_map(|(_, event)| match event {
        MarketEvent::RoundApplied { snapshot_root, snapshot_block, .. } => Some((*snapshot_root, *snapshot_block)),
        _ => None,
    });
    // Without the keeper's artifact store there is still an answer.
    let inputs = match (latest, ArtifactStore::open_existing(&context.settings.artifacts)) {
        (Some((root, block)), Ok(artifacts)) => {
            let published = artifacts.round(root).await.ok();
            published.and_then(|bytes| RoundInputs::parse(&bytes).ok()).map(|inputs| (inputs, block))
        }
        _ => None,
    };
    let policy = inputs.as_ref().map_or_else(|| context.settings.policy.clone(), |(inputs, _)| inputs.policy.clone());
    Ok(Basis { inputs, policy })
}

fn hypothetical(spec: &JobSpec, client: Address, manifest: &Manifest, now: u64) -> PendingJob {
    PendingJob {
        // Each replica gets a number of its own.
        job_id: JobId(u64::MAX),
        attempt: Attempt(1),
        client,
        requirements: spec.requirements.clone(),
        priority: spec.priority,
        queue: spec.queue,
        max_rate: spec.max_rate(),
        deadline: (spec.deadline, BlockNumber(u64::MAX)),
        submitted_at: now,
        queued_at: now,
        max_latency_ms: spec.max_latency_ms,
        model_id: spec.model_id,
        group_id: None,
        excluded: Vec::new(),
        execution_timeout_s: spec.execution_timeout_s,
        manifest: ManifestStatus::Available,
        manifest_view: manifest.view(),
    }
}

fn verdict(outcome: &Outcome) -> Verdict {
    match outcome {
        Outcome::Placed { .. } => Verdict::Now,
        Outcome::NoCapacity
        | Outcome::BatchFull
        | Outcome::QueueFull
        | Outcome::BackingOff { .. }
        | Outcome::PreferredBusy { .. } => Verdict::Later,
        Outcome::NoWorkers
        | Outcome::NoFeasibleWorker
        | Outcome::WorkersOffline
        | Outcome::ManifestMissing
        | Outcome::ManifestMalformed { .. }
        | Outcome::DeadlinePassed => Verdict::No,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_waiting_alone_mends_is_later_and_the_rest_is_no() {
        assert_eq!(verdict(&Outcome::Placed { worker_id: WorkerId(1) }), Verdict::Now);
        assert_eq!(verdict(&Outcome::NoCapacity), Verdict::Later);
        assert_eq!(verdict(&Outcome::WorkersOffline), Verdict::No);
        assert_eq!(verdict(&Outcome::NoFeasibleWorker), Verdict::No);
    }

    fn replica(outcome: &Outcome) -> Replica {
        let explanation = json!({
            "job_id": 1, "attempt": 1, "outcome": outcome, "workers_evaluated": 1, "rejections": {},
            "winner": null, "runner_up": null,
        });
        let explanation: Explanation = serde_json::from_value(explanation).unwrap();
        let verdict = verdict(&explanation.outcome);
        Replica { verdict, worker_id: None, start_by: None, price_fri: None, explanation }
    }

    #[test]
    fn a_job_is_placed_now_only_where_each_replica_is() {
        let placed = |worker| replica(&Outcome::Placed { worker_id: WorkerId(worker) });
        assert_eq!(overall(&[placed(1)]), Verdict::Now);
        assert_eq!(overall(&[placed(1), placed(2), placed(3)]), Verdict::Now);
        let partly = [placed(1), replica(&Outcome::NoFeasibleWorker), replica(&Outcome::NoCapacity)];
        assert_eq!(overall(&partly), Verdict::Partly);
        assert_eq!(overall(&partly[1..]), Verdict::No);
        assert_eq!(overall(&partly[2..]), Verdict::Later);
    }
}
