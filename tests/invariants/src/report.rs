//! What people and programs get to read.

use serde_json::{Value, json};

use crate::{
    campaign::{Failure, Findings, Plan},
    market::START,
    mutants::{Trial, Verdict},
    run::Violation,
};

/// A campaign's result as JSON.
pub(crate) fn json(plan: &Plan, findings: &Findings, trials: Option<&[Trial]>, wall_s: f64) -> Value {
    let (refusals, skip_reasons) = findings.tally.met();
    json!({
        "seed": plan.seed,
        "sequences": plan.sequences,
        "first": plan.first,
        "calls": findings.calls,
        "calls_per_sequence": plan.calls,
        "threads": plan.threads,
        "violations": u32::from(findings.failure.is_some()),
        "violation": findings.failure.as_ref().map(|failure| json!({
            "index": failure.index,
            "what": failure.violation.what,
            "step": failure.violation.step.to_string(),
        })),
        "refusals_met": refusals,
        "skip_reasons_met": skip_reasons,
        "mutants": trials.map_or(0, |trials| trials.iter().filter(|trial| !is_broken(trial)).count()),
        "caught": trials.map_or(0, |trials| trials.iter().filter(|trial| is_caught(trial)).count()),
        "trials": trials.map(|trials| trials.iter().map(trial_json).collect::<Vec<_>>()),
        "wall_s": rounded(wall_s),
        "calls_per_s": rounded(if wall_s > 0.0 { findings.calls as f64 / wall_s } else { 0.0 }),
    })
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn is_caught(trial: &Trial) -> bool {
    matches!(trial.verdict, Verdict::Caught { .. })
}

/// Whether the mutant could not be tried.
pub(crate) fn is_broken(trial: &Trial) -> bool {
    matches!(trial.verdict, Verdict::Broken(_))
}

fn trial_json(trial: &Trial) -> Value {
    let (verdict, calls, because) = match &trial.verdict {
        Verdict::Caught { calls, because, .. } => ("caught", *calls, because.as_str()),
        Verdict::Survived { calls } => ("survived", *calls, ""),
        Verdict::Broken(why) => ("broken", 0, why.as_str()),
    };
    json!({
        "name": trial.name, "verdict": verdict, "calls": calls, "because": because, "took_s": rounded(trial.took_s),
    })
}

/// One line for a mutant, as soon as it is known.
pub(crate) fn print_trial(trial: &Trial) {
    let text = match &trial.verdict {
        Verdict::Caught { index, calls, because } => {
            let because: String = because.chars().take(110).collect();
            format!("caught   sequence {index:>4}, {calls:>6} calls: {because}")
        }
        Verdict::Survived { calls } => format!("SURVIVED {calls} calls"),
        Verdict::Broken(why) => format!("BROKEN   {why}"),
    };
    println!("{:<46} {text}", trial.name);
}

/// A violation with the calls that lead to it.
pub(crate) fn print_failure(plan: &Plan, failure: &Failure, shrunk: &[crate::calls::Step], last: &Violation) {
    println!("VIOLATION in sequence {} of seed {}", failure.index, plan.seed);
    println!("  {}", failure.violation.what);
    println!("  after  {}\n", failure.violation.step);
    println!("{} of its {} calls are enough; the contracts were deployed with", shrunk.len(), failure.steps.len());
    println!("  {:?}, and time starts at {} s, block {}", failure.terms, START.timestamp, START.block);
    for (number, step) in shrunk.iter().enumerate() {
        println!("{:>5}  {step}", number + 1);
    }
    println!("\nThen: {last}");
    println!("cargo xtask invariants --seed {} --calls {} --only {} repeats it", plan.seed, plan.calls, failure.index);
}

/// The table at the end.
pub(crate) fn print_summary(plan: &Plan, findings: &Findings, trials: Option<&[Trial]>, wall_s: f64) {
    println!("{}", findings.tally.table());
    let (refusals, skips) = findings.tally.met();
    let per_s = if wall_s > 0.0 { findings.calls as f64 / wall_s } else { 0.0 };
    println!("seed                {:>12}", plan.seed);
    println!("sequences           {:>12}", plan.sequences);
    println!("calls               {:>12}", findings.calls);
    println!("distinct refusals   {refusals:>12}");
    println!("skip reasons        {skips:>12}");
    println!("violations          {:>12}", u32::from(findings.failure.is_some()));
    println!("wall time           {wall_s:>10.1} s");
    println!("calls per second    {per_s:>12.0}");
    if let Some(trials) = trials {
        let tried = trials.iter().filter(|trial| !is_broken(trial)).count();
        println!(
            "mutants caught      {:>12}",
            format!("{}/{tried}", trials.iter().filter(|trial| is_caught(trial)).count())
        );
        for trial in trials.iter().filter(|trial| !is_caught(trial)) {
            println!("  not caught: {}", trial.name);
        }
    }
}
