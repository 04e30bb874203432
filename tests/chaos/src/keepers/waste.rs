//! How many transactions keepers sent for nothing: by their accounts' nonces, the chain's events and the log.

use std::collections::BTreeSet;

use anyhow::Result;
use keeper_store::{IntentState, Store};
use keeper_types::MarketEvent;

use crate::kill::{stage::Stage, tally};

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Nonces that were used.
    pub(crate) transactions: u64,
    /// Of them, those that reverted.
    pub(crate) reverted: u64,
    /// Of them, rounds of which no item was allocated.
    pub(crate) empty: u64,
    /// Of them, those that did nothing but use up a nonce whose transaction was not wanted any more.
    pub(crate) no_ops: u64,
    /// Of them, those that no keeper wrote down.
    pub(crate) unaccounted: u64,
}

impl Sent {
    /// Reverted, or for nothing.
    pub(crate) fn wasted(self) -> u64 {
        self.reverted + self.empty
    }

    /// In hundredths of a percent of all.
    pub(crate) fn wasted_bps(self) -> u64 {
        (self.wasted() * 10_000).div_ceil(self.transactions.max(1))
    }

    /// Counts, given how many nonces the accounts have used since the keepers were ready.
    ///
    /// # Errors
    /// Fails where the chain or the database does not answer.
    pub(crate) async fn count(
        stage: &Stage,
        store: &dyn Store,
        accounts: &BTreeSet<usize>,
        transactions: u64,
    ) -> Result<Self> {
        let mut sent = Self { transactions, ..Self::default() };
        let mut recorded = 0;
        for account in accounts {
            for intent in store.intents_since(stage.chain.account(*account).address, 0).await? {
                recorded += u64::from(intent.state.is_landed());
                sent.reverted += u64::from(intent.state == IntentState::Reverted);
                sent.no_ops += u64::from(intent.state == IntentState::Replaced);
                if intent.state == IntentState::Lost {
                    println!("given up as lost, though nobody else has the key: {intent:?}");
                }
            }
        }
        sent.unaccounted = transactions.abs_diff(recorded);
        let rounds = tally::events(stage).await?;
        let is_empty = |event: &MarketEvent| matches!(event, MarketEvent::RoundApplied { allocated: 0, skipped, .. } if *skipped > 0);
        sent.empty = rounds.iter().filter(|(_, event)| is_empty(event)).count() as u64;
        Ok(sent)
    }
}
