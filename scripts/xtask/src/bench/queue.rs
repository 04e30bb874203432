//! `cargo xtask bench queue`: durable enqueueing, claiming and acknowledging, beside other queues on the same databases.
//!
//! The program `queue-bench` and the peers' `queue-peers`, which is a workspace of its own, are measured in turn, each
//! with a new database on the same disk, so that what else the machine does meets them alike.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use crate::{
    process::{capture, cargo, run as run_command},
    repo::Repo,
    system::{self, POSTGRES},
};

const HINT: &str = "the program's first error above is the one to look at";
const PEERS: &str = "tests/bench/queue-peers";
const BATCHES: [u32; 4] = [1, 10, 100, 1_000];
/// Callers at the same time, where not one.
const CALLERS: &str = "16";
/// What of a queue is told.
const KEYS: [&str; 2] = ["enqueue_per_s", "claim_and_ack_per_s"];
/// The queues, in the order in which they are measured and shown.
const QUEUES: [&str; 6] =
    [SQLITE, "sqlite, 16 callers", "apalis", POSTGRESQL, "postgres, 16 callers", "graphile_worker"];
const SQLITE: &str = "sqlite";
const POSTGRESQL: &str = "postgres";
/// Which peer is on which database.
const RIVALS: [(&str, &str); 2] = [(SQLITE, "apalis"), (POSTGRESQL, "graphile_worker")];

/// What is measured, and where the figures go.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many times everything is measured; the medians are told
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long each is enqueued to, and claimed from, in seconds
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Measure without peers
    #[arg(long)]
    alone: bool,
    /// Where the databases are; PostgreSQL's are in the system's folder for temporary files
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    /// Write the figures to a file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// By queue, what is told of it and batch: every value.
type Series = BTreeMap<(String, String, u32), Vec<f64>>;

/// Measures and prints a table.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    system::ensure(&[POSTGRES])?;
    run_command(cargo(repo.root()).args(["build", "--locked", "--release", "--package", "queue-bench"]), HINT)?;
    let program = repo.target().join("release/queue-bench");
    let peers = if args.alone { None } else { Some(build_peers(repo)?) };
    let mut series = Series::new();
    for round in 1..=args.rounds {
        for batch in BATCHES {
            eprintln!("round {round} of {}, batches of {batch}", args.rounds);
            let mut note = |queue: &str, figures: &Value, keys: &[&str]| -> Result<()> {
                for key in keys {
                    let value = figures[*key].as_f64().with_context(|| format!("{queue} answered without {key}"))?;
                    series.entry((queue.to_owned(), (*key).to_owned(), batch)).or_default().push(value);
                }
                Ok(())
            };
            let syncs = answer(&mut syncs(&program, args, batch))?;
            note("fdatasync", &syncs, &["syncs_per_s", "rows_per_s"])?;
            for queue in QUEUES {
                if let Some(mut command) = command(&program, peers.as_deref(), args, queue, batch) {
                    note(queue, &answer(&mut command)?, &KEYS)?;
                }
            }
        }
    }
    let figures = figures(series);
    print!("{}", table(&figures));
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&figures).context("writing the figures")?;
        fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The peers' program; their dependencies take a few minutes the first time.
fn build_peers(repo: &Repo) -> Result<PathBuf> {
    let target = repo.cache().join("target-queue-peers");
    let mut build = cargo(&repo.path(PEERS));
    // A folder for builds that the caller has set is the main workspace's, and is kept apart from this one.
    build.args(["build", "--locked", "--release"]).env("CARGO_TARGET_DIR", &target).env_remove("CARGO_BUILD_BUILD_DIR");
    run_command(&mut build, HINT)?;
    Ok(target.join("release/queue-peers"))
}

fn syncs(program: &Path, args: &Args, batch: u32) -> Command {
    let mut command = Command::new(program);
    command.arg("fdatasync").arg(&args.folder).args([batch.to_string(), args.seconds.to_string()]);
    command
}

/// What measures a queue; nothing for a peer where peers are left out.
fn command(program: &Path, peers: Option<&Path>, args: &Args, queue: &str, batch: u32) -> Option<Command> {
    let (batch, seconds) = (batch.to_string(), args.seconds.to_string());
    let mut command = Command::new(program);
    match queue {
        "apalis" => {
            command = Command::new(peers?);
            command.arg("apalis").arg(&args.folder).args([&batch, &seconds]);
        }
        "graphile_worker" => {
            command.arg("with-server").arg(peers?).args(["graphile", "{url}", &batch, &seconds]);
        }
        queue => {
            let callers = if queue.ends_with("callers") { CALLERS } else { "1" };
            if queue.starts_with(SQLITE) {
                command.arg(SQLITE).arg(&args.folder);
            } else {
                command.arg(POSTGRESQL);
            }
            command.args([&batch, callers, &seconds]);
        }
    }
    Some(command)
}

fn answer(command: &mut Command) -> Result<Value> {
    let text = capture(command, HINT)?;
    serde_json::from_str(text.lines().last().unwrap_or_default()).context("reading an answer")
}

/// The medians by queue, what is told of it and batch; and for each database how many times its peer ours does.
fn figures(series: Series) -> Value {
    let mut figures: BTreeMap<String, BTreeMap<String, Map<String, Value>>> = BTreeMap::new();
    for ((queue, key, batch), mut values) in series {
        values.sort_unstable_by(f64::total_cmp);
        let median = json!(values[values.len() / 2]);
        figures.entry(queue).or_default().entry(key).or_default().insert(batch.to_string(), median);
    }
    let mut figures = json!(figures);
    for (ours, peer) in RIVALS {
        for key in KEYS {
            let times = BATCHES.iter().filter_map(|batch| {
                let of = |queue: &str| figures[queue][key][batch.to_string()].as_f64().filter(|rate| *rate > 0.0);
                Some((batch.to_string(), json!((of(ours)? / of(peer)? * 10.0).round() / 10.0)))
            });
            let times: Map<String, Value> = times.collect();
            if !times.is_empty() {
                figures["times_the_peer"][ours][key] = Value::Object(times);
            }
        }
    }
    figures
}

/// The figures for people: a line for each queue and what is told of it.
fn table(figures: &Value) -> String {
    let mut text = format!("{:<22} {:<20}", "", "per second");
    for batch in BATCHES {
        text += &format!(" {:>12}", format!("by {batch}"));
    }
    text.push('\n');
    let mut line = |name: &str, key: &str, values: &Value| {
        text += &format!("{name:<22} {key:<20}");
        for batch in BATCHES {
            let shown = values[batch.to_string()].as_f64().map_or("-".to_owned(), |value| value.to_string());
            text += &format!(" {shown:>12}");
        }
        text.push('\n');
    };
    for queue in QUEUES {
        line(queue, "enqueued", &figures[queue]["enqueue_per_s"]);
        line(queue, "claimed and done", &figures[queue]["claim_and_ack_per_s"]);
    }
    line("fdatasync alone", "syncs", &figures["fdatasync"]["syncs_per_s"]);
    line("fdatasync alone", "rows", &figures["fdatasync"]["rows_per_s"]);
    for (ours, peer) in RIVALS {
        for key in KEYS {
            line(&format!("{ours} / {peer}"), key, &figures["times_the_peer"][ours][key]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_compared_with_the_peer_on_the_same_database_and_what_is_missing_is_a_dash() {
        let of = |queue: &str, values: &[f64]| ((queue.to_owned(), "enqueue_per_s".to_owned(), 100), values.to_vec());
        let series = [of(SQLITE, &[3e5, 1e5, 2e5]), of("apalis", &[1e4]), of(POSTGRESQL, &[5.0])];
        let figures = figures(series.into());
        assert_eq!(figures[SQLITE]["enqueue_per_s"]["100"], 2e5);
        assert_eq!(figures["times_the_peer"][SQLITE]["enqueue_per_s"]["100"], 20.0);
        assert!(figures["times_the_peer"][POSTGRESQL].is_null());
        let text = table(&figures);
        let words = |start: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            line.split_whitespace().map(ToOwned::to_owned).collect()
        };
        assert_eq!(words("sqlite  "), ["sqlite", "enqueued", "-", "-", "200000", "-"]);
        assert_eq!(words("sqlite / apalis")[3..], ["enqueue_per_s", "-", "-", "20", "-"]);
    }

    #[test]
    fn peers_are_left_out_where_they_are_not_asked_for() {
        let args = Args { rounds: 1, seconds: 2, alone: true, folder: "f".into(), json: None };
        let asked = |queue, peers: Option<&Path>| {
            let command = command(Path::new("bench"), peers, &args, queue, 10)?;
            Some(format!("{command:?}").replace('"', ""))
        };
        assert_eq!(asked("apalis", None), None);
        assert_eq!(asked("apalis", Some(Path::new("p"))).unwrap(), "p apalis f 10 2");
        assert_eq!(asked("graphile_worker", Some(Path::new("p"))).unwrap(), "bench with-server p graphile {url} 10 2");
        assert_eq!(asked("sqlite, 16 callers", None).unwrap(), "bench sqlite f 10 16 2");
        assert_eq!(asked("postgres", None).unwrap(), "bench postgres 10 1 2");
    }
}
