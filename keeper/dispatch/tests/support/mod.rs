//! A keeper on the loopback interface, and a chain that stands in for the real one: it knows what each signature
//! must be, and that one worker belongs to somebody else.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::{io, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use keeper_dispatch::{
    AgentChannel, AgentIdentity, AgentMessage, AuthError, Authenticator, Challenge, Channel, Connector as _,
    DispatchServer, PROTOCOL, ProofSigner, RejectionCode, Report, ServerConfig, ServerMessage, SessionError, SignError,
    WebSocketConnector, authenticate,
};
use keeper_types::{Address, AgentProfile, ChainId, ContentHash, Felt, ProofOfAccount, WorkerId};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

pub type Agent = AgentChannel;

/// A worker that the agents' account does not own.
pub const FOREIGN_WORKER: WorkerId = WorkerId(99);

const CDC_POOL: Address = Address(Felt::from_hex_unchecked("0xcdc"));
const ACCOUNT: Address = Address(Felt::from_hex_unchecked("0xacc"));

pub fn config() -> ServerConfig {
    ServerConfig::new("ws://keeper.example", ChainId::SEPOLIA, CDC_POOL)
}

pub fn identity(worker_id: WorkerId) -> AgentIdentity {
    let audience = "ws://keeper.example".to_owned();
    AgentIdentity { worker_id, account: ACCOUNT, chain_id: ChainId::SEPOLIA, cdc_pool: CDC_POOL, audience }
}

/// What agents say about their workers.
pub fn profile() -> AgentProfile {
    AgentProfile { gpu_model: "NVIDIA L4".to_owned(), disk_gib: 200, pcie_generation: 4, ..AgentProfile::default() }
}

fn signature_of(proof: &ProofOfAccount) -> Vec<Felt> {
    vec![ContentHash::of(format!("{proof:?}").as_bytes()).to_felt()]
}

#[derive(Default)]
pub struct StubChain {
    pub hangs: bool,
}

#[async_trait]
impl Authenticator for StubChain {
    async fn verify(&self, proof: &ProofOfAccount, signature: &[Felt]) -> Result<(), AuthError> {
        let (account, worker_id) = (proof.account, proof.worker_id);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        if signature != signature_of(proof) {
            return Err(AuthError::BadSignature { account });
        }
        if worker_id == FOREIGN_WORKER {
            return Err(AuthError::NotOwner { account, worker_id, reason: "it is 0x1's".to_owned() });
        }
        Ok(())
    }
}

pub struct Signer;

#[async_trait]
impl ProofSigner for Signer {
    async fn sign(&self, proof: &ProofOfAccount) -> Result<Vec<Felt>, SignError> {
        Ok(signature_of(proof))
    }
}

pub struct Served {
    pub server: DispatchServer,
    pub reports: mpsc::Receiver<Report>,
    pub address: SocketAddr,
    pub url: String,
    pub cancel: CancellationToken,
    pub task: JoinHandle<io::Result<()>>,
    _stop: DropGuard,
}

pub async fn serve(config: ServerConfig) -> Served {
    let (server, reports) = DispatchServer::new(config, Arc::new(StubChain::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cancel = CancellationToken::new();
    let serving = (server.clone(), cancel.clone());
    let task = tokio::spawn(async move { serving.0.serve(listener, serving.1).await });
    let _stop = cancel.clone().drop_guard();
    Served { server, reports, address, url: format!("ws://{address}"), cancel, task, _stop }
}

/// An agent that has been welcomed.
pub async fn agent(url: &str, worker_id: WorkerId) -> Result<Agent, SessionError> {
    let mut channel = Channel::new(WebSocketConnector::new(url)?.connect().await?);
    authenticate(&mut channel, &identity(worker_id), &profile(), &Signer).await?;
    Ok(channel)
}

pub async fn challenge_of(agent: &mut Agent) -> Challenge {
    match agent.recv().await.unwrap().unwrap() {
        ServerMessage::Challenge(challenge) => challenge,
        other => panic!("{other:?}"),
    }
}

/// The messages that answer `challenge`.
pub fn prove(challenge: &Challenge, worker_id: WorkerId) -> [AgentMessage; 2] {
    let (nonce, expires_at) = (challenge.nonce, challenge.expires_at);
    let proof = ProofOfAccount {
        account: ACCOUNT,
        worker_id,
        nonce,
        audience: challenge.keeper.clone(),
        chain_id: challenge.chain_id,
        cdc_pool: challenge.cdc_pool,
        expires_at,
    };
    [
        AgentMessage::Hello { protocol: PROTOCOL, worker_id, account: ACCOUNT, profile: profile() },
        AgentMessage::Proof { signature: signature_of(&proof), nonce, expires_at },
    ]
}

/// Reads on until the keeper ends the session, and returns its reason.
pub async fn expect_rejection(agent: &mut Agent, expected: RejectionCode) -> String {
    loop {
        match agent.recv().await.unwrap().unwrap() {
            ServerMessage::Rejected { code, reason } => {
                assert_eq!(code, expected, "{reason}");
                return reason;
            }
            ServerMessage::Ping { .. } | ServerMessage::Welcome { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
