//! What lets an account apply rounds: the admin's admission, a bond, and a policy that was announced.

use keeper_chain::{ChainKeeper, Contracts, Network, RpcError};
use keeper_scheduler::{Policy, policy_id};
use keeper_types::{Address, Fri, PolicyId, PolicyState};

/// The account may not apply rounds: why, and who can do what about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotAllowed(String);

impl NotAllowed {
    /// For this reason.
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// How an account stands that wants to apply rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rights {
    account: Address,
    network: Network,
    keeper: ChainKeeper,
    policy_id: PolicyId,
    policy: Option<PolicyState>,
}

impl Rights {
    /// Asks the chain.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub(crate) async fn read(contracts: &Contracts, account: Address, policy: &Policy) -> Result<Self, RpcError> {
        let policy_id = policy_id(policy);
        Ok(Self {
            account,
            network: contracts.deployment().network,
            keeper: contracts.keeper(account).await?,
            policy_id,
            policy: contracts.policy(policy_id).await?,
        })
    }

    /// What the bond lacks of an account that is admitted.
    pub(crate) fn missing_bond(&self) -> Option<Fri> {
        let missing = self.keeper.least_bond.checked_sub(self.keeper.bond)?;
        (self.keeper.is_admitted && missing > Fri::ZERO).then_some(missing)
    }

    /// Whether the account is a keeper's, or was and has its bond still: then whatever it lacks is worth a word.
    pub(crate) fn is_of_a_keeper(&self) -> bool {
        self.keeper.is_admitted || self.keeper.bond > Fri::ZERO
    }

    /// What the account has at stake.
    pub(crate) fn bond(&self) -> Fri {
        self.keeper.bond
    }

    /// Whether the account may apply rounds.
    ///
    /// # Errors
    /// Says what is missing, and who can do what about it.
    pub(crate) fn check(&self) -> Result<(), NotAllowed> {
        let Self { account, network, policy_id, .. } = self;
        // One that left or was removed has its old bond until it takes that back.
        if !self.keeper.is_admitted && self.keeper.bond > Fri::ZERO {
            return Err(NotAllowed::new(format!(
                "account {account} may not apply rounds on {network} any more\n\
                 hint: take the bond back with `keeper contracts withdraw-bond`; then the admin authorises it again with \
                 `keeper contracts add-keeper {account}`"
            )));
        }
        if !self.keeper.is_admitted {
            return Err(NotAllowed::new(format!(
                "account {account} may not apply rounds on {network}\n\
                 hint: the admin authorises it with `keeper contracts add-keeper {account}`"
            )));
        }
        if let Some(missing) = self.missing_bond() {
            // It is the next step, and nothing has gone wrong.
            let so_far = if self.keeper.bond == Fri::ZERO { ", as expected until it is first posted" } else { "" };
            return Err(NotAllowed::new(format!(
                "account {account} may not apply rounds on {network}: its bond lacks {missing}{so_far}\n\
                 hint: `keeper contracts bond` posts it, as does `keeper run --post-bond`"
            )));
        }
        match self.policy {
            Some(policy) if !policy.is_retired => Ok(()),
            Some(_) => Err(NotAllowed::new(format!(
                "policy {policy_id} was retired on {network}\nhint: change [policy] in the configuration, and have the \
                 admin announce it with `keeper contracts announce-policy` and the same --config"
            ))),
            None => Err(NotAllowed::new(format!(
                "policy {policy_id} was not announced on {network}\n\
                 hint: the admin announces it with `keeper contracts announce-policy` and the same --config"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use keeper_types::{BlockNumber, Felt};

    use super::*;

    fn rights(is_admitted: bool, bond: u128) -> Rights {
        Rights {
            account: Address(Felt::TWO),
            network: Network::Devnet,
            keeper: ChainKeeper { is_admitted, bond: Fri(bond), least_bond: Fri(10) },
            policy_id: PolicyId(Felt::ONE),
            policy: Some(PolicyState { active_from: (0, BlockNumber(0)), is_retired: false }),
        }
    }

    fn complaint(rights: Rights) -> String {
        rights.check().unwrap_err().to_string()
    }

    #[test]
    fn whoever_lacks_something_is_told_what_and_how_to_mend_it() {
        rights(true, 10).check().unwrap();
        let partly = complaint(rights(true, 4));
        assert!(partly.contains("its bond lacks") && !partly.contains("as expected"), "{partly}");
        let unposted = complaint(rights(true, 0));
        assert!(unposted.contains(", as expected until it is first posted\nhint: "), "{unposted}");
        assert!(unposted.contains("hint: `keeper contracts bond` posts it, as does `keeper run --post-bond`"));
        assert!(complaint(rights(false, 10)).contains("`keeper contracts withdraw-bond`"));
        assert!(complaint(rights(false, 0)).contains("`keeper contracts add-keeper"));
        let retired = PolicyState { active_from: (0, BlockNumber(0)), is_retired: true };
        assert!(complaint(Rights { policy: Some(retired), ..rights(true, 10) }).contains("was retired"));
        assert!(complaint(Rights { policy: None, ..rights(true, 10) }).contains("was not announced"));
    }

    #[test]
    fn a_client_is_no_keeper_that_lacks_something() {
        assert!(!rights(false, 0).is_of_a_keeper());
        assert!(rights(true, 0).is_of_a_keeper());
        assert!(rights(false, 10).is_of_a_keeper());
    }
}
