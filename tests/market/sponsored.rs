//! What one account does and another pays for, with the real binary.

use e2e::Workplace;
use serde_json::json;

use crate::whole_loop::{market, matmul};

/// Who pays.
const SPONSOR: usize = 1;
/// Who sends, and charges for it.
const RELAYER: usize = 2;
/// Who is paid for.
const NEWCOMER: usize = 6;

fn address(chain: &e2e::Localnet, account: usize) -> String {
    chain.account(account).address.to_string()
}

async fn nonce(chain: &e2e::Localnet, account: usize) -> String {
    let at = json!({ "contract_address": address(chain, account), "block_id": "latest" });
    chain.ask("starknet_getNonce", at).await.as_str().unwrap().to_owned()
}

/// Lets the relayer charge to the sponsor what it does for the newcomer.
async fn sponsor_newcomer(chain: &e2e::Localnet, place: &Workplace) {
    let (newcomer, relayer) = (address(chain, NEWCOMER), address(chain, RELAYER));
    place.json(SPONSOR, &["paymaster", "deposit", "10"]).await;
    place.json(SPONSOR, &["paymaster", "sponsor", &newcomer, "--budget", "2", "--max-fee", "1"]).await;
    place.json(SPONSOR, &["paymaster", "relayer", &relayer]).await;
}

#[tokio::test]
async fn a_newcomer_registers_and_submits_without_a_transaction_of_its_own() {
    let (chain, place) = market().await;
    sponsor_newcomer(&chain, &place).await;
    let before = chain.sender(NEWCOMER).await.balance().await.unwrap().0;
    let sponsor = address(&chain, SPONSOR);
    let relay = ["--sponsor", &sponsor, "--fee", "0.5"];

    let signed = place.path("registration.json").display().to_string();
    let offer = ["worker", "register", "--region", "eu", "--rate", "1", "--sign", &signed];
    place.json(NEWCOMER, &offer).await;
    place.json(RELAYER, &[&["paymaster", "relay", &signed], &relay[..]].concat()).await;

    let manifest = place.write("job.json", &matmul(1)).display().to_string();
    let signed = place.path("submission.json").display().to_string();
    place.json(NEWCOMER, &["job", "submit", "--max-price", "3", "--manifest", &manifest, "--sign", &signed]).await;
    place.json(RELAYER, &[&["paymaster", "relay", &signed], &relay[..]].concat()).await;

    let workers = place.json(NEWCOMER, &["worker", "list"]).await;
    assert_eq!(workers["workers"][0]["owner"], json!(chain.account(NEWCOMER).address));
    let jobs = place.json(NEWCOMER, &["job", "list"]).await;
    assert_eq!(jobs["jobs"][0]["client"], json!(chain.account(NEWCOMER).address));
    assert_eq!(nonce(&chain, NEWCOMER).await, "0x0", "it sent nothing");
    // A stake of 10 STRK, an escrow of 3, and not a fri of fees.
    let after = chain.sender(NEWCOMER).await.balance().await.unwrap().0;
    assert_eq!(before - after, 13_000_000_000_000_000_000);
    let left = place.json(SPONSOR, &["paymaster", "show"]).await;
    assert_eq!(left["balance_fri"], json!("9000000000000000000"));

    // The account takes each signature once.
    let again = ["--account", "devnet-2", "paymaster", "relay", &signed, relay[0], relay[1], "--fee", "1"];
    let again = place.run(&again).await;
    assert!(again.error().contains("SRC9: duplicated nonce"), "{}", again.error());
}

#[tokio::test]
async fn a_gateway_submits_within_its_cap() {
    let (chain, place) = market().await;
    let (client, gateway) = (address(&chain, 3), address(&chain, RELAYER));
    place.json(3, &["paymaster", "deposit", "10"]).await;
    place.json(3, &["paymaster", "gateway", &gateway, "--cap", "2"]).await;
    let manifest = place.write("job.json", &matmul(1)).display().to_string();
    let submit = ["job", "submit", "--max-price", "2", "--manifest", &manifest, "--for", &client];
    place.json(RELAYER, &submit).await;
    let jobs = place.json(3, &["job", "list"]).await;
    assert_eq!(jobs["jobs"][0]["client"], json!(chain.account(3).address));
    assert_eq!(place.json(3, &["paymaster", "show"]).await["balance_fri"], json!("8000000000000000000"));

    let refused = place.run(&[&["--account", "devnet-2"], &submit[..]].concat()).await;
    assert!(refused.error().contains("Paymaster: cap too low"), "{}", refused.error());

    // What comes back is the client's, not the gateway's.
    place.json(3, &["job", "cancel", "1"]).await;
    let credit = place.json(3, &["account", "credit"]).await;
    assert_eq!(credit["credit_fri"], json!("2000000000000000000"));
}
