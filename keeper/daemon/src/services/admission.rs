//! Watches whether the account may still apply rounds, and stops the keeper as soon as it may not: it left, was
//! removed, took its bond back, or its policy was retired. Without this a keeper that has nothing to allocate would
//! look well until its next round.
//!
//! The service has no state: started again it asks the chain first.

use std::{sync::Arc, time::Duration};

use keeper_chain::Contracts;
use keeper_scheduler::{Policy, policy_id};
use keeper_types::{Address, Market, PolicyId};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{BelievedReceiver, Failure, Health};
use crate::rights::Rights;

/// How often the chain is asked though no event says that anything has changed, such as the least bond.
const INTERVAL: Duration = Duration::from_secs(60);

/// The service.
#[derive(Clone)]
pub(crate) struct Admission {
    pub(crate) contracts: Contracts,
    /// The keeper's account.
    pub(crate) account: Address,
    pub(crate) policy: Policy,
    pub(crate) believed: BelievedReceiver,
    pub(crate) health: Arc<Health>,
}

impl Admission {
    /// Watches until cancelled.
    ///
    /// # Errors
    /// Fails where the account may not apply rounds any more: says why, and what to do.
    pub(crate) async fn run(mut self, cancel: CancellationToken) -> Result<(), Failure> {
        cancel.run_until_cancelled(self.watch()).await.unwrap_or(Ok(()))
    }

    async fn watch(&mut self) -> Result<(), Failure> {
        let policy_id = policy_id(&self.policy);
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.ask().await?,
                changed = self.believed.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let believed = self.believed.borrow_and_update().clone();
                    if believed.is_some_and(|believed| is_over(&believed.market, self.account, policy_id)) {
                        // The events may be older than a new admission; the newest block decides.
                        self.ask().await?;
                    }
                }
            }
        }
    }

    async fn ask(&self) -> Result<(), Failure> {
        match Rights::read(&self.contracts, self.account, &self.policy).await {
            Ok(rights) => {
                rights.check()?;
                self.health.admitted();
            }
            Err(error) => tracing::warn!(%error, "the account's right to apply rounds cannot be read"),
        }
        Ok(())
    }
}

/// Whether the contracts' events say that the account may not apply rounds by this policy any more.
fn is_over(market: &Market, account: Address, policy_id: PolicyId) -> bool {
    market.keepers.get(&account).is_some_and(|keeper| !keeper.is_admitted)
        || market.policies.get(&policy_id).is_some_and(|policy| policy.is_retired)
}

#[cfg(test)]
mod tests {
    use keeper_types::{BlockNumber, EventPosition, Felt, Fri, MarketEvent, TxHash};

    use super::*;

    const KEEPER: Address = Address(Felt::TWO);
    const POLICY: PolicyId = PolicyId(Felt::THREE);

    /// Whether it is over after these events.
    fn after(events: &[MarketEvent]) -> bool {
        let position = EventPosition { block: BlockNumber(1), timestamp: 1, index: 0, tx_hash: TxHash(Felt::ONE) };
        let mut market = Market::default();
        for event in events {
            market.apply(event, &position).unwrap();
        }
        is_over(&market, KEEPER, POLICY)
    }

    #[test]
    fn it_is_over_once_the_keeper_left_was_removed_or_has_its_bond_back() {
        let added = || MarketEvent::KeeperAdded { keeper: KEEPER };
        let left = || MarketEvent::KeeperLeft { keeper: KEEPER, leaves_at: 9, leaves_block: BlockNumber(9) };
        assert!(!after(&[]), "nothing is known of the account");
        assert!(!after(&[added()]));
        assert!(after(&[added(), left()]));
        assert!(after(&[added(), MarketEvent::KeeperRemoved { keeper: KEEPER }]));
        assert!(after(&[added(), left(), MarketEvent::BondWithdrawn { keeper: KEEPER, amount: Fri(1) }]));
        assert!(!after(&[added(), left(), added()]), "it was admitted again");
        assert!(!after(&[added(), MarketEvent::KeeperRemoved { keeper: Address(Felt::ONE) }]), "that is another");
    }

    #[test]
    fn it_is_over_once_the_policy_was_retired() {
        let announced =
            || MarketEvent::PolicyAnnounced { policy_id: POLICY, active_from: 0, active_from_block: BlockNumber(0) };
        assert!(!after(&[announced()]));
        assert!(after(&[announced(), MarketEvent::PolicyRetired { policy_id: POLICY }]));
    }
}
