//! What a lane asks the node.

use keeper_failpoints::{Failpoint, reach};
use keeper_store::Landed;
use keeper_types::{BlockNumber, BlockRef, Felt, TxHash};
use starknet::{
    core::types::{
        BlockId, BlockStatus, BlockTag, BroadcastedInvokeTransactionV3, InvokeTransaction,
        MaybePreConfirmedBlockWithTxHashes, MaybePreConfirmedBlockWithTxs, StarknetError, Transaction,
    },
    providers::{Provider as _, ProviderError},
};

use super::{
    signing::{Draft, Prices},
    state::{Answer, Look},
};
use crate::{RpcError, SendError, Sender};

/// Blocks that are searched at a time for the transaction that used a nonce.
const MOST_SEARCHED: u64 = 64;

/// A block, and what gas costs in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) block: BlockRef,
    /// Whether it is accepted on L1.
    pub(super) is_on_l1: bool,
    /// L1 gas, L2 gas and L1 data gas, in fri.
    pub(super) prices: (u128, u128, u128),
}

/// An account's view of its node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) sender: &'a Sender,
}

impl Node<'_> {
    /// The newest block.
    pub(super) async fn head(&self) -> Result<Head, RpcError> {
        self.block(BlockId::Tag(BlockTag::Latest))
            .await?
            .ok_or_else(|| RpcError::Malformed { request: "the newest block", reason: "it is not there".to_owned() })
    }

    /// The newest block that was accepted on L1; `None` where there is none.
    pub(super) async fn newest_on_l1(&self) -> Result<Option<BlockNumber>, RpcError> {
        let head = self.block(BlockId::Tag(BlockTag::L1Accepted)).await?;
        Ok(head.map(|head| head.block.number))
    }

    /// The block of this height; `None` where the chain does not reach so far.
    pub(super) async fn block_at(&self, number: BlockNumber) -> Result<Option<Head>, RpcError> {
        self.block(BlockId::Number(number.0)).await
    }

    async fn block(&self, id: BlockId) -> Result<Option<Head>, RpcError> {
        let rpc = self.sender.rpc();
        match rpc.client.get_block_with_tx_hashes(id).await {
            Ok(MaybePreConfirmedBlockWithTxHashes::Block(block)) => Ok(Some(Head {
                block: BlockRef { number: BlockNumber(block.block_number), hash: block.block_hash },
                is_on_l1: block.status == BlockStatus::AcceptedOnL1,
                prices: (
                    narrow(block.l1_gas_price.price_in_fri),
                    narrow(block.l2_gas_price.price_in_fri),
                    narrow(block.l1_data_gas_price.price_in_fri),
                ),
            })),
            Ok(MaybePreConfirmedBlockWithTxHashes::PreConfirmedBlock(_))
            | Err(ProviderError::StarknetError(StarknetError::BlockNotFound | StarknetError::NoBlocks)) => Ok(None),
            Err(error) => Err(rpc.error("a block", &error)),
        }
    }

    /// The account's nonce after this very block; `None` where the block is no longer part of the chain.
    pub(super) async fn nonce_at(&self, block: BlockRef) -> Result<Option<u64>, RpcError> {
        let rpc = self.sender.rpc();
        match rpc.client.get_nonce(BlockId::Hash(block.hash), self.sender.address().0).await {
            Ok(nonce) => Ok(u64::try_from(nonce).ok()),
            Err(ProviderError::StarknetError(StarknetError::BlockNotFound)) => Ok(None),
            Err(error) => Err(rpc.error("the account's nonce", &error)),
        }
    }

    /// Finds out which transaction used a nonce: one of `hashes`, or another.
    pub(super) async fn look(&self, nonce: u64, hashes: &[TxHash], below: BlockNumber) -> Result<Look, RpcError> {
        for hash in hashes {
            if let Some((landed, is_reverted)) = self.receipt(*hash).await? {
                return Ok(Look::Landed { landed, is_reverted });
            }
        }
        // No receipt proves nothing: a node may know the nonce before it knows the receipt. The transaction that is in a
        // block with this nonce does.
        match self.search(nonce, below).await? {
            Some(hash) if !hashes.contains(&hash) => Ok(Look::Foreign(hash)),
            _ => Ok(Look::Nothing),
        }
    }

    async fn receipt(&self, hash: TxHash) -> Result<Option<(Landed, bool)>, RpcError> {
        match self.sender.outcome_now(hash).await? {
            Some((receipt, reverted)) => {
                let landed = Landed { tx_hash: receipt.hash, block: Some(receipt.block), fee: Some(receipt.fee) };
                Ok(Some((landed, reverted.is_some())))
            }
            None => Ok(None),
        }
    }

    /// The account's transaction with this nonce in the latest blocks up to `from`.
    async fn search(&self, nonce: u64, from: BlockNumber) -> Result<Option<TxHash>, RpcError> {
        let rpc = self.sender.rpc();
        let lowest = from.0.saturating_sub(MOST_SEARCHED);
        for number in (lowest..=from.0).rev() {
            let block = match rpc.client.get_block_with_txs(BlockId::Number(number)).await {
                Ok(MaybePreConfirmedBlockWithTxs::Block(block)) => block,
                Ok(MaybePreConfirmedBlockWithTxs::PreConfirmedBlock(_)) => continue,
                Err(error) => return Err(rpc.error("a block's transactions", &error)),
            };
            for transaction in &block.transactions {
                if let Transaction::Invoke(InvokeTransaction::V3(invoke)) = transaction
                    && invoke.sender_address == self.sender.address().0
                {
                    match u64::try_from(invoke.nonce) {
                        Ok(found) if found == nonce => return Ok(Some(TxHash(invoke.transaction_hash))),
                        // Below this block are lower ones only.
                        Ok(found) if found < nonce => return Ok(None),
                        _ => {}
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether the contracts refuse now what a recorded transaction asks of them. Where that is not known it may be sent.
    pub(super) async fn refuses(&self, request: &BroadcastedInvokeTransactionV3) -> bool {
        let Some(draft) = Draft::again(request, Prices::default()) else { return false };
        let Ok(nonce) = self.sender.nonce().await else { return false };
        matches!(self.sender.estimate(draft.calls, nonce).await, Err(SendError::WouldRevert { .. }))
    }

    /// Sends a transaction.
    pub(super) async fn send(&self, request: &BroadcastedInvokeTransactionV3) -> Answer {
        reach(Failpoint::InvokeBeforeSend);
        let answered = self.sender.rpc().client.add_invoke_transaction(request).await;
        reach(Failpoint::InvokeAfterSend);
        match answered {
            Ok(_) => Answer::Accepted,
            Err(error) => {
                let answer = answer(&error);
                if !matches!(answer, Answer::Duplicate) {
                    let error = self.sender.rpc().error("the transaction", &error);
                    tracing::debug!(nonce = %request.nonce, ?answer, %error, "the node did not take a transaction");
                }
                answer
            }
        }
    }
}

/// What a node's answer means, by its code. Whatever is not a clear refusal may have been taken.
fn answer(error: &ProviderError) -> Answer {
    let ProviderError::StarknetError(refusal) = error else { return Answer::Unknown };
    match refusal {
        StarknetError::DuplicateTx => Answer::Duplicate,
        StarknetError::InvalidTransactionNonce(_) => Answer::WrongNonce,
        StarknetError::ReplacementTransactionUnderpriced
        | StarknetError::FeeBelowMinimum
        | StarknetError::InsufficientResourcesForValidate => Answer::Underpriced,
        StarknetError::InsufficientAccountBalance => Answer::Unfunded,
        StarknetError::ValidationFailure(_)
        | StarknetError::NonAccount
        | StarknetError::ContractNotFound
        | StarknetError::UnsupportedTxVersion
        | StarknetError::TransactionExecutionError(_)
        | StarknetError::ContractError(_) => Answer::Refused,
        _ => Answer::Unknown,
    }
}

/// A price that exceeds 128 bits is one that nobody pays.
fn narrow(price: Felt) -> u128 {
    u128::try_from(price).unwrap_or(u128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_their_codes() {
        let told = |refusal| answer(&ProviderError::StarknetError(refusal));
        assert_eq!(told(StarknetError::DuplicateTx), Answer::Duplicate);
        assert_eq!(told(StarknetError::InvalidTransactionNonce("whatever".to_owned())), Answer::WrongNonce);
        assert_eq!(told(StarknetError::ReplacementTransactionUnderpriced), Answer::Underpriced);
        assert_eq!(told(StarknetError::FeeBelowMinimum), Answer::Underpriced);
        assert_eq!(told(StarknetError::InsufficientAccountBalance), Answer::Unfunded);
        assert_eq!(told(StarknetError::ValidationFailure("nonce too low".to_owned())), Answer::Refused);
        assert_eq!(told(StarknetError::UnexpectedError("duplicate".to_owned())), Answer::Unknown);
        assert_eq!(answer(&ProviderError::RateLimited), Answer::Unknown);
    }
}
