//! `cargo xtask invariants`: random call sequences against the compiled contracts and a reference model.
//!
//! The harness is built with the local chain's libraries, in the folder where they were built already.
//! docs/invariants.md says what it checks.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

use crate::{
    contracts,
    failure::OrHint as _,
    process::{cargo, run as run_command},
    repo::Repo,
    tools::LOCALNET,
};

const PACKAGE: &str = "invariants";
const HINT: &str = "the compiler's first error above is the one to look at";

/// How much is tried. What is not given is left to the harness.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Sequences to run
    #[arg(long)]
    sequences: Option<u64>,
    /// Number of the first sequence: a long campaign can be run in parts
    #[arg(long, value_name = "INDEX")]
    first: Option<u64>,
    /// Calls drawn for each sequence
    #[arg(long)]
    calls: Option<u64>,
    /// Everything follows from it
    #[arg(long)]
    seed: Option<u64>,
    /// Run one sequence alone
    #[arg(long, value_name = "INDEX")]
    only: Option<u64>,
    /// Also plant mistakes in the contracts and see whether they are noticed
    #[arg(long)]
    mutants: bool,
    /// Plant only those whose name contains this
    #[arg(long, value_name = "TEXT", requires = "mutants")]
    mutant: Option<String>,
    /// Write the result to a file
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Args {
    /// The harness's own flags.
    fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        for (flag, value) in
            [("sequences", self.sequences), ("first", self.first), ("calls", self.calls), ("seed", self.seed)]
        {
            flags.extend(value.into_iter().flat_map(|value| [format!("--{flag}"), value.to_string()]));
        }
        flags.extend(self.only.iter().flat_map(|index| ["--only".to_owned(), index.to_string()]));
        if self.mutants {
            flags.push("--mutants".to_owned());
        }
        flags.extend(self.mutant.iter().flat_map(|text| ["--mutant".to_owned(), text.clone()]));
        flags
    }
}

/// How much `cargo xtask test` tries: about a minute.
const SHORT_SEQUENCES: &str = "300";
const SHORT_CALLS: &str = "50";

/// The command that runs the harness's own tests, and those of the local chain, which it shares its libraries with.
pub(crate) fn tests(repo: &Repo) -> Result<Command> {
    LOCALNET.check_needs()?;
    let mut tests = cargo(&LOCALNET.workspace(repo));
    tests.args(["test", "--release", "--locked", "--package", PACKAGE, "--package", "localnet"]);
    tests.env("CARGO_TARGET_DIR", LOCALNET.target(repo));
    Ok(tests)
}

/// A short run with a seed that nobody has tried before; the harness prints it.
pub(crate) fn short(repo: &Repo) -> Result<()> {
    let harness = build(repo)?;
    let mut command = Command::new(&harness);
    command.arg("--contracts").arg(repo.path("contracts"));
    command.args(["--sequences", SHORT_SEQUENCES, "--calls", SHORT_CALLS, "--seed", &fresh_seed()?.to_string()]);
    run_command(&mut command, "`cargo xtask invariants --seed SEED --only INDEX` repeats the failing sequence alone")
}

/// The seconds since 1970, which are enough of a surprise.
fn fresh_seed() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    Ok(now.as_secs())
}

/// Builds the harness and runs it; its exit code is this verb's.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    let harness = build(repo)?;
    let mut command = Command::new(&harness);
    command.arg("--contracts").arg(repo.path("contracts")).args(args.flags());
    command.args(args.json.iter().flat_map(|file| [Path::new("--json"), file]));
    // Unpacked for one run, and gone after it.
    let compiler = if args.mutants { Some(contracts::compiler(repo)?) } else { None };
    if let Some(compiler) = &compiler {
        command.arg("--compiler").arg(&compiler.program).arg("--core-library").arg(compiler.core_library.path());
    }
    let status = command.status().or_hint("starting the harness", HINT)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build(repo: &Repo) -> Result<PathBuf> {
    LOCALNET.check_needs()?;
    let target = LOCALNET.target(repo);
    let mut build = cargo(&LOCALNET.workspace(repo));
    build.args(["build", "--release", "--locked", "--package", PACKAGE]).env("CARGO_TARGET_DIR", &target);
    run_command(&mut build, HINT)?;
    target.join("release").join(PACKAGE).canonicalize().context("finding the harness just built")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_passed_on() {
        let none = Args {
            sequences: None,
            first: None,
            calls: None,
            seed: None,
            only: None,
            mutants: false,
            mutant: None,
            json: None,
        };
        assert!(none.flags().is_empty());
        let some = Args { seed: Some(7), mutants: true, mutant: Some("stake".to_owned()), ..none };
        assert_eq!(some.flags(), ["--seed", "7", "--mutants", "--mutant", "stake"]);
    }
}
