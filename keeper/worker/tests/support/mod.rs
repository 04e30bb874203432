//! A keeper at hand, a chain that plays JobMgr's part for a few jobs, and an executor that runs when it is told to.
//! The real chain is exercised end to end elsewhere.
#![allow(dead_code, reason = "each test binary uses another part")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use keeper_dispatch::{
    AgentIdentity, ArtifactStore, AuthError, Authenticator, Connector, DispatchServer, ProofSigner, Report, ReportKind,
    ServerConfig, SessionEnd, SignError, Transport, TransportError, memory_pair,
};
use keeper_types::{
    Address, AgentProfile, Attempt, ChainId, ContentHash, Felt, JobId, JobState, Manifest, ProofOfAccount, TxHash,
    Verification, WorkerId,
};
use keeper_worker::{
    Agent, AgentConfig, AgentError, AgentParts, AllocationOnChain, Executor, FailureCode, JobRun, Output,
    ProfileSource, RunError, WorkerChain, WorkerChainError,
};
use tempfile::TempDir;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub const WORKER: WorkerId = WorkerId(7);
pub const JOB: JobId = JobId(1);
pub const FIRST: Attempt = Attempt(1);
pub const CLIENT: Address = Address(Felt::from_hex_unchecked("0xc11e"));
pub const MATMUL: &[u8] = br#"{"version":1,"executor":{"kind":"matmul","size":8,"seed":7}}"#;

const TX: TxHash = TxHash(Felt::from_hex_unchecked("0x7a"));

/// What the next transaction does.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// Nothing reaches the chain.
    Lost,
    /// It is accepted, and the answer is lost.
    AcceptedUnheard,
    /// A contract refuses it.
    Refused,
}

#[derive(Debug, Default)]
struct Ledger {
    jobs: BTreeMap<JobId, AllocationOnChain>,
    submitted: Vec<(JobId, Attempt, ContentHash)>,
    committed: Vec<(JobId, Attempt, ContentHash)>,
    failed: Vec<(JobId, Attempt, FailureCode)>,
    fates: VecDeque<Fate>,
    is_down: bool,
}

#[derive(Clone, Debug, Default)]
pub struct FakeChain(Arc<Mutex<Ledger>>);

impl FakeChain {
    /// A job that is allocated to [`WORKER`].
    pub fn allocate(&self, job_id: JobId, manifest: &[u8]) {
        let allocation = AllocationOnChain {
            client: CLIENT,
            worker_id: WORKER,
            attempt: FIRST,
            state: JobState::Allocated,
            manifest_hash: Manifest::hash(manifest).to_felt(),
            gpu_count: 0,
            execution_timeout_s: 600,
            attempt_deadline: u64::MAX,
            result_hash: Felt::ZERO,
            verification: Verification::None,
            is_replica: false,
            reveals_open: false,
        };
        self.0.lock().unwrap().jobs.insert(job_id, allocation);
    }

    pub fn change(&self, job_id: JobId, change: impl FnOnce(&mut AllocationOnChain)) {
        change(self.0.lock().unwrap().jobs.get_mut(&job_id).unwrap());
    }

    pub fn set_down(&self, is_down: bool) {
        self.0.lock().unwrap().is_down = is_down;
    }

    pub fn doom(&self, fates: impl IntoIterator<Item = Fate>) {
        self.0.lock().unwrap().fates.extend(fates);
    }

    pub fn submitted(&self) -> Vec<(JobId, Attempt, ContentHash)> {
        self.0.lock().unwrap().submitted.clone()
    }

    pub fn committed(&self) -> Vec<(JobId, Attempt, ContentHash)> {
        self.0.lock().unwrap().committed.clone()
    }

    pub fn failed(&self) -> Vec<(JobId, Attempt, FailureCode)> {
        self.0.lock().unwrap().failed.clone()
    }

    fn transact(
        &self,
        job_id: JobId,
        attempt: Attempt,
        apply: impl FnOnce(&mut Ledger),
    ) -> Result<TxHash, WorkerChainError> {
        let mut ledger = self.0.lock().unwrap();
        let fate = ledger.fates.pop_front();
        let lost = || Err(WorkerChainError::Transient("timed out".to_owned()));
        match fate {
            Some(Fate::Lost) => return lost(),
            Some(Fate::Refused) => return Err(WorkerChainError::Permanent("JobMgr: refused".to_owned())),
            Some(Fate::AcceptedUnheard) | None => {}
        }
        let live =
            ledger.jobs.get(&job_id).is_some_and(|job| job.state == JobState::Allocated && job.attempt == attempt);
        assert!(live, "a transaction for an attempt that is not live");
        apply(&mut ledger);
        if fate.is_some() { lost() } else { Ok(TX) }
    }
}

#[async_trait]
impl WorkerChain for FakeChain {
    async fn allocation(&self, job_id: JobId) -> Result<Option<AllocationOnChain>, WorkerChainError> {
        let ledger = self.0.lock().unwrap();
        if ledger.is_down {
            return Err(WorkerChainError::Transient("no RPC endpoint answers".to_owned()));
        }
        Ok(ledger.jobs.get(&job_id).cloned())
    }

    async fn submit_result(
        &self,
        job_id: JobId,
        attempt: Attempt,
        hash: ContentHash,
    ) -> Result<TxHash, WorkerChainError> {
        self.transact(job_id, attempt, |ledger| {
            ledger.submitted.push((job_id, attempt, hash));
            let job = ledger.jobs.get_mut(&job_id).unwrap();
            (job.state, job.result_hash) = (JobState::Revealed, hash.to_felt());
        })
    }

    async fn commit_result(
        &self,
        job_id: JobId,
        attempt: Attempt,
        hash: ContentHash,
    ) -> Result<TxHash, WorkerChainError> {
        self.transact(job_id, attempt, |ledger| {
            ledger.committed.push((job_id, attempt, hash));
            ledger.jobs.get_mut(&job_id).unwrap().state = JobState::Committed;
        })
    }

    async fn reveal_result(
        &self,
        job_id: JobId,
        attempt: Attempt,
        hash: ContentHash,
    ) -> Result<TxHash, WorkerChainError> {
        let mut ledger = self.0.lock().unwrap();
        let job = ledger.jobs.get_mut(&job_id).unwrap();
        assert!(job.state == JobState::Committed && job.reveals_open, "a reveal before its time");
        (job.state, job.result_hash) = (JobState::Revealed, hash.to_felt());
        ledger.submitted.push((job_id, attempt, hash));
        Ok(TX)
    }

    async fn fail_attempt(
        &self,
        job_id: JobId,
        attempt: Attempt,
        code: FailureCode,
    ) -> Result<TxHash, WorkerChainError> {
        self.transact(job_id, attempt, |ledger| {
            ledger.failed.push((job_id, attempt, code));
            ledger.jobs.get_mut(&job_id).unwrap().state = JobState::Queued;
        })
    }
}

/// A worker that is what the test says.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<Mutex<AgentProfile>>);

impl Told {
    pub fn change(&self, change: impl FnOnce(&mut AgentProfile)) {
        change(&mut self.0.lock().unwrap());
    }
}

impl ProfileSource for Told {
    fn profile(&self) -> AgentProfile {
        self.0.lock().unwrap().clone()
    }
}

/// Accepts everybody: proofs are `keeper-dispatch`'s matter.
pub struct Trusting;

#[async_trait]
impl Authenticator for Trusting {
    async fn verify(&self, _proof: &ProofOfAccount, _signature: &[Felt]) -> Result<(), AuthError> {
        Ok(())
    }
}

#[async_trait]
impl ProofSigner for Trusting {
    async fn sign(&self, _proof: &ProofOfAccount) -> Result<Vec<Felt>, SignError> {
        Ok(Vec::new())
    }
}

/// Connects to the server at hand, or fails while there is none.
#[derive(Clone)]
pub struct Line {
    pub server: watch::Sender<Option<DispatchServer>>,
    pub tries: watch::Sender<u32>,
    pub ends: mpsc::UnboundedSender<SessionEnd>,
}

#[async_trait]
impl Connector for Line {
    async fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        self.tries.send_modify(|tries| *tries += 1);
        let Some(server) = self.server.borrow().clone() else {
            return Err(TransportError::Connect { address: self.target(), reason: "nobody there".to_owned() });
        };
        let (ours, theirs) = memory_pair();
        let ends = self.ends.clone();
        tokio::spawn(async move { ends.send(server.accept(theirs).await) });
        Ok(ours)
    }

    fn target(&self) -> String {
        "memory".to_owned()
    }
}

/// Runs nothing: counts, and gives each run an output when [`Gate::open`] is called.
#[derive(Clone)]
pub struct Gate {
    pub started: watch::Sender<Vec<JobRun>>,
    permits: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { started: watch::Sender::default(), permits: Arc::new(Semaphore::new(0)) }
    }
}

pub const OUTPUT: &[u8] = b"output";

impl Gate {
    pub fn open(&self) {
        self.permits.add_permits(1);
    }

    pub async fn until_started(&self, count: usize) {
        self.started.subscribe().wait_for(|started| started.len() >= count).await.unwrap();
    }
}

#[async_trait]
impl Executor for Gate {
    async fn run(&self, job: &JobRun, workspace: &Path, cancel: CancellationToken) -> Result<Output, RunError> {
        assert_eq!(std::fs::read_dir(workspace).unwrap().count(), 0);
        self.started.send_modify(|started| started.push(job.clone()));
        tokio::select! {
            permit = self.permits.acquire() => permit.unwrap().forget(),
            () = cancel.cancelled() => return Err(RunError::Cancelled),
        }
        Ok(Output(Bytes::from_static(OUTPUT)))
    }
}

/// An agent at work.
pub struct Site {
    pub chain: FakeChain,
    pub gate: Gate,
    pub profile: Told,
    pub artifacts: ArtifactStore,
    pub server: DispatchServer,
    pub reports: mpsc::Receiver<Report>,
    pub line: Line,
    pub ends: mpsc::UnboundedReceiver<SessionEnd>,
    pub cancel: CancellationToken,
    pub agent: JoinHandle<Result<(), AgentError>>,
    _folder: TempDir,
}

pub fn server() -> (DispatchServer, mpsc::Receiver<Report>) {
    DispatchServer::new(ServerConfig::new("keeper", ChainId::SEPOLIA, Address(Felt::ONE)), Arc::new(Trusting))
}

pub fn identity() -> AgentIdentity {
    let (account, cdc_pool) = (Address(Felt::TWO), Address(Felt::ONE));
    let audience = "keeper".to_owned();
    AgentIdentity { worker_id: WORKER, account, chain_id: ChainId::SEPOLIA, cdc_pool, audience }
}

impl Site {
    pub fn new() -> Self {
        Self::with(|_| {}, None)
    }

    /// An agent whose jobs run at the gate, or by `executor`.
    pub fn with(configure: impl FnOnce(&mut AgentConfig), executor: Option<Arc<dyn Executor>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (chain, gate, profile) = (FakeChain::default(), Gate::default(), Told::default());
        let artifacts = ArtifactStore::open("memory://").unwrap();
        let (server, reports) = server();
        let (ended, ends) = mpsc::unbounded_channel();
        let line =
            Line { server: watch::Sender::new(Some(server.clone())), tries: watch::Sender::default(), ends: ended };
        let mut config = AgentConfig::new(identity(), folder.path().to_owned());
        configure(&mut config);
        let parts = AgentParts {
            chain: Arc::new(chain.clone()),
            signer: Arc::new(Trusting),
            connector: Arc::new(line.clone()),
            others: Vec::new(),
            profile: Arc::new(profile.clone()),
            artifacts: artifacts.clone(),
            executor: executor.unwrap_or_else(|| Arc::new(gate.clone())),
        };
        let cancel = CancellationToken::new();
        let agent = tokio::spawn(Agent::new(config, parts).run(cancel.clone()));
        Self { chain, gate, profile, artifacts, server, reports, line, ends, cancel, agent, _folder: folder }
    }

    pub async fn until_online(&self) {
        self.server.sessions().wait_for(|sessions| sessions.contains_key(&WORKER)).await.unwrap();
    }

    pub async fn offer(&self, job_id: JobId, manifest: &[u8]) {
        self.until_online().await;
        self.server.offer(WORKER, job_id, FIRST, Bytes::copy_from_slice(manifest)).unwrap();
    }

    /// The next report, which must be about `job_id`.
    pub async fn report(&mut self, job_id: JobId) -> ReportKind {
        let report = self.reports.recv().await.unwrap();
        assert_eq!((report.job_id, report.attempt), (job_id, FIRST), "{report:?}");
        report.kind
    }

    /// The outcome of a job, past the reports that come before.
    pub async fn outcome(&mut self, job_id: JobId) -> keeper_dispatch::Outcome {
        loop {
            match self.report(job_id).await {
                ReportKind::Finished(outcome) => return outcome,
                ReportKind::Accepted | ReportKind::Started => {}
                refused @ ReportKind::Refused { .. } => panic!("{refused:?}"),
            }
        }
    }

    pub async fn refusal(&mut self, job_id: JobId) -> (keeper_dispatch::RefusalCode, String) {
        match self.report(job_id).await {
            ReportKind::Refused { code, reason } => (code, reason),
            other => panic!("{other:?}"),
        }
    }
}
