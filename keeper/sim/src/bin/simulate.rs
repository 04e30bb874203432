//! Compares parameter sets in a simulated market; `cargo xtask sim` runs it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program's output")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

use anyhow::Context as _;
use clap::Parser;
use keeper_sim::{
    philly::Trace,
    simulation::{Parameters, WorkloadKind, compare, plots, table},
};

/// Parameter sets side by side in a simulated market.
#[derive(Debug, Parser)]
struct Args {
    /// The parameter file; docs/simulator.md describes it
    file: PathBuf,
    /// Folder for the plots; none are made without
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where all figures go
    #[arg(long)]
    json: Option<PathBuf>,
    /// Threads; as many as there are cores if none is given
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let parameters = Parameters::parse(&read(&args.file)?).with_context(|| format!("in {}", args.file.display()))?;
    let trace = trace(&parameters, &args.file)?;
    let threads = args.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let comparison = compare(&parameters, trace.as_ref(), threads);
    print!("{}", table(&comparison));
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&comparison).context("writing the figures")?;
        write(file, &(text + "\n"))?;
    }
    if let Some(folder) = &args.out {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        for (name, text) in plots(&comparison)? {
            write(&folder.join(name), &text)?;
        }
    }
    Ok(())
}

/// The trace that the workload names.
fn trace(parameters: &Parameters, beside: &Path) -> anyhow::Result<Option<Trace>> {
    let WorkloadKind::Philly(kind) = &parameters.workload else { return Ok(None) };
    let file = beside.parent().unwrap_or(Path::new(".")).join(&kind.file);
    Ok(Some(Trace::parse(&read(&file)?).with_context(|| format!("in {}", file.display()))?))
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}
