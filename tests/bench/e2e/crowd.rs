//! Workers: registered on chain, with sessions.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use e2e::{Caller, DevnetAccount, capabilities, deployment_of};
use futures::stream::{self, StreamExt as _};
use keeper_chain::{Credentials, Sender, sign_proof};
use keeper_dispatch::{
    AgentChannel, AgentIdentity, AgentMessage, Channel, Connector as _, ProofSigner, ServerMessage, SignError,
    WebSocketConnector, authenticate,
};
use keeper_types::{AgentProfile, Felt, Fri, ProofOfAccount, Rate, WorkerId};
use starknet::{core::types::Call, macros::selector};

use super::{STRK, Scene};

/// Jobs that a worker holds at a time: nobody ends one, so that there must be room for all.
const SLOTS: u8 = 20;
/// Accounts that are made in one transaction.
const MADE_AT_ONCE: usize = 40;
/// Registrations and handshakes under way at a time.
const AT_ONCE: usize = 40;
/// Makes the addresses of the workers' accounts.
const FIRST_SALT: u64 = 1_000;
/// What a worker can spend on fees.
const FEES: u128 = 20 * STRK;

/// A registered worker.
pub(crate) struct Worker {
    worker_id: WorkerId,
    credentials: Credentials,
}

/// Makes accounts and registers them as workers.
pub(crate) async fn hire(scene: &Scene, count: usize) -> Vec<Worker> {
    println!("registering {count} workers");
    let accounts = make_accounts(scene, count).await;
    let rpc = scene.chain.rpc().await;
    let register = async |account: DevnetAccount| {
        let credentials = account.credentials();
        let sender = Sender::new(&rpc, &credentials, Duration::from_millis(500));
        let stake = Fri(u128::from(SLOTS) * STRK);
        let registered = scene.contracts.register_worker(&sender, &capabilities(), SLOTS, Rate(1_000), stake).await;
        Worker { worker_id: registered.expect("registering a worker").0, credentials }
    };
    let mut workers = Vec::new();
    let mut registering = stream::iter(accounts).map(register).buffer_unordered(AT_ONCE);
    while let Some(worker) = registering.next().await {
        workers.push(worker);
        if workers.len() % 200 == 0 {
            println!("{} workers are registered", workers.len());
        }
    }
    drop(registering);
    workers
}

/// Accounts of the predeployed ones' class and key.
async fn make_accounts(scene: &Scene, count: usize) -> Vec<DevnetAccount> {
    let model = scene.chain.account(4).clone();
    let maker = Caller::new(&scene.chain, &model).await;
    let [class, key] = [&model.class_hash, &model.public_key].map(|text| Felt::from_hex(text).expect("a felt"));
    let salts = (0..count).map(|index| FIRST_SALT + index as u64);
    let deployments: Vec<_> = salts.map(|salt| deployment_of(class, salt, &[key])).collect();
    let token = scene.contracts.deployment().token.0;
    let funds = u128::from(SLOTS) * STRK + FEES;
    for some in deployments.chunks(MADE_AT_ONCE) {
        let calls = some.iter().flat_map(|(deploy, address)| {
            let calldata = vec![address.0, Felt::from(funds), Felt::ZERO];
            [deploy.clone(), Call { to: token, selector: selector!("transfer"), calldata }]
        });
        maker.send(calls.collect()).await.expect("making accounts");
    }
    deployments.into_iter().map(|(_, address)| DevnetAccount { address, ..model.clone() }).collect()
}

struct Signer(Credentials);

#[async_trait]
impl ProofSigner for Signer {
    async fn sign(&self, proof: &ProofOfAccount) -> Result<Vec<Felt>, SignError> {
        sign_proof(proof, &self.0).map_err(|error| SignError(error.to_string()))
    }
}

/// Opens a session for every worker, and answers in each until the program ends.
pub(crate) async fn connect(scene: &Scene, workers: Vec<Worker>, listen: &str) {
    let connector = Arc::new(WebSocketConnector::new(&format!("ws://{listen}")).expect("the keeper's address"));
    let deployment = scene.contracts.deployment();
    let count = workers.len();
    let open = async |worker: Worker| {
        let identity = AgentIdentity {
            worker_id: worker.worker_id,
            account: worker.credentials.address,
            chain_id: deployment.network.chain_id(),
            cdc_pool: deployment.cdc_pool.address,
            audience: connector.target(),
        };
        let mut channel = Channel::new(connector.connect().await.expect("connecting to the keeper"));
        let signer = Signer(worker.credentials);
        let profile = AgentProfile::default();
        authenticate(&mut channel, &identity, &profile, &signer).await.expect("the keeper takes the proof");
        tokio::spawn(converse(channel));
    };
    stream::iter(workers).map(open).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    println!("{count} sessions are open");
}

/// Answers as an agent does that begins every offer at once.
async fn converse(mut channel: AgentChannel) {
    while let Ok(Some(message)) = channel.recv().await {
        let answer = match message {
            ServerMessage::Ping { token } => AgentMessage::Pong { token },
            ServerMessage::Offer { job_id, attempt, .. } => AgentMessage::Started { job_id, attempt },
            _ => continue,
        };
        if channel.send(&answer).await.is_err() {
            return;
        }
    }
}
