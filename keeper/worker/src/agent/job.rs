//! One attempt, from its offer to its result on chain.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use keeper_dispatch::{AgentMessage, ArtifactStore, Outcome, RefusalCode, RetryPolicy};
use keeper_types::{
    Address, Attempt, ContentHash, JobId, JobState, Manifest, ManifestError, TxHash, Verification, WorkerId,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info, info_span, warn};

use super::{
    Reports,
    commitments::Commitments,
    terms::{self, Unwanted},
    watching,
};
use crate::{
    AllocationOnChain, Executor, FailureCode, JobRun, Output, ProfileSource, RunError, WorkerChain, WorkerChainError,
    canonical_matmul,
    gpus::{GpuPool, HeldGpus},
    workspace::Workspaces,
};

/// How often an output is tried to be published.
const PUBLISH_TRIES: u32 = 5;
/// How often a contract may refuse a transaction that, by what the chain says, it should take.
const SEND_TRIES: u32 = 3;

/// What every job of an agent works with.
pub(super) struct Context {
    pub(super) worker_id: WorkerId,
    pub(super) chain: Arc<dyn WorkerChain>,
    pub(super) profile: Arc<dyn ProfileSource>,
    pub(super) artifacts: ArtifactStore,
    pub(super) executor: Arc<dyn Executor>,
    pub(super) workspaces: Workspaces,
    pub(super) commitments: Commitments,
    pub(super) gpus: GpuPool,
    pub(super) retry: RetryPolicy,
    pub(super) reports: Reports,
    /// Cancelled when the agent cannot wait for its jobs any longer.
    pub(super) shutdown: CancellationToken,
}

impl Context {
    /// Whether the attempt is allocated to this worker.
    pub(super) async fn is_ours(&self, job_id: JobId, attempt: Attempt) -> Result<bool, WorkerChainError> {
        let found = self.chain.allocation(job_id).await?;
        Ok(found.is_some_and(|found| self.is_live(&found, attempt)))
    }

    pub(super) fn is_live(&self, found: &AllocationOnChain, attempt: Attempt) -> bool {
        found.state == JobState::Allocated && found.worker_id == self.worker_id && found.attempt == attempt
    }
}

/// An offered attempt.
pub(super) struct Job {
    pub(super) job_id: JobId,
    pub(super) attempt: Attempt,
    pub(super) manifest: Bytes,
    /// Cancelled when the attempt is no longer this worker's, or the agent goes down.
    pub(super) stop: CancellationToken,
    /// Set once its executor is begun.
    pub(super) has_begun: Arc<AtomicBool>,
    pub(super) context: Arc<Context>,
}

/// How an offer ended.
pub(super) enum Ending {
    Refused {
        code: RefusalCode,
        reason: String,
    },
    /// The offer stands and was refused all the same, which was said and done on chain.
    Unwanted,
    Finished(Outcome),
}

/// What may run, by the chain's word.
struct Approved {
    manifest: Result<Manifest, ManifestError>,
    execution_timeout: Duration,
    verification: Verification,
    is_replica: bool,
    gpus: HeldGpus,
}

/// Why an offer is not taken.
enum Refusal {
    /// It does not stand, or cannot be taken now.
    Offer(RefusalCode, String),
    /// The worker does not take such jobs.
    Job(Unwanted),
}

/// What became of a transaction that ends the attempt.
enum Sent {
    Accepted(TxHash),
    /// The chain says that the attempt has ended already.
    NotOurs(Option<AllocationOnChain>),
    GivenUp(String),
}

impl Job {
    pub(super) async fn run(self) -> Ending {
        let span =
            info_span!("job", job_id = %self.job_id, attempt = %self.attempt, worker_id = %self.context.worker_id);
        async {
            match self.approve().await {
                Err(Refusal::Offer(code, reason)) => Ending::Refused { code, reason },
                Err(Refusal::Job(unwanted)) => {
                    // Nobody else gets the job while it is this worker's. To give it up costs a part of what letting
                    // it expire would.
                    let code = unwanted.failure();
                    self.context.reports.refuse((self.job_id, self.attempt), unwanted.code, unwanted.reason);
                    self.give_up(code).await;
                    Ending::Unwanted
                }
                Ok(approved) => {
                    let (job_id, attempt) = (self.job_id, self.attempt);
                    self.context.reports.send(AgentMessage::Accepted { job_id, attempt });
                    let outcome = self.work(approved).await;
                    info!(?outcome, "the job is done");
                    Ending::Finished(outcome)
                }
            }
        }
        .instrument(span)
        .await
    }

    /// Asks the chain whether the offer stands.
    async fn approve(&self) -> Result<Approved, Refusal> {
        let refuse = |code, reason: String| Err(Refusal::Offer(code, reason));
        let allocation = match self.context.chain.allocation(self.job_id).await {
            Ok(Some(allocation)) => allocation,
            Ok(None) => return refuse(RefusalCode::JobUnknown, "the chain knows no such job".to_owned()),
            Err(error) => return refuse(RefusalCode::ChainUnavailable, error.to_string()),
        };
        let AllocationOnChain { worker_id, attempt, state, manifest_hash, attempt_deadline, .. } = allocation;
        if state != JobState::Allocated {
            return refuse(RefusalCode::NotAllocated, format!("the job is {state}"));
        }
        if worker_id != self.context.worker_id {
            return refuse(RefusalCode::WrongWorker, format!("the job is allocated to worker {worker_id}"));
        }
        if attempt != self.attempt {
            return refuse(RefusalCode::WrongAttempt, format!("attempt {attempt} is allocated"));
        }
        let hash = Manifest::hash(&self.manifest);
        if hash.to_felt() != manifest_hash {
            let reason = format!("the manifest hashes to {hash}, but the job's is {manifest_hash:#x}");
            return refuse(RefusalCode::ManifestMismatch, reason);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if now >= attempt_deadline {
            return refuse(RefusalCode::DeadlinePassed, format!("the attempt's deadline was {attempt_deadline}"));
        }
        let manifest = Manifest::parse(&self.manifest);
        self.check_terms(allocation.client, &manifest).await?;
        let Some(gpus) = self.context.gpus.take(allocation.gpu_count) else {
            return refuse(RefusalCode::Busy, format!("{} GPUs are not free", allocation.gpu_count));
        };
        Ok(Approved {
            manifest,
            execution_timeout: Duration::from_secs(allocation.execution_timeout_s.into()),
            verification: allocation.verification,
            is_replica: allocation.is_replica,
            gpus,
        })
    }

    /// Whether the worker takes the job. A manifest that is none fails the job, whoever's it is.
    async fn check_terms(&self, client: Address, manifest: &Result<Manifest, ManifestError>) -> Result<(), Refusal> {
        let Ok(manifest) = manifest else { return Ok(()) };
        let Some(profile) = watching::look(&self.context.profile).await else {
            return Err(Refusal::Offer(RefusalCode::Busy, "the worker cannot be looked at".to_owned()));
        };
        terms::check(&profile, client, &manifest.view()).map_err(Refusal::Job)
    }

    async fn work(&self, approved: Approved) -> Outcome {
        let Approved { manifest, execution_timeout, verification, is_replica, gpus } = approved;
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => return self.fail(FailureCode::ManifestMalformed, error.to_string()).await,
        };
        // Where nobody could judge the result, nobody could defend it, and the worker would lose any dispute.
        if verification == Verification::Matmul
            && let Err(error) = canonical_matmul(&self.manifest)
        {
            return self.fail(FailureCode::NotJudgeable, error.to_string()).await;
        }
        let (job_id, attempt) = (self.job_id, self.attempt);
        self.has_begun.store(true, Ordering::Relaxed);
        self.context.reports.send(AgentMessage::Started { job_id, attempt });
        info!(kind = manifest.executor.kind(), "running the job");
        let output = match self.execute(manifest, execution_timeout, &gpus).await {
            Ok(output) => output,
            Err(RunError::Cancelled) if !self.context.shutdown.is_cancelled() => return withdrawn(),
            Err(error) => return self.fail(error.code(), error.to_string()).await,
        };
        drop(gpus);
        if is_replica {
            return self.commit(output).await;
        }
        match self.publish(output).await {
            Ok(hash) => self.submit(hash).await,
            Err(reason) => self.fail(FailureCode::PublishFailed, reason).await,
        }
    }

    async fn execute(&self, manifest: Manifest, timeout: Duration, gpus: &HeldGpus) -> Result<Output, RunError> {
        let workspace = self.context.workspaces.create(self.job_id, self.attempt);
        let workspace = workspace.map_err(|error| RunError::fault("make the job's folder", error))?;
        let run = JobRun {
            job_id: self.job_id,
            attempt: self.attempt,
            kind: manifest.executor,
            limits: manifest.limits,
            time_limit: Duration::from_secs(manifest.limits.time_s.into()).min(timeout),
            gpus: gpus.indices().to_vec(),
        };
        let ran = self.context.executor.run(&run, workspace.path(), self.stop.clone()).await;
        workspace.remove().await;
        ran
    }

    async fn publish(&self, Output(output): Output) -> Result<ContentHash, String> {
        let mut failures = 0;
        loop {
            match self.context.artifacts.put(output.clone()).await {
                Ok(hash) => return Ok(hash),
                Err(error) if failures + 1 >= PUBLISH_TRIES => return Err(error.to_string()),
                Err(error) => warn!(%error, "cannot publish the output yet"),
            }
            if !self.pause(failures).await {
                return Err("the agent went down before the output could be published".to_owned());
            }
            failures += 1;
        }
    }

    /// Commits to a replica's result, which is shown once all replicas are committed.
    async fn commit(&self, Output(output): Output) -> Outcome {
        let kept = self.context.commitments.keep((self.job_id, self.attempt), &output).await;
        let hash = match kept {
            Ok(hash) => hash,
            Err(error) => return self.fail(FailureCode::WorkerFault, format!("cannot keep the result: {error}")).await,
        };
        let sent = self.send(|chain| async move { chain.commit_result(self.job_id, self.attempt, hash).await }).await;
        match sent {
            Sent::Accepted(tx_hash) => Outcome::Committed { tx_hash: Some(tx_hash) },
            // An earlier transaction got through after all.
            Sent::NotOurs(Some(found)) if self.is_commitment(&found) => Outcome::Committed { tx_hash: None },
            Sent::NotOurs(_) => withdrawn(),
            Sent::GivenUp(reason) => Outcome::Failed { reason: format!("cannot commit to the result: {reason}") },
        }
    }

    fn is_commitment(&self, found: &AllocationOnChain) -> bool {
        found.state == JobState::Committed && found.worker_id == self.context.worker_id && found.attempt == self.attempt
    }

    async fn submit(&self, hash: ContentHash) -> Outcome {
        let sent = self.send(|chain| async move { chain.submit_result(self.job_id, self.attempt, hash).await }).await;
        match sent {
            Sent::Accepted(tx_hash) => Outcome::Published { result_hash: hash, tx_hash: Some(tx_hash) },
            // An earlier transaction got through after all.
            Sent::NotOurs(Some(found)) if self.is_result(&found, hash) => {
                Outcome::Published { result_hash: hash, tx_hash: None }
            }
            Sent::NotOurs(_) => withdrawn(),
            Sent::GivenUp(reason) => Outcome::Failed { reason: format!("cannot submit the result: {reason}") },
        }
    }

    fn is_result(&self, found: &AllocationOnChain, hash: ContentHash) -> bool {
        found.worker_id == self.context.worker_id
            && found.attempt == self.attempt
            && found.result_hash == hash.to_felt()
    }

    async fn fail(&self, code: FailureCode, detail: String) -> Outcome {
        warn!(%code, detail, "the job failed");
        self.give_up(code).await;
        Outcome::Failed { reason: format!("{code}: {detail}") }
    }

    async fn give_up(&self, code: FailureCode) {
        let sent = self.send(|chain| async move { chain.fail_attempt(self.job_id, self.attempt, code).await }).await;
        if let Sent::GivenUp(reason) = sent {
            warn!(reason, "cannot give the attempt up on chain; it ends at its deadline");
        }
    }

    /// Sends a transaction that ends the attempt, as long as the chain says that there is an attempt to end. What
    /// is lost is sent again after another look, so that nothing is done twice.
    async fn send<'a, F>(&'a self, transaction: impl Fn(&'a dyn WorkerChain) -> F) -> Sent
    where
        F: Future<Output = Result<TxHash, WorkerChainError>> + 'a,
    {
        let (mut failures, mut refusals) = (0, 0);
        loop {
            let error = match self.context.chain.allocation(self.job_id).await {
                Ok(found) if !found.as_ref().is_some_and(|found| self.context.is_live(found, self.attempt)) => {
                    return Sent::NotOurs(found);
                }
                Ok(_) => match transaction(&*self.context.chain).await {
                    Ok(tx_hash) => return Sent::Accepted(tx_hash),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if !error.is_transient() {
                refusals += 1;
            }
            if refusals >= SEND_TRIES {
                return Sent::GivenUp(error.to_string());
            }
            debug!(%error, "the chain did not take the transaction yet");
            if !self.pause(failures).await {
                return Sent::GivenUp(format!("the agent went down: {error}"));
            }
            failures += 1;
        }
    }

    /// Waits before another try. False where there is no time for one: a shutdown leaves no more than one try.
    async fn pause(&self, failures: u32) -> bool {
        tokio::select! {
            () = sleep(self.context.retry.wait(failures)) => true,
            () = self.context.shutdown.cancelled() => false,
        }
    }
}

fn withdrawn() -> Outcome {
    Outcome::Failed { reason: "the attempt is no longer this worker's".to_owned() }
}
