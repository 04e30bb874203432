//! What the admin and the guardian do with a contract as such: hand it on, pause it, replace its class. JobMgr, CdcPool,
//! TaskAllocator and Paymaster answer alike.

use keeper_types::{Address, Felt};
use starknet::{core::types::Call, macros::selector};

use crate::{Contracts, Receipt, SendError, Sender};

/// Something that is done to a contract, whatever else it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Governance {
    /// Stop what lets new work and money in; the guardian may, too.
    Pause,
    /// Let it in again.
    Unpause,
    /// Offer the admin's role; 0 takes an offer back.
    TransferAdmin(Address),
    /// Take the role that was offered.
    AcceptAdmin,
    /// Name who may pause besides the admin; 0 names nobody.
    SetGuardian(Address),
    /// Begin the notice of an upgrade to a class.
    AnnounceUpgrade(Felt),
    /// Take the announcement back.
    CancelUpgrade,
    /// Replace the class, once the notice has passed.
    Upgrade,
}

impl Governance {
    fn call(self, contract: Address) -> Call {
        let (selector, argument) = match self {
            Self::Pause => (selector!("pause"), None),
            Self::Unpause => (selector!("unpause"), None),
            Self::TransferAdmin(address) => (selector!("transfer_admin"), Some(address.0)),
            Self::AcceptAdmin => (selector!("accept_admin"), None),
            Self::SetGuardian(address) => (selector!("set_guardian"), Some(address.0)),
            Self::AnnounceUpgrade(class_hash) => (selector!("announce_upgrade"), Some(class_hash)),
            Self::CancelUpgrade => (selector!("cancel_upgrade"), None),
            Self::Upgrade => (selector!("upgrade"), None),
        };
        Call { to: contract.0, selector, calldata: argument.into_iter().collect() }
    }
}

impl Contracts {
    /// The contracts that have an admin, with their names.
    pub fn governed(&self) -> Vec<(&'static str, Address)> {
        let contracts = self.deployment.contracts().into_iter().filter(|(name, _)| *name != "Referee");
        contracts.map(|(name, contract)| (name, contract.address)).collect()
    }

    /// Does it to each of the contracts, in one transaction.
    ///
    /// # Errors
    /// Fails where the sender may not, or one of them is not in the state for it; then none is changed.
    pub async fn govern(
        &self,
        sender: &Sender,
        contracts: &[Address],
        action: Governance,
    ) -> Result<Receipt, SendError> {
        sender.execute(contracts.iter().map(|contract| action.call(*contract)).collect()).await
    }
}
