//! Random call sequences against the compiled contracts, with a reference model at their side.
//!
//! Each sequence is drawn from a seed, made on both sides call by call, and compared after every call: results, events
//! and everything that views show. The rules of the architecture are checked from the contracts' own views. See
//! docs/invariants.md.

mod abi;
mod actors;
mod calls;
mod campaign;
mod chain;
mod dice;
mod generator;
mod market;
mod model;
mod mutants;
mod report;
mod rules;
mod run;
mod shrink;
mod sight;
mod slim;
mod tally;
#[cfg(test)]
mod tests;
mod views;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::{
    campaign::{Deployments, Failure, Findings, Plan},
    market::{Classes, own_classes},
    mutants::{Trial, Workshop},
};

/// Sequences that a mutant has to survive, where its plan is not given.
const MUTANT_SEQUENCES: u64 = 600;

/// Runs random call sequences against the contracts and their reference model.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Sequences to run
    #[arg(long, default_value_t = 1_000)]
    sequences: u64,
    /// Number of the first sequence: a long campaign can be run in parts
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Calls drawn for each sequence
    #[arg(long, default_value_t = 80)]
    calls: u64,
    /// Everything follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sequences that run at a time
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Run one sequence alone
    #[arg(long, value_name = "INDEX")]
    only: Option<u64>,
    /// Also plant mistakes in the contracts and see whether they are noticed
    #[arg(long)]
    mutants: bool,
    /// Plant only those whose name contains this
    #[arg(long, default_value = "", value_name = "TEXT")]
    mutant: String,
    /// Sequences that a mutant has to survive
    #[arg(long, default_value_t = MUTANT_SEQUENCES)]
    mutant_sequences: u64,
    /// Write the result to a file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Folder of the contracts: sources and artifacts
    #[arg(long)]
    contracts: PathBuf,
    /// The contract compiler, for mutants
    #[arg(long, requires = "core_library")]
    compiler: Option<PathBuf>,
    /// Cairo's core library, for mutants
    #[arg(long)]
    core_library: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything held and every mutant was caught.
fn run(args: &Args) -> Result<bool> {
    let Args { sequences, first, calls, seed, threads, .. } = *args;
    let plan = Plan { sequences, first, calls, seed, threads };
    let classes = Classes::load(&args.contracts.join("artifacts"), &own_classes())?;
    let started = Instant::now();
    let findings = match args.only {
        Some(index) => alone(&classes, &plan, index)?,
        None => campaign::run(&classes, &plan)?,
    };
    let wall_s = started.elapsed().as_secs_f64();
    if let Some(failure) = &findings.failure {
        explain(&classes, &plan, failure)?;
    }
    let trials = if args.mutants { Some(try_mutants(args, &plan)?) } else { None };
    report::print_summary(&plan, &findings, trials.as_deref(), wall_s);
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report::json(&plan, &findings, trials.as_deref(), wall_s))?;
        std::fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    let is_noticed = |trial: &Trial| matches!(trial.verdict, mutants::Verdict::Caught { .. });
    Ok(findings.failure.is_none() && trials.is_none_or(|trials| trials.iter().all(is_noticed)))
}

/// One sequence of a campaign.
fn alone(classes: &Classes, plan: &Plan, index: u64) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut deployments = Deployments::new(classes);
    (findings.calls, findings.failure) = campaign::sequence(&mut deployments, plan, index, &mut findings.tally)?;
    Ok(findings)
}

/// Shrinks a failure and prints it.
fn explain(classes: &Classes, plan: &Plan, failure: &Failure) -> Result<()> {
    let mut deployments = Deployments::new(classes);
    let mut last = (*failure.violation).clone();
    let shrunk =
        shrink::shrink(failure.steps.clone(), |steps| match campaign::replay(&mut deployments, failure.terms, steps) {
            Ok(Some(violation)) => {
                last = violation;
                true
            }
            _ => false,
        });
    report::print_failure(plan, failure, &shrunk, &last);
    Ok(())
}

fn try_mutants(args: &Args, plan: &Plan) -> Result<Vec<Trial>> {
    let workshop = Workshop {
        contracts: args.contracts.clone(),
        compiler: args.compiler.clone().context("mutants need --compiler")?,
        core_library: args.core_library.clone().context("mutants need --core-library")?,
    };
    let plan = Plan { sequences: args.mutant_sequences, first: 0, ..*plan };
    mutants::run(&workshop, &plan, &args.mutant)
}
