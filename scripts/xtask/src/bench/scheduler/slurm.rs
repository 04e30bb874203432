//! A live slurmctld from Debian's packages, alone: no slurmd, no munge, nothing installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::process::{capture, succeeds};

const PACKAGES: [&str; 6] =
    ["slurmctld", "slurm-client", "slurm-wlm-basic-plugins", "libhwloc15", "libmunge2", "liblua5.1-0"];
const CONFIGURATION: &str = include_str!("slurm.conf");
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu/slurm-wlm", "usr/lib/x86_64-linux-gnu"];
/// Numbers of workers that the configuration has a partition for.
const PARTITIONS: [u32; 3] = [10, 100, 1_000];
/// GPU models, each with a quarter of the nodes and of the jobs.
const MODELS: [&str; 4] = ["t4", "v100", "a100", "h100"];
const JOBS: u64 = 1_000;
/// So long without a new cycle, and there is none to come.
const SETTLING: Duration = Duration::from_millis(1_500);
const PATIENCE: Duration = Duration::from_secs(60);
const HINT: &str = "slurmctld.log says more; `--alone` measures without it";

/// A running slurmctld, which ends with this.
pub(super) struct Slurm {
    folder: PathBuf,
    run: tempfile::TempDir,
    controller: Child,
    user: String,
}

impl Slurm {
    /// Unpacks the packages into the tools' cache and starts slurmctld; says so and gives nothing where that fails.
    pub(super) fn start(tools: &Path) -> Option<Self> {
        let folder = tools.join("slurm");
        let controller = folder.join("usr/sbin/slurmctld-wlm");
        if !controller.exists() && !unpack(&folder) {
            eprintln!("Debian's slurmctld cannot be had here: measuring without it");
            return None;
        }
        let run = tempfile::tempdir().ok()?;
        fs::create_dir_all(run.path().join("state")).ok()?;
        let (host, user) = (trimmed(Command::new("hostname").arg("-s"))?, trimmed(Command::new("id").arg("-un"))?);
        let configuration = CONFIGURATION
            .replace("FOLDER", &folder.display().to_string())
            .replace("RUN", &run.path().display().to_string())
            .replace("USER", &user)
            .replace("HOST", &host);
        fs::write(run.path().join("slurm.conf"), configuration).ok()?;
        // What it says is in its log.
        let mut start = command(&folder, run.path(), &controller);
        let child = start.args(["-D", "-c"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let slurm = Self { folder, run, controller: child, user };
        let is_up = wait_for(|| succeeds(slurm.command("scontrol").arg("ping")).then_some(()));
        if is_up.is_none() {
            eprintln!("slurmctld does not start here: measuring without it");
        }
        is_up.map(|()| slurm)
    }

    /// Jobs that it places a second in one scheduling cycle: held arrays, a quarter for each GPU model, released at
    /// once. The time is what it tells of the cycle itself.
    pub(super) fn decisions_per_s(&self, workers: u32) -> Option<f64> {
        if !PARTITIONS.contains(&workers) {
            return None;
        }
        let rate = self.cycle(&format!("p{workers}"));
        self.ask("scancel", &["--user", &self.user])?;
        let is_empty = wait_for(|| self.ask("squeue", &["-h"]).filter(|jobs| jobs.trim().is_empty()));
        rate.filter(|_| is_empty.is_some())
    }

    fn cycle(&self, partition: &str) -> Option<f64> {
        let array = format!("1-{}", JOBS / 4);
        let mut ids = Vec::new();
        for model in MODELS {
            let limits = ["--parsable", "-H", "-n", "1", "-o", "/dev/null", "-D", "/", "--wrap=true"];
            let id = self.ask("sbatch", &[&limits[..], &["-a", &array, "-p", partition, "-C", model]].concat())?;
            ids.push(id.trim().to_owned());
        }
        self.ask("sdiag", &["-r"])?;
        self.ask("scontrol", &["release", &ids.join(" ").replace(' ', ",")])?;
        // Cycles follow each other at once; where one ends early and none follows, what it placed counts.
        let mut before = (0.0, 0.0);
        wait_for(|| {
            let told = self.ask("sdiag", &[])?;
            let (started, cycles) = (number(&told, "Jobs started:")?, number(&told, "Total cycles:")?);
            let microseconds = number(&told, "Mean cycle:")? * cycles;
            let is_still = std::mem::replace(&mut before, (started, cycles)) == (started, cycles);
            let is_done = started > 0.0 && microseconds > 0.0 && (is_still || started >= JOBS as f64);
            if !is_done {
                sleep(SETTLING);
            }
            is_done.then(|| started * 1e6 / microseconds)
        })
    }

    fn command(&self, program: &str) -> Command {
        command(&self.folder, self.run.path(), &self.folder.join("usr/bin").join(program))
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> Option<String> {
        capture(self.command(program).args(arguments), HINT).ok()
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        let _ = self.ask("scontrol", &["shutdown"]);
        if wait_for(|| self.controller.try_wait().ok().flatten()).is_none() {
            let _ = self.controller.kill();
            let _ = self.controller.wait();
        }
    }
}

fn command(folder: &Path, run: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    let libraries = LIBRARIES.map(|library| folder.join(library).display().to_string()).join(":");
    command.env("LD_LIBRARY_PATH", libraries).env("SLURM_CONF", run.join("slurm.conf"));
    command
}

fn unpack(folder: &Path) -> bool {
    let Ok(packages) = tempfile::tempdir() else { return false };
    eprintln!("fetching the peer: {}", PACKAGES.join(", "));
    succeeds(Command::new("apt-get").arg("download").args(PACKAGES).current_dir(packages.path()))
        && fs::create_dir_all(folder).is_ok()
        && fs::read_dir(packages.path())
            .into_iter()
            .flatten()
            .flatten()
            .all(|package| succeeds(Command::new("dpkg").arg("-x").arg(package.path()).arg(folder)))
}

fn trimmed(command: &mut Command) -> Option<String> {
    capture(command, HINT).ok().map(|text| text.trim().to_owned())
}

/// Asks again until there is an answer, or patience ends.
fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let answer = ask();
        if answer.is_some() || start.elapsed() > PATIENCE {
            return answer;
        }
        sleep(Duration::from_millis(100));
    }
}

/// The first number that `sdiag` tells under this name.
fn number(told: &str, name: &str) -> Option<f64> {
    told.lines().find_map(|line| line.trim().strip_prefix(name)).and_then(|rest| rest.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_schedule_is_read_and_not_the_backfill_below() {
        let told = "Jobs started:   1000\nMain schedule statistics (microseconds):\n\tMax cycle:    426\n\tTotal cycles: 2\n\
                    \tMean cycle:   250\nBackfilling stats\n\tTotal cycles: 0\n\tMean cycle:   9\n";
        assert_eq!(number(told, "Jobs started:"), Some(1_000.0));
        assert_eq!(number(told, "Total cycles:"), Some(2.0));
        assert_eq!(number(told, "Mean cycle:"), Some(250.0));
        assert_eq!(number(told, "Depth:"), None);
    }
}
