//! Many sequences, on several threads. What comes out does not depend on how many those are.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Result, anyhow};

use crate::{
    calls::Step,
    dice::Dice,
    generator::{Generator, set_up},
    market::{Classes, Market},
    model::{Outcome, Terms},
    run::{Run, Violation},
    tally::Tally,
};

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) sequences: u64,
    /// The number of the first of them, so that a long campaign can be run in parts.
    pub(crate) first: u64,
    /// Calls generated for each sequence; those that close it come on top.
    pub(crate) calls: u64,
    pub(crate) seed: u64,
    pub(crate) threads: usize,
}

/// A sequence that broke a rule.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) index: u64,
    pub(crate) terms: Terms,
    /// The calls generated up to the violation.
    pub(crate) steps: Vec<Step>,
    pub(crate) violation: Box<Violation>,
}

/// What a campaign came to.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) calls: u64,
    pub(crate) tally: Tally,
    /// The failure with the lowest index, if there was one.
    pub(crate) failure: Option<Failure>,
}

/// Sequences' beginnings by their terms, made when they are first needed.
pub(crate) struct Deployments<'c> {
    classes: &'c Classes,
    made: Vec<(Terms, Run, Option<Box<Violation>>)>,
}

impl<'c> Deployments<'c> {
    pub(crate) fn new(classes: &'c Classes) -> Self {
        Self { classes, made: Vec::new() }
    }

    /// Both sides of a sequence with these terms, after what sets them up; and what went wrong with that.
    pub(crate) fn run(&mut self, terms: Terms) -> Result<(Run, Option<Box<Violation>>)> {
        if let Some((_, run, violation)) = self.made.iter().find(|(made, ..)| *made == terms) {
            return Ok((run.clone(), violation.clone()));
        }
        let mut market = Market::deploy(self.classes, &terms)?;
        let mut run = Run::new(&mut market, terms)?;
        let violation = set_up(&terms).iter().try_for_each(|step| run.make_through(step)).err();
        self.made.push((terms, run.clone(), violation.clone()));
        Ok((run, violation))
    }
}

/// Generates and runs one sequence.
pub(crate) fn sequence(
    deployments: &mut Deployments<'_>,
    plan: &Plan,
    index: u64,
    tally: &mut Tally,
) -> Result<(u64, Option<Failure>)> {
    let mut dice = Dice::of_sequence(plan.seed, index);
    let terms = Generator::terms(&mut dice);
    let mut generator = Generator::new(dice, &terms);
    let (mut run, violation) = deployments.run(terms)?;
    let (mut steps, before) = (Vec::new(), run.calls());
    let generate = || {
        violation.map_or(Ok(()), Err)?;
        for _ in 0..plan.calls {
            let step = generator.next(&run.model);
            steps.push(step.clone());
            let outcome = run.make(&step)?;
            tally.add(&step, &outcome);
        }
        run.close()
    };
    let failure = generate().err().map(|violation| Failure { index, terms, steps, violation });
    Ok((run.calls() - before, failure))
}

/// Runs given calls and returns what they break.
pub(crate) fn replay(deployments: &mut Deployments<'_>, terms: Terms, steps: &[Step]) -> Result<Option<Violation>> {
    let (mut run, violation) = deployments.run(terms)?;
    let make_all = || {
        violation.map_or(Ok(()), Err)?;
        steps.iter().try_for_each(|step| run.make(step).map(|_: Outcome| ()))?;
        run.close()
    };
    Ok(make_all().err().map(|violation| *violation))
}

/// Runs every sequence, or as many as it takes to find the failure with the lowest index.
pub(crate) fn run(classes: &Classes, plan: &Plan) -> Result<Findings> {
    let next = AtomicU64::new(plan.first);
    // The lowest index that failed; sequences above it need not be run.
    let end = AtomicU64::new(plan.first + plan.sequences);
    let done: Mutex<BTreeMap<u64, (u64, Tally, Option<Failure>)>> = Mutex::default();
    let work = || -> Result<()> {
        let mut deployments = Deployments::new(classes);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= end.load(Ordering::Relaxed) {
                return Ok(());
            }
            let mut tally = Tally::default();
            let (calls, failure) = sequence(&mut deployments, plan, index, &mut tally)?;
            if failure.is_some() {
                end.fetch_min(index + 1, Ordering::Relaxed);
            }
            let mut done = done.lock().map_err(|_| anyhow!("another thread has panicked"))?;
            done.insert(index, (calls, tally, failure));
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads.max(1)).map(|_| scope.spawn(&work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread has panicked"))?)
    })?;

    let mut findings = Findings::default();
    for (calls, tally, failure) in done.into_inner().map_err(|_| anyhow!("a thread has panicked"))?.into_values() {
        findings.calls += calls;
        findings.tally.merge(&tally);
        if failure.is_some() {
            findings.failure = failure;
            break;
        }
    }
    Ok(findings)
}
