//! The part of the token that the market uses.

use std::collections::BTreeMap;

use keeper_types::Felt;

use super::{Model, Refusal, ensure};
use crate::{
    actors::{Actor, Contract},
    calls::Trap,
};

const INSUFFICIENT_BALANCE: Refusal = "ERC20: insufficient balance";
const INSUFFICIENT_ALLOWANCE: Refusal = "ERC20: insufficient allowance";

/// Balances and allowances, in fri.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    balances: BTreeMap<Felt, u128>,
    /// By owner and spender.
    allowances: BTreeMap<(Felt, Felt), u128>,
    /// What the next transfer does instead of its duty, or before it.
    pub(super) trap: Option<Trap>,
}

impl Token {
    pub(super) fn new(balance: u128) -> Self {
        let mut token = Self { balances: BTreeMap::new(), allowances: BTreeMap::new(), trap: None };
        for actor in Actor::ALL {
            token.balances.insert(actor.address(), balance);
            for spender in Contract::OURS {
                token.approve(actor.address(), spender.address(), balance);
            }
        }
        token
    }

    pub(crate) fn balance(&self, holder: Felt) -> u128 {
        self.balances.get(&holder).copied().unwrap_or_default()
    }

    pub(crate) fn allowance(&self, owner: Felt, spender: Felt) -> u128 {
        self.allowances.get(&(owner, spender)).copied().unwrap_or_default()
    }

    /// Whether the next transfer does more or less than its duty.
    pub(crate) fn is_armed(&self) -> bool {
        self.trap.is_some()
    }

    pub(super) fn approve(&mut self, owner: Felt, spender: Felt, amount: u128) {
        self.allowances.insert((owner, spender), amount);
    }

    fn transfer(&mut self, from: Felt, to: Felt, amount: u128) -> Result<(), Refusal> {
        let left = self.balance(from).checked_sub(amount).ok_or(INSUFFICIENT_BALANCE)?;
        self.balances.insert(from, left);
        let sum = self.balance(to) + amount;
        self.balances.insert(to, sum);
        Ok(())
    }
}

impl Model {
    /// Moves money out of a contract that holds it.
    pub(super) fn pay(&mut self, from: Contract, to: Felt, amount: u128) -> Result<(), Refusal> {
        ensure(self.spring(), transfer_failed(from))?;
        self.token.transfer(from.address(), to, amount)
    }

    /// Moves money into a contract that the owner has allowed to take it.
    pub(super) fn take(&mut self, owner: Felt, to: Contract, amount: u128) -> Result<(), Refusal> {
        ensure(self.spring(), transfer_failed(to))?;
        let allowed = self.token.allowance(owner, to.address());
        let left = allowed.checked_sub(amount).ok_or(INSUFFICIENT_ALLOWANCE)?;
        self.token.transfer(owner, to.address(), amount)?;
        self.token.approve(owner, to.address(), left);
        Ok(())
    }

    /// What the token was armed for; whether the transfer is then made.
    fn spring(&mut self) -> bool {
        match self.token.trap.take() {
            None => true,
            Some(Trap::Refuse) => false,
            Some(Trap::CallBack(call)) => {
                self.call_back(Contract::Token.address(), &call);
                true
            }
        }
    }
}

fn transfer_failed(contract: Contract) -> Refusal {
    match contract {
        Contract::JobMgr => "JobMgr: token transfer failed",
        Contract::CdcPool => "CdcPool: token transfer failed",
        Contract::TaskAllocator => "TaskAllocator: transfer failed",
        _ => "Paymaster: transfer failed",
    }
}
