//! What the events so far add up to.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use keeper_types::Felt;

use super::number;
use crate::{
    abi::NamedEvent,
    actors::{Actor, Contract},
    calls::Item,
    sight::Sight,
};

/// By whose events tell it; all of it in fri.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// What JobMgr owes to whom.
    credit: BTreeMap<Felt, u128>,
    /// Of open disputes that the referee decides, by job.
    disputes: BTreeMap<u64, (Felt, u128)>,
    /// Of keepers.
    bonds: BTreeMap<Felt, u128>,
    /// At the paymaster.
    balances: BTreeMap<Felt, u128>,
    burnt: u128,
    /// Job and attempt of every allocation.
    allocations: BTreeSet<(u64, u8)>,
    /// Groups whose decision was told.
    decided: BTreeSet<u64>,
}

impl Ledger {
    /// Whether the event takes from what somebody has.
    pub(super) fn lowers(event: &NamedEvent) -> bool {
        let lowering = ["CreditSpent", "CreditWithdrawn", "Withdrawn", "EscrowDrawn", "Relayed", "BondWithdrawn"];
        lowering.contains(&event.name.as_str())
    }

    pub(super) fn add(&mut self, event: &NamedEvent, after: &Sight) -> Result<()> {
        match event.contract {
            Contract::JobMgr => self.add_of_job_mgr(event, after),
            Contract::Paymaster => self.add_of_paymaster(event),
            Contract::TaskAllocator => self.add_of_allocator(event),
            _ => {
                if event.name == "WorkerSlashed" {
                    self.burnt += amount(event, "burned");
                }
                Ok(())
            }
        }
    }

    fn add_of_job_mgr(&mut self, event: &NamedEvent, after: &Sight) -> Result<()> {
        let job_id = number(event.get("job_id"));
        match event.name.as_str() {
            "JobSettled" => {
                let worker_id = number(event.get("worker_id")) as u32;
                let owner = after.worker(worker_id).with_context(|| format!("1: job {job_id} pays nobody"))?.owner;
                *self.credit.entry(owner).or_default() += amount(event, "paid");
                *self.credit.entry(event.get("client")).or_default() += amount(event, "refunded");
                let price = after.job(job_id).map_or(0, |job| job.max_price);
                let sum = amount(event, "paid") + amount(event, "refunded");
                ensure!(sum == price, "1: job {job_id} had {price} and paid {sum}");
            }
            "JobCancelled" | "JobExpired" | "JobFailed" => {
                *self.credit.entry(event.get("client")).or_default() += amount(event, "refunded");
                let price = after.job(job_id).map_or(0, |job| job.max_price);
                ensure!(amount(event, "refunded") == price, "1: job {job_id} did not refund its {price}");
            }
            "ResultDisputed" if event.get("committee") == Felt::ZERO => {
                self.disputes.insert(job_id, (event.get("client"), amount(event, "bond")));
            }
            "DisputeRuled" => {
                if let Some((client, bond)) = self.disputes.remove(&job_id) {
                    let worker = after.worker(number(event.get("worker_id")) as u32);
                    let owner = worker.map_or(Felt::ZERO, |worker| worker.owner);
                    let receiver = if event.get("is_right") == Felt::ONE { owner } else { client };
                    *self.credit.entry(receiver).or_default() += bond;
                }
            }
            "CreditSpent" | "CreditWithdrawn" => lower(&mut self.credit, event, "account")?,
            "JobsAllocated" => {
                for item in &event.list {
                    let item = Item::unpack(*item).0;
                    let key = (item.job_id, item.attempt);
                    ensure!(self.allocations.insert(key), "2: job {} was given attempt {} twice", key.0, key.1);
                }
            }
            "GroupDecided" => {
                let group = number(event.get("group_id"));
                ensure!(self.decided.insert(group), "2: group {group} was decided twice");
            }
            _ => {}
        }
        Ok(())
    }

    fn add_of_paymaster(&mut self, event: &NamedEvent) -> Result<()> {
        match event.name.as_str() {
            "Deposited" => *self.balances.entry(event.get("account")).or_default() += amount(event, "amount"),
            "Withdrawn" => lower(&mut self.balances, event, "account")?,
            "EscrowDrawn" => lower(&mut self.balances, event, "client")?,
            "Relayed" => {
                let balance = self.balances.entry(event.get("sponsor")).or_default();
                *balance = balance.checked_sub(amount(event, "fee")).context("1: a fee above the sponsor's balance")?;
            }
            _ => {}
        }
        Ok(())
    }

    fn add_of_allocator(&mut self, event: &NamedEvent) -> Result<()> {
        match event.name.as_str() {
            "BondPosted" => *self.bonds.entry(event.get("keeper")).or_default() += amount(event, "amount"),
            "BondWithdrawn" => lower(&mut self.bonds, event, "keeper")?,
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn owed(&self) -> u128 {
        self.credit.values().sum()
    }

    pub(super) fn dispute_bonds(&self) -> u128 {
        self.disputes.values().map(|(_, bond)| bond).sum()
    }

    pub(super) fn keeper_bonds(&self) -> u128 {
        self.bonds.values().sum()
    }

    pub(crate) fn bond_of(&self, keeper: Felt) -> u128 {
        self.bonds.get(&keeper).copied().unwrap_or_default()
    }

    pub(super) fn balances(&self) -> u128 {
        self.balances.values().sum()
    }

    pub(crate) fn balance_of(&self, account: Felt) -> u128 {
        self.balances.get(&account).copied().unwrap_or_default()
    }

    /// What is at the paymaster for contracts that never ask for it.
    pub(crate) fn balances_of_contracts(&self) -> u128 {
        let of_contracts = self.balances.iter().filter(|(account, _)| Actor::of_address(**account).is_none());
        of_contracts.map(|(_, balance)| balance).sum()
    }

    /// Everyone who is owed something.
    pub(crate) fn creditors(&self) -> Vec<Felt> {
        self.credit.iter().filter(|(_, amount)| **amount > 0).map(|(account, _)| *account).collect()
    }

    pub(super) fn burnt(&self) -> u128 {
        self.burnt
    }
}

/// Takes the event's amount from what the account in `field` has.
fn lower(amounts: &mut BTreeMap<Felt, u128>, event: &NamedEvent, field: &str) -> Result<()> {
    let left = amounts.entry(event.get(field)).or_default();
    let told = || format!("1: {} of more than there was", event.name);
    *left = left.checked_sub(amount(event, "amount")).with_context(told)?;
    Ok(())
}

fn amount(event: &NamedEvent, field: &str) -> u128 {
    u128::try_from(event.get(field)).unwrap_or(u128::MAX)
}
