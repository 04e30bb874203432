//! `keeper job submit`.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::Args;
use keeper_chain::{Contracts, Follower, Sender};
use keeper_dispatch::ArtifactStore;
use keeper_types::{
    Address, ContentHash, Executor, Features, Felt, Fri, JobSpec, Manifest, Queue, Region, Replication, Requirements,
    Verification,
};
use serde_json::json;

use super::pricing;
use crate::{
    cli::{complaints, paymaster},
    context::Context,
    output,
};

/// What to submit, and on which terms.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// What to run (JSON; docs/manifest.md describes it); repeat it to submit several jobs in one transaction
    #[arg(long = "manifest", value_name = "FILE", required = true)]
    manifests: Vec<PathBuf>,
    /// What goes into escrow for each job and is paid at most, in STRK
    #[arg(long, value_name = "STRK", value_parser = Fri::from_strk)]
    max_price: Fri,
    #[command(flatten)]
    terms: Terms,
    /// Submit for a client that made the account its gateway, out of the client's balance with the Paymaster
    #[arg(long = "for", value_name = "ADDRESS", value_parser = complaints::somebody)]
    client: Option<Address>,
    /// Send nothing: sign the submission and write it to a file, for somebody else to relay and pay for
    #[arg(long, value_name = "FILE", conflicts_with = "client")]
    sign: Option<PathBuf>,
}

/// On which terms a job is run.
#[derive(Debug, Args)]
pub(super) struct Terms {
    /// How long the job may wait for a worker, such as 10m
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    deadline: humantime::Duration,
    /// How long the worker is reserved, such as 60s [default: the manifest's time limit]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<humantime::Duration>,
    /// 1 to 10, higher first
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=10))]
    priority: u8,
    /// Which queue: default, high or low
    #[arg(long, default_value = "default", value_parser = parse_queue)]
    queue: Queue,
    /// How often the job may be tried
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=15))]
    max_attempts: u8,
    /// The longest round trip to the worker's agent, in milliseconds; 0 for any
    #[arg(long, value_name = "MS", default_value_t = 0)]
    max_latency_ms: u16,
    /// Who decides where you dispute a result: none (it cannot be disputed), rerun (a committee runs the job again; its
    /// output must be the same bit for bit) or matmul (a contract; for the built-in matrix product only)
    #[arg(long, default_value = "none")]
    verification: Verification,
    /// Workers that run the job, each for --max-price: 1, or 3 to 15
    #[arg(long, default_value_t = 1)]
    replicas: u8,
    /// Replicas that must agree [default: the least majority]
    #[arg(long)]
    quorum: Option<u8>,
    /// The model that the job uses, at most 31 characters
    #[arg(long, value_name = "NAME", value_parser = parse_model)]
    model: Option<Felt>,
    /// GPUs on one worker
    #[arg(long, default_value_t = 0)]
    gpus: u8,
    /// Memory of each GPU, in GiB
    #[arg(long, default_value_t = 0)]
    vram_gib: u16,
    /// CUDA compute capability, such as 8.6
    #[arg(long, value_name = "X.Y", value_parser = parse_version)]
    compute_capability: Option<u8>,
    /// CUDA version that the driver supports, such as 12.4
    #[arg(long, value_name = "X.Y", value_parser = parse_version)]
    cuda: Option<u8>,
    /// NVIDIA driver's major version
    #[arg(long, default_value_t = 0)]
    driver: u16,
    /// CPU cores
    #[arg(long, default_value_t = 0)]
    cpu_cores: u16,
    /// Host memory, in GiB
    #[arg(long, default_value_t = 0)]
    memory_gib: u16,
    /// Features that the worker must have, such as nvlink,ecc
    #[arg(long, default_value = "", value_parser = Features::from_names, hide_default_value = true)]
    features: Features,
    /// The only region that will do
    #[arg(long)]
    region: Option<Region>,
    /// Lowest reputation, 0 to 1000
    #[arg(long, default_value_t = 0)]
    min_reputation: u16,
}

/// Jobs in one transaction: well below what fits, so that one is never refused for its size.
const MOST_PER_TRANSACTION: usize = 50;

/// Reads and checks the manifests.
///
/// # Errors
/// Names the file and the field that is wrong.
pub(super) fn read_manifests(args: &SubmitArgs) -> Result<Vec<(Bytes, Manifest)>> {
    if args.manifests.len() > MOST_PER_TRANSACTION {
        bail!("{} manifests are given, but one transaction takes at most {MOST_PER_TRANSACTION}", args.manifests.len());
    }
    args.manifests.iter().map(|path| read_manifest("--manifest", path, args.terms.verification)).collect()
}

/// Reads and checks a manifest, which `named_by` names.
///
/// # Errors
/// Names the file and the field that is wrong.
pub(super) fn read_manifest(named_by: &str, path: &Path, verification: Verification) -> Result<(Bytes, Manifest)> {
    let bytes = std::fs::read(path).map_err(|error| complaints::unreadable(named_by, path.as_os_str(), &error))?;
    let manifest = Manifest::parse(&bytes).with_context(|| path.display().to_string())?;
    check_limits(&manifest).with_context(|| path.display().to_string())?;
    if verification == Verification::Matmul {
        keeper_worker::canonical_matmul(&bytes).with_context(|| path.display().to_string())?;
    }
    Ok((Bytes::from(bytes), manifest))
}

/// Refuses what no worker could do within the manifest's own limits.
fn check_limits(manifest: &Manifest) -> Result<()> {
    let Executor::Matmul(job) = manifest.executor else { return Ok(()) };
    let (limit, needed) = (manifest.limits.output_bytes, keeper_worker::matmul::output_bytes(job));
    if needed > limit {
        bail!(
            "the manifest's field `limits.output_bytes` is {limit}, but a product of size {} has {needed} bytes",
            job.size
        );
    }
    let (limit, needed) = (u64::from(manifest.limits.memory_mib) << 20, keeper_worker::matmul::memory_bytes(job));
    if needed > limit {
        bail!(
            "the manifest's field `limits.memory_mib` is {}, but a product of size {} needs {}",
            manifest.limits.memory_mib,
            job.size,
            needed.div_ceil(1 << 20)
        );
    }
    Ok(())
}

/// Submits the jobs.
///
/// # Errors
/// Says which field is wrong, or what the chain refused.
pub(super) async fn run(context: &Context, contracts: &Contracts, args: &SubmitArgs) -> Result<()> {
    let manifests = read_manifests(args)?;
    // Deadlines are the chain's time, which a local chain may have moved.
    let head = Follower::new(&context.rpc, contracts.deployment()).head().await?;
    let specs = manifests
        .iter()
        .map(|(bytes, manifest)| args.terms.spec(manifest, ContentHash::of(bytes), args.max_price, head.timestamp))
        .collect::<Result<Vec<_>>>()?;
    let artifacts = ArtifactStore::open(&context.settings.artifacts)?;
    let sender = context.sender().await?;
    if args.client.is_none() {
        check_balance(contracts, &sender, &specs).await?;
    }
    match pricing::warnings(contracts, &specs).await {
        Ok(warnings) => warnings.iter().for_each(|warning| eprintln!("warning: {warning}")),
        // It is only a word of advice.
        Err(error) => tracing::debug!(%error, "what workers ask cannot be read"),
    }
    for (bytes, _) in manifests {
        artifacts.put(bytes).await.context("storing the manifest")?;
    }
    if let Some(file) = &args.sign {
        let calls = contracts.submission_calls(&sender, &specs)?;
        return paymaster::write_signed(context, contracts, calls, file).await;
    }
    let submitted_at_ms = now_ms();
    let (job_ids, receipt) = match args.client {
        Some(client) => contracts.submit_jobs_for(&sender, client, &specs).await?,
        None => contracts.submit_jobs(&sender, &specs).await?,
    };
    // A replicated job has a number for each replica.
    let of_job = specs.iter().flat_map(|spec| std::iter::repeat_n(spec, usize::from(spec.replicas)));
    let submitted: Vec<_> = job_ids.iter().zip(of_job).collect();
    if context.json {
        let jobs = submitted.iter().map(|(job_id, spec)| {
            let manifest = spec.manifest();
            json!({ "job_id": job_id, "manifest_hash": manifest, "max_price_fri": spec.max_price })
        });
        return output::json(&json!({
            "job_id": job_ids.first(),
            "jobs": jobs.collect::<Vec<_>>(),
            "tx_hash": receipt.hash,
            "block": receipt.block.number,
            "fee_fri": receipt.fee,
            "submitted_at_ms": submitted_at_ms,
        }));
    }
    for (job_id, spec) in submitted {
        println!("job {job_id} submitted, {} in escrow, at most {}", spec.max_price, spec.max_rate());
    }
    println!("block {}, transaction {}", receipt.block.number, receipt.hash);
    output::explorer_link(context.settings.network, receipt.hash);
    Ok(())
}

async fn check_balance(contracts: &Contracts, sender: &Sender, specs: &[JobSpec]) -> Result<()> {
    let escrow = specs.iter().try_fold(Fri::ZERO, |sum, spec| sum.checked_add(spec.escrow()));
    let escrow = escrow.context("--max-price is too high: the escrow exceeds 128 bits")?;
    let balance = sender.balance().await?;
    let credit = contracts.credit_of(sender.address()).await?;
    if balance.checked_add(credit).is_some_and(|means| means < escrow) {
        bail!(
            "account {} holds {balance} and has a credit of {credit}, but {escrow} is to go into escrow\n\
             hint: fund the account with STRK, or lower --max-price",
            sender.address()
        );
    }
    Ok(())
}

impl Terms {
    /// Who decides where a result is disputed.
    pub(super) fn verification(&self) -> Verification {
        self.verification
    }

    /// The job as it would go on chain at `now` seconds.
    ///
    /// # Errors
    /// Names the flag that is wrong, and what it may be.
    pub(super) fn spec(
        &self,
        manifest: &Manifest,
        manifest_hash: ContentHash,
        max_price: Fri,
        now: u64,
    ) -> Result<JobSpec> {
        let timeout = self.timeout.map_or(u64::from(manifest.limits.time_s), |timeout| timeout.as_secs());
        let execution_timeout_s = u32::try_from(timeout).ok().filter(|seconds| *seconds > 0);
        let Some(execution_timeout_s) = execution_timeout_s else {
            bail!("--timeout is {timeout} s, but must be 1 to {}", u32::MAX)
        };
        if execution_timeout_s < manifest.limits.time_s {
            bail!(
                "--timeout is {execution_timeout_s} s, but the manifest's limits.time_s is {}\n\
                 hint: give --timeout at least as long as the manifest's time limit",
                manifest.limits.time_s
            );
        }
        let requirements = Requirements {
            gpu_count: self.gpus,
            vram_gib: self.vram_gib,
            compute_capability: self.compute_capability.unwrap_or(0),
            cuda_version: self.cuda.unwrap_or(0),
            driver_version: self.driver,
            cpu_cores: self.cpu_cores,
            memory_gib: self.memory_gib,
            min_reputation: self.min_reputation,
            features: self.features.union(needed_features(&manifest.executor)),
            region: self.region,
        };
        requirements.validate()?;
        let spec = JobSpec {
            manifest_hash: manifest_hash.to_felt(),
            model_id: self.model.unwrap_or(Felt::ZERO),
            requirements,
            priority: self.priority,
            queue: self.queue,
            max_price,
            deadline: now + self.deadline.as_secs(),
            execution_timeout_s,
            max_attempts: self.max_attempts,
            max_latency_ms: self.max_latency_ms,
            verification: self.verification,
            replicas: self.replicas,
            quorum: self.quorum.map_or_else(|| Replication::majority_of(self.replicas).map(Replication::quorum), Ok)?,
        };
        spec.check_verification()?;
        if spec.max_rate().0 == 0 {
            bail!(
                "--max-price {max_price} is less than one gFri per GPU-second for {execution_timeout_s} s\n\
                 hint: raise --max-price or lower --timeout"
            );
        }
        Ok(spec)
    }
}

/// What a worker must offer to run the manifest at all.
fn needed_features(executor: &Executor) -> Features {
    match executor {
        Executor::Process(_) => Features::PROCESSES,
        Executor::Matmul(_) => Features::default(),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn parse_queue(text: &str) -> Result<Queue, String> {
    match text {
        "default" => Ok(Queue::Default),
        "high" => Ok(Queue::High),
        "low" => Ok(Queue::Low),
        _ => Err("expected default, high or low".to_owned()),
    }
}

/// `8.6` is 86.
fn parse_version(text: &str) -> Result<u8, String> {
    let error = || "expected a version such as 8.6".to_owned();
    let (major, minor) = text.split_once('.').ok_or_else(error)?;
    let (major, minor): (u8, u8) = (major.parse().map_err(|_| error())?, minor.parse().map_err(|_| error())?);
    if minor > 9 {
        return Err("the minor version has one digit".to_owned());
    }
    major.checked_mul(10).and_then(|tens| tens.checked_add(minor)).ok_or_else(|| "at most 25.5".to_owned())
}

fn parse_model(text: &str) -> Result<Felt, String> {
    keeper_worker::model_id(text).ok_or_else(|| "expected 1 to 31 printable ASCII characters".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_become_numbers() {
        assert_eq!(parse_version("8.6"), Ok(86));
        assert_eq!(parse_version("12.0"), Ok(120));
        for text in ["8", "8.60", "a.b", "26.0"] {
            assert!(parse_version(text).is_err(), "{text}");
        }
    }
}
