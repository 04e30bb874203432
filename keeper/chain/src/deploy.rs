//! Declaring, deploying and wiring the contracts.
//!
//! Every step asks the chain first and does only what is missing, so an interrupted deployment is finished by
//! running it again. Addresses follow from the classes and the constructor's arguments: the same deployment
//! from the same account always lands at the same addresses.

use std::sync::Arc;

use cainome::cairo_serde::ContractAddress;
use keeper_bindings::{
    cdc_pool::{CdcPool, CdcPoolReader},
    job_mgr::{JobMgr, JobMgrReader},
    task_allocator::{TaskAllocator, TaskAllocatorReader},
};
use keeper_types::{Address, Felt, Fri};
use serde::Deserialize;
use starknet::{
    accounts::{Account as _, AccountError},
    core::{
        types::{BlockId, BlockTag, Call, EventFilter, StarknetError, contract::SierraClass},
        utils::get_contract_address,
    },
    macros::{felt, selector},
    providers::{Provider as _, ProviderError},
};

use crate::{
    Deployment, Network, Rpc, RpcError, SendError, Sender,
    contracts::STRK_TOKEN,
    deployment::DeployedContract,
    rpc::{Client, describe},
};

/// Makes contracts from classes; at the same address on every network, also on local chains.
const UNIVERSAL_DEPLOYER: Felt = felt!("0x02ceed65a4bd731034c01113685c831b01c15d7d432f71afb1cf1634b53a2125");
const PRE_CONFIRMED: BlockId = BlockId::Tag(BlockTag::PreConfirmed);
const MANIFEST: &str = include_str!("../../../contracts/artifacts/manifest.json");

/// What a deployment lets an operator choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeploymentTerms {
    /// What each slot of a worker must stake.
    pub min_stake_per_slot: Fri,
    /// How long a leaving worker's stake stays bound, in seconds.
    pub unbonding_s: u64,
    /// How long a client may look at a result before anyone may settle it, in seconds.
    pub challenge_window_s: u64,
    /// Tells deployments of one account apart.
    pub salt: Felt,
}

impl DeploymentTerms {
    /// What suits the network: quick on a local chain, careful where money is real.
    pub fn of(network: Network) -> Self {
        const STRK: u128 = 1_000_000_000_000_000_000;
        let (stake, unbonding_s, challenge_window_s) = match network {
            Network::Devnet => (10 * STRK, 30, 3),
            Network::Sepolia => (10 * STRK, 3_600, 60),
            Network::Mainnet => (100 * STRK, 7 * 86_400, 1_800),
        };
        Self { min_stake_per_slot: Fri(stake), unbonding_s, challenge_window_s, salt: Felt::ZERO }
    }
}

/// A class that is built into this program.
struct BuiltInClass {
    name: &'static str,
    text: &'static str,
}

const JOB_MGR: BuiltInClass =
    BuiltInClass { name: "JobMgr", text: include_str!("../../../contracts/artifacts/JobMgr.contract_class.json") };
const CDC_POOL: BuiltInClass =
    BuiltInClass { name: "CdcPool", text: include_str!("../../../contracts/artifacts/CdcPool.contract_class.json") };
const TASK_ALLOCATOR: BuiltInClass = BuiltInClass {
    name: "TaskAllocator",
    text: include_str!("../../../contracts/artifacts/TaskAllocator.contract_class.json"),
};

/// The hashes of a built-in class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ClassHashes {
    /// What the class is called on chain.
    pub class_hash: Felt,
    /// What the sequencer compiles it to.
    pub compiled_class_hash: Felt,
}

#[derive(Deserialize)]
struct Manifest {
    contracts: std::collections::BTreeMap<String, ClassHashes>,
}

/// The hashes of the class of that name that is built into this program.
pub fn built_in_class(name: &str) -> Option<ClassHashes> {
    let manifest: Manifest = serde_json::from_str(MANIFEST).ok()?;
    manifest.contracts.get(name).copied()
}

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

    /// Does what is missing and returns where everything stands. `keepers` may apply rounds afterwards.
    ///
    /// # Errors
    /// See [`DeployError`]. What was done stays done, and is not done again.
    pub async fn run(&self, keepers: &[Address], progress: &mut dyn FnMut(&str)) -> Result<Deployment, DeployError> {
        let before = self.rpc.client.block_number().await;
        let before = before.map_err(|error| self.rpc.error("the newest block", &error))?;
        for class in [&CDC_POOL, &JOB_MGR, &TASK_ALLOCATOR] {
            self.declare(class, progress).await?;
        }
        let plan = Plan::new(self.sender.address(), &self.terms)?;
        let deployed = self.deploy(&plan, progress).await?;
        self.wire(&plan, keepers, progress).await?;
        let block = if deployed { before } else { self.first_event(&plan).await?.unwrap_or(before) };
        Ok(Deployment {
            network: self.rpc.network,
            token: STRK_TOKEN,
            job_mgr: plan.job_mgr.deployed(),
            cdc_pool: plan.cdc_pool.deployed(),
            task_allocator: plan.task_allocator.deployed(),
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

    async fn wire(&self, plan: &Plan, keepers: &[Address], progress: &mut dyn FnMut(&str)) -> Result<(), DeployError> {
        let mut calls = Vec::new();
        let view = |error: cainome::cairo_serde::Error| RpcError::Malformed {
            request: "the contracts' configuration",
            reason: error.to_string(),
        };
        let [pool, manager, allocator] =
            [&plan.cdc_pool, &plan.job_mgr, &plan.task_allocator].map(|contract| contract.address);

        let reader: CdcPoolReader<&Client> = CdcPoolReader::new(pool.0, &self.rpc.client);
        let wired = reader.get_config().block_id(PRE_CONFIRMED).call().await.map_err(view)?.job_mgr;
        if needs_wiring("CdcPool", pool, wired, manager)? {
            let contract = CdcPool::new(pool.0, &self.sender.wallet);
            calls.push(contract.set_job_mgr_getcall(&ContractAddress(manager.0)));
        }
        let reader: JobMgrReader<&Client> = JobMgrReader::new(manager.0, &self.rpc.client);
        let wired = reader.get_config().block_id(PRE_CONFIRMED).call().await.map_err(view)?.task_allocator;
        if needs_wiring("JobMgr", manager, wired, allocator)? {
            let contract = JobMgr::new(manager.0, &self.sender.wallet);
            calls.push(contract.set_task_allocator_getcall(&ContractAddress(allocator.0)));
        }
        let reader: TaskAllocatorReader<&Client> = TaskAllocatorReader::new(allocator.0, &self.rpc.client);
        let contract = TaskAllocator::new(allocator.0, &self.sender.wallet);
        for keeper in keepers {
            let keeper = ContractAddress(keeper.0);
            if !reader.is_keeper(&keeper).block_id(PRE_CONFIRMED).call().await.map_err(view)? {
                calls.push(contract.add_keeper_getcall(&keeper));
            }
        }
        if !calls.is_empty() {
            progress("wiring the contracts and authorising the keepers");
            self.sender.execute(calls).await?;
        }
        Ok(())
    }
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

impl BuiltInClass {
    fn hashes(&self) -> Result<ClassHashes, DeployError> {
        let missing = || DeployError::Class { name: self.name, reason: "the manifest does not list it".to_owned() };
        built_in_class(self.name).ok_or_else(missing)
    }
}

/// A contract before it is deployed.
struct Planned {
    name: &'static str,
    class_hash: Felt,
    arguments: Vec<Felt>,
    address: Address,
}

impl Planned {
    fn new(class: &BuiltInClass, salt: Felt, arguments: Vec<Felt>) -> Result<Self, DeployError> {
        let class_hash = class.hashes()?.class_hash;
        // Deployed without mixing in the caller, so that the address depends on the contract alone.
        let address = Address(get_contract_address(salt, class_hash, &arguments, Felt::ZERO));
        Ok(Self { name: class.name, class_hash, arguments, address })
    }

    fn call(&self, salt: Felt) -> Call {
        let unique = Felt::ZERO;
        let mut calldata = vec![self.class_hash, salt, unique, Felt::from(self.arguments.len())];
        calldata.extend_from_slice(&self.arguments);
        Call { to: UNIVERSAL_DEPLOYER, selector: selector!("deployContract"), calldata }
    }

    fn deployed(&self) -> DeployedContract {
        DeployedContract { address: self.address, class_hash: self.class_hash }
    }
}

/// Which contracts stand where.
struct Plan {
    cdc_pool: Planned,
    job_mgr: Planned,
    task_allocator: Planned,
}

impl Plan {
    fn new(admin: Address, terms: &DeploymentTerms) -> Result<Self, DeployError> {
        let (admin, token, salt) = (admin.0, STRK_TOKEN.0, terms.salt);
        let stake = Felt::from(terms.min_stake_per_slot.0);
        let cdc_pool = Planned::new(&CDC_POOL, salt, vec![admin, token, stake, Felt::from(terms.unbonding_s)])?;
        let pool = cdc_pool.address.0;
        let window = Felt::from(terms.challenge_window_s);
        let job_mgr = Planned::new(&JOB_MGR, salt, vec![admin, token, pool, window])?;
        let task_allocator = Planned::new(&TASK_ALLOCATOR, salt, vec![admin, job_mgr.address.0, pool])?;
        Ok(Self { cdc_pool, job_mgr, task_allocator })
    }

    fn contracts(&self) -> [&Planned; 3] {
        [&self.cdc_pool, &self.job_mgr, &self.task_allocator]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_classes_hash_to_what_the_manifest_says() {
        for class in [&CDC_POOL, &JOB_MGR, &TASK_ALLOCATOR] {
            let sierra: SierraClass = serde_json::from_str(class.text).unwrap();
            assert_eq!(sierra.class_hash().unwrap(), class.hashes().unwrap().class_hash, "{}", class.name);
        }
    }

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
