//! Keepers with their bonds, and the policies that they decide by.

use keeper_types::Felt;

use super::{Answered, Model, Refusal, ensure};
use crate::{actors::Contract, calls::Moment};

const NOT_ADMITTED: Refusal = "TaskAllocator: not admitted";
const STILL_BONDED: Refusal = "TaskAllocator: still bonded";
const UNKNOWN_POLICY: Refusal = "TaskAllocator: unknown policy";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keeper {
    pub(crate) is_admitted: bool,
    /// Fri.
    pub(crate) bond: u128,
    pub(crate) last_round: u64,
    /// When its bond is free, of one that has left or was removed.
    pub(crate) leaves: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) active_from: Moment,
    pub(crate) is_retired: bool,
}

impl Policy {
    /// Whether rounds may name it.
    pub(crate) fn is_usable(&self, now: Moment) -> bool {
        !self.is_retired && self.active_from.is_reached(now)
    }
}

impl Model {
    pub(crate) fn keeper(&self, address: Felt) -> Keeper {
        self.task_allocator.keepers.get(&address).copied().unwrap_or_default()
    }

    pub(crate) fn is_keeper(&self, address: Felt) -> bool {
        let keeper = self.keeper(address);
        keeper.is_admitted && keeper.bond >= self.terms.min_keeper_bond
    }

    pub(super) fn add_keeper(&mut self, caller: Felt, address: Felt) -> Answered {
        self.only_admin(caller, Contract::TaskAllocator)?;
        ensure(address != Felt::ZERO, "TaskAllocator: zero address")?;
        ensure(!self.keeper(address).is_admitted, "TaskAllocator: already keeper")?;
        ensure(self.keeper(address).bond == 0, STILL_BONDED)?;
        let keeper = self.task_allocator.keepers.entry(address).or_default();
        keeper.is_admitted = true;
        keeper.leaves = None;
        self.emit(Contract::TaskAllocator, "KeeperAdded", vec![("keeper", address)]);
        Ok(Vec::new())
    }

    pub(super) fn remove_keeper(&mut self, caller: Felt, address: Felt) -> Answered {
        self.only_admin(caller, Contract::TaskAllocator)?;
        ensure(self.keeper(address).is_admitted, "TaskAllocator: unknown keeper")?;
        self.dismiss(address);
        self.emit(Contract::TaskAllocator, "KeeperRemoved", vec![("keeper", address)]);
        Ok(Vec::new())
    }

    /// Ends an admission, and returns when the bond is free.
    fn dismiss(&mut self, address: Felt) -> Moment {
        let leaves = self.now.after(self.terms.policy_delay_s);
        let keeper = self.task_allocator.keepers.get_mut(&address).expect("it is admitted");
        keeper.is_admitted = false;
        keeper.leaves = Some(leaves);
        leaves
    }

    pub(super) fn post_bond(&mut self, caller: Felt, amount: u128) -> Answered {
        self.unless_paused(Contract::TaskAllocator)?;
        ensure(self.keeper(caller).is_admitted, NOT_ADMITTED)?;
        ensure(amount != 0, "TaskAllocator: zero amount")?;
        let bond = self.keeper(caller).bond.checked_add(amount).ok_or("u128_add Overflow")?;
        let keeper = self.task_allocator.keepers.get_mut(&caller).expect("it is admitted");
        keeper.bond = bond;
        self.take(caller, Contract::TaskAllocator, amount)?;
        let fields = vec![("keeper", caller), ("amount", amount.into()), ("bond", bond.into())];
        self.emit(Contract::TaskAllocator, "BondPosted", fields);
        Ok(Vec::new())
    }

    pub(super) fn leave(&mut self, caller: Felt) -> Answered {
        ensure(self.keeper(caller).is_admitted, NOT_ADMITTED)?;
        let leaves = self.dismiss(caller);
        let fields =
            vec![("keeper", caller), ("leaves_at", leaves.timestamp.into()), ("leaves_block", leaves.block.into())];
        self.emit(Contract::TaskAllocator, "KeeperLeft", fields);
        Ok(Vec::new())
    }

    pub(super) fn withdraw_bond(&mut self, caller: Felt) -> Answered {
        let keeper = self.keeper(caller);
        ensure(keeper.bond != 0, "TaskAllocator: no bond")?;
        let is_free = !keeper.is_admitted && keeper.leaves.is_some_and(|leaves| leaves.has_passed(self.now));
        ensure(is_free, STILL_BONDED)?;
        self.task_allocator.keepers.insert(caller, Keeper { bond: 0, ..keeper });
        self.pay(Contract::TaskAllocator, caller, keeper.bond)?;
        let fields = vec![("keeper", caller), ("amount", keeper.bond.into())];
        self.emit(Contract::TaskAllocator, "BondWithdrawn", fields);
        Ok(Vec::new())
    }

    pub(super) fn announce_policy(&mut self, caller: Felt, policy_id: Felt) -> Answered {
        self.only_admin(caller, Contract::TaskAllocator)?;
        ensure(policy_id != Felt::ZERO, "TaskAllocator: zero policy")?;
        ensure(!self.task_allocator.policies.contains_key(&policy_id), "TaskAllocator: announced before")?;
        let active_from = self.now.after(self.terms.policy_delay_s);
        self.task_allocator.policies.insert(policy_id, Policy { active_from, is_retired: false });
        let fields = vec![
            ("policy_id", policy_id),
            ("active_from", active_from.timestamp.into()),
            ("active_from_block", active_from.block.into()),
        ];
        self.emit(Contract::TaskAllocator, "PolicyAnnounced", fields);
        Ok(Vec::new())
    }

    pub(super) fn retire_policy(&mut self, caller: Felt, policy_id: Felt) -> Answered {
        self.only_admin(caller, Contract::TaskAllocator)?;
        let policy = self.task_allocator.policies.get_mut(&policy_id).ok_or(UNKNOWN_POLICY)?;
        ensure(!policy.is_retired, "TaskAllocator: retired before")?;
        policy.is_retired = true;
        self.emit(Contract::TaskAllocator, "PolicyRetired", vec![("policy_id", policy_id)]);
        Ok(Vec::new())
    }

    /// Whether rounds may name the policy.
    pub(super) fn check_policy(&self, policy_id: Felt) -> Result<(), Refusal> {
        let policy = self.task_allocator.policies.get(&policy_id).ok_or(UNKNOWN_POLICY)?;
        ensure(policy.is_usable(self.now), "TaskAllocator: policy inactive")
    }
}
