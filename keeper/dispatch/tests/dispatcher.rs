//! The dispatcher with a real server, over in-memory sessions.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use keeper_dispatch::{
    AgentMessage, Allocation, ArtifactStore, Channel, DispatchServer, Dispatcher, RefusalCode, Report, ReportKind,
    RetryPolicy, ServerMessage, Sessions, authenticate, memory_pair,
};
use keeper_types::{Attempt, ContentHash, JobId, WorkerId};
use support::{Agent, Signer, StubChain, config, identity, profile};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

const WORKER: WorkerId = WorkerId(7);
const MANIFEST: &[u8] = b"{ }";
const TIMEOUT: Duration = Duration::from_secs(20);

struct Keeper {
    server: DispatchServer,
    artifacts: ArtifactStore,
    allocated: watch::Sender<BTreeSet<Allocation>>,
    reports: mpsc::UnboundedReceiver<Report>,
    cancel: CancellationToken,
    _stop: DropGuard,
}

fn keeper() -> Keeper {
    let (server, mut reports) = DispatchServer::new(config(), Arc::new(StubChain::default()));
    let artifacts = ArtifactStore::open("memory://").unwrap();
    let (allocated, followed) = watch::channel(BTreeSet::new());
    let (seen, observed) = mpsc::unbounded_channel();
    let dispatcher = Dispatcher::new(server.clone(), artifacts.clone(), RetryPolicy::default(), TIMEOUT);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let observe = move |report: &Report| seen.send(report.clone()).unwrap();
    tokio::spawn(async move { dispatcher.run(followed, &mut reports, observe, stop).await });
    Keeper { server, artifacts, allocated, reports: observed, cancel: cancel.clone(), _stop: cancel.drop_guard() }
}

async fn connect(server: &DispatchServer) -> Agent {
    let (ours, theirs) = memory_pair();
    let server = server.clone();
    tokio::spawn(async move { server.accept(theirs).await });
    let mut agent = Channel::new(ours);
    authenticate(&mut agent, &identity(WORKER), &profile(), &Signer).await.unwrap();
    agent
}

fn allocation() -> Allocation {
    let manifest = ContentHash::of(MANIFEST);
    Allocation { job_id: JobId(1), attempt: Attempt(1), worker_id: WORKER, manifest }
}

fn offer() -> ServerMessage {
    ServerMessage::Offer { job_id: JobId(1), attempt: Attempt(1), manifest: Bytes::from_static(MANIFEST) }
}

async fn next_but_pings(agent: &mut Agent) -> ServerMessage {
    loop {
        match agent.recv().await.unwrap().unwrap() {
            ServerMessage::Ping { token } => agent.send(&AgentMessage::Pong { token }).await.unwrap(),
            message => return message,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_allocated_job_reaches_its_worker_whenever_it_connects() {
    let keeper = keeper();
    keeper.artifacts.put(Bytes::from_static(MANIFEST)).await.unwrap();
    keeper.allocated.send_replace([allocation()].into());
    let mut agent = connect(&keeper.server).await;
    assert_eq!(next_but_pings(&mut agent).await, offer());
    drop(agent);
    let mut agent = connect(&keeper.server).await;
    assert_eq!(next_but_pings(&mut agent).await, offer());
    keeper.allocated.send_replace(BTreeSet::new());
    let withdraw = ServerMessage::Withdraw { job_id: JobId(1), attempt: Attempt(1) };
    assert_eq!(next_but_pings(&mut agent).await, withdraw);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_comes_late_is_offered_late() {
    let keeper = keeper();
    let mut agent = connect(&keeper.server).await;
    keeper.allocated.send_replace([allocation()].into());
    // The first ping comes at once; the second means that a try or two has failed.
    for _ in 0..2 {
        let Some(ServerMessage::Ping { token }) = agent.recv().await.unwrap() else { panic!("no ping") };
        agent.send(&AgentMessage::Pong { token }).await.unwrap();
    }
    keeper.artifacts.put(Bytes::from_static(MANIFEST)).await.unwrap();
    assert_eq!(next_but_pings(&mut agent).await, offer());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_lags_behind_is_offered_the_job_again() {
    let mut keeper = keeper();
    keeper.artifacts.put(Bytes::from_static(MANIFEST)).await.unwrap();
    keeper.allocated.send_replace([allocation()].into());
    let mut agent = connect(&keeper.server).await;
    assert_eq!(next_but_pings(&mut agent).await, offer());
    let (job_id, attempt, code) = (JobId(1), Attempt(1), RefusalCode::NotAllocated);
    agent.send(&AgentMessage::Refused { job_id, attempt, code, reason: "queued".to_owned() }).await.unwrap();
    assert_eq!(next_but_pings(&mut agent).await, offer());
    assert!(matches!(keeper.reports.recv().await.unwrap().kind, ReportKind::Refused { .. }));
}

/// Whether the worker is said to be stalled, once that is `expected`.
async fn until_stalled_is(keeper: &Keeper, expected: bool) {
    let mut sessions = keeper.server.sessions();
    let is_so = |sessions: &Sessions| sessions.get(&WORKER).is_some_and(|session| session.agent.is_stalled == expected);
    sessions.wait_for(is_so).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_begin_is_said_to_be_stalled_until_it_begins() {
    let keeper = keeper();
    keeper.artifacts.put(Bytes::from_static(MANIFEST)).await.unwrap();
    keeper.allocated.send_replace([allocation()].into());
    let mut agent = connect(&keeper.server).await;
    assert_eq!(next_but_pings(&mut agent).await, offer());
    let offered = tokio::time::Instant::now();
    until_stalled_is(&keeper, false).await;
    // It is there, answers pings, says that it will, and does not.
    let (job_id, attempt) = (JobId(1), Attempt(1));
    agent.send(&AgentMessage::Accepted { job_id, attempt }).await.unwrap();
    assert_eq!(next_but_pings(&mut agent).await, offer(), "offered once more");
    assert_eq!(offered.elapsed().as_secs(), TIMEOUT.as_secs());
    until_stalled_is(&keeper, true).await;
    agent.send(&AgentMessage::Started { job_id, attempt }).await.unwrap();
    until_stalled_is(&keeper, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_dispatches_no_more_says_of_nobody_that_he_is_stalled() {
    let keeper = keeper();
    keeper.artifacts.put(Bytes::from_static(MANIFEST)).await.unwrap();
    keeper.allocated.send_replace([allocation()].into());
    let mut agent = connect(&keeper.server).await;
    for _ in 0..2 {
        assert_eq!(next_but_pings(&mut agent).await, offer());
    }
    until_stalled_is(&keeper, true).await;
    keeper.cancel.cancel();
    until_stalled_is(&keeper, false).await;
}
