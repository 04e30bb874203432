//! What a node says of the history, as JSON. Transactions are as heavy as those of a real batch.

use anyhow::{Result, bail};
use cainome::cairo_serde::CairoSerde as _;
use e2e::{capabilities_to_chain, spec_to_chain};
use keeper_bindings::{cdc_pool, job_mgr};
use keeper_types::{EventPosition, Felt, JobId, MarketEvent};
use serde_json::{Value, json};
use starknet::core::utils::get_selector_from_name;

use crate::history::{Block, EVENTS_PER_TRANSACTION};

/// Where the contracts stand: CdcPool, JobMgr, TaskAllocator.
pub(crate) const CONTRACTS: [u64; 3] = [0xcdc_0001, 0x10b_0002, 0xa110_0003];

/// A block, rendered.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) number: u64,
    /// The result of `getBlockWithTxHashes`.
    pub(crate) header: String,
    /// The result of `getBlockWithReceipts`.
    pub(crate) receipts: String,
    /// The events of each contract, as `getEvents` has them.
    pub(crate) events: [Vec<String>; 3],
}

/// The contract that emits an event, its keys and its data.
type Emitted = (usize, Vec<Felt>, Vec<Felt>);

/// Renders a block.
///
/// # Errors
/// Fails where the history has an event that this does not know.
pub(crate) fn block(block: &Block) -> Result<Rendered> {
    let header = block.header;
    let mut events = [Vec::new(), Vec::new(), Vec::new()];
    let mut emitted = Vec::new();
    for (position, event) in &block.events {
        let (contract, keys, data) = emit(event)?;
        let plain =
            json!({ "from_address": hex(Felt::from(CONTRACTS[contract])), "keys": hexes(&keys), "data": hexes(&data) });
        let mut indexed = plain.clone();
        indexed["block_hash"] = hex(header.hash).into();
        indexed["block_number"] = header.number.0.into();
        indexed["transaction_hash"] = hex(position.tx_hash.0).into();
        events[contract].push(indexed.to_string());
        emitted.push((position, plain));
    }
    let transactions = emitted.chunks(EVENTS_PER_TRANSACTION).map(transaction);
    let transactions: Vec<Value> = transactions.collect();
    let hashes: Vec<&Value> =
        transactions.iter().map(|transaction| &transaction["receipt"]["transaction_hash"]).collect();
    let mut with_hashes = head(block);
    with_hashes["transactions"] = json!(hashes);
    let mut with_receipts = head(block);
    with_receipts["transactions"] = json!(transactions);
    Ok(Rendered {
        number: header.number.0,
        header: with_hashes.to_string(),
        receipts: with_receipts.to_string(),
        events,
    })
}

fn head(block: &Block) -> Value {
    let price = json!({ "price_in_fri": "0x5af3107a4000", "price_in_wei": "0x3b9aca00" });
    json!({
        "status": "ACCEPTED_ON_L2",
        "block_hash": hex(block.header.hash),
        "parent_hash": hex(block.header.parent_hash),
        "block_number": block.header.number.0,
        "new_root": "0x4c1f2d8a9b3e7f60518293a4b5c6d7e8f9010203040506070809a0b0c0d0e0f",
        "timestamp": block.header.timestamp,
        "sequencer_address": "0x1176a1bd84444c89232ec27754698e5d2e7e1a7f1539f12027f28b23ec9f3d8",
        "l1_gas_price": price,
        "l2_gas_price": price,
        "l1_data_gas_price": price,
        "l1_da_mode": "BLOB",
        "starknet_version": "0.14.1",
    })
}

/// A transaction with its receipt.
fn transaction(emitted: &[(&EventPosition, Value)]) -> Value {
    let hash = hex(emitted.first().map_or(Felt::ZERO, |(position, _)| position.tx_hash.0));
    let bound = json!({ "max_amount": "0x989680", "max_price_per_unit": "0x5af3107a4000" });
    let calldata: Vec<String> = (0..40_u64).map(|number| hex(Felt::from(number * 0x1234_5678_9abc))).collect();
    let events: Vec<&Value> = emitted.iter().map(|(_, event)| event).collect();
    json!({
        "transaction": {
            "type": "INVOKE",
            "version": "0x3",
            "sender_address": "0x64b48806902a367c8598f4f95c305e8c1a1acba5f082d294a43793113115691",
            "calldata": calldata,
            "signature": [
                "0x2f3a5b6c7d8e9f00112233445566778899aabbccddeeff00112233445566778",
                "0x1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90",
            ],
            "nonce": "0x1a2b",
            "resource_bounds": { "l1_gas": bound, "l1_data_gas": bound, "l2_gas": bound },
            "tip": "0x0",
            "paymaster_data": [],
            "account_deployment_data": [],
            "nonce_data_availability_mode": "L1",
            "fee_data_availability_mode": "L1",
        },
        "receipt": {
            "type": "INVOKE",
            "transaction_hash": hash,
            "actual_fee": { "amount": "0x2386f26fc10000", "unit": "FRI" },
            "finality_status": "ACCEPTED_ON_L2",
            "messages_sent": [],
            "events": events,
            "execution_resources": { "l1_gas": 0, "l1_data_gas": 512, "l2_gas": 12_345_678 },
            "execution_status": "SUCCEEDED",
        },
    })
}

/// An event in felts, as the contracts emit it.
fn emit(event: &MarketEvent) -> Result<Emitted> {
    let selector = get_selector_from_name(event.name())?;
    let felts = |numbers: &[u128]| numbers.iter().map(|number| Felt::from(*number)).collect::<Vec<_>>();
    let id = |job_id: &JobId| Felt::from(job_id.0);
    Ok(match event {
        MarketEvent::WorkerRegistered { worker_id, owner, capabilities, slots, rate, stake } => {
            let mut data = cdc_pool::Capabilities::cairo_serialize(&capabilities_to_chain(capabilities));
            data.extend(felts(&[u128::from(*slots), u128::from(rate.0), stake.0]));
            (0, vec![selector, Felt::from(worker_id.0), owner.0], data)
        }
        MarketEvent::ReputationChanged { worker_id, old_reputation, new_reputation } => {
            let data = felts(&[u128::from(*old_reputation), u128::from(*new_reputation)]);
            (0, vec![selector, Felt::from(worker_id.0)], data)
        }
        MarketEvent::JobSubmitted { job_id, client, spec, deadline_block, .. } => {
            let spec = spec_to_chain(spec);
            let mut data = job_mgr::JobSpec::cairo_serialize(&spec);
            data.extend(felts(&[u128::from(deadline_block.0), 0]));
            (1, vec![selector, id(job_id), client.0], data)
        }
        MarketEvent::JobsAllocated { items } => {
            let mut data = vec![Felt::from(items.len())];
            data.extend(items.iter().map(keeper_types::AllocationItem::pack));
            (1, vec![selector], data)
        }
        MarketEvent::ResultSubmitted {
            job_id,
            worker_id,
            attempt,
            result_hash,
            challenge_ends_at,
            challenge_ends_block,
        } => {
            let mut data = vec![Felt::from(attempt.0), *result_hash];
            data.extend(felts(&[u128::from(*challenge_ends_at), u128::from(challenge_ends_block.0)]));
            (1, vec![selector, id(job_id), Felt::from(worker_id.0)], data)
        }
        MarketEvent::JobSettled { job_id, worker_id, client, paid, refunded } => {
            let keys = vec![selector, id(job_id), Felt::from(worker_id.0), client.0];
            (1, keys, felts(&[paid.0, refunded.0]))
        }
        MarketEvent::RoundApplied {
            keeper,
            round,
            snapshot_block,
            snapshot_root,
            policy_id,
            plan_root,
            allocated,
            skipped,
        } => {
            let mut data =
                vec![Felt::from(*round), Felt::from(snapshot_block.0), *snapshot_root, policy_id.0, *plan_root];
            data.extend(felts(&[u128::from(*allocated), u128::from(*skipped)]));
            (2, vec![selector, keeper.0], data)
        }
        other => bail!("the history has no {}", other.name()),
    })
}

fn hex(felt: Felt) -> String {
    format!("{felt:#x}")
}

fn hexes(felts: &[Felt]) -> Vec<String> {
    felts.iter().copied().map(hex).collect()
}
