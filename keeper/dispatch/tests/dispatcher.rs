//! The dispatcher with a real server, over in-memory sessions.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use keeper_dispatch::{
    AgentMessage, Allocation, ArtifactStore, Channel, DispatchServer, Dispatcher, RefusalCode, Report, ReportKind,
    RetryPolicy, ServerMessage, authenticate, memory_pair,
};
use keeper_types::{Attempt, ContentHash, JobId, WorkerId};
use support::{Agent, Signer, StubChain, config, identity, profile};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

const WORKER: WorkerId = WorkerId(7);
const MANIFEST: &[u8] = b"{ }";

struct Keeper {
    server: DispatchServer,
    artifacts: ArtifactStore,
    allocated: watch::Sender<BTreeSet<Allocation>>,
    reports: mpsc::UnboundedReceiver<Report>,
    _stop: DropGuard,
}

fn keeper() -> Keeper {
    let (server, mut reports) = DispatchServer::new(config(), Arc::new(StubChain::default()));
    let artifacts = ArtifactStore::open("memory://").unwrap();
    let (allocated, followed) = watch::channel(BTreeSet::new());
    let (seen, observed) = mpsc::unbounded_channel();
    let dispatcher = Dispatcher::new(server.clone(), artifacts.clone(), RetryPolicy::default());
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let observe = move |report: &Report| seen.send(report.clone()).unwrap();
    tokio::spawn(async move { dispatcher.run(followed, &mut reports, observe, stop).await });
    Keeper { server, artifacts, allocated, reports: observed, _stop: cancel.drop_guard() }
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
