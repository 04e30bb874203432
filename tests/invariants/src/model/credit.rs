//! What JobMgr owes: payouts and refunds are credited, and paid out when somebody asks for it.

use keeper_types::Felt;

use super::{Answered, Model, Refusal, ensure};
use crate::actors::Contract;

impl Model {
    pub(crate) fn credit_of(&self, account: Felt) -> u128 {
        self.job_mgr.credit.get(&account).copied().unwrap_or_default()
    }

    pub(super) fn credit(&mut self, account: Felt, amount: u128) {
        if amount != 0 {
            *self.job_mgr.credit.entry(account).or_default() += amount;
        }
    }

    pub(super) fn withdraw(&mut self, account: Felt) -> Answered {
        let amount = self.credit_of(account);
        ensure(amount != 0, "JobMgr: no credit")?;
        self.job_mgr.credit.remove(&account);
        self.pay(Contract::JobMgr, account, amount)?;
        self.emit(Contract::JobMgr, "CreditWithdrawn", vec![("account", account), ("amount", amount.into())]);
        Ok(vec![amount.into()])
    }

    /// Takes money from an account: what it is owed first, the rest from its balance.
    pub(super) fn charge(&mut self, account: Felt, amount: u128) -> Result<(), Refusal> {
        let owed = self.credit_of(account);
        let spent = owed.min(amount);
        if spent > 0 {
            self.job_mgr.credit.insert(account, owed - spent);
            self.emit(Contract::JobMgr, "CreditSpent", vec![("account", account), ("amount", spent.into())]);
        }
        if amount > spent {
            self.take(account, Contract::JobMgr, amount - spent)?;
        }
        Ok(())
    }
}
