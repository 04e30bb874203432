//! Decides which worker gets which job, and sends the decisions.
//!
//! One round at a time: what was decided is sent, and the next decision waits until the follower has seen what
//! became of it. A round that fails is no error but news: the chain has moved, so the next round decides anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use keeper_chain::{Contracts, SendError, Sender, SignedTransaction};
use keeper_dispatch::{ArtifactStore, Sessions};
use keeper_scheduler::{
    Explanation, ManifestStatus, Outcome, Plan, Policy, RoundInputs, Snapshot, plan, plan_root, policy_id, seed_of,
    snapshot_root,
};
use keeper_store::{ExplanationRecord, Intent, IntentAction, IntentId, IntentState, IntentUpdate, NewIntent, Store};
use keeper_types::{
    BlockNumber, ContentHash, Felt, Job, JobId, JobState, MAX_MANIFEST_BYTES, Manifest, ManifestView, RoundHeader,
    TxHash,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Believed, BelievedReceiver, now_ms};
use crate::rights::Rights;

/// Waiting jobs age and manifests arrive without an event, so a round is tried this often at least.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after rounds that failed one after the other.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// How often the receipt of an earlier run's transaction is asked for once its nonce is used: a node may know the
/// nonce before it knows the receipt.
const RECEIPT_TRIES: u32 = 10;

/// The service.
pub(crate) struct Allocating {
    pub(crate) contracts: Contracts,
    pub(crate) sender: Arc<Sender>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) policy: Policy,
    pub(crate) believed: BelievedReceiver,
    pub(crate) sessions: watch::Receiver<Sessions>,
}

/// What the rounds know from one to the next.
#[derive(Default)]
struct Memory {
    /// Manifests that were read: they cannot change, since their hash is their name.
    manifests: BTreeMap<ContentHash, (ManifestStatus, ManifestView)>,
    /// Explanations that are recorded, so that only news is written.
    explained: BTreeMap<JobId, Explanation>,
    /// The newest round that was sent.
    round: u64,
    /// The fork that the explanations are of.
    fork: u64,
    /// Rounds that failed one after the other.
    failures: u32,
}

impl Allocating {
    /// Allocates until cancelled.
    ///
    /// # Errors
    /// Fails where the store does, or this account may not apply rounds.
    pub(crate) async fn run(mut self, cancel: CancellationToken) -> Result<()> {
        let mut memory = Memory::default();
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            settled = self.settle_open_intents() => settled?,
        }
        loop {
            let believed = self.believed.borrow_and_update().clone();
            self.sessions.borrow_and_update();
            let seen = match believed {
                Some(believed) => tokio::select! {
                    // Nothing half done is lost by stopping here: what is being sent is in the intent log.
                    () = cancel.cancelled() => return Ok(()),
                    seen = self.round(&believed, &mut memory) => seen?,
                },
                None => None,
            };
            if memory.failures > 0 {
                tokio::select! {
                    () = cancel.cancelled() => return Ok(()),
                    () = tokio::time::sleep(backoff(memory.failures)) => {}
                }
            }
            // A round that was applied must be believed before the next is decided.
            let until = seen.unwrap_or_default();
            loop {
                tokio::select! {
                    () = cancel.cancelled() => return Ok(()),
                    changed = self.believed.changed() => if changed.is_err() { return Ok(()) },
                    changed = self.sessions.changed() => if changed.is_err() { return Ok(()) },
                    () = tokio::time::sleep(LONGEST_PAUSE) => {}
                }
                let head = self.believed.borrow().as_ref().map(|believed| believed.head.number);
                if head.is_some_and(|head| head >= until) {
                    break;
                }
            }
        }
    }

    /// Decides and sends one round; returns the block that must be seen before the next.
    async fn round(&self, believed: &Believed, memory: &mut Memory) -> Result<Option<BlockNumber>> {
        if memory.fork != believed.fork {
            memory.fork = believed.fork;
            memory.explained.clear();
        }
        let queued: Vec<&Job> = believed.market.jobs.values().filter(|job| job.state == JobState::Queued).collect();
        memory.explained.retain(|job_id, _| believed.market.jobs.get(job_id).is_some_and(|job| !job.state.is_final()));
        let open: BTreeSet<ContentHash> = queued.iter().filter_map(|job| job.spec.manifest()).collect();
        memory.manifests.retain(|hash, _| open.contains(hash));
        if queued.is_empty() {
            return Ok(None);
        }
        for job in &queued {
            self.read_manifest(job, memory).await;
        }
        let snapshot = self.snapshot(believed, memory);
        let plan = plan(&snapshot, &self.policy);
        if plan.items.is_empty() {
            self.explain(believed, &plan, None, memory).await?;
            return Ok(None);
        }
        let round = match self.contracts.last_round(self.sender.address()).await {
            Ok(last) => last.max(memory.round) + 1,
            Err(error) => {
                tracing::warn!(%error, "the last round cannot be read");
                return Ok(None);
            }
        };
        self.explain(believed, &plan, Some(round), memory).await?;
        let snapshot_root = snapshot_root(&snapshot);
        // A round that nobody can recompute is not sent.
        if let Err(error) = self.publish(snapshot_root, &snapshot).await {
            memory.failures += 1;
            tracing::warn!(round, %error, "what the round was decided from cannot be published");
            return Ok(None);
        }
        let header = RoundHeader {
            round,
            snapshot_block: snapshot.block,
            snapshot_root,
            policy_id: policy_id(&self.policy),
            plan_root: plan_root(&plan.batch()),
        };
        self.send(&header, &plan, memory).await
    }

    fn snapshot(&self, believed: &Believed, memory: &Memory) -> Snapshot {
        let head = believed.head;
        let sessions = self.sessions.borrow();
        let unread = |status| (status, ManifestView::default());
        let manifest = |job: &Job| match job.spec.manifest() {
            Some(hash) => memory.manifests.get(&hash).cloned().unwrap_or_else(|| unread(ManifestStatus::Missing)),
            None => unread(ManifestStatus::Malformed("the job's manifest_hash is not a content hash".to_owned())),
        };
        Snapshot::of_market(
            &believed.market,
            (head.number, head.timestamp),
            seed_of(head.hash),
            manifest,
            |worker_id| sessions.get(&worker_id).map(|session| session.agent.clone()),
        )
    }

    /// Puts what the chain does not tell where `keeper verify allocation` finds it.
    async fn publish(&self, snapshot_root: Felt, snapshot: &Snapshot) -> Result<()> {
        let inputs = serde_json::to_vec(&RoundInputs::of(snapshot, &self.policy))?;
        Ok(self.artifacts.put_round(snapshot_root, inputs.into()).await?)
    }

    /// Reads a job's manifest once it is there. One that is missing may come later.
    async fn read_manifest(&self, job: &Job, memory: &mut Memory) {
        let Some(hash) = job.spec.manifest() else { return };
        if memory.manifests.contains_key(&hash) || !self.artifacts.contains(hash).await.unwrap_or(false) {
            return;
        }
        let malformed = |reason| (ManifestStatus::Malformed(reason), ManifestView::default());
        let read = match self.artifacts.get(hash, MAX_MANIFEST_BYTES as u64).await {
            Ok(bytes) => match Manifest::parse(&bytes) {
                Ok(manifest) => (ManifestStatus::Available, manifest.view()),
                Err(error) => malformed(error.to_string()),
            },
            Err(keeper_dispatch::ArtifactError::TooLarge { bytes, .. }) => {
                malformed(format!("it is {bytes} bytes long, but at most {MAX_MANIFEST_BYTES} are accepted"))
            }
            Err(error) => {
                tracing::warn!(job_id = %job.job_id, %error, "a manifest cannot be read");
                return;
            }
        };
        memory.manifests.insert(hash, read);
    }

    /// Records the explanations that say something new.
    async fn explain(&self, believed: &Believed, plan: &Plan, round: Option<u64>, memory: &mut Memory) -> Result<()> {
        let news = plan
            .explanations
            .values()
            .filter(|explanation| memory.explained.get(&explanation.job_id) != Some(explanation));
        let records: Vec<ExplanationRecord> = news
            .map(|explanation| ExplanationRecord {
                explanation: explanation.clone(),
                round: if matches!(explanation.outcome, Outcome::Placed { .. }) { round } else { None },
                snapshot_block: believed.head.number,
                time_ms: now_ms(),
            })
            .collect();
        if records.is_empty() {
            return Ok(());
        }
        self.store.save_explanations(&records).await?;
        for record in records {
            let explanation = record.explanation;
            let (job_id, attempt, code) = (explanation.job_id, explanation.attempt, explanation.outcome.code());
            let before = memory.explained.get(&job_id).map(|before| before.outcome.code());
            // Counts change with every worker that comes or goes; what is decided changes rarely.
            if before == Some(code) {
                tracing::debug!(%job_id, %attempt, code, "{explanation}");
            } else {
                tracing::info!(%job_id, %attempt, code, "{explanation}");
            }
            memory.explained.insert(job_id, explanation);
        }
        Ok(())
    }

    async fn send(&self, header: &RoundHeader, plan: &Plan, memory: &mut Memory) -> Result<Option<BlockNumber>> {
        let (round, items) = (header.round, plan.batch());
        let action = IntentAction::ApplyBatch { round, snapshot_block: header.snapshot_block, items: items.clone() };
        let log = IntentLog { store: &*self.store, account: self.sender.address() };
        // Written before anything is sent: a keeper that is killed now finds the transaction again.
        let mut written = None;
        let before_send = async |signed: &SignedTransaction| {
            let intent = log.write(action, signed.nonce, signed.hash).await;
            let recorded = intent.is_ok();
            written = Some(intent);
            recorded
        };
        let sent = self.contracts.send_round(&self.sender, header, &items, before_send).await;
        let intent = written.transpose()?;
        let result = match sent {
            Ok(hash) => self.sender.receipt(hash).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(receipt) => {
                memory.round = round;
                memory.failures = 0;
                let done = self.contracts.round_receipt(receipt);
                let block = done.receipt.block.number;
                tracing::info!(round, allocated = done.allocated, skipped = done.skipped, %block, tx = %done.receipt.hash, "round applied");
                log.update(intent, IntentState::Accepted).await?;
                Ok(Some(block))
            }
            Err(error) => {
                memory.failures += 1;
                log.update(intent, state_after(&error)).await?;
                self.after_failure(&error, round).await
            }
        }
    }

    /// A refused round means that the chain has moved; anything that a new round cannot mend stops the keeper.
    async fn after_failure(&self, error: &SendError, round: u64) -> Result<Option<BlockNumber>> {
        tracing::warn!(round, %error, "the round was not applied; deciding anew");
        if matches!(error, SendError::WouldRevert { .. } | SendError::Reverted { .. }) {
            // A node that does not answer says nothing about the right to apply rounds.
            if let Ok(rights) = Rights::read(&self.contracts, self.sender.address(), &self.policy).await {
                rights.check()?;
            }
        }
        Ok(None)
    }

    /// Finds out what became of what was being sent when the keeper last stopped.
    async fn settle_open_intents(&self) -> Result<()> {
        for intent in self.store.open_intents().await? {
            let state = self.find_out(&intent).await;
            tracing::info!(intent = %intent.intent_id, kind = intent.action.kind(), %state, "settled an intent of an earlier run");
            let update = IntentUpdate { state, tx_hash: None, updated_ms: now_ms() };
            self.store.update_intent(intent.intent_id, &update).await?;
        }
        Ok(())
    }

    async fn find_out(&self, intent: &Intent) -> IntentState {
        let Some(hash) = intent.tx_hash else { return IntentState::Lost };
        for _ in 0..RECEIPT_TRIES {
            match self.sender.receipt_now(hash).await {
                Ok(Some(_)) => return IntentState::Accepted,
                Err(SendError::Reverted { .. }) => return IntentState::Reverted,
                Ok(None) | Err(_) => {}
            }
            // While the nonce is open the transaction may never have been sent: the next round takes the
            // nonce, and the contract takes each job's attempt once whichever of the two arrives.
            match self.sender.nonce().await {
                Ok(nonce) if nonce <= intent.nonce => return IntentState::Lost,
                _ => tokio::time::sleep(LONGEST_PAUSE).await,
            }
        }
        // Another transaction took the nonce, so this one never will be included.
        IntentState::Lost
    }
}

/// The pause after so many failures in a row. One is ordinary: the chain has moved.
fn backoff(failures: u32) -> Duration {
    let pause = LONGEST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(2)));
    if failures < 2 { Duration::ZERO } else { pause.min(LONGEST_BACKOFF) }
}

/// What is known of a transaction after a failure.
fn state_after(error: &SendError) -> IntentState {
    match error {
        SendError::Reverted { .. } => IntentState::Reverted,
        SendError::NonceTaken { .. }
        | SendError::WouldRevert { .. }
        | SendError::Unfunded { .. }
        | SendError::NotRecorded => IntentState::Lost,
        // It may have been sent.
        _ => IntentState::Sent,
    }
}

/// Writes what is about to be sent.
pub(super) struct IntentLog<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) account: keeper_types::Address,
}

impl IntentLog<'_> {
    /// Records an intent as about to be sent.
    ///
    /// # Errors
    /// Fails where the store does.
    pub(super) async fn write(&self, action: IntentAction, nonce: u64, hash: TxHash) -> Result<IntentId> {
        let intent = NewIntent { action, account: self.account, nonce, tx_hash: Some(hash), created_ms: now_ms() };
        Ok(self.store.record_intent(&intent).await?)
    }

    /// Records what became of it.
    ///
    /// # Errors
    /// Fails where the store does.
    pub(super) async fn update(&self, intent: Option<IntentId>, state: IntentState) -> Result<()> {
        let Some(intent) = intent else { return Ok(()) };
        Ok(self.store.update_intent(intent, &IntentUpdate { state, tx_hash: None, updated_ms: now_ms() }).await?)
    }
}
