//! `cargo xtask test`: everything that has to pass before a change is merged.
//!
//! Only a failed setup ends the run early: one broken step should not hide what the others would have said.

use std::{
    io::{BufRead, BufReader, Seek as _, Write},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    bindings, contracts,
    failure::{self, OrHint as _, failure},
    invariants, lint,
    process::{cargo, run as run_command},
    repo::Repo,
    setup,
};

/// The tests that break things on purpose. They mostly wait: for blocks, leases and what is started again.
const CHAOS: &str = "chaos";
const HINT: &str = "`cargo test -p CRATE NAME` repeats one of them";

/// What is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not compile the contracts again
    #[arg(long)]
    quick: bool,
}

/// How many tests passed and failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// A step that has been run.
#[derive(Debug)]
struct Step {
    name: &'static str,
    is_ok: bool,
    took: Duration,
}

/// Runs all steps and ends with the line `N passed, N failed`.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    let mut steps = Vec::new();
    let started = Instant::now();
    let failpoints_keeper = setup::failpoints_keeper(repo)?;
    let programs = setup::run(repo)?;
    steps.push(Step { name: "setup", is_ok: true, took: started.elapsed() });

    steps.push(step("lint", || lint::run(repo)));
    if !args.quick {
        steps.push(step("contracts", || contracts::check(repo)));
    }
    steps.push(step("bindings", || bindings::check(repo)));
    let mut tally = Tally::default();
    steps.push(step("tests", || {
        let tests = |arguments: &[&str]| {
            let mut tests = cargo(repo.root());
            tests
                .args(["test", "--locked", "--no-fail-fast"])
                .args(arguments)
                .env("CIRO_LOCALNET", &programs.localnet)
                .env("CIRO_KEEPER", &programs.keeper)
                .env("CIRO_KEEPER_FAILPOINTS", &failpoints_keeper);
            tests
        };
        // Built in one go, so that neither of the two waits for the other's build.
        run_command(
            &mut tests(&["--workspace", "--no-run"]),
            "the compiler's first error above is the one to look at",
        )?;
        let (mut others, mut chaos) = (tests(&["--workspace", "--exclude", CHAOS]), tests(&["--package", CHAOS]));
        counted_beside(&mut others, &mut chaos, &mut tally, &mut std::io::stdout())
    }));
    steps.push(step("harness", || counted(&mut invariants::tests(repo)?, &mut tally)));
    steps.push(step("invariants", || invariants::short(repo)));

    println!();
    for step in &steps {
        let outcome = if step.is_ok { "ok" } else { "FAILED" };
        println!("{:<10} {outcome:<7} {:>5} s", step.name, step.took.as_secs());
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(if steps.iter().all(|step| step.is_ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn step(name: &'static str, action: impl FnOnce() -> Result<()>) -> Step {
    println!("\n== {name}");
    let started = Instant::now();
    let result = action();
    if let Err(error) = &result {
        failure::report(error);
    }
    Step { name, is_ok: result.is_ok(), took: started.elapsed() }
}

/// Runs `cargo test` and adds its results to the tally.
fn counted(tests: &mut Command, tally: &mut Tally) -> Result<()> {
    let (counted, is_ok) = run_tests(tests, &mut std::io::stdout())?;
    tally.passed += counted.passed;
    tally.failed += counted.failed;
    if is_ok { Ok(()) } else { Err(failure("tests failed", HINT)) }
}

/// Runs `tests` and, at the same time, `beside`, whose output follows when `tests` are done.
fn counted_beside(tests: &mut Command, beside: &mut Command, tally: &mut Tally, shown: &mut impl Write) -> Result<()> {
    let mut said = tempfile::tempfile().context("making a file for what tests say")?;
    let hint = "`cargo test --workspace` repeats it";
    let both = || said.try_clone().context("sharing a file among outputs");
    let mut child = beside.stdout(both()?).stderr(both()?).spawn().or_hint("starting cargo test", hint)?;
    let (counted, is_ok) = run_tests(tests, shown)?;
    let status = child.wait().or_hint("waiting for cargo test", hint)?;
    said.rewind().context("reading the tests' output")?;
    let others = pass_on(&mut BufReader::new(said), shown)?;
    for results in [counted, others] {
        tally.passed += results.passed;
        tally.failed += results.failed;
    }
    if is_ok && status.success() { Ok(()) } else { Err(failure("tests failed", HINT)) }
}

/// Runs `cargo test`, passing its output on, and adds up the results that it prints.
fn run_tests(tests: &mut Command, shown: &mut impl Write) -> Result<(Tally, bool)> {
    let hint = "`cargo test --workspace` repeats it";
    let mut child = tests.stdout(Stdio::piped()).spawn().or_hint("starting cargo test", hint)?;
    let output = child.stdout.take().context("cargo test has an output")?;
    let tally = pass_on(&mut BufReader::new(output), shown)?;
    let status = child.wait().or_hint("waiting for cargo test", hint)?;
    Ok((tally, status.success()))
}

/// Passes on what tests say, and adds up the results in it.
fn pass_on(output: &mut impl BufRead, shown: &mut impl Write) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).context("reading the tests' output")? > 0 {
        shown.write_all(&line).context("printing the tests' output")?;
        if let Some(result) = result_line(&String::from_utf8_lossy(&line)) {
            tally.passed += result.passed;
            tally.failed += result.failed;
        }
        line.clear();
    }
    Ok(tally)
}

/// Reads `test result: ok. 5 passed; 0 failed; 1 ignored; ...`.
fn result_line(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        counts.split(';').find_map(|part| part.trim().strip_suffix(what)).and_then(|number| number.trim().parse().ok())
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_is_read() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.05s\n";
        assert_eq!(result_line(line), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(result_line("test scheduler::tests::fits ... ok"), None);
        assert_eq!(result_line("test result: odd"), None);
    }

    #[test]
    fn the_results_of_several_test_programs_add_up() {
        let mut script = Command::new("sh");
        script.args([
            "-c",
            "echo 'test result: ok. 2 passed; 0 failed;'; echo 'test result: ok. 3 passed; 1 failed;'; exit 101",
        ]);
        let mut shown = Vec::new();
        assert_eq!(run_tests(&mut script, &mut shown).unwrap(), (Tally { passed: 5, failed: 1 }, false));
        assert_eq!(shown.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), 2);
    }

    #[test]
    fn tests_beside_others_count_and_fail_like_them() {
        let script = |text: &str| {
            let mut script = Command::new("sh");
            script.args(["-c", text]);
            script
        };
        let mut tally = Tally::default();
        let mut passing = script("echo 'test result: ok. 2 passed; 0 failed;'");
        let mut failing = script("echo 'test result: FAILED. 3 passed; 1 failed;'; exit 101");
        // Not printed, or whoever counts these tests' results would count those.
        let mut shown = Vec::new();
        assert!(counted_beside(&mut passing, &mut failing, &mut tally, &mut shown).is_err());
        assert!(counted_beside(&mut failing, &mut passing, &mut tally, &mut shown).is_err());
        assert_eq!(tally, Tally { passed: 10, failed: 2 });
        assert!(counted_beside(&mut passing, &mut script("true"), &mut tally, &mut shown).is_ok());
    }

    #[test]
    fn a_step_that_fails_is_recorded_and_the_next_one_runs() {
        assert!(!step("first", || Err(failure("broken", "mend it"))).is_ok);
        assert!(step("second", || Ok(())).is_ok);
    }
}
