//! Calls that the keeper never makes: by the wrong account, with arguments out of bounds, of functions that are
//! for contracts only.

use std::{fs::File, path::Path, sync::Arc};

use keeper_bindings::{
    cdc_pool::{self, CdcPool},
    job_mgr::{self, JobMgr},
    task_allocator::TaskAllocator,
};
use keeper_chain::{Deployment, Network, Receipt, SendError, Sender};
use keeper_types::{Address, Capabilities, Felt, JobSpec, Region, TxHash};
use starknet::{
    accounts::{Account as _, ExecutionEncoding, SingleOwnerAccount},
    core::{
        types::{BlockId, BlockTag, Call, contract::SierraClass},
        utils::get_contract_address,
    },
    macros::{felt, selector},
    providers::{JsonRpcClient, jsonrpc::HttpTransport},
    signers::{LocalWallet, SigningKey},
};
use url::Url;

use crate::{DevnetAccount, Localnet};

/// Makes contracts from classes.
const UNIVERSAL_DEPLOYER: Felt = felt!("0x02ceed65a4bd731034c01113685c831b01c15d7d432f71afb1cf1634b53a2125");

/// What signs for an account.
pub type Wallet = SingleOwnerAccount<JsonRpcClient<HttpTransport>, LocalWallet>;

/// An account that sends any call.
#[derive(Debug)]
pub struct Caller {
    wallet: Wallet,
    sender: Sender,
}

impl Caller {
    /// An account of a chain, of the predeployed ones' class.
    pub async fn new(chain: &Localnet, account: &DevnetAccount) -> Self {
        let url = Url::parse(chain.rpc_url()).expect("the chain says where it is");
        let key = Felt::from_hex(&account.private_key).expect("a key");
        let mut wallet = SingleOwnerAccount::new(
            JsonRpcClient::new(HttpTransport::new_with_client(url, chain.http.clone())),
            LocalWallet::from_signing_key(SigningKey::from_secret_scalar(key)),
            account.address.0,
            Network::Devnet.chain_id().0,
            ExecutionEncoding::New,
        );
        wallet.set_block_id(BlockId::Tag(BlockTag::PreConfirmed));
        Self { wallet, sender: chain.sender_of(account).await }
    }

    /// The account's address.
    pub fn address(&self) -> Address {
        self.sender.address()
    }

    /// The account as the keeper's own client has it.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Sends the calls as one transaction. Where they would fail nothing is sent, and no block is made.
    ///
    /// # Errors
    /// Says what the contracts say.
    pub async fn send(&self, calls: Vec<Call>) -> Result<Receipt, SendError> {
        match self.wallet.execute_v3(calls).tip(0).send().await {
            Ok(sent) => self.sender.receipt(TxHash(sent.transaction_hash)).await,
            Err(error) => Err(SendError::WouldRevert { reason: contracts_words(&format!("{error:?}")).to_owned() }),
        }
    }

    /// Sends the calls as one transaction that may use so much L2 gas and L1 data gas, at any price. The node is not asked
    /// for an estimate, and no block is waited for.
    ///
    /// # Errors
    /// Says why the node does not take it.
    pub async fn send_at_once(
        &self,
        calls: Vec<Call>,
        nonce: u64,
        (l2_gas, l1_data_gas): (u64, u64),
    ) -> Result<TxHash, SendError> {
        const ANY_PRICE: u128 = 10_000_000_000_000;
        let execution = self
            .wallet
            .execute_v3(calls)
            .nonce(Felt::from(nonce))
            .tip(0)
            .l1_gas(0)
            .l1_gas_price(ANY_PRICE)
            .l2_gas(l2_gas)
            .l2_gas_price(ANY_PRICE)
            .l1_data_gas(l1_data_gas)
            .l1_data_gas_price(ANY_PRICE);
        let sent = execution.send().await.map_err(|error| SendError::Signing(format!("{error:?}")))?;
        Ok(TxHash(sent.transaction_hash))
    }

    /// Declares a class; returns its hash.
    ///
    /// # Errors
    /// Says what the chain says.
    ///
    /// # Panics
    /// Panics where the file holds no class.
    pub async fn declare(&self, class: &Path, compiled_class_hash: Felt) -> Result<Felt, SendError> {
        let class: SierraClass = serde_json::from_reader(File::open(class).expect("the class")).expect("a class");
        let flat = Arc::new(class.flatten().expect("a class that the chain reads"));
        match self.wallet.declare_v3(flat, compiled_class_hash).tip(0).send().await {
            Ok(declared) => {
                self.sender.receipt(TxHash(declared.transaction_hash)).await?;
                Ok(declared.class_hash)
            }
            Err(error) => Err(SendError::Signing(format!("{error:?}"))),
        }
    }

    /// Deploys a declared class; returns where it stands.
    ///
    /// # Errors
    /// Says what its constructor says.
    pub async fn deploy(&self, class_hash: Felt, salt: u64, arguments: &[Felt]) -> Result<Address, SendError> {
        let (call, address) = deployment_of(class_hash, salt, arguments);
        self.send(vec![call]).await?;
        Ok(address)
    }

    /// JobMgr's functions, as this account would call them.
    pub fn job_mgr(&self, deployment: &Deployment) -> JobMgr<&Wallet> {
        JobMgr::new(deployment.job_mgr.address.0, &self.wallet)
    }

    /// CdcPool's functions, as this account would call them.
    pub fn cdc_pool(&self, deployment: &Deployment) -> CdcPool<&Wallet> {
        CdcPool::new(deployment.cdc_pool.address.0, &self.wallet)
    }

    /// TaskAllocator's functions, as this account would call them.
    pub fn task_allocator(&self, deployment: &Deployment) -> TaskAllocator<&Wallet> {
        TaskAllocator::new(deployment.task_allocator.address.0, &self.wallet)
    }
}

/// The call that deploys a declared class, and where it will stand.
pub fn deployment_of(class_hash: Felt, salt: u64, arguments: &[Felt]) -> (Call, Address) {
    let (salt, unique) = (Felt::from(salt), Felt::ZERO);
    let mut calldata = vec![class_hash, salt, unique, Felt::from(arguments.len())];
    calldata.extend_from_slice(arguments);
    let call = Call { to: UNIVERSAL_DEPLOYER, selector: selector!("deployContract"), calldata };
    (call, Address(get_contract_address(salt, class_hash, arguments, Felt::ZERO)))
}

/// The innermost contract's own words in a trace, or all of it where no contract speaks in it.
pub fn contracts_words(trace: &str) -> &str {
    let quoted = trace.rsplit("('").filter_map(|tail| Some(tail.split_once("')")?.0));
    quoted.into_iter().find(|text| text.contains(": ") && text.len() <= 31).unwrap_or(trace)
}

/// A spec in the contract's terms, where every field can be bent.
pub fn spec_to_chain(spec: &JobSpec) -> job_mgr::JobSpec {
    let needs = &spec.requirements;
    job_mgr::JobSpec {
        manifest_hash: spec.manifest_hash,
        model_id: spec.model_id,
        requirements: job_mgr::Requirements {
            gpu_count: needs.gpu_count,
            vram_gib: needs.vram_gib,
            compute_capability: needs.compute_capability,
            cuda_version: needs.cuda_version,
            driver_version: needs.driver_version,
            cpu_cores: needs.cpu_cores,
            memory_gib: needs.memory_gib,
            min_reputation: needs.min_reputation,
            features: needs.features.0,
            region: needs.region.map_or(Felt::ZERO, Region::to_felt),
        },
        priority: spec.priority,
        queue: spec.queue as u8,
        max_price: spec.max_price.0,
        deadline: spec.deadline,
        execution_timeout_s: spec.execution_timeout_s,
        max_attempts: spec.max_attempts,
        max_latency_ms: spec.max_latency_ms,
        verification: spec.verification as u8,
        replicas: spec.replicas,
        quorum: spec.quorum,
    }
}

/// Capabilities in the contract's terms, where every field can be bent.
pub fn capabilities_to_chain(capabilities: &Capabilities) -> cdc_pool::Capabilities {
    cdc_pool::Capabilities {
        gpu_count: capabilities.gpu_count,
        vram_gib: capabilities.vram_gib,
        compute_capability: capabilities.compute_capability,
        cuda_version: capabilities.cuda_version,
        driver_version: capabilities.driver_version,
        cpu_cores: capabilities.cpu_cores,
        memory_gib: capabilities.memory_gib,
        features: capabilities.features.0,
        region: capabilities.region.map_or(Felt::ZERO, Region::to_felt),
    }
}
