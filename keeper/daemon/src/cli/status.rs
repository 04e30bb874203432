//! `keeper status`: the whole market in numbers, read from the chain's events.

mod service;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use keeper_chain::{Contracts, Follower, RpcError, Step};
use keeper_scheduler::{QueueRules, metrics::MarketMetrics};
use keeper_store::{Store, StoreError};
use keeper_types::{BlockNumber, Fri, Market, MarketEvent, Strategy, TxHash};
use serde::Serialize;
use serde_json::json;

use super::Global;
use crate::{context::Context, output, records};

/// How often the market is read where the state of the block is gone by then.
const TRIES: u32 = 3;

/// What the chain's events add up to.
struct Tally {
    market: Market,
    /// How well it serves.
    metrics: MarketMetrics,
    /// The block until which it was read.
    block: BlockNumber,
    /// That block's timestamp, in seconds.
    now: u64,
    rounds: u64,
    /// Allocations, with the transactions that made them.
    allocations: Vec<Allocation>,
    /// Transactions that applied rounds.
    round_transactions: BTreeSet<TxHash>,
    /// Items that the contract skipped.
    skipped: u64,
}

#[derive(Clone, Serialize)]
struct Allocation {
    job_id: u64,
    worker_id: u32,
    attempt: u8,
    strategy: Strategy,
    score: u16,
    round_block: u64,
    tx_hash: TxHash,
    allocated_at_ms: Option<u64>,
}

/// Money, to the last fri.
#[derive(Serialize)]
struct Money {
    escrow_in_fri: Fri,
    paid_fri: Fri,
    refunded_fri: Fri,
    /// In escrow for jobs that are not final.
    held_fri: Fri,
    /// Paid or refunded, and not taken out yet.
    owed_fri: Fri,
    /// Bonds of open disputes.
    bonds_fri: Fri,
    /// What the contract holds: the sum of the three.
    balance_fri: Fri,
}

/// Prints the market in numbers.
///
/// # Errors
/// Fails where the node does not answer, the contracts are not on its chain, or what was recorded here is of another.
pub(crate) async fn run(global: &Global) -> Result<()> {
    let context = Context::connect(global).await?;
    let contracts = context.contracts()?;
    // Where they are not on this chain nobody has said anything, and all the figures would be zero.
    contracts.allocation_stats().await?;
    let records = records(&context, &contracts).await?;
    let spinner = output::spinner("reading the chain");
    let (mut tally, money) = read_with_money(&context, &contracts).await?;
    let mut leaders = records::Leaders::default();
    if let Some(records) = records {
        add_times(&*records, &mut tally).await?;
        leaders = records::leaders(&context).await?;
    }
    let gas = gas_per_allocation(&context, &tally).await?;
    spinner.finish_and_clear();
    let states = states(&tally.market);
    if context.json {
        let mut jobs = json!({ "submitted": tally.market.jobs.len() });
        if let Some(fields) = jobs.as_object_mut() {
            fields.extend(states.iter().map(|(name, count)| ((*name).to_owned(), json!(count))));
        }
        return output::json(&json!({
            "jobs": jobs,
            "workers": tally.market.workers.len(),
            "workers_by_status": statuses(&tally.market),
            "rounds": tally.rounds,
            "allocations": tally.allocations.len(),
            "skipped": tally.skipped,
            "money": money,
            "service": tally.metrics.summary(tally.now),
            "l2_gas_per_allocation": gas.map(|(l2, _)| l2),
            "l1_data_gas_per_allocation": gas.map(|(_, data)| data),
            "allocations_list": tally.allocations,
            "endpoints": context.rpc.endpoints(),
            "leader": leaders.leader.map(|leader| json!({ "keeper": leader.holder, "term": leader.term })),
            "shards": leaders.shards,
        }));
    }
    print(&tally, &states, &money, gas);
    if let Some(leader) = leaders.leader {
        println!("keeper       {} leads, in term {}", leader.holder, leader.term);
    }
    for (shard, of) in leaders.shards.iter().zip(std::iter::repeat(leaders.shards.len())) {
        let (number, term) = (shard.shard, shard.term.unwrap_or_default());
        match &shard.keeper {
            Some(keeper) => println!("keeper       {keeper} leads shard {number} of {of}, in term {term}"),
            None => println!("keeper       nobody leads shard {number} of {of}"),
        }
    }
    let endpoints = context.rpc.endpoints();
    for endpoint in endpoints.iter().filter(|_| endpoints.len() > 1) {
        println!("node         {}", output::endpoint(endpoint));
    }
    Ok(())
}

fn print(tally: &Tally, states: &BTreeMap<&'static str, usize>, money: &Money, gas: Option<(u64, u64)>) {
    let counted: Vec<String> =
        states.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{count} {name}")).collect();
    let counted = if counted.is_empty() { String::new() } else { format!(": {}", counted.join(", ")) };
    println!("jobs         {} submitted{counted}", tally.market.jobs.len());
    let statuses: Vec<String> =
        statuses(&tally.market).into_iter().map(|(name, count)| format!("{count} {name}")).collect();
    let statuses = if statuses.is_empty() { String::new() } else { format!(": {}", statuses.join(", ")) };
    println!("workers      {}{statuses}", tally.market.workers.len());
    println!("rounds       {}, {} allocations, {} skipped", tally.rounds, tally.allocations.len(), tally.skipped);
    if let Some((l2, data)) = gas {
        println!("gas          {l2} L2 gas and {data} L1 data gas per allocation");
    }
    println!("escrow in    {}", money.escrow_in_fri);
    println!("paid         {}", money.paid_fri);
    println!("refunded     {}", money.refunded_fri);
    println!("held         {}", money.held_fri);
    println!("owed         {} in credit, {} in bonds of disputes", money.owed_fri, money.bonds_fri);
    service::print(&tally.metrics.summary(tally.now));
}

/// Reads the market, and what the contract holds as of the same block. A node that keeps no state but its newest may have
/// made another block in between: then once more.
async fn read_with_money(context: &Context, contracts: &Contracts) -> Result<(Tally, Money)> {
    for _ in 1..TRIES {
        let tally = read_chain(context, contracts).await?;
        match money(contracts, &tally).await {
            Ok(money) => return Ok((tally, money)),
            Err(error) if error.is::<RpcError>() => tracing::debug!(%error, "the block's state is gone"),
            Err(error) => return Err(error),
        }
    }
    let tally = read_chain(context, contracts).await?;
    let money = money(contracts, &tally).await?;
    Ok((tally, money))
}

async fn read_chain(context: &Context, contracts: &Contracts) -> Result<Tally> {
    let follower = Follower::new(&context.rpc, contracts.deployment());
    let mut tally = Tally::new(&context.settings.policy.queues);
    let mut cursor = None;
    loop {
        // Taken before the step that finds nothing more: the events are complete up to it.
        let head = follower.head().await?;
        match follower.step(cursor).await? {
            Step::UpToDate => {
                (tally.block, tally.now) = (head.number, head.timestamp);
                return Ok(tally);
            }
            Step::Reorganised => bail!("the chain was reorganised while it was read: try again"),
            Step::Extended { blocks, .. } => {
                for (position, event) in blocks.iter().flat_map(|block| &block.events) {
                    tally.market.apply(event, position).context("reading the chain's events")?;
                    tally.metrics.observe(event, position.timestamp, &tally.market);
                    tally.count(event, position.tx_hash, position.block.0);
                }
                cursor = blocks.last().map(|block| block.header);
            }
        }
    }
}

impl Tally {
    fn new(rules: &QueueRules) -> Self {
        Self {
            market: Market::default(),
            metrics: MarketMetrics::new(rules),
            block: BlockNumber(0),
            now: 0,
            rounds: 0,
            allocations: Vec::new(),
            round_transactions: BTreeSet::new(),
            skipped: 0,
        }
    }

    fn count(&mut self, event: &MarketEvent, tx_hash: TxHash, round_block: u64) {
        match event {
            MarketEvent::RoundApplied { skipped, .. } => {
                self.rounds += 1;
                self.skipped += u64::from(*skipped);
                self.round_transactions.insert(tx_hash);
            }
            MarketEvent::JobsAllocated { items } => self.allocations.extend(items.iter().map(|item| Allocation {
                job_id: item.job_id.0,
                worker_id: item.worker_id.0,
                attempt: item.attempt.0,
                strategy: item.strategy,
                score: item.score,
                round_block,
                tx_hash,
                allocated_at_ms: None,
            })),
            _ => {}
        }
    }
}

/// What the keeper on this machine has recorded, where one has run here.
async fn records(context: &Context, contracts: &Contracts) -> Result<Option<Box<dyn Store>>> {
    match records::open(context, contracts).await {
        Ok(store) => Ok(Some(store)),
        Err(error) => match error.downcast_ref() {
            Some(StoreError::NoDatabase { .. }) => Ok(None),
            // Of another version, or damaged: the figures are the chain's, only the times are missing.
            Some(other) if !matches!(other, StoreError::IdentityMismatch { .. }) => {
                tracing::warn!(%error, "what the keeper recorded here cannot be read; times are left out");
                Ok(None)
            }
            _ => Err(error),
        },
    }
}

/// When the keeper on this machine saw each allocation.
async fn add_times(records: &dyn Store, tally: &mut Tally) -> Result<()> {
    let timings = records.all_timings().await?;
    let seen: BTreeMap<(u64, u8), Option<u64>> =
        timings.into_iter().map(|timing| ((timing.job_id.0, timing.attempt.0), timing.observed_allocated_ms)).collect();
    for allocation in &mut tally.allocations {
        allocation.allocated_at_ms = seen.get(&(allocation.job_id, allocation.attempt)).copied().flatten();
    }
    Ok(())
}

async fn money(contracts: &Contracts, tally: &Tally) -> Result<Money> {
    let sum = |amount: fn(&keeper_types::Job) -> Fri| {
        let total = tally.market.jobs.values().try_fold(Fri::ZERO, |sum, job| sum.checked_add(amount(job)));
        total.context("the market's money exceeds 128 bits")
    };
    let owed = tally.market.credits.values().try_fold(Fri::ZERO, |sum, credit| sum.checked_add(*credit));
    let owed = owed.context("what the market owes exceeds 128 bits")?;
    let bonds = sum(open_bond)?;
    let balance = contracts.held_at(tally.block).await?;
    // What somebody gave to the contract for nothing would count as held, and so show.
    let held = balance.checked_sub(owed).and_then(|rest| rest.checked_sub(bonds));
    let held = held.with_context(|| format!("the contract holds {balance}, less than it owes: {owed} and {bonds}"))?;
    Ok(Money {
        escrow_in_fri: sum(|job| job.spec.max_price)?,
        paid_fri: sum(|job| job.paid)?,
        refunded_fri: sum(|job| job.refunded)?,
        held_fri: held,
        owed_fri: owed,
        bonds_fri: bonds,
        balance_fri: balance,
    })
}

/// The bond of a dispute that is not ruled; that of one with a committee is in the committee's escrow.
fn open_bond(job: &keeper_types::Job) -> Fri {
    let open = job.dispute.filter(|dispute| dispute.is_right.is_none() && dispute.committee.is_none());
    open.map_or(Fri::ZERO, |dispute| dispute.bond)
}

/// L2 gas and L1 data gas of the rounds' transactions, whole, for each allocation that they made.
async fn gas_per_allocation(context: &Context, tally: &Tally) -> Result<Option<(u64, u64)>> {
    let (mut l2_gas, mut data_gas) = (0_u64, 0_u64);
    for hash in &tally.round_transactions {
        let (l2, data) = context.rpc.gas_used(*hash).await?;
        l2_gas += l2;
        data_gas += data;
    }
    let made = tally.allocations.iter().filter(|made| tally.round_transactions.contains(&made.tx_hash)).count() as u64;
    Ok((made > 0).then(|| (l2_gas / made.max(1), data_gas / made.max(1))))
}

fn states(market: &Market) -> BTreeMap<&'static str, usize> {
    let mut counts: BTreeMap<&'static str, usize> =
        keeper_types::JobState::ALL.into_iter().map(|state| (state.name(), 0)).collect();
    for job in market.jobs.values() {
        *counts.entry(job.state.name()).or_default() += 1;
    }
    counts
}

/// Workers by status; a status that nobody has is left out.
fn statuses(market: &Market) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for worker in market.workers.values() {
        *counts.entry(worker.status.to_string()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_counted_also_where_no_job_is_in_it() {
        let counts = states(&Market::default());
        assert_eq!(counts.len(), 9);
        assert_eq!(counts["settled"], 0);
    }
}
