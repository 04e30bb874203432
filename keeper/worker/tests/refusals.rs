//! What an agent says about its worker, and the jobs that it does not take.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use keeper_dispatch::{RefusalCode, ReportKind, Sessions};
use keeper_types::{Address, AgentProfile, ExecutorKind, Felt, JobId, JobState};
use keeper_worker::FailureCode;
use support::{CLIENT, FIRST, Fate, JOB, MATMUL, Site, WORKER};
use tokio::time::Instant;

const OTHER_JOB: JobId = JobId(2);

/// A product with this placement.
fn placed(placement: &str) -> Vec<u8> {
    let executor = r#""executor":{"kind":"matmul","size":8,"seed":7}"#;
    format!(r#"{{"version":1,{executor},"placement":{{{placement}}}}}"#).into_bytes()
}

fn refuse_client(profile: &mut AgentProfile) {
    profile.refuses.clients = [CLIENT].into();
}

/// The refusal of `JOB`, and what the attempt was given up with.
async fn refused(site: &mut Site, manifest: &[u8]) -> (RefusalCode, String, FailureCode) {
    site.chain.allocate(JOB, manifest);
    let failed = site.chain.failed().len();
    site.offer(JOB, manifest).await;
    let (code, reason) = site.refusal(JOB).await;
    // What is said on chain follows what is said to the keeper.
    while site.chain.failed().len() == failed {
        tokio::task::yield_now().await;
    }
    let (job_id, attempt, failure) = site.chain.failed().pop().unwrap();
    assert_eq!((job_id, attempt), (JOB, FIRST));
    (code, reason, failure)
}

#[tokio::test]
async fn a_job_that_the_operator_does_not_want_is_refused_and_given_up() {
    type Change = fn(&mut AgentProfile);
    let cases: [(Change, String); 2] = [
        (refuse_client, format!("the worker's setting refuse_clients names client {CLIENT}")),
        (
            |profile| profile.refuses.executors = [ExecutorKind::Matmul].into(),
            "the worker's setting refuse_executors names `matmul`".to_owned(),
        ),
    ];
    for (change, reason) in cases {
        let mut site = Site::new();
        site.profile.change(change);
        let expected = (RefusalCode::Unwanted, reason, FailureCode::Unwanted);
        assert_eq!(refused(&mut site, MATMUL).await, expected);
        assert!(site.gate.started.borrow().is_empty());
    }
}

#[tokio::test]
async fn a_worker_that_is_not_what_the_placement_asks_for_refuses_and_gives_up() {
    let mut site = Site::new();
    site.profile.change(|profile| {
        (profile.gpu_model, profile.disk_gib, profile.pcie_generation) = ("NVIDIA L4".to_owned(), 100, 4);
    });
    for (placement, reason) in [
        (r#""gpu_models":["H100","A100"]"#, "placement.gpu_models is H100 or A100, but the worker has NVIDIA L4"),
        (r#""pcie_generation":5"#, "placement.pcie_generation is 5, but the worker has 4"),
        (r#""disk_gib":101"#, "placement.disk_gib is 101, but the worker has 100 GiB free"),
    ] {
        let expected = (RefusalCode::PlacementUnmet, reason.to_owned(), FailureCode::PlacementUnmet);
        assert_eq!(refused(&mut site, &placed(placement)).await, expected);
    }
    assert!(site.gate.started.borrow().is_empty());
    // What it does have, it takes.
    let manifest = placed(r#""gpu_models":["l4"],"pcie_generation":4,"disk_gib":100"#);
    site.chain.allocate(OTHER_JOB, &manifest);
    site.offer(OTHER_JOB, &manifest).await;
    assert_eq!(site.report(OTHER_JOB).await, ReportKind::Accepted);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_this_workers_is_not_given_up() {
    let mut site = Site::new();
    site.profile.change(refuse_client);
    site.chain.allocate(JOB, MATMUL);
    site.chain.change(JOB, |job| job.state = JobState::Queued);
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.refusal(JOB).await.0, RefusalCode::NotAllocated);
    assert!(site.chain.failed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_surrender_is_sent_again_and_said_once() {
    let mut site = Site::new();
    site.profile.change(refuse_client);
    site.chain.allocate(JOB, MATMUL);
    site.chain.doom([Fate::Lost, Fate::Lost]);
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.refusal(JOB).await.0, RefusalCode::Unwanted);
    assert!(site.chain.failed().is_empty(), "the keeper need not wait for the chain");
    site.offer(JOB, MATMUL).await;

    // The slot is free again once the attempt has ended.
    site.chain.allocate(OTHER_JOB, MATMUL);
    site.chain.change(OTHER_JOB, |job| job.client = Address(Felt::ONE));
    loop {
        site.offer(OTHER_JOB, MATMUL).await;
        match site.report(OTHER_JOB).await {
            ReportKind::Refused { code: RefusalCode::Busy, .. } => tokio::time::advance(RETRY).await,
            other => break assert_eq!(other, ReportKind::Accepted),
        }
    }
    assert_eq!(site.chain.failed(), [(JOB, FIRST, FailureCode::Unwanted)]);
}

/// As long as the agent waits before it sends a transaction again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_keeper_is_told_what_the_worker_is_and_what_becomes_of_it() {
    let mut site = Site::new();
    let told = |disk_gib: u32| {
        move |sessions: &Sessions| {
            sessions.get(&WORKER).is_some_and(|session| session.agent.profile.disk_gib == disk_gib)
        }
    };
    let mut sessions = site.server.sessions();
    sessions.wait_for(told(0)).await.unwrap();
    let since = Instant::now();
    site.profile.change(|profile| profile.disk_gib = 100);
    sessions.wait_for(told(100)).await.unwrap();
    assert!(since.elapsed().as_secs() <= 30, "{:?}", since.elapsed());

    // A keeper that comes later is told what holds then.
    site.line.server.send_replace(None);
    site.server.shutdown().await;
    site.ends.recv().await.unwrap();
    site.profile.change(|profile| profile.disk_gib = 7);
    let mut tries = site.line.tries.subscribe();
    // By then the profile has been looked at again.
    tries.wait_for(|tries| *tries >= 10).await.unwrap();
    let (server, _reports) = support::server();
    site.line.server.send_replace(Some(server.clone()));
    let mut sessions = server.sessions();
    let first = sessions.wait_for(|sessions| sessions.contains_key(&WORKER)).await.unwrap()[&WORKER].clone();
    assert_eq!(first.agent.profile.disk_gib, 7);
}
