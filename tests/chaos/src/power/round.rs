//! From one start of the writer to the next cut.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    model::Model,
    mount::{self, SharedDisk},
    writer::Line,
};

/// Where the database is on the disk: in a folder that the store has to make.
const DATABASE: &str = "data/keeper.sqlite";
/// How long a writer may say nothing before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// One start of the writer.
#[derive(Debug)]
pub(crate) struct Round {
    /// What its writes are drawn from.
    pub(crate) seed: u64,
    /// The change of the disk in whose middle the power goes.
    pub(crate) changes: u64,
    /// Whether it acknowledges without waiting for the disk.
    pub(crate) sabotage: bool,
}

/// What came of a round.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    /// What the store held at the start, if the power lasted that long.
    pub(crate) found: Option<Model>,
    /// What it has to hold after what it acknowledged since.
    pub(crate) acknowledged: Model,
    /// And after the write that was under way at the end.
    pub(crate) begun: Option<Model>,
    /// How many writes it acknowledged.
    pub(crate) committed: u64,
    /// How long it took from the start of the process until the store was open.
    pub(crate) recovery: Option<Duration>,
    /// What failed though the power was on.
    pub(crate) stuck: Option<String>,
}

impl Round {
    /// Writes until the power goes.
    pub(crate) fn run(&self, disk: &SharedDisk, folder: &Path) -> Result<Ending> {
        let (tell, told) = mpsc::channel();
        disk.get().cut_after(self.changes, tell);
        self.follow(disk, folder, |ending| ending.stuck.is_some() || told.try_recv().is_ok())
    }

    /// Looks what is there, and writes nothing more than the first few writes.
    pub(crate) fn look(&self, disk: &SharedDisk, folder: &Path) -> Result<Ending> {
        self.follow(disk, folder, |ending| ending.stuck.is_some() || ending.committed > 0)
    }

    fn follow(&self, disk: &SharedDisk, folder: &Path, is_over: impl Fn(&Ending) -> bool) -> Result<Ending> {
        let session = disk.mount(folder)?;
        let started = Instant::now();
        let mut writer = self.start(&folder.join(DATABASE))?;
        let lines = lines_of(&mut writer)?;
        let mut ending = Ending::default();
        let mut silent_since = Instant::now();
        while !is_over(&ending) {
            match lines.recv_timeout(Duration::from_millis(5)) {
                Ok(line) => {
                    ending.take(line, started, || disk.get().is_off());
                    silent_since = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) if silent_since.elapsed() < PATIENCE => {}
                Err(RecvTimeoutError::Timeout) => ending.stuck = Some("the writer hangs".to_owned()),
                Err(RecvTimeoutError::Disconnected) if disk.get().is_off() => break,
                Err(RecvTimeoutError::Disconnected) => ending.stuck = Some("the writer ended".to_owned()),
            }
        }
        writer.kill().context("killing the writer")?;
        writer.wait().context("waiting for the writer's end")?;
        // What it said before it died counts, whenever it is read.
        for line in lines {
            ending.take(line, started, || disk.get().is_off());
        }
        mount::unmount(session, folder)?;
        Ok(ending)
    }

    fn start(&self, database: &Path) -> Result<Child> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.arg("power-writer").arg(database).arg(self.seed.to_string());
        if self.sabotage {
            command.arg("--sabotage");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting the writer")
    }
}

fn lines_of(writer: &mut Child) -> Result<Receiver<Line>> {
    let output = BufReader::new(writer.stdout.take().context("the writer has an output")?);
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        // A last line that was cut off in the middle says nothing.
        for line in output.lines().map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    Ok(lines)
}

impl Ending {
    fn take(&mut self, line: Line, started: Instant, is_off: impl Fn() -> bool) {
        match line {
            Line::Opened => self.recovery = Some(started.elapsed()),
            Line::Found(found) => {
                self.acknowledged.clone_from(&found);
                self.found = Some(*found);
            }
            Line::Checked { findings } if findings.is_empty() => {}
            Line::Checked { findings } => self.stuck = Some(findings.join("; ")),
            Line::Begun(op) => {
                let mut begun = self.acknowledged.clone();
                begun.apply(&op);
                self.begun = Some(begun);
            }
            Line::Committed => {
                self.committed += 1;
                if let Some(begun) = self.begun.take() {
                    self.acknowledged = begun;
                }
            }
            // Without power, a store may fail in any way.
            Line::Failed(_) if is_off() => {}
            Line::Failed(error) => self.stuck = Some(error),
        }
    }
}
