//! What the local chain does with transactions that come before their turn: what public networks do.

use e2e::{Caller, Localnet, LocalnetOptions, eventually};
use serde_json::json;

/// L2 gas and L1 data gas for a transaction that calls nothing.
const GAS: (u64, u64) = (10_000_000, 1_000);

#[tokio::test]
async fn a_transaction_before_its_turn_waits_for_the_one_that_is_missing() {
    let chain = Localnet::start(LocalnetOptions { block_time: Some(1), ..Default::default() });
    let caller = Caller::new(&chain, chain.account(1)).await;
    let nonce = caller.sender().nonce().await.unwrap();
    let later = caller.send_at_once(Vec::new(), nonce + 1, GAS).await.unwrap();
    let again = caller.send_at_once(Vec::new(), nonce + 1, GAS).await.unwrap_err();
    assert!(again.to_string().contains("DuplicateTx"), "{again}");
    let far = caller.send_at_once(Vec::new(), nonce + 1_000, GAS).await.unwrap_err();
    assert!(far.to_string().contains("InvalidTransactionNonce"), "{far}");

    let head = async || chain.ask("starknet_blockNumber", json!({})).await.as_u64().unwrap();
    let before = head().await;
    eventually("two blocks are made", async || (head().await >= before + 2).then_some(())).await;
    assert_eq!(caller.sender().nonce().await.unwrap(), nonce, "nothing was executed");
    let status = chain.ask("starknet_getTransactionStatus", json!({ "transaction_hash": later })).await;
    assert_eq!(status["finality_status"], "RECEIVED", "{status}");

    let missing = caller.send_at_once(Vec::new(), nonce, GAS).await.unwrap();
    let (missing, later) =
        (caller.sender().receipt(missing).await.unwrap(), caller.sender().receipt(later).await.unwrap());
    assert!(missing.block.number <= later.block.number);
    assert_eq!(caller.sender().nonce().await.unwrap(), nonce + 2);
}
