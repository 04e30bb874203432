//! The keeper's process: started, watched, killed, started again.

use std::{
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use keeper_failpoints::Failpoint;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    sync::{broadcast, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    Sabotage,
    sight::Seen,
    stage::{KEEPER, Stage},
};

/// How long a keeper may take until it works: far more than it may need, so that one that never does is noticed.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked whether the keeper works again.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Lines that may wait for whoever waits for one.
const LINES: usize = 1_024;
/// What the keeper logs once a round is in a block.
const APPLIED: &str = "round applied";
/// SIGABRT, by which a failpoint ends the process.
const ABORTED: i32 = 6;
/// Where its log goes.
const LOG: &str = "keeper.log";

/// The keeper, and whoever restarts it.
pub(crate) struct Keeper {
    stage: Arc<Stage>,
    sabotage: Option<Sabotage>,
    seen: watch::Receiver<Seen>,
    http: reqwest::Client,
    /// What it logs, whichever process it is.
    lines: broadcast::Sender<String>,
    listen: String,
    probes: String,
    process: Process,
}

/// One start of it.
struct Process {
    child: Child,
    started: Instant,
    /// When it first applied a round.
    applied: watch::Receiver<Option<Instant>>,
    /// Reads its log.
    logging: JoinHandle<()>,
}

/// How long a restart took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    /// Until `/ready` answered 200.
    pub(crate) ready: Duration,
    /// Until it was ready, and had applied a round or had nothing to apply.
    pub(crate) working: Duration,
}

impl Keeper {
    /// Starts the keeper for the first time.
    pub(crate) async fn start(
        stage: &Arc<Stage>,
        seen: watch::Receiver<Seen>,
        sabotage: Option<Sabotage>,
    ) -> Result<Self> {
        let (lines, _) = broadcast::channel(LINES);
        let free = "127.0.0.1:0";
        let (process, mut said) = Process::start(command(stage, sabotage, free, free), stage, &lines)?;
        let ready = timeout(PATIENCE, said.next_line()).await.context("the keeper does not say that it is ready")??;
        let ready = ready.with_context(|| format!("the keeper ended: {}", stage.place.log(LOG)))?;
        let ready: Value = serde_json::from_str(&ready).with_context(|| format!("the keeper said `{ready}`"))?;
        let address =
            |name: &str| Ok(ready[name].as_str().with_context(|| format!("{ready} has no {name}"))?.to_owned());
        let (listen, probes): (Result<_>, Result<_>) = (address("listen"), address("health_listen"));
        tokio::spawn(read_out(said));
        Ok(Self {
            stage: Arc::clone(stage),
            sabotage,
            seen,
            http: reqwest::Client::new(),
            lines,
            listen: listen?,
            probes: probes?,
            process,
        })
    }

    /// Where agents connect to.
    pub(crate) fn listen(&self) -> &str {
        &self.listen
    }

    /// What the keeper logs from now on.
    pub(crate) fn lines(&self) -> broadcast::Receiver<String> {
        self.lines.subscribe()
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let ended = self.process.child.try_wait().context("looking whether the keeper runs")?;
        ensure!(ended.is_none(), "the keeper ended by itself: {}", tail(&self.stage.place.log(LOG)));
        self.process.child.kill().await.context("killing the keeper")
    }

    /// Starts it again where it was, as a service manager does.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.start_by(command(&self.stage, self.sabotage, &self.listen, &self.probes))
    }

    fn start_by(&mut self, command: Command) -> Result<()> {
        let (process, said) = Process::start(command, &self.stage, &self.lines)?;
        tokio::spawn(read_out(said));
        self.process = process;
        Ok(())
    }

    /// Waits until this process is ready, and has applied a round or has nothing to apply.
    pub(crate) async fn until_working(&mut self) -> Result<Recovery> {
        let started = self.process.started;
        let ready = self.until_ready().await?;
        loop {
            // What was applied may have been logged a moment before it is looked at.
            if let Some(applied) = *self.process.applied.borrow() {
                return Ok(Recovery { ready, working: ready.max(applied - started) });
            }
            if self.seen.borrow().queued == 0 {
                return Ok(Recovery { ready, working: started.elapsed() });
            }
            self.check(started)?;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Starts it again, to die at this place.
    pub(crate) fn start_to_die_at(&mut self, failpoint: Failpoint) -> Result<()> {
        let mut command = command(&self.stage, self.sabotage, &self.listen, &self.probes);
        command.env(keeper_failpoints::VARIABLE, failpoint.name());
        self.start_by(command)
    }

    /// Waits until it has aborted; returns what it logged last.
    pub(crate) async fn until_dead(&mut self) -> Result<String> {
        let status = timeout(PATIENCE, self.process.child.wait()).await.context("the keeper lives on")??;
        // All of its log has been read once the other end of the pipe is gone.
        (&mut self.process.logging).await.context("the log was read")?;
        let log = self.stage.place.log(LOG);
        ensure!(status.signal() == Some(ABORTED), "the keeper ended with {status}: {}", tail(&log));
        Ok(log.lines().last().unwrap_or_default().to_owned())
    }

    /// Waits until `/ready` answers 200; returns how long that took.
    pub(crate) async fn until_ready(&mut self) -> Result<Duration> {
        let started = self.process.started;
        while !self.is_ready().await {
            self.check(started)?;
            sleep(LOOK_EVERY).await;
        }
        Ok(started.elapsed())
    }

    /// SIGTERM; it must end in order.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        if self.process.child.try_wait()?.is_some() {
            return Ok(());
        }
        let pid = self.process.child.id().context("the keeper runs")?;
        ensure!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?.success(), "the keeper is gone");
        let status = timeout(PATIENCE, self.process.child.wait()).await.context("the keeper does not stop")??;
        ensure!(status.success(), "the keeper stopped with {status}: {}", tail(&self.stage.place.log(LOG)));
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        let asked = self.http.get(format!("http://{}/ready", self.probes)).timeout(PATIENCE).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }

    fn check(&mut self, started: Instant) -> Result<()> {
        let log = || tail(&self.stage.place.log(LOG));
        if let Some(status) = self.process.child.try_wait().context("looking whether the keeper runs")? {
            bail!("the keeper ended by itself ({status}): {}", log());
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "the keeper does not work {} s after its start: {}",
            PATIENCE.as_secs(),
            log()
        );
        Ok(())
    }
}

impl Process {
    fn start(
        mut command: Command,
        stage: &Stage,
        lines: &broadcast::Sender<String>,
    ) -> Result<(Self, Lines<BufReader<ChildStdout>>)> {
        let started = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("starting the keeper")?;
        let said = child.stdout.take().context("its output is piped")?;
        let logged = child.stderr.take().context("its log is piped")?;
        let (note, applied) = watch::channel(None);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(stage.place.path(LOG));
        let log = log.context("opening the keeper's log")?;
        let logging = tokio::spawn(follow_log(logged, log, lines.clone(), note));
        Ok((Self { child, started, applied, logging }, BufReader::new(said).lines()))
    }
}

/// The command that starts the keeper, or starts it again.
fn command(stage: &Stage, sabotage: Option<Sabotage>, listen: &str, probes: &str) -> Command {
    let mut command = stage.command(KEEPER, &["run", "--post-bond", "--listen", listen, "--health-listen", probes]);
    if sabotage == Some(Sabotage::ForgetIntents) {
        command.env(keeper_failpoints::SABOTAGE_VARIABLE, keeper_failpoints::Sabotage::ForgetIntents.name());
    }
    command
}

/// Keeps what a process logs, and tells whoever waits for a line.
async fn follow_log(
    logged: ChildStderr,
    mut log: std::fs::File,
    lines: broadcast::Sender<String>,
    applied: watch::Sender<Option<Instant>>,
) {
    let mut logged = BufReader::new(logged).lines();
    while let Ok(Some(line)) = logged.next_line().await {
        // A log that cannot be written is no reason to stop reading: the keeper must not die of a full pipe.
        let _ = writeln!(log, "{line}");
        if line.contains(APPLIED) {
            applied.send_if_modified(|first| first.is_none() && first.replace(Instant::now()).is_none());
        }
        // Nobody may be waiting.
        let _ = lines.send(line);
    }
}

/// The pipe is read: a process must not die of a full or closed one.
async fn read_out(mut said: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(_)) = said.next_line().await {}
}

fn tail(log: &str) -> String {
    const LINES: usize = 12;
    let lines: Vec<_> = log.lines().rev().take(LINES).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
