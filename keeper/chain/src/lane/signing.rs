//! What a lane signs: the first transaction of an intent, those that replace it, and no-ops.

use keeper_store::{IntentTransaction, Purpose};
use keeper_types::{Felt, Fri};
use starknet::core::types::{BroadcastedInvokeTransactionV3, Call};

use super::{LaneError, slot::Signed};
use crate::{
    Calls, SendError, Sender,
    sender::{Bounds, SignedTransaction, with_margin},
};

/// What a lane is about to sign.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) calls: Vec<Call>,
    pub(super) purpose: Purpose,
    pub(super) tip: u64,
    pub(super) bounds: Bounds,
}

impl Draft {
    /// The most that it costs.
    pub(super) fn max_fee(&self) -> Fri {
        self.bounds.max_fee(self.tip)
    }

    /// Signs it under a nonce; asks no node.
    pub(super) async fn sign(self, sender: &Sender, nonce: u64, now_ms: u64) -> Result<IntentTransaction, LaneError> {
        let (max_fee, purpose) = (self.max_fee(), self.purpose);
        let signed: SignedTransaction = sender.sign_with(self.calls, nonce, self.tip, &self.bounds).await?;
        let request = serde_json::to_string(&signed.request).map_err(|error| LaneError::Bytes(error.to_string()))?;
        Ok(IntentTransaction {
            tx_hash: signed.hash,
            purpose,
            request: Some(request),
            tip: self.tip,
            l2_gas_price: self.bounds.l2_gas_price,
            max_fee,
            signed_ms: now_ms,
            sent_ms: None,
        })
    }

    /// A transaction that takes the place of `before`: the same calls, at a higher price. `None` where the calldata is no
    /// list of calls.
    pub(super) fn again(before: &BroadcastedInvokeTransactionV3, prices: Prices) -> Option<Self> {
        let mut bounds = Bounds::of(before);
        bounds.l2_gas_price = prices.l2_gas.max(prices.least_l2_gas);
        bounds.l1_gas_price = bounds.l1_gas_price.max(prices.l1_gas);
        bounds.l1_data_gas_price = bounds.l1_data_gas_price.max(prices.l1_data_gas);
        let calls = decode_calls(&before.calldata)?;
        Some(Self { calls, purpose: Purpose::Action, tip: prices.least_tip, bounds })
    }

    /// A transaction that does nothing.
    pub(super) async fn no_op(sender: &Sender, prices: Prices) -> Result<Self, SendError> {
        let nonce = sender.nonce().await?;
        // The cheapest is no call at all. An account that refuses that takes a payment of nothing to itself.
        let empty = sender.estimate(Vec::new(), nonce).await;
        let (calls, mut bounds) = match empty {
            Ok(bounds) => (Vec::new(), bounds),
            Err(SendError::Rpc(error)) if error.is_transient() => return Err(error.into()),
            Err(_) => {
                let Calls(calls) = Calls::transfer(sender.address(), Fri::ZERO);
                (calls.clone(), sender.estimate(calls, nonce).await?)
            }
        };
        bounds.l2_gas_price = bounds.l2_gas_price.max(prices.least_l2_gas);
        Ok(Self { calls, purpose: Purpose::NoOp, tip: prices.least_tip, bounds })
    }
}

/// What gas costs now, with the margin of every transaction, and what a replacement offers at least.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prices {
    pub(super) l1_gas: u128,
    pub(super) l2_gas: u128,
    pub(super) l1_data_gas: u128,
    pub(super) least_tip: u64,
    pub(super) least_l2_gas: u128,
}

impl Prices {
    /// The prices of a block, with the margin.
    pub(super) fn above((l1_gas, l2_gas, l1_data_gas): (u128, u128, u128)) -> Self {
        let (l1_gas, l2_gas, l1_data_gas) = (with_margin(l1_gas), with_margin(l2_gas), with_margin(l1_data_gas));
        Self { l1_gas, l2_gas, l1_data_gas, ..Self::default() }
    }

    /// With what a replacement offers at least.
    pub(super) fn at_least(self, least_tip: u64, least_l2_gas: u128) -> Self {
        Self { least_tip, least_l2_gas, ..self }
    }
}

/// The bytes of a recorded transaction.
pub(super) fn request_of(transaction: &IntentTransaction) -> Option<BroadcastedInvokeTransactionV3> {
    serde_json::from_str(transaction.request.as_deref()?).ok()
}

/// What the lane's decisions need of a recorded transaction.
pub(super) fn signed(transaction: &IntentTransaction) -> Signed {
    Signed {
        hash: transaction.tx_hash,
        purpose: transaction.purpose,
        tip: transaction.tip,
        l2_gas_price: transaction.l2_gas_price,
        signed_ms: transaction.signed_ms,
        has_bytes: request_of(transaction).is_some(),
    }
}

/// Reads the calls back from an account's calldata: their number, then each as contract, selector, length and data.
fn decode_calls(calldata: &[Felt]) -> Option<Vec<Call>> {
    let count = usize::try_from(*calldata.first()?).ok()?;
    let mut rest = &calldata[1..];
    let mut calls = Vec::new();
    for _ in 0..count {
        let [to, selector, length, data @ ..] = rest else { return None };
        let (data, after) = data.split_at_checked(usize::try_from(*length).ok()?)?;
        calls.push(Call { to: *to, selector: *selector, calldata: data.to_vec() });
        rest = after;
    }
    rest.is_empty().then_some(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_back_as_they_were() {
        let felts = |values: &[u64]| values.iter().map(|value| Felt::from(*value)).collect::<Vec<_>>();
        let calls = decode_calls(&felts(&[2, 10, 11, 0, 20, 21, 2, 7, 8])).unwrap();
        assert_eq!(calls.len(), 2);
        assert_eq!((calls[0].to, calls[0].calldata.len()), (Felt::from(10), 0));
        assert_eq!((calls[1].selector, &calls[1].calldata), (Felt::from(21), &felts(&[7, 8])));
        assert_eq!(decode_calls(&felts(&[0])).unwrap().len(), 0);
        for bad in [&[][..], &[1], &[1, 2, 3], &[1, 2, 3, 4, 5], &[0, 1], &[u64::MAX]] {
            assert!(decode_calls(&felts(bad)).is_none(), "{bad:?}");
        }
    }
}
