//! `keeper verify`.
//!
//! Nothing that the keeper says is believed. The market is rebuilt from the chain's events up to the block that the
//! round names; what the keeper published fills in what no chain tells, and counts only where it gives the snapshot
//! root that the round has on chain; then the plan is made anew.

mod difference;
pub(super) mod round;

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Subcommand};
use keeper_chain::{Deployment, Follower};
use keeper_dispatch::ArtifactStore;
use keeper_scheduler::{ManifestStatus, RoundInputs, ShardSet, Snapshot, plan, plan_root, policy_id, snapshot_root};
use keeper_types::{BlockEvents, BlockNumber, Felt, JobId, MAX_MANIFEST_BYTES, Manifest, Market};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use self::difference::Different;
use self::{
    difference::{Difference, between, out_of_order},
    round::{AppliedRound, Which},
};
use super::{Global, complaints, replay::Recording};
use crate::{context::Context, output};

/// What to recompute.
#[derive(Debug, Subcommand)]
pub(crate) enum VerifyCommand {
    /// The round that allocated a job
    Allocation(AllocationArgs),
    /// What is no command, so that the error can name the one that was meant
    #[command(external_subcommand)]
    Unknown(Vec<String>),
}

/// Which round.
#[derive(Debug, Args)]
pub(crate) struct AllocationArgs {
    /// A job's number, for its latest allocation, or the hash of a round's transaction
    #[arg(value_name = "JOB|TX")]
    which: String,
    /// What the keeper published about the round [default: found in the artifact store]
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// Write the snapshot and its policy to a file, for `keeper replay`
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// What the person meant who typed this after `keeper verify`.
pub(super) fn what_was_meant(words: &[String]) -> String {
    let word = words.first().map_or("", String::as_str);
    let which = if Which::parse(word).is_ok() { word } else { "JOB|TX" };
    format!("unrecognized subcommand '{word}'\n\n  tip: to recompute a round: `keeper verify allocation {which}`")
}

/// A round and the chain that it is on.
struct Located {
    context: Context,
    follower: Follower,
    blocks: Vec<BlockEvents>,
    round: AppliedRound,
}

/// Jobs and workers in the snapshot that the round was decided from.
#[derive(Clone)]
struct Sizes {
    /// The shards that the round is about; `None` where it is about the whole market.
    shards: Option<ShardSet>,
    jobs: usize,
    workers: usize,
    manifests: Manifests,
}

/// Queued jobs by what could be said about their manifests.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Manifests {
    /// They say what the inputs have them say.
    checked: usize,
    /// They are not in this artifact store.
    unchecked: usize,
    /// The keeper said that it did not have them, or could not read them.
    missing: usize,
}

/// Recomputes it.
///
/// # Errors
/// [`Different`] says where what was recomputed first differs from what the chain has; any other error, why it cannot
/// be recomputed.
pub(super) async fn run(global: &Global, command: VerifyCommand) -> Result<()> {
    let args = match command {
        VerifyCommand::Allocation(args) => args,
        VerifyCommand::Unknown(words) => bail!(what_was_meant(&words)),
    };
    let (round, result) = match locate(global, &args).await {
        Ok(located) => {
            let result = recompute(&located, &args).await;
            (Some(located.round), result)
        }
        Err(error) => (None, Err(error)),
    };
    if global.json {
        output::json(&verdict(round.as_ref(), &result))?;
    } else if let (Some(round), Ok(sizes)) = (&round, &result) {
        print(round, sizes);
    }
    result.map(|_| ())
}

async fn locate(global: &Global, args: &AllocationArgs) -> Result<Located> {
    let which = Which::parse(&args.which)?;
    let context = Context::connect(global).await?;
    let deployment = Deployment::load(&context.settings.deployment, context.settings.network)?;
    let follower = Follower::new(&context.rpc, &deployment);
    let blocks = round::read(&follower).await?;
    if blocks.iter().all(|block| block.events.is_empty()) {
        // Nothing was ever said: where there are no contracts, that is the news, not that a job is not allocated.
        if let Err(error) = context.contracts()?.allocation_stats().await {
            bail!(
                "TaskAllocator {} does not answer on {}, and the chain has no event of these contracts: {error}\n\
                 hint: `keeper contracts deploy` deploys them; --deployment names the file of those that are deployed",
                deployment.task_allocator.address,
                context.settings.network
            );
        }
    }
    let round = round::find(&blocks, which)?;
    Ok(Located { context, follower, blocks, round })
}

async fn recompute(located: &Located, args: &AllocationArgs) -> Result<Sizes> {
    let Located { context, follower, blocks, round } = located;
    let header = &round.header;
    let different = |difference| Err(Different { round: Box::new(round.clone()), difference }.into());
    let bytes = match &args.inputs {
        Some(path) => {
            tokio::fs::read(path).await.map_err(|error| complaints::unreadable("--inputs", path.as_os_str(), &error))?
        }
        None => published(context, header.snapshot_root).await?,
    };
    let inputs = RoundInputs::parse(&bytes)?;
    let published = policy_id(&inputs.policy);
    if published != header.policy_id {
        return different(Difference::Policy { published, round: header.policy_id });
    }

    if let Some(difference) = inputs.portion.as_ref().and_then(|portion| difference::misplaced(&portion.shards, round))
    {
        return different(difference);
    }

    let market = market_at(blocks, header.snapshot_block)?;
    let block = follower.header(header.snapshot_block).await?;
    let block = block.with_context(|| format!("block {} is not there any more", header.snapshot_block))?;
    let snapshot = inputs.snapshot(&market, (block.number, block.timestamp), block.hash);
    if let Some(path) = &args.save {
        Recording { policy: inputs.policy.clone(), snapshot: snapshot.clone() }.save(path)?;
    }
    let root = snapshot_root(&snapshot);
    if root != header.snapshot_root {
        return different(Difference::Snapshot { recomputed: root, round: header.snapshot_root });
    }
    if RoundInputs::of(&snapshot, &inputs.policy) != inputs {
        return different(Difference::Inputs);
    }
    let manifests = match compare_manifests(context, &market, &inputs, &snapshot).await {
        Ok(manifests) => manifests,
        Err(job_id) => return different(Difference::Manifest { job_id }),
    };
    let plan = plan(&snapshot, &inputs.policy);
    let batch = plan.batch();
    let mut difference = between(&batch, round);
    if plan.takes_turns() {
        difference = difference.or_else(|| out_of_order(&batch, round));
    }
    if let Some(difference) = difference {
        return different(difference);
    }
    let root = plan_root(&batch);
    if root != header.plan_root {
        return different(Difference::PlanRoot { recomputed: root, round: header.plan_root });
    }
    let shards = snapshot.portion.map(|portion| portion.shards);
    Ok(Sizes { shards, jobs: snapshot.jobs.len(), workers: snapshot.workers.len(), manifests })
}

/// Holds what the inputs say of queued jobs' manifests against the manifests, as far as these are here: their hashes are
/// on chain. What a keeper said not to have may have come later, and proves nothing.
///
/// # Errors
/// The first job whose manifest says something else.
async fn compare_manifests(
    context: &Context,
    market: &Market,
    inputs: &RoundInputs,
    snapshot: &Snapshot,
) -> Result<Manifests, JobId> {
    let mut manifests = Manifests { missing: inputs.without_manifest.len(), ..Manifests::default() };
    let Ok(artifacts) = ArtifactStore::open_existing(&context.settings.artifacts) else {
        return Ok(Manifests { unchecked: snapshot.jobs.len() - manifests.missing, ..manifests });
    };
    for job in snapshot.jobs.iter().filter(|job| job.manifest == ManifestStatus::Available) {
        let Some(hash) = market.jobs.get(&job.job_id).and_then(|job| job.spec.manifest()) else {
            return Err(job.job_id);
        };
        match artifacts.get(hash, MAX_MANIFEST_BYTES as u64).await {
            Ok(bytes) => match Manifest::parse(&bytes) {
                Ok(manifest) if manifest.view() == job.manifest_view => manifests.checked += 1,
                _ => return Err(job.job_id),
            },
            Err(_) => manifests.unchecked += 1,
        }
    }
    Ok(manifests)
}

async fn published(context: &Context, snapshot_root: Felt) -> Result<Vec<u8>> {
    let read = async { ArtifactStore::open_existing(&context.settings.artifacts)?.round(snapshot_root).await };
    read.await.map(|bytes| bytes.to_vec()).map_err(|error| {
        anyhow!(
            "{error}\nhint: the keeper that sent the round keeps them in its artifact store; pass --artifacts, or --inputs \
             FILE"
        )
    })
}

/// The market as of the end of a block.
///
/// # Errors
/// Fails where an event does not follow from those before.
pub(super) fn market_at(blocks: &[BlockEvents], last: BlockNumber) -> Result<Market> {
    let mut market = Market::default();
    for (position, event) in
        blocks.iter().take_while(|block| block.header.number <= last).flat_map(|block| &block.events)
    {
        market.apply(event, position)?;
    }
    Ok(market)
}

/// The result for programs: `match`, `different` or `error`, and as much of the round as is known.
fn verdict(round: Option<&AppliedRound>, result: &Result<Sizes>) -> Value {
    let mut verdict = json!({ "round": null, "tx_hash": null });
    if let Some(AppliedRound { keeper, header, block, tx_hash, allocated, skipped }) = round {
        verdict = json!({
            "round": header.round,
            "tx_hash": tx_hash,
            "block": block,
            "keeper": keeper,
            "header": header,
            "allocated": allocated.len(),
            "skipped": skipped.len(),
        });
    }
    let more = match result {
        Ok(Sizes { shards, jobs, workers, manifests }) => {
            let mut told = json!({ "result": "match", "jobs": jobs, "workers": workers, "manifests": manifests });
            if let Some(shards) = shards {
                told["shards"] = json!(shards);
            }
            told
        }
        Err(error) => match error.downcast_ref::<Different>() {
            Some(different) => json!({ "result": "different", "difference": different.difference }),
            None => {
                let (message, hint) = output::described(error);
                json!({ "result": "error", "error": message, "hint": hint })
            }
        },
    };
    if let (Some(fields), Value::Object(more)) = (verdict.as_object_mut(), more) {
        fields.extend(more);
    }
    verdict
}

fn print(round: &AppliedRound, Sizes { shards, jobs, workers, manifests }: &Sizes) {
    let AppliedRound { keeper, header, block, tx_hash, allocated, skipped } = round;
    println!("round     {} of keeper {keeper}, block {block}, transaction {tx_hash}", header.round);
    println!("policy    {}, as announced", header.policy_id);
    if let Some(shards) = shards {
        println!("portion   {shards}, and nothing of another");
    }
    println!(
        "snapshot  {:#066x}: {jobs} jobs and {workers} workers at block {}",
        header.snapshot_root, header.snapshot_block
    );
    let Manifests { checked, unchecked, missing } = manifests;
    println!(
        "manifests {checked} say what they were taken to say; {unchecked} are not here, {missing} the keeper did not have"
    );
    println!("plan      {:#066x}: {} allocated, {} skipped", header.plan_root, allocated.len(), skipped.len());
    println!("MATCH     the chain and the published inputs give the same plan");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_named() {
        let meant = |word: &str| what_was_meant(&[word.to_owned()]);
        assert!(meant("1").ends_with("`keeper verify allocation 1`"));
        assert!(meant("0xabc").ends_with("`keeper verify allocation 0xabc`"));
        assert!(meant("alocation").ends_with("`keeper verify allocation JOB|TX`"));
    }

    #[test]
    fn programs_get_an_answer_also_where_nothing_could_be_verified() {
        let verdict = verdict(None, &Err(anyhow::anyhow!("it broke\nhint: mend it")));
        let expected = json!({
            "result": "error", "round": null, "tx_hash": null, "error": "it broke", "hint": "mend it",
        });
        assert_eq!(verdict, expected);
    }
}
