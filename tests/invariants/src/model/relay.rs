//! Calls that an account has signed, brought by a relayer and paid for by a sponsor; and the account.

use std::collections::BTreeSet;

use keeper_types::Felt;

use super::{Answered, Model, Refusal, ensure, paymaster::NOT_SPONSORED};
use crate::{
    actors::{Contract, felt_of},
    calls::{Call, Relay},
};

/// The account that is a contract, see `cairo/src/account.cairo`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    used: BTreeSet<u64>,
    /// What it does instead of what it is brought.
    pub(super) trap: Option<Box<Call>>,
}

impl Model {
    pub(super) fn relay(&mut self, caller: Felt, relay: &Relay) -> Answered {
        let Relay { sponsor, fee, account, .. } = *relay;
        self.unless_paused(Contract::Paymaster)?;
        let is_relayer = self.paymaster.relayers.contains(&(sponsor, caller));
        ensure(is_relayer, "Paymaster: caller not relayer")?;
        let terms = *self.paymaster.sponsored.get(&(sponsor, account)).ok_or(NOT_SPONSORED)?;
        ensure(!relay.calls.is_empty(), "Paymaster: no calls")?;
        ensure(relay.calls.iter().all(is_allowed), "Paymaster: call not allowed")?;
        self.spend(sponsor, account, terms, fee)?;
        self.lower_balance(sponsor, fee)?;
        self.execute_from_outside(relay)?;
        self.pay(Contract::Paymaster, caller, fee)?;
        let fields = vec![("sponsor", sponsor), ("account", account), ("relayer", caller), ("fee", fee.into())];
        self.emit(Contract::Paymaster, "Relayed", fields);
        Ok(Vec::new())
    }

    fn execute_from_outside(&mut self, relay: &Relay) -> Result<(), Refusal> {
        // Any other account is one only to the chain.
        ensure(relay.account == Contract::Account.address(), "CONTRACT_NOT_DEPLOYED")?;
        let is_meant = relay.bearer == felt_of("ANY_CALLER") || relay.bearer == Contract::Paymaster.address();
        ensure(is_meant, "Account: invalid caller")?;
        ensure(relay.execute_after < self.now.timestamp, "Account: too early")?;
        ensure(self.now.timestamp < relay.execute_before, "Account: too late")?;
        ensure(!self.account.used.contains(&relay.nonce), "Account: nonce used")?;
        ensure(relay.signature == [felt_of("signed")], "Account: not signed")?;
        self.account.used.insert(relay.nonce);
        if let Some(call) = self.account.trap.take() {
            self.call_back(relay.account, &call);
            return Ok(());
        }
        for call in &relay.calls {
            self.call(relay.account, call)?;
        }
        Ok(())
    }
}

/// What sponsors pay for.
fn is_allowed(call: &Call) -> bool {
    match call {
        Call::Approve { spender, .. } => matches!(spender, Contract::JobMgr | Contract::CdcPool),
        Call::SubmitJob(_) | Call::RegisterWorker { .. } => true,
        _ => false,
    }
}
