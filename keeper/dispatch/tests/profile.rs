//! What a keeper knows of the agents that it has sessions with: what they say, and how far away they are.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use keeper_dispatch::{
    AgentMessage, Channel, Connector as _, DispatchServer, MAX_MODELS, RejectionCode, ServerMessage, SessionError,
    Sessions, WebSocketConnector, authenticate, memory_pair,
};
use keeper_types::{Address, AgentProfile, AgentView, Attempt, ExecutorKind, Felt, JobId, Refusals, WorkerId};
use support::{Agent, Signer, StubChain, challenge_of, config, expect_rejection, identity, profile, serve};
use tokio::{
    sync::watch,
    time::{Instant, advance},
};

const WORKER: WorkerId = WorkerId(7);

/// An agent that has been welcomed over a session in memory.
async fn connected(server: &DispatchServer, profile: &AgentProfile) -> Result<Agent, SessionError> {
    let (ours, theirs) = memory_pair();
    let server = server.clone();
    tokio::spawn(async move { server.accept(theirs).await });
    let mut agent = Channel::new(ours);
    authenticate(&mut agent, &identity(WORKER), profile, &Signer).await?;
    Ok(agent)
}

fn server() -> DispatchServer {
    DispatchServer::new(config(), Arc::new(StubChain::default())).0
}

/// What the keeper knows of the worker's agent by now.
fn view(sessions: &watch::Receiver<Sessions>) -> AgentView {
    sessions.borrow()[&WORKER].agent.clone()
}

fn picky() -> AgentProfile {
    let refuses = Refusals { clients: [Address(Felt::TWO)].into(), executors: [ExecutorKind::Process].into() };
    AgentProfile { models: [Felt::THREE].into(), refuses, ..profile() }
}

fn with_disk(disk_gib: u32) -> AgentProfile {
    AgentProfile { disk_gib, ..profile() }
}

fn too_many_models() -> AgentProfile {
    AgentProfile { models: (0..=MAX_MODELS as u64).map(Felt::from).collect(), ..profile() }
}

/// Waits for a ping, and returns the answer to it.
async fn expect_ping(agent: &mut Agent) -> AgentMessage {
    let Some(ServerMessage::Ping { token }) = agent.recv().await.unwrap() else { panic!("no ping") };
    AgentMessage::Pong { token }
}

#[tokio::test]
async fn a_profile_arrives_over_either_transport() {
    let in_memory = server();
    let _agent = connected(&in_memory, &picky()).await.unwrap();
    assert_eq!(view(&in_memory.sessions()), AgentView { profile: picky(), ..AgentView::default() });

    let served = serve(config()).await;
    let mut sessions = served.server.sessions();
    let mut agent = Channel::new(WebSocketConnector::new(&served.url).unwrap().connect().await.unwrap());
    authenticate(&mut agent, &identity(WORKER), &picky(), &Signer).await.unwrap();
    assert_eq!(view(&sessions), AgentView { profile: picky(), ..AgentView::default() });
    // The first ping comes right after the welcome, so that the way is measured before a job goes it.
    let pong = expect_ping(&mut agent).await;
    agent.send(&pong).await.unwrap();
    let measured = |sessions: &Sessions| sessions[&WORKER].agent.latency_ms.is_some();
    sessions.wait_for(measured).await.unwrap();
    agent.send(&AgentMessage::Profile { profile: with_disk(7) }).await.unwrap();
    sessions.wait_for(|sessions| sessions[&WORKER].agent.profile == with_disk(7)).await.unwrap();
    assert!(measured(&sessions.borrow()), "what was measured stays");
}

#[tokio::test]
async fn a_profile_that_says_too_much_is_rejected_by_its_field() {
    let error = connected(&server(), &too_many_models()).await.err().unwrap();
    let SessionError::Rejected { code, reason } = error else { panic!("{error}") };
    assert_eq!(code, RejectionCode::Malformed);
    assert_eq!(reason, "profile.models lists 4097, but at most 4096 can be");

    let served = serve(config()).await;
    let mut agent = support::agent(&served.url, WORKER).await.unwrap();
    agent.send(&AgentMessage::Profile { profile: too_many_models() }).await.unwrap();
    let reason = expect_rejection(&mut agent, RejectionCode::Malformed).await;
    assert_eq!(reason, "profile.models lists 4097, but at most 4096 can be");
}

#[tokio::test]
async fn a_misspelt_profile_is_rejected() {
    let (mut transport, theirs) = memory_pair();
    let server = server();
    tokio::spawn(async move { server.accept(theirs).await });
    transport.recv().await.unwrap();
    let hello = r#"{"type":"hello","protocol":2,"worker_id":7,"account":"0xacc","profile":{"disk":7}}"#;
    transport.send(hello.to_owned()).await.unwrap();
    let reason = expect_rejection(&mut Agent::new(transport), RejectionCode::Malformed).await;
    assert!(reason.contains("unknown field `disk`"), "{reason}");
}

#[tokio::test]
async fn an_agent_without_a_profile_is_understood() {
    let (ours, theirs) = memory_pair();
    let server = server();
    let accepting = server.clone();
    tokio::spawn(async move { accepting.accept(theirs).await });
    let mut agent = Agent::new(ours);
    let challenge = challenge_of(&mut agent).await;
    let [hello, proof] = support::prove(&challenge, WORKER);
    let AgentMessage::Hello { protocol, worker_id, account, .. } = hello else { panic!() };
    let hello = AgentMessage::Hello { protocol, worker_id, account, profile: AgentProfile::default() };
    for message in [hello, proof] {
        agent.send(&message).await.unwrap();
    }
    assert_eq!(agent.recv().await.unwrap(), Some(ServerMessage::Welcome { worker_id: WORKER }));
    assert_eq!(view(&server.sessions()), AgentView::default());
}

#[tokio::test(start_paused = true)]
async fn profiles_that_come_in_a_hurry_are_merged() {
    let server = server();
    let mut agent = connected(&server, &profile()).await.unwrap();
    let mut sessions = server.sessions();
    let since = Instant::now();
    let mut taken = Vec::new();
    for disk_gib in 1..=100 {
        agent.send(&AgentMessage::Profile { profile: with_disk(disk_gib) }).await.unwrap();
    }
    while taken.last() != Some(&100) {
        sessions.changed().await.unwrap();
        taken.push(view(&sessions).profile.disk_gib);
        sessions.mark_unchanged();
    }
    // One at once, the last of them a second later.
    assert_eq!(taken.len(), 2, "{taken:?}");
    assert_eq!(since.elapsed().as_secs(), 1);
    // What says nothing new is no news.
    agent.send(&AgentMessage::Profile { profile: with_disk(100) }).await.unwrap();
    agent.send(&AgentMessage::Profile { profile: with_disk(101) }).await.unwrap();
    sessions.changed().await.unwrap();
    assert_eq!(view(&sessions).profile, with_disk(101));
}

#[tokio::test(start_paused = true)]
async fn the_round_trip_is_measured_from_ping_to_pong() {
    let server = server();
    let mut agent = connected(&server, &profile()).await.unwrap();
    let mut sessions = server.sessions();
    // What waits for the agent does not come before the first ping.
    server.offer(WORKER, JobId(1), Attempt(1), Bytes::new()).unwrap();
    let pong = expect_ping(&mut agent).await;
    assert!(matches!(agent.recv().await.unwrap(), Some(ServerMessage::Offer { .. })));
    advance(Duration::from_millis(30)).await;
    agent.send(&pong).await.unwrap();
    sessions.changed().await.unwrap();
    assert_eq!(view(&sessions), AgentView { profile: profile(), latency_ms: Some(30), ..AgentView::default() });
    sessions.mark_unchanged();

    // A way that is about as long, or longer for a while, wakes nobody.
    for round_trip_ms in [26, 31, 900] {
        let pong = expect_ping(&mut agent).await;
        advance(Duration::from_millis(round_trip_ms)).await;
        agent.send(&pong).await.unwrap();
    }
    let pong = expect_ping(&mut agent).await;
    assert!(!sessions.has_changed().unwrap());
    advance(Duration::from_millis(12)).await;
    agent.send(&pong).await.unwrap();
    sessions.changed().await.unwrap();
    assert_eq!(view(&sessions).latency_ms, Some(12));
}
