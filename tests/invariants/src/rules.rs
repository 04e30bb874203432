//! What must hold after every call, whatever the call was: "What must always hold" in the architecture, checked from
//! the contracts' views and events. The model has no part in it, so that a mistake made twice is still found.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use keeper_types::Felt;

use crate::{
    abi::NamedEvent,
    actors::Actor,
    market::BALANCE,
    sight::{JobSeen, Sight, WorkerSeen, state},
};

/// What the events so far add up to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Fri that came into escrow.
    escrowed: u128,
    paid: u128,
    refunded: u128,
    /// Job and attempt of every allocation.
    allocations: BTreeSet<(u64, u8)>,
}

impl Ledger {
    fn add(&mut self, event: &NamedEvent) -> Result<()> {
        let amount = |field: &str| u128::try_from(event.get(field)).unwrap_or(u128::MAX);
        match event.name.as_str() {
            "JobSubmitted" => self.escrowed += amount("spec.max_price"),
            "JobSettled" => {
                self.paid += amount("paid");
                self.refunded += amount("refunded");
            }
            "JobCancelled" | "JobExpired" | "JobFailed" => self.refunded += amount("refunded"),
            "JobAllocated" => {
                let key = (number(event.get("job_id")), number(event.get("choice")) as u8);
                ensure!(self.allocations.insert(key), "2: job {} was given attempt {} twice", key.0, key.1);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Checks one successful call.
///
/// # Errors
/// Names the rule that was broken, by its number in the architecture, and by what.
pub(crate) fn check(before: &Sight, after: &Sight, events: &[NamedEvent], ledger: &mut Ledger) -> Result<()> {
    for event in events {
        ledger.add(event)?;
    }
    money_is_conserved(after, ledger)?;
    for job in &after.jobs {
        attempts_are_sound(before.job(job.job_id), job)?;
    }
    for worker in &after.workers {
        nothing_is_oversold(worker, after)?;
        stake_moves_by_its_owner(before.worker(worker.worker_id), worker, events)?;
        reputation_moves_by_outcomes(before.worker(worker.worker_id), worker, events)?;
    }
    for event in events.iter().filter(|event| event.name == "JobAllocated") {
        allocation_was_allowed(before, after, event)?;
    }
    Ok(())
}

/// Rule 1. Every fri is in escrow, at stake, or with an account.
fn money_is_conserved(now: &Sight, ledger: &Ledger) -> Result<()> {
    let open = now.jobs.iter().filter(|job| !state::is_final(job.state));
    let escrow: u128 = open.map(|job| job.max_price).sum();
    ensure!(now.held_by_job_mgr == escrow, "1: JobMgr holds {}, but open jobs have {escrow}", now.held_by_job_mgr);
    let out = ledger.paid + ledger.refunded;
    ensure!(ledger.escrowed == out + escrow, "1: {} went in, {out} came out, {escrow} is left", ledger.escrowed);
    let staked: u128 = now.workers.iter().map(|worker| worker.stake).sum();
    ensure!(now.held_by_cdc_pool == staked, "1: CdcPool holds {}, but {staked} is at stake", now.held_by_cdc_pool);
    let total = now.held_by_accounts + escrow + staked;
    ensure!(total == BALANCE * Actor::ALL.len() as u128, "1: {total} fri in all");
    Ok(())
}

/// Rule 2, and that a final state stays as it is.
fn attempts_are_sound(before: Option<&JobSeen>, job: &JobSeen) -> Result<()> {
    let id = job.job_id;
    let has_worker = job.worker_id != 0;
    match job.state {
        state::QUEUED => ensure!(!has_worker, "2: job {id} is queued and has a worker"),
        state::ALLOCATED | state::REVEALED | state::SETTLED | state::FAILED => {
            ensure!(has_worker, "2: job {id} is in state {} without a worker", job.state);
        }
        _ => ensure!(!has_worker, "2: job {id} ended in the queue with a worker"),
    }
    ensure!((1..=job.max_attempts).contains(&job.attempt), "2: job {id} is in attempt {}", job.attempt);
    let Some(before) = before else { return Ok(()) };
    if state::is_final(before.state) {
        ensure!(before.felts == job.felts, "2: job {id} has changed after its end");
    }
    let is_requeued = before.state == state::ALLOCATED && job.state == state::QUEUED;
    let expected = before.attempt + u8::from(is_requeued);
    ensure!(job.attempt == expected, "2: job {id} went from attempt {} to {}", before.attempt, job.attempt);
    Ok(())
}

/// Rule 3: what a worker has free and what its jobs occupy is what it offers.
fn nothing_is_oversold(worker: &WorkerSeen, now: &Sight) -> Result<()> {
    let id = worker.worker_id;
    let running = now.jobs.iter().filter(|job| job.state == state::ALLOCATED && job.worker_id == id);
    let (slots, gpus) =
        running.fold((0_u32, 0_u32), |(slots, gpus), job| (slots + 1, gpus + u32::from(job.requirements.gpu_count)));
    let free = u32::from(worker.free_slots);
    ensure!(slots + free == u32::from(worker.slots), "3: worker {id} has {slots} jobs and {free} free slots");
    let free = u32::from(worker.free_gpus);
    let offered = u32::from(worker.capabilities.gpu_count);
    ensure!(gpus + free == offered, "3: worker {id} has {gpus} GPUs in use and {free} free");
    Ok(())
}

/// Rule 3: the worker of a new allocation has what the job requires, at a price that it pays.
fn allocation_was_allowed(before: &Sight, after: &Sight, event: &NamedEvent) -> Result<()> {
    let (job_id, worker_id) = (number(event.get("job_id")), number(event.get("worker_id")) as u32);
    let (Some(job), Some(worker)) = (after.job(job_id), before.worker(worker_id)) else {
        bail!("3: an allocation of job {job_id} to worker {worker_id}, of which one does not exist")
    };
    let (wanted, offered) = (&job.requirements, &worker.capabilities);
    let needs = [
        (u16::from(wanted.gpu_count), u16::from(worker.free_gpus)),
        (wanted.vram_gib, offered.vram_gib),
        (u16::from(wanted.compute_capability), u16::from(offered.compute_capability)),
        (u16::from(wanted.cuda_version), u16::from(offered.cuda_version)),
        (wanted.driver_version, offered.driver_version),
        (wanted.cpu_cores, offered.cpu_cores),
        (wanted.memory_gib, offered.memory_gib),
        (wanted.min_reputation, worker.reputation),
    ];
    let has_all = needs.iter().all(|(need, have)| need <= have)
        && wanted.features & !offered.features == 0
        && (wanted.region == Felt::ZERO || wanted.region == offered.region);
    ensure!(has_all, "3: worker {worker_id} lacks what job {job_id} requires");
    ensure!(worker.status == state::ACTIVE && worker.free_slots > 0, "3: worker {worker_id} takes no jobs");
    ensure!(before.job(job_id).is_some_and(|job| job.state == state::QUEUED), "2: job {job_id} was not queued");
    ensure!(job.rate_gfri == worker.rate_gfri, "3: job {job_id} is not at its worker's rate");
    ensure!(job.price(job.rate_gfri) <= job.max_price, "3: job {job_id} costs more than its client pays");
    Ok(())
}

/// Rule 4: a stake comes with the registration and goes with the withdrawal.
fn stake_moves_by_its_owner(before: Option<&WorkerSeen>, worker: &WorkerSeen, events: &[NamedEvent]) -> Result<()> {
    let id = worker.worker_id;
    let Some(before) = before else { return Ok(()) };
    ensure!(before.owner == worker.owner, "4: worker {id} has another owner");
    if before.stake != worker.stake {
        let is_withdrawn = events.iter().any(|event| {
            event.name == "StakeWithdrawn"
                && number(event.get("worker_id")) == u64::from(id)
                && event.get("owner") == worker.owner
                && event.get("amount") == Felt::from(before.stake)
        });
        ensure!(is_withdrawn && worker.stake == 0, "4: the stake of worker {id} went to {}", worker.stake);
        ensure!(worker.status == state::EXITED, "4: worker {id} has its stake back and is not gone");
    }
    Ok(())
}

/// Rule 4: the outcomes that the events tell, one after the other, give the reputation.
fn reputation_moves_by_outcomes(before: Option<&WorkerSeen>, worker: &WorkerSeen, events: &[NamedEvent]) -> Result<()> {
    let id = worker.worker_id;
    let old = before.map_or(500, |before| before.reputation);
    let of_worker = events.iter().filter(|event| number(event.get("worker_id")) == u64::from(id));
    let expected = of_worker.fold(old, |reputation, event| match event.name.as_str() {
        "JobSettled" => reputation + 1000_u16.saturating_sub(reputation).div_ceil(50),
        "AttemptFailed" if event.get("expired") == Felt::ONE => reputation - reputation.div_ceil(5),
        "AttemptFailed" => reputation - reputation.div_ceil(20),
        _ => reputation,
    });
    let found = worker.reputation;
    ensure!(found == expected, "4: the reputation of worker {id} went from {old} to {found}, not to {expected}");
    Ok(())
}

fn number(felt: Felt) -> u64 {
    u64::try_from(felt).unwrap_or(u64::MAX)
}
