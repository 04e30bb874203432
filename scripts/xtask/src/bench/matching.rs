//! `cargo xtask bench matching`: whole batches assigned from nothing and again, beside the solvers people use.
//!
//! The program `matching-bench` and every peer is a process that answers one instance after the other, all from
//! the same files and in turn, so that what else the machine does meets them alike. Each has one core.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    failure::OrHint as _,
    process::{cargo, run as run_command, succeeds},
    repo::Repo,
};

const PEER: &str = "tests/bench/matching/peer.py";
/// What the peers are made of. Other versions go into another folder of the cache.
const PACKAGES: [&str; 4] = ["numpy==2.4.6", "scipy==1.17.1", "lapx==0.11.1", "ortools==9.15.6755"];
const PEERS: [&str; 4] = ["scipy", "lapx", "ortools-assignment", "ortools-flow"];
const HINT: &str = "the program's first error above is the one to look at";

/// Every solver's libraries are held to one core.
const ONE_CORE: [&str; 2] = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"];

/// What is measured, and where the figures go.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many instances of each family
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Measure without peers
    #[arg(long)]
    alone: bool,
    /// Write the figures to a file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Instances that differ by their seed only.
struct Family {
    name: &'static str,
    jobs: u32,
    workers: u32,
    slots: u32,
    /// What is added to a score at most, beside its product of rank 8.
    noise: u32,
    peers: &'static [&'static str],
}

/// Where a solver takes many times as long as the best, once was enough to know.
const SQUARE: &[&str] = &["lapx", "scipy", "ortools-assignment"];
const LARGE: &[&str] = &["lapx", "ortools-assignment"];
const FAMILIES: [Family; 6] = [
    Family { name: "low-rank 1000x1000", jobs: 1_000, workers: 1_000, slots: 1, noise: 0, peers: SQUARE },
    Family { name: "low-rank 2000x2000", jobs: 2_000, workers: 2_000, slots: 1, noise: 0, peers: LARGE },
    Family { name: "low-rank 1000x125x8", jobs: 1_000, workers: 125, slots: 8, noise: 0, peers: &PEERS },
    Family { name: "noisy 1000x1000", jobs: 1_000, workers: 1_000, slots: 1, noise: 200, peers: SQUARE },
    Family { name: "noisy 2000x2000", jobs: 2_000, workers: 2_000, slots: 1, noise: 200, peers: LARGE },
    Family { name: "noisy 1000x125x8", jobs: 1_000, workers: 125, slots: 8, noise: 200, peers: &PEERS },
];

/// Measures and prints a table.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    run_command(cargo(repo.root()).args(["build", "--locked", "--release", "--package", "matching-bench"]), HINT)?;
    let program = repo.target().join("release/matching-bench");
    let python = if args.alone { None } else { python(repo) };
    let folder = tempfile::tempdir().context("making a temporary folder")?;

    let mut ours = Solver::start(Command::new(&program).arg("serve"))?;
    let mut peers = BTreeMap::new();
    for name in PEERS {
        if let Some(python) = &python {
            peers.insert(name, Solver::start(Command::new(python).arg(repo.path(PEER)).arg(name))?);
        }
    }
    let mut figures = serde_json::Map::new();
    for family in &FAMILIES {
        eprintln!("{}", family.name);
        let measured = measure(family, args.seeds, &program, folder.path(), &mut ours, &mut peers)?;
        figures.insert(family.name.to_owned(), measured);
    }
    let figures = Value::Object(figures);
    print!("{}", table(&figures));
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&figures).context("writing the figures")?;
        fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A Python with the peers' packages, from the cache; none where they cannot be had.
fn python(repo: &Repo) -> Option<PathBuf> {
    let folder = repo.cache().join("tools").join(format!("matching-peers-{}", PACKAGES.join("-").replace("==", "-")));
    let python = folder.join("bin/python");
    let imports = ["-c", "import numpy, scipy.optimize, lap, ortools.graph.python.min_cost_flow"];
    if succeeds(Command::new(&python).args(imports)) {
        return Some(python);
    }
    eprintln!("installing the peers: {}", PACKAGES.join(", "));
    let is_installed = succeeds(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        && succeeds(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))
        && succeeds(Command::new(&python).args(imports));
    if !is_installed {
        eprintln!("the peers cannot be had here: measuring without them");
    }
    is_installed.then_some(python)
}

/// Solves every instance with every solver in turn.
fn measure(
    family: &Family,
    seeds: u64,
    program: &Path,
    folder: &Path,
    ours: &mut Solver,
    peers: &mut BTreeMap<&str, Solver>,
) -> Result<Value> {
    let file = folder.join("instance");
    let mut series: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut gap = 0;
    for seed in 1..=seeds {
        let numbers = [u64::from(family.jobs), u64::from(family.workers), u64::from(family.noise), seed];
        let numbers = numbers.map(|number| number.to_string());
        let is_written = succeeds(Command::new(program).arg("generate").args(&numbers).arg(&file));
        ensure!(is_written, "no instance could be written to {}", file.display());
        let line = format!("{} {} {} {}\n", file.display(), family.jobs, family.workers, family.slots);
        let answer = ours.ask(&line)?;
        for key in ["ms", "resolve_ms", "verify_ms", "build_ms"] {
            let key_here = if key == "ms" { "cold_ms" } else { key };
            series.entry(key_here.to_owned()).or_default().push(number(&answer, key)?);
        }
        let score = answer["score"].as_u64().context("an answer without a score")?;
        for name in family.peers {
            let Some(peer) = peers.get_mut(name) else { continue };
            let answer = peer.ask(&line)?;
            series.entry(format!("peer {name}")).or_default().push(number(&answer, "ms")?);
            gap = gap.max(answer["score"].as_u64().context("an answer without a score")?.abs_diff(score));
        }
    }
    let mut figures = serde_json::Map::new();
    let mut by_peer = serde_json::Map::new();
    for (key, values) in &mut series {
        values.sort_unstable_by(f64::total_cmp);
        let median = values[values.len() / 2];
        match key.strip_prefix("peer ") {
            Some(name) => by_peer.insert(name.to_owned(), json!(median)),
            None => figures.insert(key.clone(), json!(median)),
        };
    }
    for key in ["cold_ms", "resolve_ms"] {
        figures.insert(key.replace("_ms", "_worst_ms"), json!(series[key].last()));
    }
    let best = by_peer.values().filter_map(Value::as_f64).reduce(f64::min);
    figures.insert("peer_ms".to_owned(), json!(best));
    figures.insert(
        "times_faster".to_owned(),
        json!(best.map(|best| best / series["cold_ms"][series["cold_ms"].len() / 2])),
    );
    figures.insert("gap".to_owned(), if by_peer.is_empty() { Value::Null } else { json!(gap) });
    figures.insert("peers_ms".to_owned(), Value::Object(by_peer));
    figures.insert("seeds".to_owned(), json!(seeds));
    Ok(Value::Object(figures))
}

fn number(answer: &Value, key: &str) -> Result<f64> {
    answer[key].as_f64().with_context(|| format!("an answer without {key}"))
}

/// A process that answers lines.
struct Solver {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Solver {
    fn start(command: &mut Command) -> Result<Self> {
        let command = command.envs(ONE_CORE.map(|name| (name, "1")));
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().or_hint("starting a solver", HINT)?;
        let input = process.stdin.take().context("the solver has no input")?;
        let output = BufReader::new(process.stdout.take().context("the solver has no output")?);
        Ok(Self { process, input: Some(input), output })
    }

    fn ask(&mut self, line: &str) -> Result<Value> {
        let input = self.input.as_mut().context("the solver was stopped")?;
        input.write_all(line.as_bytes()).context("asking a solver")?;
        input.flush().context("asking a solver")?;
        let mut answer = String::new();
        let length = self.output.read_line(&mut answer).context("reading a solver's answer")?;
        ensure!(length > 0, "a solver ended without an answer; its error is above");
        serde_json::from_str(&answer).context("reading a solver's answer")
    }
}

impl Drop for Solver {
    /// Without input a solver ends by itself.
    fn drop(&mut self) {
        self.input = None;
        let _ = self.process.wait();
    }
}

/// The figures for people: a line for every family.
fn table(figures: &Value) -> String {
    let mut text =
        format!("{:<22} {:>9} {:>11} {:>10} {:>7} {:>5}\n", "", "cold ms", "resolve ms", "peer ms", "times", "gap");
    for (name, family) in figures.as_object().into_iter().flatten() {
        let shown = |key: &str, digits: usize| match family[key].as_f64() {
            Some(value) => format!("{value:.digits$}"),
            None => "-".to_owned(),
        };
        text += &format!(
            "{name:<22} {:>9} {:>11} {:>10} {:>7} {:>5}\n",
            shown("cold_ms", 2),
            shown("resolve_ms", 2),
            shown("peer_ms", 2),
            shown("times_faster", 1),
            shown("gap", 0)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_a_line_and_what_was_not_measured_a_dash() {
        let text = table(&json!({
            "square": { "cold_ms": 4.0, "resolve_ms": 0.5, "peer_ms": 40.0, "times_faster": 10.0, "gap": 0 },
            "alone": { "cold_ms": 4.0, "resolve_ms": 0.5, "peer_ms": null, "times_faster": null, "gap": null },
        }));
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(lines.contains(&vec!["square", "4.00", "0.50", "40.00", "10.0", "0"]));
        assert!(lines.contains(&vec!["alone", "4.00", "0.50", "-", "-", "-"]));
    }
}
