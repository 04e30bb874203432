//! One sequence: each call made on both sides, everything compared, the rules checked.

use std::fmt;

use anyhow::Result;
use keeper_types::Felt;

use crate::{
    actors::{Actor, describe},
    calls::{Call, Step},
    market::{Answer, BALANCE, Done, Market, START},
    model::{Event, Fields, Model, Outcome, Terms},
    rules::{self, Ledger},
    sight::{Sight, state},
    views::View,
};
use keeper_types::JobId;

/// More than any deadline is ahead: the longest windows last two years.
const LATER_S: u64 = 63_072_100;

/// The two sides of one sequence.
pub(crate) struct Run {
    pub(crate) model: Model,
    market: Market,
    sight: Sight,
    ledger: Ledger,
    calls: u64,
}

/// What was found, and where.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// What differs, or which rule was broken by what.
    pub(crate) what: String,
    /// Both states where they differ.
    pub(crate) states: String,
    /// The call that showed it.
    pub(crate) step: Step,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  after  {}\n{}", self.what, self.step, self.states)
    }
}

impl Run {
    /// Both sides just deployed. `market` is a fresh deployment with the same terms.
    pub(crate) fn new(market: &Market, terms: Terms) -> Result<Self> {
        let mut market = market.clone();
        let sight = Sight::of(&mut market)?;
        let model = Model::new(terms, START, BALANCE);
        Ok(Self { model, market, sight, ledger: Ledger::default(), calls: 0 })
    }

    /// Calls made so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    /// Makes a call on both sides.
    pub(crate) fn make(&mut self, step: &Step) -> Result<Outcome, Box<Violation>> {
        self.calls += 1;
        let outcome = self.model.execute(step);
        self.compare(step, &outcome).map_err(|what| {
            let states = self.differing_views();
            Box::new(Violation { what: what.to_string(), states, step: step.clone() })
        })?;
        Ok(outcome)
    }

    /// The model has made the call; the market makes it now.
    fn compare(&mut self, step: &Step, expected: &Outcome) -> Result<()> {
        let done = self.market.execute(step, self.model.now)?;
        outcomes_agree(expected, &done)?;
        if done.result.is_err() {
            // The chain rolls a reverted call back, so that there is nothing new to see.
            return Ok(());
        }
        for view in self.views() {
            let shown = self.model.show(view);
            let answer = self.market.look(view).clone();
            if !answers_agree(&shown, &answer, || self.market.names(view)) {
                anyhow::bail!("{view:?} differs");
            }
        }
        let after = Sight::of(&mut self.market)?;
        rules::check(&self.sight, &after, &done.events, &mut self.ledger)?;
        self.sight = after;
        Ok(())
    }

    fn views(&self) -> Vec<View> {
        let workers = u32::try_from(self.model.cdc_pool.workers.len()).unwrap_or(u32::MAX);
        View::all(self.model.job_mgr.jobs.len() as u64, workers)
    }

    /// Every view in which the two sides differ, as text.
    fn differing_views(&mut self) -> String {
        let mut text = String::new();
        for view in self.views() {
            let shown = self.model.show(view);
            let answer = self.market.look(view).clone();
            let names = self.market.names(view);
            if !answers_agree(&shown, &answer, || names.clone()) {
                text.push_str(&format!("  {view:?}\n{}", differing_fields(&shown, &answer, &names)));
            }
        }
        if text.is_empty() { "  every view agrees\n".to_owned() } else { text }
    }

    /// Shows that nothing is stuck: once enough time and blocks have passed, an account without a part in it ends
    /// every job, and every owner gets its stake back. Then the contracts hold nothing.
    pub(crate) fn close(&mut self) -> Result<(), Box<Violation>> {
        let mut later = Step { after_s: LATER_S, after_blocks: LATER_S, caller: Actor::Admin, call: Call::DrainWorker };
        for job_id in 1..=self.sight.jobs.len() as u64 {
            // An attempt ends first, then the job that was queued again.
            for _ in 0..2 {
                let Some(job) = self.sight.job(job_id).filter(|job| !state::is_final(job.state)) else { break };
                let owner = self.sight.worker(job.worker_id).map(|worker| worker.owner);
                let is_outside = |actor: &Actor| actor.address() != job.client && Some(actor.address()) != owner;
                later.caller = Actor::ALL.into_iter().find(is_outside).unwrap_or(Actor::Admin);
                later.call = match job.state {
                    state::QUEUED => Call::ExpireJob(JobId(job_id)),
                    state::ALLOCATED => Call::ExpireAttempt(JobId(job_id)),
                    _ => Call::Settle(JobId(job_id)),
                };
                self.make_through(&later)?;
                (later.after_s, later.after_blocks) = (0, 0);
            }
        }
        for owner in Actor::ALL {
            let worker = self.sight.workers.iter().rev().find(|worker| worker.owner == owner.address());
            let Some(worker) = worker.filter(|worker| worker.status != state::EXITED) else { continue };
            if worker.status == state::ACTIVE || worker.status == state::DRAINING {
                let leave = Step { after_s: 0, after_blocks: 0, caller: owner, call: Call::ExitWorker };
                self.make_through(&leave)?;
            }
            let withdraw = Call::WithdrawStake;
            self.make_through(&Step { after_s: LATER_S, after_blocks: LATER_S, caller: owner, call: withdraw })?;
        }
        let held = (self.sight.held_by_job_mgr, self.sight.held_by_cdc_pool);
        if held != (0, 0) {
            let what = format!("1: after everything has ended the contracts hold {held:?} fri");
            return Err(Box::new(Violation { what, states: String::new(), step: later }));
        }
        Ok(())
    }

    /// Makes a call that must not be refused.
    fn make_through(&mut self, step: &Step) -> Result<(), Box<Violation>> {
        match self.make(step)?.result {
            Ok(_) => Ok(()),
            Err(refusal) => {
                let what = format!("no way out: {refusal}");
                Err(Box::new(Violation { what, states: String::new(), step: step.clone() }))
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn market(&mut self) -> &mut Market {
        &mut self.market
    }
}

fn outcomes_agree(expected: &Outcome, done: &Done) -> Result<()> {
    match (&expected.result, &done.result) {
        (Ok(expected), Ok(found)) if expected == found => {}
        (Err(expected), Err(found)) if expected == found => return Ok(()),
        (expected, found) => {
            anyhow::bail!("the model answers {}, the contract {}", words(expected), words(found));
        }
    }
    let names = |event: &str, fields: String| format!("{event}({fields})");
    for (index, expected) in expected.events.iter().enumerate() {
        let Some(found) = done.events.get(index) else {
            anyhow::bail!("the contract does not emit {}", expected.name);
        };
        let is_same = expected.contract == found.contract && expected.name == found.name;
        if !is_same || !fields_agree(expected, &found.fields) {
            let modelled = expected.fields.iter().map(|(name, felt)| format!("{name} {}", describe(*felt)));
            let emitted = found.fields.iter().map(|(name, felt)| format!("{name} {}", describe(*felt)));
            anyhow::bail!(
                "event {index}: the model emits {}, the contract {}",
                names(expected.name, modelled.collect::<Vec<_>>().join(", ")),
                names(&found.name, emitted.collect::<Vec<_>>().join(", ")),
            );
        }
    }
    if let Some(more) = done.events.get(expected.events.len()) {
        anyhow::bail!("the contract also emits {}", more.name);
    }
    Ok(())
}

/// The contract's event has the fields that the model says, with these values.
fn fields_agree(expected: &Event, found: &[(String, Felt)]) -> bool {
    expected.fields.len() == found.len()
        && found
            .iter()
            .all(|(name, felt)| expected.fields.iter().any(|(known, expected)| known == name && expected == felt))
}

/// Whether a view shows what the model does. The names are asked for only where the order is not the same.
fn answers_agree(shown: &Result<Fields, &'static str>, answer: &Answer, names: impl Fn() -> Vec<String>) -> bool {
    match (shown, answer) {
        (Err(expected), Err(found)) => expected == found,
        (Ok(fields), Ok(felts)) if fields.len() == felts.len() => {
            let is_in_order = fields.iter().zip(felts).all(|((_, expected), found)| expected == found);
            is_in_order || {
                let names = names();
                let same =
                    |name: &String, felt: &Felt| fields.iter().any(|(known, value)| known == name && value == felt);
                names.len() == felts.len() && names.iter().zip(felts).all(|(name, felt)| same(name, felt))
            }
        }
        _ => false,
    }
}

fn differing_fields(shown: &Result<Fields, &'static str>, answer: &Answer, names: &[String]) -> String {
    let (Ok(fields), Ok(felts)) = (shown, answer) else {
        let shown = shown.as_ref().map(|fields| fields.iter().map(|(_, felt)| *felt).collect::<Vec<_>>());
        return format!("    model {}, contract {}\n", words(&shown), words(answer));
    };
    let mut text = String::new();
    for (index, found) in felts.iter().enumerate() {
        let name = names.get(index).map_or("", String::as_str);
        let expected = fields.iter().find(|(known, _)| *known == name).map(|(_, felt)| *felt);
        if expected != Some(*found) {
            let expected = expected.map_or("nothing".to_owned(), describe);
            text.push_str(&format!("    {name:<32} model {expected}, contract {}\n", describe(*found)));
        }
    }
    text
}

fn words(result: &Result<impl AsRef<[Felt]>, impl fmt::Display>) -> String {
    match result {
        Ok(felts) => format!("{:?}", felts.as_ref().iter().map(|felt| describe(*felt)).collect::<Vec<_>>()),
        Err(text) => format!("`{text}`"),
    }
}
