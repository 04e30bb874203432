//! Decides which worker gets which job, and sends the decisions.
//!
//! One round at a time: what was decided is sent, and the next decision waits until the follower has seen what
//! became of it. A round that fails is no error but news: the chain has moved, so the next round decides anew.
//!
//! Started again, the service has forgotten its [`Memory`], and that does no harm:
//!
//! - What was being sent is in the intent log; its lane finds out what became of it before the first decision ([`rounds`]).
//! - What was sent and included is believed before the first decision, since that waits for the block that is the newest
//!   at the start. Without it the round before could be decided a second time.
//! - Round numbers go on above the chain's and the log's: a round that was sent and is in no block yet has its number.
//! - Manifests are read again. Explanations are written again, each in the place of the one before.
//!
//! Where several keepers share a database, only the one that leads decides, or each about the shards that it leads
//! ([`portion`]), all of them in one round. Whenever it begins to, it starts as above; once it does not any more, it drops whatever it was doing, and gives up rounds of its own that are in no block: they were
//! decided by what another decides anew.
//!
//! Told to stop, it drops what it decides and finishes what it sends: for some seconds it waits for the round to land, and
//! then leaves the intent open for the next start.

mod hashing;
mod portion;
mod rounds;
mod share;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use keeper_chain::{
    Contracts, Follower,
    lane::{Lane, LaneError, Prepared},
};
use keeper_dispatch::{ArtifactStore, Sessions};
use keeper_follow::Latch;
use keeper_scheduler::{
    Explanation, ManifestStatus, Outcome, Plan, Policy, RoundInputs, Snapshot, plan, plan_root, policy_id, seed_of,
};
use keeper_store::{ExplanationRecord, Leases, Store};
use keeper_types::{
    AllocationItem, BlockNumber, ContentHash, Felt, Job, JobId, JobState, MAX_MANIFEST_BYTES, Manifest, ManifestView,
    RoundHeader,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    hashing::{Hashing, Rooted},
    share::Share,
};
use super::{Believed, BelievedReceiver, Duty, Failure, Health, Leadership, now_ms};

/// Waiting jobs age and manifests arrive without an event, so a round is tried this often at least.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after rounds that failed one after the other.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// The service.
#[derive(Clone)]
pub(crate) struct Allocating {
    pub(crate) contracts: Contracts,
    /// The account that applies rounds.
    pub(crate) lane: Lane,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) policy: Policy,
    pub(crate) believed: BelievedReceiver,
    pub(crate) sessions: watch::Receiver<Sessions>,
    pub(crate) health: Arc<Health>,
    /// Closed where nothing may be sent.
    pub(crate) latch: Arc<Latch>,
    /// Whether this keeper decides.
    pub(crate) leadership: Leadership,
    /// Who else is at work, where others may be.
    pub(crate) leases: Option<Arc<dyn Leases>>,
}

/// What the rounds know from one to the next.
#[derive(Default)]
struct Memory {
    /// Manifests that were read: they cannot change, since their hash is their name.
    manifests: BTreeMap<ContentHash, (ManifestStatus, ManifestView)>,
    /// Explanations that are recorded, with the round where there is one, so that only news is written.
    explained: BTreeMap<JobId, (Explanation, Option<u64>)>,
    /// The newest round that was sent, or recorded.
    round: u64,
    /// The fork that the explanations are of.
    fork: u64,
    /// Rounds that failed one after the other.
    failures: u32,
    /// Whether it is not known what became of a round that was sent.
    is_unsettled: bool,
    /// The snapshot's root, and what was hashed for the rounds before.
    hashing: Hashing,
    /// How long the round that is decided takes.
    share: Share,
    /// What the rounds are decided under, where there are several keepers.
    duty: Duty,
}

/// A round that is decided, explained and published.
struct Decided {
    header: RoundHeader,
    items: Vec<AllocationItem>,
    snapshot: Arc<Snapshot>,
    /// The calls that apply it, or why they would not.
    prepared: Result<Prepared, LaneError>,
}

/// What a round is called.
struct Numbered {
    round: u64,
    /// Of the snapshot that it was decided from.
    root: Felt,
    /// When the root was there.
    rooted: Instant,
    /// When the node had said which round was the last.
    answered: Instant,
}

impl Memory {
    /// Forgets what was of another fork; says whether it was.
    fn take_note_of(&mut self, fork: u64) -> bool {
        let is_news = self.fork != fork;
        if is_news {
            self.fork = fork;
            self.explained.clear();
        }
        is_news
    }
}

impl Allocating {
    /// Allocates until cancelled, whenever this keeper leads.
    ///
    /// # Errors
    /// Fails where the store does, or this account may not apply rounds.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Failure> {
        let leading = self.leadership.clone().while_leading(cancel, |duty, cancel| self.clone().lead(duty, cancel));
        tokio::select! {
            ended = leading => ended,
            () = self.give_up_rounds(self.leadership.clone()) => Ok(()),
        }
    }

    async fn lead(mut self, duty: Duty, cancel: CancellationToken) -> Result<(), Failure> {
        let mut memory = Memory { duty, ..Memory::default() };
        let Some(resumed) = cancel.run_until_cancelled(self.resume(&mut memory)).await else { return Ok(()) };
        let mut until = resumed?;
        let mut idle_since = Instant::now();
        loop {
            if memory.is_unsettled {
                let Some(resumed) = cancel.run_until_cancelled(self.resume(&mut memory)).await else { return Ok(()) };
                until = resumed?;
            }
            // A round that was applied must be believed before the next is decided, unless its block is no more.
            let newest = self.believed.borrow().as_ref().map(|believed| (believed.head.number, believed.fork));
            if newest.is_some_and(|(_, fork)| memory.take_note_of(fork)) {
                until = BlockNumber(0);
            }
            if self.latch.is_open() && newest.is_some_and(|(head, _)| head >= until) {
                let believed = self.believed.borrow_and_update().clone();
                self.sessions.borrow_and_update();
                self.health.allocated();
                if let Some(believed) = believed {
                    memory.share = Share::begin(believed.seen, idle_since);
                    // Nothing half done is lost by stopping while it decides.
                    let decided = cancel.run_until_cancelled(self.decide(&believed, &mut memory)).await;
                    if let Some(decided) = decided.transpose()?.flatten() {
                        until = self.send(decided, &mut memory, &cancel).await?.unwrap_or(until);
                    }
                }
                idle_since = Instant::now();
                let pause = tokio::time::sleep(backoff(memory.failures));
                if memory.failures > 0 && cancel.run_until_cancelled(pause).await.is_none() {
                    return Ok(());
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                changed = self.believed.changed() => if changed.is_err() { return Ok(()) },
                changed = self.sessions.changed() => if changed.is_err() { return Ok(()) },
                () = tokio::time::sleep(LONGEST_PAUSE) => {}
            }
        }
    }

    /// Settles what was left open, be it by an earlier run; returns the block that must be seen before the first round.
    async fn resume(&self, memory: &mut Memory) -> Result<BlockNumber, Failure> {
        memory.take_note_of(self.believed.borrow().as_ref().map_or(0, |believed| believed.fork));
        self.wait_for_open_rounds().await?;
        memory.is_unsettled = false;
        memory.round = self.store.last_round(self.lane.address()).await?.unwrap_or_default();
        let follower = Follower::new(self.contracts.rpc(), self.contracts.deployment());
        loop {
            match follower.head().await {
                Ok(head) => return Ok(head.number),
                Err(error) => tracing::warn!(%error, "the newest block cannot be read; no round until then"),
            }
            tokio::time::sleep(LONGEST_PAUSE).await;
        }
    }

    /// Decides a round and publishes what it was decided from; `None` where there is nothing to send.
    async fn decide(&self, believed: &Believed, memory: &mut Memory) -> Result<Option<Decided>, Failure> {
        memory.take_note_of(believed.fork);
        let queued: Vec<&Job> = believed.market.queued_jobs().filter(|job| memory.duty.has_job(job.job_id)).collect();
        // Of jobs that wait: many more may run, and what is said of one that comes back is news.
        let waits = |job_id: &JobId| believed.market.jobs.get(job_id).is_some_and(|job| job.state == JobState::Queued);
        memory.explained.retain(|job_id, _| waits(job_id));
        let open: BTreeSet<ContentHash> = queued.iter().filter_map(|job| job.spec.manifest()).collect();
        memory.manifests.retain(|hash, _| open.contains(hash));
        if queued.is_empty() {
            return Ok(None);
        }
        for job in &queued {
            self.read_manifest(job, memory).await;
        }
        let snapshot = self.snapshot(believed, memory);
        let snapshot = match self.portion(&memory.duty, believed.head.number).await? {
            Some(portion) => snapshot.of_portion(portion),
            None => snapshot,
        };
        // Whose turn it is counts among the portion's own workers.
        let snapshot = snapshot.with_turn(&believed.market, &self.policy).without_idle_measures(&self.policy);
        memory.share.mark("snapshot");
        let snapshot = Arc::new(snapshot);
        memory.hashing.begin(Arc::clone(&snapshot)).await;
        let plan = plan(&snapshot, &self.policy);
        memory.share.mark("planned");
        if plan.items.is_empty() {
            self.explain(believed, &plan, None, &mut memory.explained).await?;
            return Ok(None);
        }
        let Some((round, snapshot_root)) = self.number_and_explain(believed, &plan, memory).await? else {
            return Ok(None);
        };
        let items = plan.batch();
        let header = RoundHeader {
            round,
            snapshot_block: snapshot.block,
            snapshot_root,
            policy_id: policy_id(&self.policy),
            plan_root: plan_root(&items),
        };
        // Written down while the node says what it costs.
        let calls = self.contracts.round_calls(self.lane.sender(), &header, &items);
        let writing = async { (self.publish(snapshot_root, &snapshot).await, Instant::now()) };
        let (prepared, (published, written)) = tokio::join!(biased; self.lane.prepare(calls), writing);
        memory.share.wait(written.elapsed());
        memory.share.mark("written");
        // A round that nobody can recompute is not sent.
        if let Err(error) = published {
            memory.failures += 1;
            tracing::warn!(round, %error, "what the round was decided from cannot be published");
            return Ok(None);
        }
        Ok(Some(Decided { header, items, snapshot, prepared }))
    }

    /// Waits for the round's number and the snapshot's root, and records the explanations meanwhile, with the number that is
    /// expected. `None` where the node does not say which round was the last.
    async fn number_and_explain(
        &self,
        believed: &Believed,
        plan: &Plan,
        Memory { hashing, explained, share, round: newest, .. }: &mut Memory,
    ) -> Result<Option<(u64, Felt)>, Failure> {
        let expected = *newest + 1;
        let explaining = async { (self.explain(believed, plan, Some(expected), explained).await, Instant::now()) };
        let (numbered, (written, written_at)) = tokio::join!(biased; self.number(*newest, hashing), explaining);
        written?;
        let Some(Numbered { round, root, rooted, answered }) = numbered else { return Ok(None) };
        // Until then there was something to do beside waiting for the node.
        let busy_until = rooted.max(written_at);
        share.wait(answered.saturating_duration_since(busy_until));
        share.mark("rooted");
        if round != expected {
            self.explain(believed, plan, Some(round), explained).await?;
        }
        Ok(Some((round, root)))
    }

    /// What a round is called that is decided now, `newest` being the last that is known of here.
    async fn number(&self, newest: u64, hashing: &mut Hashing) -> Option<Numbered> {
        let last = self.contracts.last_round(self.lane.address()).await;
        let answered = Instant::now();
        let Rooted { root, at: rooted } = hashing.end().await?;
        match last {
            Ok(last) => Some(Numbered { round: last.max(newest) + 1, root, rooted, answered }),
            Err(error) => {
                tracing::warn!(%error, "the last round cannot be read");
                None
            }
        }
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
    async fn explain(
        &self,
        believed: &Believed,
        plan: &Plan,
        round: Option<u64>,
        known: &mut BTreeMap<JobId, (Explanation, Option<u64>)>,
    ) -> Result<(), Failure> {
        let of_round =
            |explanation: &Explanation| round.filter(|_| matches!(explanation.outcome, Outcome::Placed { .. }));
        let is_news = |explanation: &&Explanation| {
            let known = known.get(&explanation.job_id);
            known.is_none_or(|(known, round)| known != *explanation || *round != of_round(explanation))
        };
        let records: Vec<ExplanationRecord> = plan
            .explanations
            .values()
            .filter(is_news)
            .map(|explanation| ExplanationRecord {
                explanation: explanation.clone(),
                round: of_round(explanation),
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
            let before = known.get(&job_id).map(|(before, _)| before.outcome.code());
            // Counts change with every worker that comes or goes; what is decided changes rarely.
            if before == Some(code) {
                tracing::debug!(%job_id, %attempt, code, "{explanation}");
            } else {
                tracing::info!(%job_id, %attempt, code, "{explanation}");
            }
            known.insert(job_id, (explanation, record.round));
        }
        Ok(())
    }
}

/// The pause after so many failures in a row. One is ordinary: the chain has moved.
fn backoff(failures: u32) -> Duration {
    let pause = LONGEST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(2)));
    if failures < 2 { Duration::ZERO } else { pause.min(LONGEST_BACKOFF) }
}
