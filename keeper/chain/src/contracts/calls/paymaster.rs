//! What clients, sponsors and relayers do with the Paymaster.

use cainome::cairo_serde::ContractAddress;
use keeper_bindings::paymaster::Paymaster;
use keeper_types::{Address, Capabilities, Felt, Fri, JobId, JobSpec, Rate};
use starknet::{core::types::Call, macros::selector};

use crate::{Contracts, NamedCall, Receipt, SendError, Sender, SponsoredCalls, convert, sender::Wallet};

impl Contracts {
    /// Adds to an account's balance with the Paymaster: the approval and the payment, in one transaction.
    ///
    /// # Errors
    /// Fails where the sender cannot pay.
    pub async fn deposit(&self, sender: &Sender, account: Address, amount: Fri) -> Result<Receipt, SendError> {
        let paymaster = self.paymaster(sender)?;
        let deposit = paymaster.deposit_getcall(&ContractAddress(account.0), &amount.0);
        sender.execute(vec![self.approve(Address(paymaster.address), amount), deposit]).await
    }

    /// Takes from the sender's balance with the Paymaster.
    ///
    /// # Errors
    /// Fails where it is lower.
    pub async fn withdraw_deposit(&self, sender: &Sender, amount: Fri) -> Result<Receipt, SendError> {
        sender.execute(vec![self.paymaster(sender)?.withdraw_getcall(&amount.0)]).await
    }

    /// Lets a gateway submit jobs out of the sender's balance, up to `cap` from now on; no cap revokes it.
    ///
    /// # Errors
    /// Fails where the contract is paused.
    pub async fn set_gateway(&self, sender: &Sender, gateway: Address, cap: Option<Fri>) -> Result<Receipt, SendError> {
        let (paymaster, gateway) = (self.paymaster(sender)?, ContractAddress(gateway.0));
        let call = match cap {
            Some(cap) => paymaster.authorise_gateway_getcall(&gateway, &cap.0),
            None => paymaster.revoke_gateway_getcall(&gateway),
        };
        sender.execute(vec![call]).await
    }

    /// Pays for what the sender's relayers execute for an account: each time up to the second amount, each day up to the
    /// first. No terms stop it.
    ///
    /// # Errors
    /// Fails where there is nothing to stop, or an amount is 0.
    pub async fn set_sponsorship(
        &self,
        sender: &Sender,
        account: Address,
        terms: Option<(Fri, Fri)>,
    ) -> Result<Receipt, SendError> {
        let (paymaster, account) = (self.paymaster(sender)?, ContractAddress(account.0));
        let call = match terms {
            Some((budget, max_fee)) => paymaster.sponsor_account_getcall(&account, &budget.0, &max_fee.0),
            None => paymaster.stop_sponsoring_getcall(&account),
        };
        sender.execute(vec![call]).await
    }

    /// Lets a relayer charge fees to the sender within its terms, or no longer.
    ///
    /// # Errors
    /// Fails where that is so already.
    pub async fn set_relayer(&self, sender: &Sender, relayer: Address, allowed: bool) -> Result<Receipt, SendError> {
        let (paymaster, relayer) = (self.paymaster(sender)?, ContractAddress(relayer.0));
        let call = if allowed {
            paymaster.authorise_relayer_getcall(&relayer)
        } else {
            paymaster.revoke_relayer_getcall(&relayer)
        };
        sender.execute(vec![call]).await
    }

    /// Has signed calls executed, for a fee out of the sponsor's balance.
    ///
    /// # Errors
    /// Fails where the sender is no relayer of the sponsor, the terms do not allow it, or the account refuses the calls.
    pub async fn relay(
        &self,
        sender: &Sender,
        sponsor: Address,
        fee: Fri,
        signed: &SponsoredCalls,
    ) -> Result<Receipt, SendError> {
        let paymaster = self.paymaster(sender)?;
        let arguments = signed.relay_arguments().map_err(|error| SendError::Signing(error.to_string()))?;
        let mut calldata = vec![sponsor.0, Felt::from(fee.0)];
        calldata.extend(arguments);
        sender.execute(vec![Call { to: paymaster.address, selector: selector!("relay"), calldata }]).await
    }

    /// Submits jobs for a client that made the sender its gateway, in one transaction; the numbers are as of
    /// [`Contracts::submit_jobs`].
    ///
    /// # Errors
    /// Fails where it did not, or not for so much.
    pub async fn submit_jobs_for(
        &self,
        sender: &Sender,
        client: Address,
        specs: &[JobSpec],
    ) -> Result<(Vec<JobId>, Receipt), SendError> {
        let (contract, client) = (self.job_mgr(sender), ContractAddress(client.0));
        let submit = |spec: &JobSpec| contract.submit_job_for_getcall(&client, &convert::job_spec_to_chain(spec));
        let receipt = sender.execute(specs.iter().map(submit).collect()).await?;
        self.submitted(specs, receipt)
    }

    /// The calls that register the sender's account as a worker, to be signed by it and sent by somebody else.
    pub fn registration_calls(
        &self,
        sender: &Sender,
        capabilities: &Capabilities,
        slots: u8,
        rate: Rate,
        stake: Fri,
    ) -> Vec<NamedCall> {
        let capabilities = convert::capabilities_to_chain(capabilities);
        let register = self.cdc_pool(sender).register_worker_getcall(&capabilities, &slots, &rate.0, &stake.0);
        vec![self.named_approval(Address(register.to), stake), named("register_worker", register)]
    }

    /// The calls that submit jobs, to be signed by the sender's account and sent by somebody else.
    ///
    /// # Errors
    /// Fails where the escrow exceeds 128 bits.
    pub fn submission_calls(&self, sender: &Sender, specs: &[JobSpec]) -> Result<Vec<NamedCall>, SendError> {
        let contract = self.job_mgr(sender);
        let mut calls = vec![self.named_approval(self.deployment.job_mgr.address, super::escrow(specs)?)];
        let submissions = specs.iter().map(|spec| contract.submit_job_getcall(&convert::job_spec_to_chain(spec)));
        calls.extend(submissions.map(|call| named("submit_job", call)));
        Ok(calls)
    }

    fn named_approval(&self, spender: Address, amount: Fri) -> NamedCall {
        named("approve", self.approve(spender, amount))
    }

    fn paymaster<'a>(&self, sender: &'a Sender) -> Result<Paymaster<&'a Wallet>, SendError> {
        let deployed = self.deployment.paymaster;
        let deployed = deployed.ok_or_else(|| SendError::Signing("no paymaster is deployed".to_owned()))?;
        Ok(Paymaster::new(deployed.address.0, &sender.wallet))
    }
}

fn named(function: &str, call: Call) -> NamedCall {
    NamedCall { to: Address(call.to), function: function.to_owned(), calldata: call.calldata }
}
