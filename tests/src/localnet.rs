//! A local chain as a process.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use keeper_chain::{Credentials, KeySource, Network, Rpc, Sender};
use keeper_types::Address;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::program;

/// How the chain is to behave.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalnetOptions {
    /// A block every so many seconds, in place of one for each transaction.
    pub block_time: Option<u64>,
    /// Keep every state, so that blocks can be aborted.
    pub archive: bool,
    /// Predeployed accounts, 16 unless another number is named. Each takes the chain some 40 MB of memory.
    pub accounts: Option<u8>,
    /// What each of them holds, in fri; 1,000 STRK unless another amount is named.
    pub balance: Option<u128>,
}

/// A running local chain; it stops when this is dropped.
#[derive(Debug)]
pub struct Localnet {
    child: Child,
    ready: Ready,
    pub(crate) http: reqwest::Client,
    /// Made once: a client reads the system's certificates, which takes longer than anything it is used for.
    rpc: tokio::sync::OnceCell<Rpc>,
}

#[derive(Debug, Deserialize)]
struct Ready {
    rpc_url: String,
    accounts: Vec<DevnetAccount>,
}

/// A predeployed account.
#[derive(Clone, Debug, Deserialize)]
pub struct DevnetAccount {
    /// Its address.
    pub address: Address,
    /// Its class.
    pub class_hash: String,
    /// Its public key.
    pub public_key: String,
    /// Its private key; of no worth on any public network.
    pub private_key: String,
}

impl DevnetAccount {
    /// The account with its key. Through an account file: the chain takes up to a second to list its accounts, each
    /// time it is asked.
    pub fn credentials(&self) -> Credentials {
        let file = tempfile::NamedTempFile::new().expect("making a file");
        let account = json!({
            "version": 1,
            "variant": { "type": "open_zeppelin", "version": 1, "public_key": self.public_key, "legacy": false },
            "deployment": { "status": "deployed", "class_hash": self.class_hash, "address": self.address },
        });
        std::fs::write(file.path(), account.to_string()).expect("writing the account file");
        let key = KeySource::Plain(self.private_key.clone().into());
        Credentials::from_files(file.path(), &key).expect("the chain's own account and key")
    }
}

impl Localnet {
    /// Starts a chain on a free port and waits until it answers.
    pub fn start(options: LocalnetOptions) -> Self {
        let mut command = Command::new(program("CIRO_LOCALNET"));
        let accounts = options.accounts.unwrap_or(16).to_string();
        command.args(["--port", "0", "--stop-with-stdin", "--accounts", &accounts]);
        if let Some(fri) = options.balance {
            command.args(["--balance", &fri.to_string()]);
        }
        if let Some(seconds) = options.block_time {
            command.args(["--block-time", &seconds.to_string()]);
        }
        if options.archive {
            command.arg("--archive");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starting the local chain");
        let stdout = child.stdout.take().expect("its output is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("reading its first line");
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("the chain said `{line}`: {error}"));
        Self { child, ready, http: reqwest::Client::new(), rpc: tokio::sync::OnceCell::new() }
    }

    /// Stops the process where it is, or lets it go on. Stopped, it takes connections and answers nothing.
    pub fn pause(&self, is_paused: bool) {
        signal(self.child.id(), if is_paused { "-STOP" } else { "-CONT" });
    }

    /// Its process, for whoever looks at what it takes of the machine.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it answers.
    pub fn rpc_url(&self) -> &str {
        &self.ready.rpc_url
    }

    /// Where it tells of new blocks.
    pub fn ws_url(&self) -> String {
        let address = self.rpc_url().trim_start_matches("http://").trim_end_matches("/rpc");
        format!("ws://{address}/ws")
    }

    /// The n-th predeployed account, from 1.
    pub fn account(&self, number: usize) -> &DevnetAccount {
        &self.ready.accounts[number - 1]
    }

    /// A connection to it.
    pub async fn rpc(&self) -> Rpc {
        let connect = async || {
            let url = self.rpc_url().parse().expect("the chain says where it is");
            Rpc::connect(Network::Devnet, &url).await.expect("the chain answers")
        };
        self.rpc.get_or_init(connect).await.clone()
    }

    /// The n-th predeployed account as one that sends.
    pub async fn sender(&self, number: usize) -> Sender {
        self.sender_of(self.account(number)).await
    }

    /// An account of the predeployed ones' class as one that sends.
    pub async fn sender_of(&self, account: &DevnetAccount) -> Sender {
        Sender::new(&self.rpc().await, &account.credentials(), std::time::Duration::from_millis(20))
    }

    /// Asks the chain something that only a local one answers.
    ///
    /// # Panics
    /// Panics where it refuses.
    pub async fn ask(&self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.http.post(self.rpc_url()).json(&request).send().await.expect("the chain answers");
        let mut answer: Value = answer.json().await.expect("it answers in JSON");
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Sends an account's STRK elsewhere, but for less than a small transaction may cost.
    ///
    /// # Panics
    /// Panics where a transfer fails.
    pub async fn drain(&self, sender: &Sender) {
        let elsewhere = self.account(1).address;
        // A transfer must leave what it may cost at most; what it does cost is less. Hence two.
        for left in [10_000_000_000_000_000, 4_000_000_000_000_000] {
            let balance = sender.balance().await.expect("the balance").0;
            let sent = sender.transfer(elsewhere, keeper_types::Fri(balance - left)).await;
            sent.expect("the transfer goes through");
        }
    }

    /// Makes empty blocks.
    pub async fn make_blocks(&self, count: u64) {
        for _ in 0..count {
            self.ask("devnet_createBlock", json!({})).await;
        }
    }

    /// Moves the clock, and with it makes the blocks that a chain would have made, as deadlines count them.
    pub async fn pass_time(&self, seconds: u64) {
        self.ask("devnet_increaseTime", json!({ "time": seconds })).await;
        self.make_blocks(seconds.div_ceil(10) + 1).await;
    }
}

/// Sends a signal to a process, as `-STOP`.
///
/// # Panics
/// Panics where there is no such process.
pub fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(sent.expect("kill can be run").success(), "the process runs");
}

impl Drop for Localnet {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
