//! One sequence: each call made on both sides, everything compared, the rules checked.

mod closing;
mod comparison;

use std::fmt;

use anyhow::{Result, ensure};

use crate::{
    actors::{Contract, describe},
    calls::{Call, Step},
    market::{BALANCE, Market, START},
    model::{Model, Outcome, Terms},
    rules::{self, Ledger},
    sight::Sight,
    views::{View, touched},
};
use comparison::{answers_agree, differing_fields, outcomes_agree};

/// After so many calls everything that can be seen is compared, also what no call can have touched.
const CALLS_BETWEEN_LOOKS: u64 = 16;

/// The two sides of one sequence.
#[derive(Clone)]
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
    /// Both sides just deployed. `market` is a fresh deployment with the same terms; what it is asked it remembers.
    pub(crate) fn new(market: &mut Market, terms: Terms) -> Result<Self> {
        let mut model = Model::new(terms, START, BALANCE);
        for contract in Contract::OURS {
            model.control_mut(contract).is_embedded = market.has(contract, "is_paused");
        }
        market.look_around(View::often(&model));
        let mut market = market.clone();
        let mut sight = Sight::default();
        sight.update(&mut market, START)?;
        Ok(Self { model, market, sight, ledger: Ledger::default(), calls: 0 })
    }

    /// Calls made so far.
    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    /// Makes a call on both sides.
    pub(crate) fn make(&mut self, step: &Step) -> Result<Outcome, Box<Violation>> {
        self.calls += 1;
        let before = self.model.clone();
        let outcome = self.model.execute(step);
        self.compare(step, &before, &outcome).map_err(|what| self.violation(what.to_string(), step))?;
        if self.calls % CALLS_BETWEEN_LOOKS == 0 {
            self.look(&View::often(&self.model)).map_err(|what| self.violation(what.to_string(), step))?;
        }
        Ok(outcome)
    }

    fn violation(&mut self, what: String, step: &Step) -> Box<Violation> {
        let states = self.differing_views();
        Box::new(Violation { what, states, step: step.clone() })
    }

    /// The model has made the call; the market makes it now.
    fn compare(&mut self, step: &Step, before: &Model, expected: &Outcome) -> Result<()> {
        let is_armed = before.token.is_armed() || matches!(step.call, Call::Relay(_));
        let done = self.market.execute(step, self.model.now, is_armed)?;
        outcomes_agree(expected, &done)?;
        if done.result.is_err() {
            // The chain rolls a reverted call back, so that there is nothing new to see.
            return Ok(());
        }
        self.money_agrees()?;
        for view in touched(before, &self.model) {
            self.agree_on(view)?;
        }
        let mut after = self.sight.clone();
        after.update(&mut self.market, self.model.now)?;
        rules::check(&self.sight, &after, &done.events, &mut self.ledger)?;
        self.sight = after;
        Ok(())
    }

    /// Compares many views, and what the rules know with them.
    fn look(&mut self, views: &[View]) -> Result<()> {
        for view in views {
            self.agree_on(*view)?;
        }
        let mut after = self.sight.clone();
        after.update(&mut self.market, self.model.now)?;
        rules::check(&self.sight, &after, &[], &mut self.ledger)?;
        self.sight = after;
        Ok(())
    }

    fn agree_on(&mut self, view: View) -> Result<()> {
        let shown = self.model.show(view);
        let answer = self.market.look(view, self.model.now).clone();
        let agree = answers_agree(view, &shown, &answer, || self.market.names(view));
        ensure!(agree, "{view:?} differs");
        Ok(())
    }

    fn money_agrees(&self) -> Result<()> {
        for (holder, amount) in self.market.balances() {
            let expected = self.model.token.balance(holder);
            ensure!(amount == Some(expected), "{} holds {amount:?}, not {expected}", describe(holder));
        }
        for (owner, spender, amount) in self.market.allowances() {
            let expected = self.model.token.allowance(owner.address(), spender.address());
            ensure!(amount == Some(expected), "{owner} allows {} {amount:?}, not {expected}", spender.name());
        }
        Ok(())
    }

    /// Every view in which the two sides differ, as text.
    fn differing_views(&mut self) -> String {
        let mut text = String::new();
        for view in View::often(&self.model) {
            let shown = self.model.show(view);
            let answer = self.market.look(view, self.model.now).clone();
            let names = self.market.names(view);
            if !answers_agree(view, &shown, &answer, || names.clone()) {
                text.push_str(&format!("  {view:?}\n{}", differing_fields(&shown, &answer, &names)));
            }
        }
        if text.is_empty() { "  every view agrees\n".to_owned() } else { text }
    }

    #[cfg(test)]
    pub(crate) fn market(&mut self) -> &mut Market {
        &mut self.market
    }
}
