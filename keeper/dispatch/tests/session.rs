//! Sessions over both transports, with an authenticator that knows what a signature must be.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use keeper_dispatch::{
    AgentIdentity, AgentMessage, Challenge, Channel, Connector as _, DispatchServer, MAX_MESSAGE_BYTES, Outcome,
    PROTOCOL, RefusalCode, RejectionCode, ReportKind, ServerMessage, SessionEnd, SessionError, TransportError,
    WebSocketConnector, authenticate, memory_pair,
};
use keeper_types::{Address, Attempt, ChainId, Felt, JobId, WorkerId};
use support::{Agent, Signer, StubChain, agent, challenge_of, config, expect_rejection, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const WORKER: WorkerId = WorkerId(7);

fn server() -> DispatchServer {
    DispatchServer::new(config(), Arc::new(StubChain::default())).0
}

/// A connection to `server` that has not said anything, and the session's end.
fn raw(server: &DispatchServer) -> (Agent, tokio::task::JoinHandle<SessionEnd>) {
    let (ours, theirs) = memory_pair();
    let server = server.clone();
    (Channel::new(ours), tokio::spawn(async move { server.accept(theirs).await }))
}

async fn connected(server: &DispatchServer) -> (Agent, tokio::task::JoinHandle<SessionEnd>) {
    let (mut agent, end) = raw(server);
    authenticate(&mut agent, &support::identity(WORKER), &support::profile(), &Signer).await.unwrap();
    (agent, end)
}

async fn next_but_pings(agent: &mut Agent) -> ServerMessage {
    loop {
        match agent.recv().await.unwrap().unwrap() {
            ServerMessage::Ping { token } => agent.send(&AgentMessage::Pong { token }).await.unwrap(),
            message => return message,
        }
    }
}

#[tokio::test]
async fn a_job_goes_out_and_its_result_comes_back_over_a_websocket() {
    let served = serve(config()).await;
    let mut reports = served.reports;
    let mut agent = agent(&served.url, WORKER).await.unwrap();
    assert_eq!(served.server.online(), [WORKER].into());

    let (job_id, attempt) = (JobId(3), Attempt(2));
    served.server.offer(WORKER, job_id, attempt, Bytes::from_static(b"{}\xff")).unwrap();
    let expected = ServerMessage::Offer { job_id, attempt, manifest: Bytes::from_static(b"{}\xff") };
    assert_eq!(next_but_pings(&mut agent).await, expected);
    agent.send(&AgentMessage::Accepted { job_id, attempt }).await.unwrap();
    agent.send(&AgentMessage::Started { job_id, attempt }).await.unwrap();
    let outcome = Outcome::Failed { reason: "TIMEOUT".to_owned() };
    agent.send(&AgentMessage::Finished { job_id, attempt, outcome: outcome.clone() }).await.unwrap();
    for kind in [ReportKind::Accepted, ReportKind::Started, ReportKind::Finished(outcome)] {
        let report = reports.recv().await.unwrap();
        assert_eq!((report.worker_id, report.job_id, report.attempt, report.kind), (WORKER, job_id, attempt, kind));
    }

    served.server.withdraw(WORKER, job_id, attempt).unwrap();
    assert_eq!(next_but_pings(&mut agent).await, ServerMessage::Withdraw { job_id, attempt });

    let mut sessions = served.server.sessions();
    agent.close().await;
    sessions.wait_for(|sessions| sessions.is_empty()).await.unwrap();
    let error = served.server.offer(WORKER, job_id, attempt, Bytes::new()).unwrap_err();
    assert_eq!(error.to_string(), "worker 7 is not connected");
}

#[tokio::test]
async fn a_signature_of_another_is_refused() {
    let served = serve(config()).await;
    let mut connection = Channel::new(WebSocketConnector::new(&served.url).unwrap().connect().await.unwrap());
    let challenge = challenge_of(&mut connection).await;
    let account = support::identity(WORKER).account;
    let profile = support::profile();
    connection.send(&AgentMessage::Hello { protocol: PROTOCOL, worker_id: WORKER, account, profile }).await.unwrap();
    let (nonce, expires_at) = (challenge.nonce, challenge.expires_at);
    connection.send(&AgentMessage::Proof { signature: vec![Felt::ONE], nonce, expires_at }).await.unwrap();
    let reason = expect_rejection(&mut connection, RejectionCode::BadProof).await;
    assert!(reason.contains("is not one of account"), "{reason}");
    assert!(served.server.online().is_empty());
}

#[tokio::test]
async fn an_account_that_does_not_own_the_worker_is_refused() {
    let served = serve(config()).await;
    let error = agent(&served.url, support::FOREIGN_WORKER).await.unwrap_err();
    assert!(matches!(error, SessionError::Rejected { code: RejectionCode::NotOwner, .. }), "{error}");
}

#[tokio::test]
async fn a_proof_holds_for_one_connection() {
    let served = serve(config()).await;
    let connect = async || Channel::new(WebSocketConnector::new(&served.url).unwrap().connect().await.unwrap());
    let mut first: Agent = connect().await;
    let overheard = support::prove(&challenge_of(&mut first).await, WORKER);

    let mut second: Agent = connect().await;
    challenge_of(&mut second).await;
    for message in &overheard {
        second.send(message).await.unwrap();
    }
    let reason = expect_rejection(&mut second, RejectionCode::NonceMismatch).await;
    assert_eq!(reason, "the proof answers another challenge: each holds for one connection");

    for message in &overheard {
        first.send(message).await.unwrap();
    }
    assert_eq!(first.recv().await.unwrap(), Some(ServerMessage::Welcome { worker_id: WORKER }));
    first.send(&overheard[1]).await.unwrap();
    expect_rejection(&mut first, RejectionCode::Malformed).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_proof_is_refused() {
    let (mut agent, end) = raw(&server());
    let challenge = challenge_of(&mut agent).await;
    tokio::time::advance(config().challenge_ttl + Duration::from_millis(1)).await;
    let reason = expect_rejection(&mut agent, RejectionCode::ChallengeExpired).await;
    assert_eq!(reason, "no proof within 20 s of the challenge: connect again");
    for message in support::prove(&challenge, WORKER) {
        let _ = agent.send(&message).await;
    }
    assert!(matches!(end.await.unwrap(), SessionEnd::Rejected { code: RejectionCode::ChallengeExpired, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_does_not_answer_is_not_waited_for() {
    let chain = StubChain { hangs: true };
    let (server, _reports) = DispatchServer::new(config(), Arc::new(chain));
    let (mut agent, _end) = raw(&server);
    let error = authenticate(&mut agent, &support::identity(WORKER), &support::profile(), &Signer).await.unwrap_err();
    assert!(matches!(error, SessionError::Rejected { code: RejectionCode::ChainUnavailable, .. }), "{error}");
}

#[tokio::test]
async fn another_protocol_is_told_apart_before_it_is_understood() {
    let (ours, theirs) = memory_pair();
    let server = server();
    tokio::spawn(async move { server.accept(theirs).await });
    let mut transport = ours;
    transport.recv().await.unwrap();
    transport.send(r#"{"type":"hello","protocol":1,"identity":{"worker":"7"}}"#.to_owned()).await.unwrap();
    let mut agent = Agent::new(transport);
    let reason = expect_rejection(&mut agent, RejectionCode::UnsupportedProtocol).await;
    assert_eq!(
        reason,
        "this keeper speaks protocol 2, the agent speaks 1: bring both to the same version of the software"
    );
}

#[tokio::test]
async fn what_is_no_message_ends_the_session() {
    for frame in ["", "{}", r#"{"type":"welcome"}"#, r#"{"type":"pong"}"#, &"x".repeat(MAX_MESSAGE_BYTES + 1)] {
        let (ours, theirs) = memory_pair();
        let server = server();
        tokio::spawn(async move { server.accept(theirs).await });
        let mut transport = ours;
        transport.recv().await.unwrap();
        transport.send(frame.to_owned()).await.unwrap();
        expect_rejection(&mut Agent::new(transport), RejectionCode::Malformed).await;
    }
}

#[tokio::test]
async fn an_agent_signs_only_for_its_own_market() {
    let wrong = |change: fn(&mut keeper_dispatch::AgentIdentity)| {
        let mut identity = support::identity(WORKER);
        change(&mut identity);
        identity
    };
    for (identity, expected) in [
        (wrong(|identity| identity.chain_id = ChainId::MAINNET), "chain SN_SEPOLIA"),
        (wrong(|identity| identity.cdc_pool = Address(Felt::ONE)), "registry 0x"),
        (wrong(|identity| identity.audience = "ws://another".to_owned()), "the keeper ws://keeper.example"),
    ] {
        let (mut agent, _end) = raw(&server());
        let error = authenticate(&mut agent, &identity, &support::profile(), &Signer).await.unwrap_err();
        assert!(matches!(error, SessionError::WrongMarket { .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// A keeper that stands between another and an agent that was told to connect to itself.
#[tokio::test]
async fn a_session_that_another_keeper_relays_is_refused() {
    const RELAY: &str = "ws://relay.example";
    let identity = AgentIdentity { audience: RELAY.to_owned(), ..support::identity(WORKER) };
    let between = |identity: AgentIdentity| {
        let (to_agent, agents_end) = memory_pair();
        let proving = tokio::spawn(async move {
            authenticate(&mut Channel::new(agents_end), &identity, &support::profile(), &Signer).await
        });
        (Channel::<ServerMessage, AgentMessage>::new(to_agent), proving)
    };

    // As it came: the agent sees that the proof would be for another, and says nothing.
    let (mut to_keeper, _end) = raw(&server());
    let challenge = challenge_of(&mut to_keeper).await;
    let (mut to_agent, proving) = between(identity.clone());
    to_agent.send(&ServerMessage::Challenge(challenge.clone())).await.unwrap();
    let error = proving.await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::WrongMarket { .. }), "{error}");
    assert_eq!(to_agent.recv().await.unwrap(), None);

    // Under its own name: the proof is for the relay, and holds nowhere else.
    let (mut to_agent, _proving) = between(identity);
    to_agent.send(&ServerMessage::Challenge(Challenge { keeper: RELAY.to_owned(), ..challenge })).await.unwrap();
    for _ in 0..2 {
        let message = to_agent.recv().await.unwrap().unwrap();
        to_keeper.send(&message).await.unwrap();
    }
    expect_rejection(&mut to_keeper, RejectionCode::BadProof).await;
}

#[tokio::test]
async fn a_newer_session_replaces_the_older() {
    let served = serve(config()).await;
    let mut older = agent(&served.url, WORKER).await.unwrap();
    let first = served.server.sessions().borrow()[&WORKER].id;
    let mut newer = agent(&served.url, WORKER).await.unwrap();
    expect_rejection(&mut older, RejectionCode::Replaced).await;
    let second = served.server.sessions().borrow()[&WORKER].id;
    assert!(second > first);
    // The older session's end must not take the newer one's place with it.
    assert_eq!(older.recv().await.unwrap(), None);
    served.server.withdraw(WORKER, JobId(1), Attempt(1)).unwrap();
    let expected = ServerMessage::Withdraw { job_id: JobId(1), attempt: Attempt(1) };
    assert_eq!(next_but_pings(&mut newer).await, expected);
    assert_eq!(served.server.sessions().borrow()[&WORKER].id, second);
}

#[tokio::test(start_paused = true)]
async fn a_silent_agent_is_dropped() {
    let server = server();
    let (mut agent, end) = connected(&server).await;
    let since = tokio::time::Instant::now();
    let mut pings = 0;
    loop {
        match agent.recv().await.unwrap().unwrap() {
            ServerMessage::Ping { .. } => pings += 1,
            ServerMessage::Rejected { code: RejectionCode::Silent, reason } => {
                break assert_eq!(reason, "no word for 15 s");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(since.elapsed().as_secs(), 15);
    assert!((3..=4).contains(&pings), "{pings}");
    assert!(matches!(end.await.unwrap(), SessionEnd::Rejected { code: RejectionCode::Silent, .. }));
    assert!(server.online().is_empty());
}

#[tokio::test(start_paused = true)]
async fn how_long_an_agent_may_be_silent_can_be_set() {
    for (limit_s, pings_expected) in [(3, 3..=4), (60, 12..=13)] {
        let config = config().with_silence_limit(Duration::from_secs(limit_s));
        let server = DispatchServer::new(config, Arc::new(StubChain::default())).0;
        let (mut agent, end) = connected(&server).await;
        let (since, mut pings) = (tokio::time::Instant::now(), 0);
        while let ServerMessage::Ping { .. } = agent.recv().await.unwrap().unwrap() {
            pings += 1;
        }
        assert_eq!(since.elapsed().as_secs(), limit_s);
        assert!(pings_expected.contains(&pings), "{pings} in {limit_s} s");
        let SessionEnd::Rejected { code, reason } = end.await.unwrap() else { panic!("the keeper did not end it") };
        assert_eq!((code, reason), (RejectionCode::Silent, format!("no word for {limit_s} s")));
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_answers_stays() {
    let server = server();
    let (mut agent, _end) = connected(&server).await;
    let since = tokio::time::Instant::now();
    while since.elapsed() < Duration::from_secs(120) {
        let Some(ServerMessage::Ping { token }) = agent.recv().await.unwrap() else { panic!("no ping") };
        agent.send(&AgentMessage::Pong { token }).await.unwrap();
    }
    assert_eq!(server.online(), [WORKER].into());
}

#[tokio::test]
async fn strangers_are_bounded() {
    let mut config = config();
    config.max_handshakes = 1;
    let served = serve(config).await;
    let connector = WebSocketConnector::new(&served.url).unwrap();
    let mut first: Agent = Channel::new(connector.connect().await.unwrap());
    let challenge = challenge_of(&mut first).await;
    let error = connector.connect().await.err().unwrap();
    assert!(matches!(&error, TransportError::Connect { reason, .. } if reason.contains("503")), "{error}");
    // Who has proved itself no longer counts as a stranger.
    for message in support::prove(&challenge, WORKER) {
        first.send(&message).await.unwrap();
    }
    assert_eq!(first.recv().await.unwrap(), Some(ServerMessage::Welcome { worker_id: WORKER }));
    connector.connect().await.unwrap();
}

#[tokio::test]
async fn sessions_are_bounded() {
    let mut config = config();
    config.max_sessions = 1;
    let served = serve(config).await;
    let mut first = agent(&served.url, WORKER).await.unwrap();
    let error = agent(&served.url, WorkerId(8)).await.unwrap_err();
    assert!(matches!(error, SessionError::Rejected { code: RejectionCode::Overloaded, .. }), "{error}");
    let _again = agent(&served.url, WORKER).await.unwrap();
    expect_rejection(&mut first, RejectionCode::Replaced).await;
}

#[tokio::test]
async fn a_connection_that_never_becomes_a_session_is_closed() {
    let mut config = config();
    config.challenge_ttl = Duration::from_millis(100);
    let served = serve(config).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET /v1/session HTTP/1.1\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
}

#[tokio::test]
async fn the_keeper_says_good_bye() {
    let served = serve(config()).await;
    let mut agent = agent(&served.url, WORKER).await.unwrap();
    served.cancel.cancel();
    expect_rejection(&mut agent, RejectionCode::ShuttingDown).await;
    served.task.await.unwrap().unwrap();
    assert!(served.server.online().is_empty());
}

#[tokio::test]
async fn a_stranger_that_says_nothing_does_not_hold_up_the_end() {
    let served = serve(config()).await;
    let _stranger = TcpStream::connect(served.address).await.unwrap();
    let mut half = TcpStream::connect(served.address).await.unwrap();
    half.write_all(b"GET /v1/session HTTP/1.1\r\n").await.unwrap();
    let mut agent = agent(&served.url, WORKER).await.unwrap();
    let told = std::time::Instant::now();
    served.cancel.cancel();
    expect_rejection(&mut agent, RejectionCode::ShuttingDown).await;
    served.task.await.unwrap().unwrap();
    assert!(told.elapsed() < config().challenge_ttl, "it took {:?}", told.elapsed());
}

#[tokio::test]
async fn the_keeper_says_that_it_lives() {
    let served = serve(config()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET /live HTTP/1.1\r\nHost: keeper\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nlive\n"), "{answer}");
}

#[tokio::test]
async fn an_oversized_frame_ends_the_websocket() {
    let served = serve(config()).await;
    let mut transport = WebSocketConnector::new(&served.url).unwrap().connect().await.unwrap();
    transport.recv().await.unwrap();
    let _ = transport.send("x".repeat(MAX_MESSAGE_BYTES + 1)).await;
    assert!(!matches!(transport.recv().await, Ok(Some(frame)) if frame.contains("welcome")));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_passed_on() {
    let (server, mut reports) = DispatchServer::new(config(), Arc::new(StubChain::default()));
    let (mut agent, _end) = connected(&server).await;
    let (job_id, attempt, code) = (JobId(1), Attempt(1), RefusalCode::Busy);
    let reason = "no free slot".to_owned();
    agent.send(&AgentMessage::Refused { job_id, attempt, code, reason: reason.clone() }).await.unwrap();
    assert_eq!(reports.recv().await.unwrap().kind, ReportKind::Refused { code, reason });
}
