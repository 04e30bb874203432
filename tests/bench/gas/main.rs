//! What the contracts cost, measured as whole transactions on a local chain with every check on.
//!
//! Writes one JSON object to the file that `CIRO_GAS_FIGURES` names: for each operation the L2 gas and the L1 data gas
//! of the receipt; allocations per item, by the size of the batch. `full_life` is one job from its submission to its
//! payment, with its share of the batch of 100 (or of the largest batch, if that was not measured), and
//! `full_life_from_credit` the same for a client whose earlier refunds pay for it. `naive` is the
//! contract that one would write first, whose class `CIRO_NAIVE_CLASS` names. Sizes of batches can be named as
//! arguments.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a measurement fails by panicking and says what it does")]

mod crew;
mod lives;
mod naive;
mod rounds;
mod sponsored;

use std::{collections::BTreeMap, path::PathBuf};

use crew::Crew;
use keeper_chain::Receipt;
use serde::Serialize;

/// Sizes of the measured batches, the largest of them the largest that the contract takes.
const BATCHES: [u64; 6] = [1, 10, 50, 100, 200, 500];
/// The batch whose share a whole life is charged.
const USUAL_BATCH: u64 = 100;

/// What a transaction, or a share of one, costs.
#[derive(Clone, Copy, Debug, Serialize)]
struct Cost {
    l2_gas: u64,
    l1_data_gas: u64,
}

impl Cost {
    fn of(receipt: &Receipt) -> Self {
        Self { l2_gas: receipt.l2_gas, l1_data_gas: receipt.l1_data_gas }
    }

    /// One item's share, rounded up.
    fn share(receipt: &Receipt, items: u64) -> Self {
        Self { l2_gas: receipt.l2_gas.div_ceil(items), l1_data_gas: receipt.l1_data_gas.div_ceil(items) }
    }

    fn plus(self, other: Self) -> Self {
        Self { l2_gas: self.l2_gas + other.l2_gas, l1_data_gas: self.l1_data_gas + other.l1_data_gas }
    }
}

/// Costs by name.
type Costs = BTreeMap<&'static str, Cost>;

#[derive(Debug, Serialize)]
struct Figures {
    /// Per item, by the size of the batch, over as many workers with neighbouring ids as there are items.
    allocate: BTreeMap<u64, Cost>,
    /// Per item, by the size of the batch.
    naive: BTreeMap<u64, Cost>,
    #[serde(flatten)]
    single: Costs,
    full_life_in_transfers: f64,
    full_life_from_credit_in_transfers: f64,
    /// An allocation in a usual batch, in hundredths of what the naive allocator takes.
    allocate_in_percent_of_naive: f64,
}

#[tokio::main]
async fn main() {
    let named: Vec<u64> = std::env::args().skip(1).map(|size| size.parse().expect("the size of a batch")).collect();
    let sizes = if named.is_empty() { BATCHES.to_vec() } else { named };
    let largest = sizes.iter().copied().max().unwrap_or(1);
    let crew = Crew::hire(largest).await;
    let mut single = crew.measure_lives().await;
    single.extend(crew.measure_results().await);
    single.extend(crew.measure_sponsored().await);
    let mut allocate = BTreeMap::new();
    for size in sizes.iter().copied() {
        println!("allocating {size} in one transaction");
        allocate.insert(size, crew.measure_batch(size).await);
    }
    let usual = if allocate.contains_key(&USUAL_BATCH) { USUAL_BATCH } else { largest };
    let naive = crew.measure_naive(usual).await;
    let life = |parts: [&str; 3]| parts.iter().fold(allocate[&usual], |sum, name| sum.plus(single[name]));
    let lives = [life(["submit", "result", "settle"]), life(["submit_from_credit", "result", "settle"])];
    single.extend(["full_life", "full_life_from_credit"].into_iter().zip(lives));
    let in_transfers = |name| ratio(single[name].l2_gas, single["strk_transfer"].l2_gas);
    let full_life_in_transfers = in_transfers("full_life");
    let full_life_from_credit_in_transfers = in_transfers("full_life_from_credit");
    let allocate_in_percent_of_naive = ratio(100 * allocate[&usual].l2_gas, naive.l2_gas);
    let naive = BTreeMap::from([(usual, naive)]);
    let figures = Figures {
        allocate,
        naive,
        single,
        full_life_in_transfers,
        full_life_from_credit_in_transfers,
        allocate_in_percent_of_naive,
    };
    let text = serde_json::to_string_pretty(&figures).expect("plain numbers");
    match std::env::var_os("CIRO_GAS_FIGURES").map(PathBuf::from) {
        Some(file) => std::fs::write(file, text).expect("writing the figures"),
        None => println!("{text}"),
    }
}

#[allow(clippy::cast_precision_loss, reason = "gas stays far below 2^52")]
fn ratio(amount: u64, unit: u64) -> f64 {
    (amount as f64 / unit as f64 * 100.0).round() / 100.0
}
