//! What the contracts' admin does.

use cainome::cairo_serde::ContractAddress;
use keeper_types::{Address, PolicyId, WorkerId};

use crate::{Contracts, Receipt, SendError, Sender};

impl Contracts {
    /// Lets an account apply rounds.
    ///
    /// # Errors
    /// Fails where the sender is not the admin, the account may already, or has yet to take its bond back.
    pub async fn add_keeper(&self, sender: &Sender, keeper: Address) -> Result<Receipt, SendError> {
        let contract = self.task_allocator(sender);
        sender.execute(vec![contract.add_keeper_getcall(&ContractAddress(keeper.0))]).await
    }

    /// Takes that right away.
    ///
    /// # Errors
    /// Fails where the sender is not the admin, or the account has not got it.
    pub async fn remove_keeper(&self, sender: &Sender, keeper: Address) -> Result<Receipt, SendError> {
        let contract = self.task_allocator(sender);
        sender.execute(vec![contract.remove_keeper_getcall(&ContractAddress(keeper.0))]).await
    }

    /// Announces a policy, which rounds may name after the contract's delay.
    ///
    /// # Errors
    /// Fails where the sender is not the admin, or the policy was announced before.
    pub async fn announce_policy(&self, sender: &Sender, policy_id: PolicyId) -> Result<Receipt, SendError> {
        sender.execute(vec![self.task_allocator(sender).announce_policy_getcall(&policy_id.0)]).await
    }

    /// Takes a policy back, at once and for good.
    ///
    /// # Errors
    /// Fails where the sender is not the admin, or the policy is not announced.
    pub async fn retire_policy(&self, sender: &Sender, policy_id: PolicyId) -> Result<Receipt, SendError> {
        sender.execute(vec![self.task_allocator(sender).retire_policy_getcall(&policy_id.0)]).await
    }

    /// Admits a worker to the static ones, or dismisses it from them.
    ///
    /// # Errors
    /// Fails where the sender is not the admin, or the worker is admitted, or not, already.
    pub async fn set_static(&self, sender: &Sender, worker_id: WorkerId, admitted: bool) -> Result<Receipt, SendError> {
        let pool = self.cdc_pool(sender);
        let call =
            if admitted { pool.admit_worker_getcall(&worker_id.0) } else { pool.dismiss_worker_getcall(&worker_id.0) };
        sender.execute(vec![call]).await
    }
}
