//! What every contract has: an admin, a guardian, a pause and upgrades.

use keeper_types::Felt;

use super::{Answered, Model, Refusal, ensure};
use crate::{
    actors::{Actor, Contract},
    calls::Moment,
};

pub(super) const NOT_ADMIN: Refusal = "Access: caller not admin";
const NOT_ANNOUNCED: Refusal = "Upgradeable: not announced";

/// Of one contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    /// Whether the contract has it.
    pub(crate) is_embedded: bool,
    pub(crate) admin: Felt,
    pub(crate) pending_admin: Felt,
    pub(crate) guardian: Felt,
    pub(crate) is_paused: bool,
    /// The class that was announced, and when its notice ends.
    pub(crate) upgrade: Option<(Felt, Moment)>,
}

impl Default for Control {
    fn default() -> Self {
        let admin = Actor::Admin.address();
        Self {
            is_embedded: true,
            admin,
            pending_admin: Felt::ZERO,
            guardian: Felt::ZERO,
            is_paused: false,
            upgrade: None,
        }
    }
}

impl Model {
    pub(crate) fn control(&self, contract: Contract) -> &Control {
        &self.controls[position(contract)]
    }

    pub(crate) fn control_mut(&mut self, contract: Contract) -> &mut Control {
        &mut self.controls[position(contract)]
    }

    pub(super) fn only_admin(&self, caller: Felt, contract: Contract) -> Result<(), Refusal> {
        let control = self.control(contract);
        ensure(control.admin == caller, if control.is_embedded { NOT_ADMIN } else { not_admin(contract) })
    }

    pub(super) fn unless_paused(&self, contract: Contract) -> Result<(), Refusal> {
        ensure(!self.control(contract).is_paused, "Pausable: paused")
    }

    pub(super) fn transfer_admin(&mut self, caller: Felt, contract: Contract, address: Felt) -> Answered {
        self.only_admin(caller, contract)?;
        self.control_mut(contract).pending_admin = address;
        self.emit(contract, "AdminTransferStarted", vec![("previous_admin", caller), ("new_admin", address)]);
        Ok(Vec::new())
    }

    pub(super) fn accept_admin(&mut self, caller: Felt, contract: Contract) -> Answered {
        let control = self.control_mut(contract);
        ensure(control.pending_admin == caller, "Access: caller not offered")?;
        control.pending_admin = Felt::ZERO;
        let previous = std::mem::replace(&mut control.admin, caller);
        self.emit(contract, "AdminTransferred", vec![("previous_admin", previous), ("new_admin", caller)]);
        Ok(Vec::new())
    }

    pub(super) fn set_guardian(&mut self, caller: Felt, contract: Contract, address: Felt) -> Answered {
        self.only_admin(caller, contract)?;
        self.control_mut(contract).guardian = address;
        self.emit(contract, "GuardianSet", vec![("guardian", address)]);
        Ok(Vec::new())
    }

    pub(super) fn pause(&mut self, caller: Felt, contract: Contract) -> Answered {
        let control = self.control(contract);
        ensure(caller == control.admin || caller == control.guardian, "Access: caller may not pause")?;
        self.unless_paused(contract)?;
        self.control_mut(contract).is_paused = true;
        self.emit(contract, "Paused", vec![("account", caller)]);
        Ok(Vec::new())
    }

    pub(super) fn unpause(&mut self, caller: Felt, contract: Contract) -> Answered {
        self.only_admin(caller, contract)?;
        ensure(self.control(contract).is_paused, "Pausable: not paused")?;
        self.control_mut(contract).is_paused = false;
        self.emit(contract, "Unpaused", vec![("account", caller)]);
        Ok(Vec::new())
    }

    pub(super) fn announce_upgrade(&mut self, caller: Felt, contract: Contract, class_hash: Felt) -> Answered {
        self.only_admin(caller, contract)?;
        ensure(class_hash != Felt::ZERO, "Upgradeable: zero class hash")?;
        ensure(self.control(contract).upgrade.is_none(), "Upgradeable: already announced")?;
        let ready = self.now.after(self.terms.upgrade_delay_s);
        self.control_mut(contract).upgrade = Some((class_hash, ready));
        let fields =
            vec![("class_hash", class_hash), ("ready_at", ready.timestamp.into()), ("ready_block", ready.block.into())];
        self.emit(contract, "UpgradeAnnounced", fields);
        Ok(Vec::new())
    }

    pub(super) fn cancel_upgrade(&mut self, caller: Felt, contract: Contract) -> Answered {
        self.only_admin(caller, contract)?;
        let (class_hash, _) = self.control_mut(contract).upgrade.take().ok_or(NOT_ANNOUNCED)?;
        self.emit(contract, "UpgradeCancelled", vec![("class_hash", class_hash)]);
        Ok(Vec::new())
    }

    /// The announced class is always the contract's own: what a new one does is not modelled.
    pub(super) fn upgrade(&mut self, caller: Felt, contract: Contract) -> Answered {
        self.only_admin(caller, contract)?;
        let now = self.now;
        let (class_hash, ready) = self.control(contract).upgrade.ok_or(NOT_ANNOUNCED)?;
        ensure(ready.has_passed(now), "Upgradeable: notice running")?;
        self.control_mut(contract).upgrade = None;
        self.emit(contract, "Upgraded", vec![("class_hash", class_hash)]);
        Ok(Vec::new())
    }
}

fn position(contract: Contract) -> usize {
    Contract::OURS.into_iter().position(|ours| ours == contract).expect("only ours are controlled")
}

fn not_admin(contract: Contract) -> Refusal {
    match contract {
        Contract::JobMgr => "JobMgr: caller not admin",
        Contract::CdcPool => "CdcPool: caller not admin",
        _ => "TaskAllocator: not the admin",
    }
}
