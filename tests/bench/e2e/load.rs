//! Clients that submit so many jobs a second.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use e2e::{Caller, job_spec, spec_to_chain};
use keeper_chain::STRK_TOKEN;
use keeper_types::{Felt, Fri, JobSpec, Manifest, Requirements, TxHash};
use starknet::{core::types::Call, macros::selector};
use tokio::{sync::Mutex, task::JoinSet, time::interval};

use super::{Load, STRK, Scene, manifest};

/// Submissions a second, each a transaction: clients do not wait for each other.
const SUBMISSIONS_PER_S: u32 = 2;
/// The first client's account; each submits in its turn.
const FIRST_CLIENT: usize = 5;
const CLIENTS: usize = 4;

/// A transaction that submits jobs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Submission {
    pub(crate) tx_hash: TxHash,
    pub(crate) jobs: usize,
    /// When its client began to sign it.
    pub(crate) at: Instant,
}

/// A client, which knows its nonce and what a submission costs: it asks the node for neither.
struct Client {
    caller: Caller,
    calls: Vec<Call>,
    gas: (u64, u64),
    /// Held until the node has taken a transaction, so that they come in order.
    nonce: Mutex<u64>,
}

/// Submits for as long as it is to; returns what the chain was given.
pub(crate) async fn submit(scene: &Arc<Scene>, load: Load) -> Vec<Submission> {
    let clients = clients(scene, (load.rate / SUBMISSIONS_PER_S) as usize).await;
    println!("submitting {} jobs a second for {} min", load.rate, load.minutes);
    let mut ticks = interval(Duration::from_secs(1) / SUBMISSIONS_PER_S);
    let (began, length) = (Instant::now(), Duration::from_secs_f64(load.minutes * 60.0));
    let mut under_way = JoinSet::new();
    let mut turn = 0;
    while began.elapsed() < length {
        ticks.tick().await;
        let client = Arc::clone(&clients[turn % CLIENTS]);
        under_way.spawn(async move { client.submit().await });
        turn += 1;
    }
    under_way.join_all().await
}

/// Clients that have submitted once, and so know what it costs.
async fn clients(scene: &Arc<Scene>, jobs: usize) -> Vec<Arc<Client>> {
    let manifest = manifest();
    let artifacts = scene.place.path("data/artifacts").display().to_string();
    let store = keeper_dispatch::ArtifactStore::open(&artifacts).expect("opening the artifact store");
    let hash = store.put(manifest.clone().into()).await.expect("keeping the manifest");
    assert_eq!(hash, Manifest::hash(manifest.as_bytes()), "manifests are named by their content");
    let mut clients = Vec::new();
    for account in FIRST_CLIENT..FIRST_CLIENT + CLIENTS {
        let caller = Caller::new(&scene.chain, scene.chain.account(account)).await;
        let deployment = scene.contracts.deployment();
        let spec = spec(hash.to_felt());
        let submit = caller.job_mgr(deployment).submit_job_getcall(&spec_to_chain(&spec));
        let escrow = Felt::from(spec.escrow().0 * jobs as u128);
        let calldata = vec![deployment.job_mgr.address.0, escrow, Felt::ZERO];
        let approve = Call { to: STRK_TOKEN.0, selector: selector!("approve"), calldata };
        let calls: Vec<Call> = std::iter::once(approve).chain(vec![submit; jobs]).collect();
        let first = caller.send(calls.clone()).await.expect("a first submission");
        let nonce = caller.sender().nonce().await.expect("the client's nonce");
        // The first makes what later ones only write.
        let gas = (2 * first.l2_gas, 2 * first.l1_data_gas);
        clients.push(Arc::new(Client { caller, calls, gas, nonce: Mutex::new(nonce) }));
    }
    clients
}

impl Client {
    async fn submit(&self) -> Submission {
        let at = Instant::now();
        let mut nonce = self.nonce.lock().await;
        let sent = self.caller.send_at_once(self.calls.clone(), *nonce, self.gas).await;
        let tx_hash = sent.expect("the node takes a submission");
        *nonce += 1;
        Submission { tx_hash, jobs: self.calls.len() - 1, at }
    }
}

/// A job that any worker can run and that takes longer than the measurement.
fn spec(manifest_hash: Felt) -> JobSpec {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    JobSpec {
        manifest_hash,
        requirements: Requirements::default(),
        max_price: Fri(STRK),
        execution_timeout_s: 3_600,
        deadline: now.as_secs() + 7_200,
        ..job_spec(now.as_secs())
    }
}
