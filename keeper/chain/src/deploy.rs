//! Declaring, deploying and wiring the contracts.
//!
//! Every step asks the chain first and does only what is missing, so an interrupted deployment is finished by
//! running it again. Addresses follow from the classes and the constructor's arguments: the same deployment
//! from the same account always lands at the same addresses.

use std::{collections::BTreeMap, sync::Arc};

use cainome::cairo_serde::ContractAddress;
use keeper_bindings::{
    cdc_pool::{CdcPool, CdcPoolReader},
    job_mgr::{JobMgr, JobMgrReader},
    task_allocator::{TaskAllocator, TaskAllocatorReader},
};
use keeper_types::{Address, Felt, Fri, PolicyId};
use starknet::{
    accounts::{Account as _, AccountError},
    core::types::{BlockId, BlockTag, EventFilter, StarknetError, contract::SierraClass},
    providers::{Provider as _, ProviderError},
};

use crate::{
    Deployment, Rpc, RpcError, SendError, Sender,
    contracts::{STRK_TOKEN, approval},
    rpc::{Client, describe},
};

mod classes;
mod terms;

use classes::{BuiltInClass, CDC_POOL, CLASSES, JOB_MGR, PAYMASTER, Planned, REFEREE, TASK_ALLOCATOR};
pub use classes::{ClassHashes, built_in_class};
pub use terms::DeploymentTerms;

const PRE_CONFIRMED: BlockId = BlockId::Tag(BlockTag::PreConfirmed);

/// Why the contracts could not be deployed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// A transaction failed.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The node did not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// A class built into this program cannot be used.
    #[error("the built-in class {name} cannot be used: {reason}")]
    Class {
        /// Which.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// Declaring was refused.
    #[error("declaring {name} failed: {reason}")]
    Declare {
        /// Which.
        name: &'static str,
        /// The node's words.
        reason: String,
    },
    /// The contracts at these addresses belong together with others.
    #[error("{contract} at {address} is wired to {found}, not to {expected}: deploy anew with another --salt")]
    Wired {
        /// Which.
        contract: &'static str,
        /// Its address.
        address: Address,
        /// What it is wired to.
        found: Address,
        /// What it should be.
        expected: Address,
    },
}

/// Declares, deploys and wires what is missing; `progress` is told each step.
#[derive(Debug)]
pub struct Deployer<'a> {
    sender: &'a Sender,
    rpc: &'a Rpc,
    terms: DeploymentTerms,
}

impl<'a> Deployer<'a> {
    /// A deployer that sends from `sender`, which becomes the contracts' admin.
    pub fn new(sender: &'a Sender, terms: DeploymentTerms) -> Self {
        Self { sender, rpc: sender.rpc(), terms }
    }

    /// Where JobMgr will stand, or stands already.
    ///
    /// # Errors
    /// Fails where a built-in class cannot be used.
    pub fn job_mgr_address(&self) -> Result<Address, DeployError> {
        Ok(Plan::new(self.sender.address(), &self.terms)?.job_mgr.address)
    }

    /// Whether a contract stands at `address`.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn is_deployed(&self, address: Address) -> Result<bool, RpcError> {
        match self.rpc.client.get_class_hash_at(PRE_CONFIRMED, address.0).await {
            Ok(_) => Ok(true),
            Err(ProviderError::StarknetError(StarknetError::ContractNotFound)) => Ok(false),
            Err(error) => Err(self.rpc.error("a contract's class", &error)),
        }
    }

    /// Does what is missing and returns where everything stands. `keepers` may apply rounds afterwards, by one of
    /// `policies`, once they have posted their bonds; where the sender is one of them, that is done too.
    ///
    /// # Errors
    /// See [`DeployError`]. What was done stays done, and is not done again.
    pub async fn run(
        &self,
        keepers: &[Address],
        policies: &[PolicyId],
        progress: &mut dyn FnMut(&str),
    ) -> Result<Deployment, DeployError> {
        for class in CLASSES {
            self.declare(class, progress).await?;
        }
        let before = self.rpc.client.block_number().await;
        let before = before.map_err(|error| self.rpc.error("the newest block", &error))?;
        let plan = Plan::new(self.sender.address(), &self.terms)?;
        let deployed = self.deploy(&plan, progress).await?;
        self.wire(&plan, progress).await?;
        self.admit(&plan, keepers, policies, progress).await?;
        let block = if deployed { before } else { self.first_event(&plan).await?.unwrap_or(before) };
        Ok(Deployment {
            network: self.rpc.network,
            token: STRK_TOKEN,
            job_mgr: plan.job_mgr.deployed(),
            cdc_pool: plan.cdc_pool.deployed(),
            task_allocator: plan.task_allocator.deployed(),
            paymaster: Some(plan.paymaster.deployed()),
            referee: Some(plan.referee.deployed()),
            block: keeper_types::BlockNumber(block),
            admin: self.sender.address(),
            commit: None,
        })
    }

    async fn declare(&self, class: &BuiltInClass, progress: &mut dyn FnMut(&str)) -> Result<(), DeployError> {
        let hashes = class.hashes()?;
        match self.rpc.client.get_class(PRE_CONFIRMED, hashes.class_hash).await {
            Ok(_) => {
                progress(&format!("{} is declared", class.name));
                return Ok(());
            }
            Err(ProviderError::StarknetError(StarknetError::ClassHashNotFound)) => {}
            Err(error) => return Err(self.rpc.error("a class", &error).into()),
        }
        progress(&format!("declaring {}", class.name));
        let wrong = |reason: String| DeployError::Class { name: class.name, reason };
        let sierra: SierraClass = serde_json::from_str(class.text).map_err(|error| wrong(error.to_string()))?;
        let flat = sierra.flatten().map_err(|error| wrong(error.to_string()))?;
        if flat.class_hash() != hashes.class_hash {
            return Err(wrong("its hash is not the one in the manifest".to_owned()));
        }
        let nonce = Felt::from(self.sender.nonce().await?);
        let declaration = self.sender.wallet.declare_v3(Arc::new(flat), hashes.compiled_class_hash).nonce(nonce).tip(0);
        match declaration.send().await {
            Ok(sent) => {
                self.sender.receipt(keeper_types::TxHash(sent.transaction_hash)).await?;
                Ok(())
            }
            Err(AccountError::Provider(ProviderError::StarknetError(StarknetError::ClassAlreadyDeclared))) => Ok(()),
            Err(AccountError::Provider(ProviderError::StarknetError(
                StarknetError::InsufficientAccountBalance | StarknetError::InsufficientResourcesForValidate,
            ))) => {
                let reason = "its balance does not cover the fee".to_owned();
                Err(SendError::Unfunded { account: self.sender.address(), reason }.into())
            }
            Err(AccountError::Provider(ProviderError::StarknetError(error))) => {
                Err(DeployError::Declare { name: class.name, reason: describe(&error) })
            }
            Err(error) => Err(DeployError::Declare { name: class.name, reason: error.to_string() }),
        }
    }

    /// Deploys what is missing, and says whether that was anything.
    async fn deploy(&self, plan: &Plan, progress: &mut dyn FnMut(&str)) -> Result<bool, DeployError> {
        let mut calls = Vec::new();
        for contract in plan.contracts() {
            if self.is_deployed(contract.address).await? {
                progress(&format!("{} stands at {}", contract.name, contract.address));
            } else {
                progress(&format!("deploying {} to {}", contract.name, contract.address));
                calls.push(contract.call(self.terms.salt));
            }
        }
        let deployed = !calls.is_empty();
        if deployed {
            self.sender.execute(calls).await?;
        }
        Ok(deployed)
    }

    /// The block of the contracts' first event, which wiring them emits: where following them has to begin.
    async fn first_event(&self, plan: &Plan) -> Result<Option<u64>, DeployError> {
        let mut first: Option<u64> = None;
        for contract in plan.contracts() {
            let filter = EventFilter {
                from_block: Some(BlockId::Number(0)),
                to_block: Some(BlockId::Tag(BlockTag::Latest)),
                address: Some(contract.address.0),
                keys: None,
            };
            let page = self.rpc.client.get_events(filter, None, 1).await;
            let page = page.map_err(|error| self.rpc.error("the contracts' first event", &error))?;
            let block = page.events.first().and_then(|event| event.block_number);
            first = [first, block].into_iter().flatten().min();
        }
        Ok(first)
    }

    /// Tells the contracts of each other, each once.
    async fn wire(&self, plan: &Plan, progress: &mut dyn FnMut(&str)) -> Result<(), DeployError> {
        let mut calls = Vec::new();
        let [pool, manager, allocator, paymaster, referee] = plan.contracts().map(|contract| contract.address);

        let reader: CdcPoolReader<&Client> = CdcPoolReader::new(pool.0, &self.rpc.client);
        let config = reader.get_config().block_id(PRE_CONFIRMED).call().await.map_err(|error| unreadable(&error))?;
        let contract = CdcPool::new(pool.0, &self.sender.wallet);
        if needs_wiring("CdcPool", pool, config.job_mgr, manager)? {
            calls.push(contract.set_job_mgr_getcall(&ContractAddress(manager.0)));
        }
        if needs_wiring("CdcPool", pool, config.task_allocator, allocator)? {
            calls.push(contract.set_task_allocator_getcall(&ContractAddress(allocator.0)));
        }
        let reader: JobMgrReader<&Client> = JobMgrReader::new(manager.0, &self.rpc.client);
        let config = reader.get_config().block_id(PRE_CONFIRMED).call().await.map_err(|error| unreadable(&error))?;
        let contract = JobMgr::new(manager.0, &self.sender.wallet);
        if needs_wiring("JobMgr", manager, config.task_allocator, allocator)? {
            calls.push(contract.set_task_allocator_getcall(&ContractAddress(allocator.0)));
        }
        if needs_wiring("JobMgr", manager, config.paymaster, paymaster)? {
            calls.push(contract.set_paymaster_getcall(&ContractAddress(paymaster.0)));
        }
        if needs_wiring("JobMgr", manager, config.referee, referee)? {
            calls.push(contract.set_referee_getcall(&ContractAddress(referee.0)));
        }
        if !calls.is_empty() {
            progress("wiring the contracts");
            self.sender.execute(calls).await?;
        }
        Ok(())
    }

    /// Announces policies and admits keepers, where that was not done.
    async fn admit(
        &self,
        plan: &Plan,
        keepers: &[Address],
        policies: &[PolicyId],
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), DeployError> {
        let allocator = plan.task_allocator.address;
        let reader: TaskAllocatorReader<&Client> = TaskAllocatorReader::new(allocator.0, &self.rpc.client);
        let contract = TaskAllocator::new(allocator.0, &self.sender.wallet);
        let mut calls = Vec::new();
        for policy_id in policies {
            let known = reader.get_policy(&policy_id.0).block_id(PRE_CONFIRMED).call().await;
            if known.map_err(|error| unreadable(&error))?.active_from == 0 {
                calls.push(contract.announce_policy_getcall(&policy_id.0));
            }
        }
        for keeper in keepers {
            let known = reader.get_keeper(&ContractAddress(keeper.0)).block_id(PRE_CONFIRMED).call().await;
            let known = known.map_err(|error| unreadable(&error))?;
            if !known.is_admitted {
                calls.push(contract.add_keeper_getcall(&ContractAddress(keeper.0)));
            }
            let missing = self.terms.min_keeper_bond.0.saturating_sub(known.bond);
            if *keeper == self.sender.address() && missing > 0 {
                calls.push(approval(allocator, Fri(missing)));
                calls.push(contract.post_bond_getcall(&missing));
            }
        }
        if !calls.is_empty() {
            progress("announcing the policy and admitting the keepers");
            self.sender.execute(calls).await?;
        }
        Ok(())
    }
}

fn unreadable(error: &cainome::cairo_serde::Error) -> RpcError {
    RpcError::Malformed { request: "the contracts' configuration", reason: error.to_string() }
}

fn needs_wiring(
    contract: &'static str,
    address: Address,
    found: ContractAddress,
    expected: Address,
) -> Result<bool, DeployError> {
    let found = Address(found.0);
    if found == expected {
        return Ok(false);
    }
    if found.0 == Felt::ZERO {
        return Ok(true);
    }
    Err(DeployError::Wired { contract, address, found, expected })
}

/// Which contracts stand where.
struct Plan {
    cdc_pool: Planned,
    job_mgr: Planned,
    task_allocator: Planned,
    paymaster: Planned,
    referee: Planned,
}

impl Plan {
    /// Each contract's constructor is given what it asks for by name, the addresses of those before it included.
    fn new(admin: Address, terms: &DeploymentTerms) -> Result<Self, DeployError> {
        let salt = terms.salt;
        let mut values = BTreeMap::from([
            ("admin", admin.0),
            ("token", STRK_TOKEN.0),
            ("min_stake_per_slot", Felt::from(terms.min_stake_per_slot.0)),
            ("unbonding_s", Felt::from(terms.unbonding_s)),
            ("challenge_window_s", Felt::from(terms.challenge_window_s)),
            ("dispute_window_s", Felt::from(terms.dispute_window_s)),
            ("min_keeper_bond", Felt::from(terms.min_keeper_bond.0)),
            ("policy_delay_s", Felt::from(terms.policy_delay_s)),
            ("upgrade_delay_s", Felt::from(terms.upgrade_delay_s)),
        ]);
        let cdc_pool = Planned::new(&CDC_POOL, salt, &values)?;
        values.insert("cdc_pool", cdc_pool.address.0);
        let job_mgr = Planned::new(&JOB_MGR, salt, &values)?;
        values.insert("job_mgr", job_mgr.address.0);
        let task_allocator = Planned::new(&TASK_ALLOCATOR, salt, &values)?;
        let paymaster = Planned::new(&PAYMASTER, salt, &values)?;
        let referee = Planned::new(&REFEREE, salt, &values)?;
        Ok(Self { cdc_pool, job_mgr, task_allocator, paymaster, referee })
    }

    fn contracts(&self) -> [&Planned; 5] {
        [&self.cdc_pool, &self.job_mgr, &self.task_allocator, &self.paymaster, &self.referee]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;

    #[test]
    fn addresses_follow_from_the_terms_and_the_admin() {
        let terms = DeploymentTerms::of(Network::Devnet);
        let plan = |admin: u64, terms: &DeploymentTerms| Plan::new(Address(Felt::from(admin)), terms).unwrap();
        let first = plan(1, &terms);
        assert_eq!(first.job_mgr.address, plan(1, &terms).job_mgr.address);
        assert_ne!(first.job_mgr.address, plan(2, &terms).job_mgr.address);
        let other = DeploymentTerms { salt: Felt::ONE, ..terms };
        assert_ne!(first.cdc_pool.address, plan(1, &other).cdc_pool.address);
    }
}
