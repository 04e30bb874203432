//! Sending transactions from one account, one after the other.
//!
//! This is for people's commands and for agents, who look at what became of a transaction before they send another. What
//! has to be sent whatever happens goes through a lane, which writes it down first.

use std::time::Duration;

use keeper_types::{Address, BlockNumber, BlockRef, Felt, Fri, TxHash};
use starknet::{
    accounts::{Account as _, ExecutionEncoding, SingleOwnerAccount},
    core::types::{
        BlockId, BlockTag, BroadcastedInvokeTransactionV3, Call, ExecutionResult, FeeEstimate, ReceiptBlock,
        StarknetError, TransactionFinalityStatus, TransactionReceipt, TransactionReceiptWithBlockInfo,
    },
    providers::{Provider as _, ProviderError},
    signers::LocalWallet,
};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    Calls, Credentials, Rpc, RpcError,
    contracts::{Contracts, STRK_TOKEN},
    rpc::{Client, describe, readable_revert},
};

/// How long a transaction is waited for: public networks drop what they have not included after 300 s.
const RECEIPT_TIMEOUT: Duration = Duration::from_secs(300);
/// Nonces that are tried for one transaction.
const MOST_NONCES: u32 = 5;
/// What is allowed above the estimate, in percent, for gas and for its price.
const MARGIN_PERCENT: u64 = 150;
/// The most L2 gas that a transaction may ask for on the public networks.
const MOST_L2_GAS: u64 = 1_110_000_000;

pub(crate) type Wallet = SingleOwnerAccount<Client, LocalWallet>;

/// An account that sends transactions.
#[derive(Debug)]
pub struct Sender {
    rpc: Rpc,
    pub(crate) wallet: Wallet,
    address: Address,
    poll: Duration,
    /// Held from reading the nonce until the node took the transaction: two transactions of one account must
    /// not get the same nonce.
    lane: Mutex<()>,
}

/// A transaction that is signed and not yet sent.
#[derive(Clone, Debug)]
pub(crate) struct SignedTransaction {
    /// Its hash.
    pub(crate) hash: TxHash,
    /// Its nonce.
    pub(crate) nonce: u64,
    pub(crate) request: BroadcastedInvokeTransactionV3,
}

/// A transaction that is part of a block.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Its hash.
    pub hash: TxHash,
    /// The block.
    pub block: BlockRef,
    /// What it cost.
    pub fee: Fri,
    /// The L2 gas that it used.
    pub l2_gas: u64,
    /// The L1 data gas that it used.
    pub l1_data_gas: u64,
    /// Its events, in order.
    pub(crate) events: Vec<starknet::core::types::Event>,
}

/// Why a transaction did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The node could not be asked.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The contracts refuse it; nothing was sent.
    #[error("the transaction would fail: {reason}")]
    WouldRevert {
        /// The contract's words.
        reason: String,
    },
    /// It was included and failed; the fee is gone.
    #[error("transaction {hash} failed: {reason}")]
    Reverted {
        /// Which.
        hash: TxHash,
        /// The contract's words.
        reason: String,
    },
    /// The account cannot pay the fee.
    #[error("account {account} cannot pay for the transaction: {reason}; fund it with STRK")]
    Unfunded {
        /// The account.
        account: Address,
        /// The node's words.
        reason: String,
    },
    /// The account does not exist on this network.
    #[error("account {account} does not exist on {network}: deploy it, or name another with --account")]
    NoSuchAccount {
        /// The account.
        account: Address,
        /// The network.
        network: crate::Network,
    },
    /// Another transaction of the account took the nonce.
    #[error("nonce {nonce} of account {account} is taken: the account is used elsewhere at the same time")]
    NonceTaken {
        /// The account.
        account: Address,
        /// The nonce.
        nonce: u64,
    },
    /// Signing failed.
    #[error("signing failed: {0}")]
    Signing(String),
    /// It was sent, and is not included after a long wait. It may still be.
    #[error("transaction {hash} is not included after {} s; it may still be", RECEIPT_TIMEOUT.as_secs())]
    NotIncluded {
        /// Which.
        hash: TxHash,
    },
}

impl Sender {
    /// A sender for `credentials`; receipts are looked for every `poll`.
    pub fn new(rpc: &Rpc, credentials: &Credentials, poll: Duration) -> Self {
        let mut wallet = SingleOwnerAccount::new(
            rpc.client.clone(),
            LocalWallet::from_signing_key(credentials.key.clone()),
            credentials.address.0,
            rpc.network.chain_id().0,
            ExecutionEncoding::New,
        );
        // Nonces and estimates must see what this account has sent and no block holds yet.
        wallet.set_block_id(BlockId::Tag(BlockTag::PreConfirmed));
        Self { rpc: rpc.clone(), wallet, address: credentials.address, poll, lane: Mutex::new(()) }
    }

    /// The account's address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The connection that transactions go through.
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// The account's STRK.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn balance(&self) -> Result<Fri, RpcError> {
        self.balance_of(self.address).await
    }

    /// Another account's STRK.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub async fn balance_of(&self, account: Address) -> Result<Fri, RpcError> {
        Contracts::balance(&self.rpc, STRK_TOKEN, account).await
    }

    /// Sends STRK to another account.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn transfer(&self, to: Address, amount: Fri) -> Result<Receipt, SendError> {
        self.execute(Calls::transfer(to, amount).0).await
    }

    /// Signs and sends the calls as one transaction and waits until a block holds it.
    ///
    /// # Errors
    /// See [`SendError`].
    pub(crate) async fn execute(&self, calls: Vec<Call>) -> Result<Receipt, SendError> {
        let hash = self.send_calls(calls).await?;
        self.receipt(hash).await
    }

    /// A nonce may be taken by another process with the same account, or be an old one where the node lags.
    /// Then nothing was sent, and the next nonce is tried.
    async fn send_calls(&self, calls: Vec<Call>) -> Result<TxHash, SendError> {
        let _lane = self.lane.lock().await;
        let mut tries = 0;
        loop {
            tries += 1;
            let signed = self.sign(calls.clone()).await?;
            match self.send(&signed).await {
                Ok(()) => return Ok(signed.hash),
                Err(SendError::NonceTaken { .. }) if tries < MOST_NONCES => tokio::time::sleep(self.poll).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`Sender::execute`], but does not wait for a block.
    ///
    /// # Errors
    /// See [`SendError`].
    pub(crate) async fn execute_soon(&self, calls: Vec<Call>) -> Result<TxHash, SendError> {
        self.send_calls(calls).await
    }

    /// The account's nonce, counting what is sent and not yet in a block.
    ///
    /// # Errors
    /// Fails where the account does not exist or the node does not answer.
    pub async fn nonce(&self) -> Result<u64, SendError> {
        let block = BlockId::Tag(BlockTag::PreConfirmed);
        match self.rpc.client.get_nonce(block, self.address.0).await {
            Ok(nonce) => u64::try_from(nonce).map_err(|_| SendError::Signing("the nonce exceeds 64 bits".to_owned())),
            Err(ProviderError::StarknetError(StarknetError::ContractNotFound)) => {
                Err(SendError::NoSuchAccount { account: self.address, network: self.rpc.network })
            }
            Err(error) => Err(self.rpc.error("the account's nonce", &error).into()),
        }
    }

    async fn sign(&self, calls: Vec<Call>) -> Result<SignedTransaction, SendError> {
        let nonce = self.nonce().await?;
        let bounds = self.estimate(calls.clone(), nonce).await?;
        self.sign_with(calls, nonce, 0, &bounds).await
    }

    /// What the calls may cost, with a margin. `nonce` is the one that the node expects, whichever they will have.
    ///
    /// # Errors
    /// [`SendError::WouldRevert`] where the contracts refuse them; see [`SendError`].
    pub(crate) async fn estimate(&self, calls: Vec<Call>, nonce: u64) -> Result<Bounds, SendError> {
        let execution = self.wallet.execute_v3(calls).nonce(Felt::from(nonce)).tip(0);
        match execution.estimate_fee().await {
            Ok(estimate) => Ok(Bounds::above(&estimate)),
            Err(starknet::accounts::AccountError::Provider(error)) => {
                Err(self.classify("estimating the fee", &error, nonce))
            }
            Err(error) => Err(SendError::Signing(error.to_string())),
        }
    }

    /// Signs the calls; asks no node.
    ///
    /// # Errors
    /// [`SendError::Signing`].
    pub(crate) async fn sign_with(
        &self,
        calls: Vec<Call>,
        nonce: u64,
        tip: u64,
        bounds: &Bounds,
    ) -> Result<SignedTransaction, SendError> {
        let execution = self.wallet.execute_v3(calls).nonce(Felt::from(nonce)).tip(tip);
        let prepared = execution
            .l1_gas(bounds.l1_gas)
            .l1_gas_price(bounds.l1_gas_price)
            .l2_gas(bounds.l2_gas)
            .l2_gas_price(bounds.l2_gas_price)
            .l1_data_gas(bounds.l1_data_gas)
            .l1_data_gas_price(bounds.l1_data_gas_price)
            .prepared()
            .map_err(|error| SendError::Signing(error.to_string()))?;
        let hash = TxHash(prepared.transaction_hash(false));
        let request =
            prepared.get_invoke_request(false, false).await.map_err(|error| SendError::Signing(error.to_string()))?;
        Ok(SignedTransaction { hash, nonce, request })
    }

    async fn send(&self, signed: &SignedTransaction) -> Result<(), SendError> {
        match self.rpc.client.add_invoke_transaction(&signed.request).await {
            Ok(_) | Err(ProviderError::StarknetError(StarknetError::DuplicateTx)) => Ok(()),
            Err(error) => Err(self.classify("the transaction", &error, signed.nonce)),
        }
    }

    /// Waits until a block holds the transaction.
    ///
    /// # Errors
    /// Fails where it was reverted, or is not included in a long time.
    pub async fn receipt(&self, hash: TxHash) -> Result<Receipt, SendError> {
        let give_up = Instant::now() + RECEIPT_TIMEOUT;
        loop {
            if let Some(receipt) = self.receipt_now(hash).await? {
                return Ok(receipt);
            }
            if Instant::now() > give_up {
                return Err(SendError::NotIncluded { hash });
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    /// The transaction's receipt, where a block holds it already.
    ///
    /// # Errors
    /// Fails where it was reverted or the node does not answer.
    pub async fn receipt_now(&self, hash: TxHash) -> Result<Option<Receipt>, SendError> {
        match self.outcome_now(hash).await {
            Ok(Some((receipt, None))) => Ok(Some(receipt)),
            Ok(Some((_, Some(reason)))) => Err(SendError::Reverted { hash, reason }),
            Ok(None) => Ok(None),
            // The transaction is on its way; a node that hiccups is asked again.
            Err(error) if error.is_transient() => {
                tracing::debug!(%hash, %error, "no receipt yet");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The transaction's receipt, and the contracts' words where it was reverted; `None` where no block holds it.
    ///
    /// # Errors
    /// Fails where the node does not answer.
    pub(crate) async fn outcome_now(&self, hash: TxHash) -> Result<Option<(Receipt, Option<String>)>, RpcError> {
        match self.rpc.client.get_transaction_receipt(hash.0).await {
            Ok(receipt) => Ok(read_receipt(hash, receipt)),
            Err(ProviderError::StarknetError(StarknetError::TransactionHashNotFound)) => Ok(None),
            Err(error) => Err(self.rpc.error("a receipt", &error)),
        }
    }

    fn classify(&self, request: &'static str, error: &ProviderError, nonce: u64) -> SendError {
        let ProviderError::StarknetError(refusal) = error else {
            return self.rpc.error(request, error).into();
        };
        match refusal {
            StarknetError::InsufficientAccountBalance | StarknetError::InsufficientResourcesForValidate => {
                SendError::Unfunded { account: self.address, reason: describe(refusal) }
            }
            StarknetError::InvalidTransactionNonce(_) => SendError::NonceTaken { account: self.address, nonce },
            StarknetError::TransactionExecutionError(_) | StarknetError::ContractError(_) => {
                let reason = describe(refusal);
                // The fee is charged after execution, so an empty account shows as a failed transfer.
                if reason.contains("exceed balance") || reason.contains("u256_sub Overflow") {
                    return SendError::Unfunded { account: self.address, reason };
                }
                SendError::WouldRevert { reason }
            }
            _ => self.rpc.error(request, error).into(),
        }
    }
}

/// What a transaction may use and pay at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) l1_gas: u64,
    pub(crate) l1_gas_price: u128,
    pub(crate) l2_gas: u64,
    pub(crate) l2_gas_price: u128,
    pub(crate) l1_data_gas: u64,
    pub(crate) l1_data_gas_price: u128,
}

impl Bounds {
    fn above(estimate: &FeeEstimate) -> Self {
        let gas = |amount: u64| amount.saturating_mul(MARGIN_PERCENT).div_ceil(100);
        let price = with_margin;
        Self {
            l1_gas: gas(estimate.l1_gas_consumed),
            l1_gas_price: price(estimate.l1_gas_price),
            // What needs nearly all that a transaction may use has no room for the whole margin.
            l2_gas: gas(estimate.l2_gas_consumed).min(estimate.l2_gas_consumed.max(MOST_L2_GAS)),
            l2_gas_price: price(estimate.l2_gas_price),
            l1_data_gas: gas(estimate.l1_data_gas_consumed),
            l1_data_gas_price: price(estimate.l1_data_gas_price),
        }
    }
}

impl Bounds {
    /// The most that a transaction with this tip costs.
    pub(crate) fn max_fee(&self, tip: u64) -> Fri {
        let l2_price = self.l2_gas_price.saturating_add(u128::from(tip));
        let parts =
            [(self.l1_gas, self.l1_gas_price), (self.l2_gas, l2_price), (self.l1_data_gas, self.l1_data_gas_price)];
        Fri(parts.iter().fold(0, |sum, (gas, price)| sum.saturating_add(u128::from(*gas).saturating_mul(*price))))
    }

    /// The bounds that a signed transaction has.
    pub(crate) fn of(request: &BroadcastedInvokeTransactionV3) -> Self {
        let bounds = &request.resource_bounds;
        Self {
            l1_gas: bounds.l1_gas.max_amount,
            l1_gas_price: bounds.l1_gas.max_price_per_unit,
            l2_gas: bounds.l2_gas.max_amount,
            l2_gas_price: bounds.l2_gas.max_price_per_unit,
            l1_data_gas: bounds.l1_data_gas.max_amount,
            l1_data_gas_price: bounds.l1_data_gas.max_price_per_unit,
        }
    }
}

/// What is allowed above a price.
pub(crate) fn with_margin(price: u128) -> u128 {
    price.saturating_mul(u128::from(MARGIN_PERCENT)).div_ceil(100)
}

fn read_receipt(hash: TxHash, receipt: TransactionReceiptWithBlockInfo) -> Option<(Receipt, Option<String>)> {
    let reverted = match receipt.receipt.execution_result() {
        ExecutionResult::Reverted { reason } => Some(readable_revert(reason)),
        ExecutionResult::Succeeded => None,
    };
    let included = *receipt.receipt.finality_status() != TransactionFinalityStatus::PreConfirmed;
    let (ReceiptBlock::Block { block_hash, block_number }, true) = (receipt.block, included) else { return None };
    let (fee, resources, events) = match receipt.receipt {
        TransactionReceipt::Invoke(invoke) => (invoke.actual_fee.amount, invoke.execution_resources, invoke.events),
        TransactionReceipt::Declare(declare) => {
            (declare.actual_fee.amount, declare.execution_resources, declare.events)
        }
        TransactionReceipt::Deploy(deploy) => (deploy.actual_fee.amount, deploy.execution_resources, deploy.events),
        TransactionReceipt::DeployAccount(deploy) => {
            (deploy.actual_fee.amount, deploy.execution_resources, deploy.events)
        }
        TransactionReceipt::L1Handler(handler) => {
            (handler.actual_fee.amount, handler.execution_resources, handler.events)
        }
    };
    let receipt = Receipt {
        hash,
        block: BlockRef { number: BlockNumber(block_number), hash: block_hash },
        fee: Fri(u128::try_from(fee).unwrap_or(u128::MAX)),
        l2_gas: resources.l2_gas,
        l1_data_gas: resources.l1_data_gas,
        events,
    };
    Some((receipt, reverted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(l2_gas: u64) -> Bounds {
        Bounds::above(&FeeEstimate {
            l1_gas_consumed: 3,
            l1_gas_price: 5,
            l2_gas_consumed: l2_gas,
            l2_gas_price: 7,
            l1_data_gas_consumed: 9,
            l1_data_gas_price: 11,
            overall_fee: 0,
        })
    }

    #[test]
    fn bounds_leave_half_above_the_estimate() {
        let bounds = bounds(1_001);
        assert_eq!((bounds.l1_gas, bounds.l2_gas, bounds.l1_data_gas), (5, 1_502, 14));
        assert_eq!((bounds.l1_gas_price, bounds.l2_gas_price, bounds.l1_data_gas_price), (8, 11, 17));
    }

    #[test]
    fn the_margin_ends_at_what_a_transaction_may_use() {
        assert_eq!(bounds(739_999_999).l2_gas, 1_109_999_999);
        assert_eq!(bounds(740_000_001).l2_gas, MOST_L2_GAS);
        // A judgement of the largest size.
        assert_eq!(bounds(1_065_297_440).l2_gas, MOST_L2_GAS);
        // What cannot be sent at all is for the network to refuse, in its own words.
        assert_eq!(bounds(1_200_000_000).l2_gas, 1_200_000_000);
    }
}
