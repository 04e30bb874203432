//! One of the keepers: its process, its place in the network, and what it logs.

use std::{
    io::Write as _,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, Command},
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::network::Place;
use crate::kill::stage::Stage;

/// How long a keeper may take for what it is told, far more than it needs.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The exit code of a keeper that could not start, and may the next time.
const COULD_NOT_START: i32 = 1;
/// What a keeper logs once a round of its own is in a block.
const APPLIED: &str = "round applied";
/// What it logs once a round is signed and written down, and about to be sent.
const SENDING: &str = "sending the round";
/// How long a round is waited for: where no job waits there is none.
const NO_ROUND: Duration = Duration::from_secs(3);
/// What keepers are configured with: a local chain makes a block every second.
const SETTINGS: &str = "[chain.rpc]\ntimeout_ms = 5000\n[sending]\nresend_after_s = 5\n";

/// A keeper.
pub(crate) struct Member {
    stage: Arc<Stage>,
    pub(crate) place: Place,
    pub(crate) account: usize,
    number: u8,
    shards: u8,
    sabotage: Option<&'static str>,
    http: reqwest::Client,
    /// Its name in leases.
    name: Option<String>,
    child: Option<Child>,
    /// Reads its log to the end.
    logging: Option<JoinHandle<()>>,
    /// When it last applied a round.
    applied: watch::Sender<Option<Instant>>,
    /// Rounds that it was about to send.
    sending: watch::Sender<u64>,
}

impl Member {
    /// A keeper that does not run yet.
    pub(crate) fn new(
        stage: &Arc<Stage>,
        place: Place,
        account: usize,
        number: u8,
        shards: u8,
        sabotage: Option<&'static str>,
    ) -> Self {
        let (http, applied, sending) = (reqwest::Client::new(), watch::Sender::new(None), watch::Sender::new(0));
        Self {
            stage: Arc::clone(stage),
            place,
            account,
            number,
            shards,
            sabotage,
            http,
            name: None,
            child: None,
            logging: None,
            applied,
            sending,
        }
    }

    /// Its name in leases, once it was ready.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// When it last applied a round.
    pub(crate) fn applied(&self) -> Option<Instant> {
        *self.applied.borrow()
    }

    /// Waits until it is about to send a round, unless there is none to send.
    pub(crate) async fn until_it_sends(&self) {
        let mut sending = self.sending.subscribe();
        // Hit all the same.
        let _ = timeout(NO_ROUND, sending.changed()).await;
    }

    /// Starts it where it was.
    pub(crate) fn start(&mut self) -> Result<()> {
        let settings = self.stage.place.write("keeper.toml", SETTINGS).display().to_string();
        let Place { rpc_url, database, listen, probes, .. } = &self.place;
        let shards = self.shards.to_string();
        let dealt = if self.shards > 1 { vec!["--shards", &shards] } else { Vec::new() };
        let arguments = ["run", "--post-bond", "--config", &settings, "--database", database, "--listen", listen]
            .into_iter()
            .chain(["--health-listen", probes, "--artifacts", "data/artifacts"])
            .chain(dealt)
            .collect::<Vec<_>>();
        let command = self.stage.place.command_at(self.place.namespace(), rpc_url, &self.data_dir(), &arguments);
        let mut command: Command = self.stage.signed_by(self.account, command);
        if let Some(sabotage) = self.sabotage {
            command.env(keeper_failpoints::SABOTAGE_VARIABLE, sabotage);
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.stage.place.path(&self.log()));
        let log = log.context("opening a keeper's log")?;
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("starting a keeper")?;
        let logged = child.stderr.take().context("its log is piped")?;
        self.logging = Some(tokio::spawn(follow_log(logged, log, self.applied.clone(), self.sending.clone())));
        self.child = Some(child);
        Ok(())
    }

    /// Waits until `/ready` answers 200.
    pub(crate) async fn until_ready(&mut self) -> Result<()> {
        let began = Instant::now();
        let url = format!("http://{}/ready", self.place.probes);
        loop {
            let asked = self.http.get(&url).timeout(Duration::from_secs(5)).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            self.revive()?;
            let log = || tail(&self.stage.place.log(&self.log()));
            ensure!(began.elapsed() < PATIENCE, "keeper {} does not get ready: {}", self.number, log());
            sleep(LOOK_EVERY).await;
        }
        if self.sabotage.is_none() && self.name.is_none() {
            let file = self.stage.place.path(&self.data_dir()).join("keeper.id");
            self.name = Some(std::fs::read_to_string(file).context("reading a keeper's name")?.trim().to_owned());
        }
        Ok(())
    }

    /// What it says of itself.
    pub(crate) async fn readiness(&self) -> Result<Value> {
        let url = format!("http://{}/ready", self.place.probes);
        Ok(self.http.get(&url).timeout(Duration::from_secs(5)).send().await?.json().await?)
    }

    /// Starts it again where it could not start, as an orchestrator would: killed as soon as a cable is plugged in again, it
    /// may not reach what it needs at once.
    pub(crate) fn revive(&mut self) -> Result<()> {
        let Some(status) = self.child.as_mut().context("it was started")?.try_wait()? else { return Ok(()) };
        let log = || tail(&self.stage.place.log(&self.log()));
        ensure!(status.code() == Some(COULD_NOT_START), "keeper {} ended by itself, {status}: {}", self.number, log());
        self.start()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Sends it a signal.
    pub(crate) async fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.as_ref().and_then(Child::id).context("a keeper has ended")?;
        let sent = Command::new("kill").args([signal, &pid.to_string()]).status().await?;
        ensure!(sent.success(), "keeper {} is gone", self.number);
        Ok(())
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        ensure!(
            self.is_alive(),
            "keeper {} ended by itself: {}",
            self.number,
            tail(&self.stage.place.log(&self.log()))
        );
        self.child.as_mut().context("it was started")?.kill().await.context("killing a keeper")?;
        // What it said last is not taken for what the next process says.
        self.logging.take().context("it was started")?.await.context("reading a keeper's log")
    }

    /// SIGTERM; it must end in order.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.signal("-TERM").await?;
        let child = self.child.as_mut().context("it was started")?;
        let status = timeout(PATIENCE, child.wait()).await.context("a keeper does not stop")??;
        let log = || tail(&self.stage.place.log(&self.log()));
        ensure!(status.success(), "keeper {} stopped with {status}: {}", self.number, log());
        Ok(())
    }

    fn data_dir(&self) -> String {
        format!("keeper-{}", self.number)
    }

    fn log(&self) -> String {
        format!("keeper-{}.log", self.number)
    }
}

/// Keeps what a process logs, and notes its rounds.
async fn follow_log(
    logged: ChildStderr,
    mut log: std::fs::File,
    applied: watch::Sender<Option<Instant>>,
    sending: watch::Sender<u64>,
) {
    let mut logged = BufReader::new(logged).lines();
    while let Ok(Some(line)) = logged.next_line().await {
        // A log that cannot be written is no reason to stop reading: the keeper must not die of a full pipe.
        let _ = writeln!(log, "{line}");
        if line.contains(APPLIED) {
            applied.send_replace(Some(Instant::now()));
        }
        if line.contains(SENDING) {
            sending.send_modify(|rounds| *rounds += 1);
        }
    }
}

fn tail(log: &str) -> String {
    const LINES: usize = 12;
    let lines: Vec<_> = log.lines().rev().take(LINES).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
