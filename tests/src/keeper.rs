//! The real `keeper` binary, run as people run it.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use keeper_chain::{Contracts, Deployment, Network};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{Localnet, PATIENCE, localnet::signal, program};

/// A folder with everything that one installation keeps, and the chain that it uses.
#[derive(Debug)]
pub struct Workplace {
    folder: TempDir,
    rpc_url: String,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Whether it succeeded.
    pub success: bool,
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said beside that.
    pub stderr: String,
}

impl Outcome {
    /// The JSON that it printed.
    ///
    /// # Panics
    /// Panics where the command failed or printed something else.
    pub fn json(&self) -> Value {
        assert!(self.success, "the command failed: {}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("`{}` is no JSON: {error}", self.stdout))
    }

    /// What it said when it failed.
    ///
    /// # Panics
    /// Panics where it succeeded.
    pub fn error(&self) -> &str {
        assert!(!self.success, "the command succeeded: {}", self.stdout);
        &self.stderr
    }
}

impl Workplace {
    /// A new folder, with commands that use `chain`.
    pub fn new(chain: &Localnet) -> Self {
        Self::at(chain.rpc_url())
    }

    /// A new folder, with commands that use the node at `rpc_url`.
    pub fn at(rpc_url: &str) -> Self {
        Self { folder: tempfile::tempdir().expect("making a folder"), rpc_url: rpc_url.to_owned() }
    }

    /// Has the commands use another chain from now on.
    pub fn use_chain(&mut self, chain: &Localnet) {
        self.use_node(chain.rpc_url());
    }

    /// Has the commands use another node from now on.
    pub fn use_node(&mut self, rpc_url: &str) {
        rpc_url.clone_into(&mut self.rpc_url);
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("writing a file");
        path
    }

    /// A command with this folder and chain, and nothing of the surrounding environment that could matter.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_at(None, &self.rpc_url, "data", arguments)
    }

    /// As [`Workplace::command`], but with another node, another data directory in the folder and, where one is named, in
    /// a network namespace.
    pub fn command_at(&self, namespace: Option<&str>, rpc_url: &str, data_dir: &str, arguments: &[&str]) -> Command {
        let keeper = program("CIRO_KEEPER");
        let mut command = match namespace {
            Some(namespace) => {
                // It becomes the keeper: signals are for that.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(keeper);
                command
            }
            None => Command::new(keeper),
        };
        for (name, _) in std::env::vars() {
            if name.starts_with("STARKNET_") || name.starts_with("KEEPER_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.folder.path())
            .args(arguments)
            .args(["--rpc-url", rpc_url, "--data-dir", data_dir])
            .kill_on_drop(true)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Outcome {
        self.finish(self.command(arguments)).await
    }

    /// Runs a command as the n-th predeployed account, to its end, and returns the JSON that it prints.
    pub async fn json(&self, account: usize, arguments: &[&str]) -> Value {
        let mut command = self.command(arguments);
        command.args(["--account", &format!("devnet-{account}"), "--json"]);
        self.finish(command).await.json()
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// Panics where it does not end in time.
    pub async fn finish(&self, mut command: Command) -> Outcome {
        let output: Output = tokio::time::timeout(PATIENCE, command.output())
            .await
            .expect("the command ends in time")
            .expect("the command can be started");
        Outcome {
            success: output.status.success(),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Deploys the contracts as account 1, with account 2 as the keeper.
    pub async fn deploy(&self, chain: &Localnet) -> Value {
        let keeper = chain.account(2).address.to_string();
        self.json(1, &["contracts", "deploy", "--keeper", &keeper, "--challenge-window", "1s"]).await
    }

    /// Starts `keeper run` as account 2 and waits until it is ready.
    pub async fn start_keeper(&self) -> KeeperProcess {
        self.start_keeper_with(&[]).await
    }

    /// As [`Workplace::start_keeper`], with more options.
    pub async fn start_keeper_with(&self, options: &[&str]) -> KeeperProcess {
        let mut command = self.command(&["run", "--post-bond", "--account", "devnet-2", "--json"]);
        command.args(options);
        if !options.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        self.start_keeper_command(command).await
    }

    /// Starts a command that is a keeper, and waits until it is ready.
    pub async fn start_keeper_command(&self, command: Command) -> KeeperProcess {
        let (child, ready) = start(command, &self.path("keeper.log")).await;
        let listen = ready["listen"].as_str().expect("the keeper says where it listens").to_owned();
        let probes = ready["health_listen"].as_str().map(ToOwned::to_owned);
        KeeperProcess { child, listen, probes }
    }

    /// Starts a command that is a worker's agent, and waits until it is ready.
    pub async fn start_agent_command(&self, command: Command) -> Child {
        start(command, &self.path("worker.log")).await.0
    }

    /// The contracts that [`Workplace::deploy`] deployed.
    pub async fn contracts(&self, chain: &Localnet) -> Contracts {
        let deployment = Deployment::load(&self.path("deployments/devnet.json"), Network::Devnet);
        Contracts::new(&chain.rpc().await, &deployment.expect("the contracts are deployed"))
    }

    /// Registers the n-th account as a worker and starts its agent.
    pub async fn start_agent(&self, account: usize, keeper: &KeeperProcess, slots: u8) -> Agent {
        let slots = slots.to_string();
        let arguments = ["worker", "register", "--slots", &slots, "--region", "test", "--rate", "1"];
        let registered = self.json(account, &arguments).await;
        let worker_id = registered["worker_id"].as_u64().expect("the worker's number");
        let child = self.start_registered_agent(account, &keeper.listen).await;
        Agent { child, worker_id }
    }

    /// Starts the agent of an account that is registered.
    pub async fn start_registered_agent(&self, account: usize, listen: &str) -> Child {
        let keeper = format!("ws://{listen}");
        let name = format!("devnet-{account}");
        let command = self.command(&["worker", "run", "--keeper", &keeper, "--account", &name, "--json"]);
        start(command, &self.path(&format!("worker-{account}.log"))).await.0
    }

    /// What a process of this folder has logged.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

/// A running keeper; it is killed when this is dropped.
#[derive(Debug)]
pub struct KeeperProcess {
    child: Child,
    /// Where agents connect to.
    pub listen: String,
    /// Where `/live` and `/ready` are answered, if it was told to.
    pub probes: Option<String>,
}

/// A running worker agent; it is killed when this is dropped.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub child: Child,
    /// Its worker.
    pub worker_id: u64,
}

impl KeeperProcess {
    /// SIGKILL: nothing is tidied up.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killing the keeper");
    }

    /// Waits until it ends by itself; returns its exit code.
    pub async fn ended(mut self) -> Option<i32> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the keeper ends in time");
        status.expect("its status").code()
    }

    /// What a probe is answered, `live` or `ready`: the status and the JSON.
    ///
    /// # Panics
    /// Panics where nothing answers.
    pub async fn probe(&self, name: &str) -> (u16, Value) {
        let address = self.probes.as_ref().expect("the keeper was told to answer probes");
        let answer = reqwest::get(format!("http://{address}/{name}")).await.expect("the keeper answers probes");
        (answer.status().as_u16(), answer.json().await.expect("it answers in JSON"))
    }

    /// SIGTERM, as an operator stops it; returns whether it ended well.
    pub async fn stop(mut self) -> bool {
        signal(self.child.id().expect("the keeper runs"), "-TERM");
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the keeper stops in time");
        status.expect("its status").success()
    }
}

/// Starts a process whose first line of output is JSON.
async fn start(mut command: Command, log: &Path) -> (Child, Value) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("opening the log");
    let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().expect("starting the process");
    let mut lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the process is ready in time");
    let line = line.expect("reading its output").unwrap_or_else(|| {
        panic!("the process ended: {}", std::fs::read_to_string(log).unwrap_or_default());
    });
    // The pipe stays open and is read: a process must not die of a full or closed one.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, serde_json::from_str(&line).unwrap_or_else(|error| panic!("`{line}` is no JSON: {error}")))
}
