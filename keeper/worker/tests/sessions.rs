//! The agent's sessions: keepers that go away or fall silent, two agents of one worker, a real connection.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use keeper_dispatch::{
    AgentMessage, Challenge, Channel, Connector, Outcome, PROTOCOL, RejectionCode, ReportKind, RetryPolicy,
    ServerMessage, SessionEnd, Transport, TransportError, WebSocketConnector, memory_pair,
};
use keeper_types::{Address, AgentProfile, ChainId, ContentHash, Felt, TxHash};
use keeper_worker::{Agent, AgentConfig, AgentParts, Executors, matmul};
use support::{FIRST, FakeChain, JOB, MATMUL, OUTPUT, Site, Told, Trusting, WORKER};
use tokio::{net::TcpListener, sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

fn published() -> Outcome {
    Outcome::Published { result_hash: ContentHash::of(OUTPUT), tx_hash: Some(TxHash(Felt::from(0x7a))) }
}

#[tokio::test(start_paused = true)]
async fn a_run_outlives_its_session() {
    let site = Site::new();
    site.chain.allocate(JOB, MATMUL);
    site.offer(JOB, MATMUL).await;
    site.gate.until_started(1).await;
    site.line.server.send_replace(None);
    site.server.shutdown().await;
    let mut tries = site.line.tries.subscribe();
    tries.wait_for(|tries| *tries >= 4).await.unwrap();
    site.gate.open();
    while site.chain.submitted().is_empty() {
        tries.changed().await.unwrap();
    }
    let (server, mut reports) = support::server();
    site.line.server.send_replace(Some(server));
    let report = async {
        loop {
            let report = reports.recv().await.unwrap();
            if let ReportKind::Finished(outcome) = report.kind {
                return (report.job_id, outcome);
            }
        }
    };
    assert_eq!(report.await, (JOB, published()));
    assert_eq!(site.gate.started.borrow().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_is_away_is_tried_again_ever_more_slowly() {
    let site = Site::new();
    site.line.server.send_replace(None);
    let mut tries = site.line.tries.subscribe();
    let mut waits = Vec::new();
    let mut since = Instant::now();
    for count in 1..=9 {
        tries.wait_for(|tries| *tries >= count).await.unwrap();
        waits.push(since.elapsed().as_secs_f64());
        since = Instant::now();
    }
    for (wait, longest) in waits[1..].iter().zip([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]) {
        assert!((longest / 2.0..=longest + 0.01).contains(wait), "{waits:?}");
    }
}

/// Hands out the keeper's ends of connections, for a keeper that misbehaves.
struct Ends(mpsc::UnboundedSender<Box<dyn Transport>>);

#[async_trait::async_trait]
impl Connector for Ends {
    async fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        let (ours, theirs) = memory_pair();
        self.0.send(theirs).unwrap();
        Ok(ours)
    }

    fn target(&self) -> String {
        "memory".to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_falls_silent_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (ends, mut connections) = mpsc::unbounded_channel();
    let parts = AgentParts {
        chain: Arc::new(FakeChain::default()),
        signer: Arc::new(Trusting),
        connector: Arc::new(Ends(ends)),
        others: Vec::new(),
        profile: Arc::new(Told::default()),
        artifacts: keeper_dispatch::ArtifactStore::open("memory://").unwrap(),
        executor: Arc::new(Executors::safe()),
    };
    let agent = Agent::new(AgentConfig::new(support::identity(), folder.path().to_owned()), parts);
    let running = tokio::spawn(agent.run(CancellationToken::new()));
    let mut channel = Channel::<ServerMessage, AgentMessage>::new(connections.recv().await.unwrap());
    let challenge = Challenge {
        protocol: PROTOCOL,
        nonce: Felt::ONE,
        keeper: "keeper".to_owned(),
        chain_id: ChainId::SEPOLIA,
        cdc_pool: Address(Felt::ONE),
        expires_at: 0,
    };
    channel.send(&ServerMessage::Challenge(challenge)).await.unwrap();
    channel.send(&ServerMessage::Welcome { worker_id: WORKER }).await.unwrap();
    let welcomed = Instant::now();
    while channel.recv().await.unwrap().is_some() {}
    assert_eq!(welcomed.elapsed().as_secs(), 15);
    connections.recv().await.unwrap();
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn two_agents_of_one_worker_do_not_push_each_other_out_in_a_hurry() {
    let mut site = Site::new();
    site.until_online().await;
    let rival = async {
        let (ours, theirs) = memory_pair();
        let server = site.server.clone();
        tokio::spawn(async move { server.accept(theirs).await });
        let mut channel = Channel::new(ours);
        keeper_dispatch::authenticate(&mut channel, &support::identity(), &AgentProfile::default(), &Trusting)
            .await
            .unwrap();
        channel
    };
    let _rival = rival.await;
    let replaced = Instant::now();
    let end = site.ends.recv().await.unwrap();
    assert!(matches!(end, SessionEnd::Rejected { code: RejectionCode::Replaced, .. }), "{end:?}");
    site.line.tries.subscribe().wait_for(|tries| *tries == 2).await.unwrap();
    assert!(replaced.elapsed() >= Duration::from_secs(30));
}

#[tokio::test]
async fn a_job_runs_over_a_websocket() {
    let (server, mut reports) = support::server();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("ws://{}", listener.local_addr().unwrap());
    let cancel = CancellationToken::new();
    let serving = (server.clone(), cancel.clone());
    let served = tokio::spawn(async move { serving.0.serve(listener, serving.1).await });

    let folder = tempfile::tempdir().unwrap();
    let artifacts = keeper_dispatch::ArtifactStore::open(folder.path().join("artifacts").to_str().unwrap()).unwrap();
    let chain = FakeChain::default();
    let parts = AgentParts {
        chain: Arc::new(chain.clone()),
        signer: Arc::new(Trusting),
        connector: Arc::new(WebSocketConnector::new(&address).unwrap()),
        others: Vec::new(),
        profile: Arc::new(Told::default()),
        artifacts: artifacts.clone(),
        executor: Arc::new(Executors::safe()),
    };
    let mut config = AgentConfig::new(support::identity(), folder.path().join("workspaces"));
    config.reconnect = RetryPolicy { first: Duration::from_millis(1), longest: Duration::from_millis(10) };
    let agent = tokio::spawn(Agent::new(config, parts).run(cancel.clone()));
    server.sessions().wait_for(|sessions| sessions.contains_key(&WORKER)).await.unwrap();

    chain.allocate(JOB, MATMUL);
    server.offer(WORKER, JOB, FIRST, Bytes::from_static(MATMUL)).unwrap();
    let result_hash = loop {
        match reports.recv().await.unwrap().kind {
            ReportKind::Finished(Outcome::Published { result_hash, .. }) => break result_hash,
            ReportKind::Accepted | ReportKind::Started => {}
            other => panic!("{other:?}"),
        }
    };
    let output = artifacts.get(result_hash, 256).await.unwrap();
    assert!(matmul::check(keeper_types::MatmulJob { size: 8, seed: 7 }, &output));
    cancel.cancel();
    agent.await.unwrap().unwrap();
    served.await.unwrap().unwrap();
}
