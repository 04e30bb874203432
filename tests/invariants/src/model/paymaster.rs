//! Balances that others may spend within limits, as `paymaster/interface.cairo` has it.

use std::collections::{BTreeMap, BTreeSet};

use keeper_types::Felt;

use super::{Answered, Model, Refusal, ensure};
use crate::actors::Contract;

const ZERO_ADDRESS: Refusal = "Paymaster: zero address";
const ZERO_AMOUNT: Refusal = "Paymaster: zero amount";
pub(super) const NOT_SPONSORED: Refusal = "Paymaster: not sponsored";
const DAY_S: u64 = 86_400;

#[derive(Clone, Debug, Default)]
pub(crate) struct Paymaster {
    /// Fri, without zeros.
    balances: BTreeMap<Felt, u128>,
    /// What is left of a cap, by client and gateway.
    caps: BTreeMap<(Felt, Felt), u128>,
    /// Terms by sponsor and account.
    pub(crate) sponsored: BTreeMap<(Felt, Felt), Sponsorship>,
    /// Fri by sponsor, account and day.
    spent: BTreeMap<(Felt, Felt, u64), u128>,
    /// By sponsor and relayer.
    pub(crate) relayers: BTreeSet<(Felt, Felt)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sponsorship {
    pub(crate) budget: u128,
    pub(crate) max_fee: u128,
}

impl Model {
    pub(crate) fn balance_at_paymaster(&self, account: Felt) -> u128 {
        self.paymaster.balances.get(&account).copied().unwrap_or_default()
    }

    pub(crate) fn gateway_allowance(&self, client: Felt, gateway: Felt) -> u128 {
        self.paymaster.caps.get(&(client, gateway)).copied().unwrap_or_default()
    }

    pub(super) fn lower_balance(&mut self, account: Felt, amount: u128) -> Result<(), Refusal> {
        let balance = self.balance_at_paymaster(account);
        let left = balance.checked_sub(amount).ok_or("Paymaster: balance too low")?;
        self.paymaster.balances.insert(account, left);
        Ok(())
    }

    pub(super) fn deposit(&mut self, caller: Felt, account: Felt, amount: u128) -> Answered {
        self.unless_paused(Contract::Paymaster)?;
        ensure(account != Felt::ZERO, ZERO_ADDRESS)?;
        ensure(amount != 0, ZERO_AMOUNT)?;
        let sum = self.balance_at_paymaster(account).checked_add(amount).ok_or("u128_add Overflow")?;
        self.paymaster.balances.insert(account, sum);
        self.take(caller, Contract::Paymaster, amount)?;
        let fields = vec![("account", account), ("payer", caller), ("amount", amount.into())];
        self.emit(Contract::Paymaster, "Deposited", fields);
        Ok(Vec::new())
    }

    pub(super) fn withdraw_balance(&mut self, caller: Felt, amount: u128) -> Answered {
        ensure(amount != 0, ZERO_AMOUNT)?;
        self.lower_balance(caller, amount)?;
        self.pay(Contract::Paymaster, caller, amount)?;
        self.emit(Contract::Paymaster, "Withdrawn", vec![("account", caller), ("amount", amount.into())]);
        Ok(Vec::new())
    }

    pub(super) fn authorise_gateway(&mut self, caller: Felt, gateway: Felt, cap: u128) -> Answered {
        self.unless_paused(Contract::Paymaster)?;
        ensure(gateway != Felt::ZERO, ZERO_ADDRESS)?;
        ensure(cap != 0, "Paymaster: zero cap")?;
        self.paymaster.caps.insert((caller, gateway), cap);
        let fields = vec![("client", caller), ("gateway", gateway), ("cap", cap.into())];
        self.emit(Contract::Paymaster, "GatewayAuthorised", fields);
        Ok(Vec::new())
    }

    pub(super) fn revoke_gateway(&mut self, caller: Felt, gateway: Felt) -> Answered {
        self.paymaster.caps.remove(&(caller, gateway));
        self.emit(Contract::Paymaster, "GatewayRevoked", vec![("client", caller), ("gateway", gateway)]);
        Ok(Vec::new())
    }

    pub(super) fn draw_escrow(&mut self, caller: Felt, client: Felt, gateway: Felt, amount: u128) -> Answered {
        self.unless_paused(Contract::Paymaster)?;
        ensure(caller == Contract::JobMgr.address(), "Paymaster: not the job manager")?;
        let cap = self.gateway_allowance(client, gateway);
        ensure(cap >= amount, "Paymaster: cap too low")?;
        self.paymaster.caps.insert((client, gateway), cap - amount);
        self.lower_balance(client, amount)?;
        self.pay(Contract::Paymaster, caller, amount)?;
        let fields = vec![("client", client), ("gateway", gateway), ("amount", amount.into())];
        self.emit(Contract::Paymaster, "EscrowDrawn", fields);
        Ok(Vec::new())
    }

    pub(super) fn sponsor_account(&mut self, caller: Felt, account: Felt, budget: u128, max_fee: u128) -> Answered {
        self.unless_paused(Contract::Paymaster)?;
        ensure(account != Felt::ZERO, ZERO_ADDRESS)?;
        ensure(budget != 0, "Paymaster: zero budget")?;
        ensure(max_fee != 0 && max_fee <= budget, "Paymaster: bad max fee")?;
        self.paymaster.sponsored.insert((caller, account), Sponsorship { budget, max_fee });
        let fields = vec![
            ("sponsor", caller),
            ("account", account),
            ("budget_per_epoch", budget.into()),
            ("max_fee", max_fee.into()),
        ];
        self.emit(Contract::Paymaster, "AccountSponsored", fields);
        Ok(Vec::new())
    }

    pub(super) fn stop_sponsoring(&mut self, caller: Felt, account: Felt) -> Answered {
        ensure(self.paymaster.sponsored.remove(&(caller, account)).is_some(), NOT_SPONSORED)?;
        self.emit(Contract::Paymaster, "SponsoringStopped", vec![("sponsor", caller), ("account", account)]);
        Ok(Vec::new())
    }

    pub(super) fn authorise_relayer(&mut self, caller: Felt, relayer: Felt) -> Answered {
        self.unless_paused(Contract::Paymaster)?;
        ensure(relayer != Felt::ZERO, ZERO_ADDRESS)?;
        ensure(self.paymaster.relayers.insert((caller, relayer)), "Paymaster: already a relayer")?;
        self.emit(Contract::Paymaster, "RelayerAuthorised", vec![("sponsor", caller), ("relayer", relayer)]);
        Ok(Vec::new())
    }

    pub(super) fn revoke_relayer(&mut self, caller: Felt, relayer: Felt) -> Answered {
        ensure(self.paymaster.relayers.remove(&(caller, relayer)), "Paymaster: unknown relayer")?;
        self.emit(Contract::Paymaster, "RelayerRevoked", vec![("sponsor", caller), ("relayer", relayer)]);
        Ok(Vec::new())
    }

    /// The day, and what was spent in it.
    pub(crate) fn spent_today(&self, sponsor: Felt, account: Felt) -> (u64, u128) {
        let day = self.now.timestamp / DAY_S;
        (day, self.paymaster.spent.get(&(sponsor, account, day)).copied().unwrap_or_default())
    }

    pub(super) fn spend(&mut self, sponsor: Felt, account: Felt, terms: Sponsorship, fee: u128) -> Result<(), Refusal> {
        ensure(fee <= terms.max_fee, "Paymaster: fee too high")?;
        let (day, spent) = self.spent_today(sponsor, account);
        let sum = spent.checked_add(fee).filter(|sum| *sum <= terms.budget).ok_or("Paymaster: budget spent")?;
        self.paymaster.spent.insert((sponsor, account, day), sum);
        Ok(())
    }
}
