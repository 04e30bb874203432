//! Clients that submit so many jobs a second.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use e2e::job_spec;
use keeper_chain::Sender;
use keeper_types::{Fri, JobId, JobSpec, Manifest, Requirements};
use tokio::{task::JoinSet, time::interval};

use super::{Load, STRK, Scene, manifest};

/// Submissions a second: clients do not wait for each other.
const SUBMISSIONS_PER_S: u32 = 2;
/// The first client's account; each submits in its turn.
const FIRST_CLIENT: usize = 5;
const CLIENTS: usize = 8;

/// A submitted job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Submitted {
    pub(crate) job_id: JobId,
    /// When its client began to submit it: before the transaction was estimated and signed.
    pub(crate) at: Instant,
}

/// Submits for as long as it is to; returns what the chain has taken.
pub(crate) async fn submit(scene: &Arc<Scene>, load: Load) -> Vec<Submitted> {
    let manifest = manifest();
    let hash = keeper_dispatch::ArtifactStore::open(&scene.place.path("data/artifacts").display().to_string())
        .expect("opening the artifact store")
        .put(manifest.clone().into())
        .await
        .expect("keeping the manifest");
    assert_eq!(hash, Manifest::hash(manifest.as_bytes()), "manifests are named by their content");
    let mut clients = Vec::new();
    for account in FIRST_CLIENT..FIRST_CLIENT + CLIENTS {
        let credentials = scene.chain.account(account).credentials();
        clients.push(Arc::new(Sender::new(&scene.connection().await, &credentials, Duration::from_millis(500))));
    }
    let mut ticks = interval(Duration::from_secs(1) / SUBMISSIONS_PER_S);
    let (began, length) = (Instant::now(), Duration::from_secs_f64(load.minutes * 60.0));
    let mut under_way = JoinSet::new();
    let mut turn = 0;
    while began.elapsed() < length {
        ticks.tick().await;
        let specs = vec![spec(hash.to_felt()); (load.rate / SUBMISSIONS_PER_S) as usize];
        under_way.spawn(submit_some(Arc::clone(scene), Arc::clone(&clients[turn % CLIENTS]), specs));
        turn += 1;
    }
    under_way.join_all().await.concat()
}

async fn submit_some(scene: Arc<Scene>, client: Arc<Sender>, specs: Vec<JobSpec>) -> Vec<Submitted> {
    let at = Instant::now();
    let (job_ids, _) = scene.contracts.submit_jobs(&client, &specs).await.expect("submitting");
    job_ids.into_iter().map(|job_id| Submitted { job_id, at }).collect()
}

/// A job that any worker can run and that takes longer than the measurement.
fn spec(manifest_hash: keeper_types::Felt) -> JobSpec {
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
