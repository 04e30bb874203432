//! What must hold after every call, whatever the call was: "What must always hold" in the architecture, checked from
//! the contracts' views and events. The model has no part in it, so that a mistake made twice is still found.

mod ledger;

use anyhow::{Result, bail, ensure};
use keeper_types::Felt;

use crate::{
    abi::NamedEvent,
    actors::{Actor, Contract, burn_address},
    calls::Item,
    market::BALANCE,
    sight::{JobSeen, Sight, WorkerSeen, state},
};
pub(crate) use ledger::Ledger;

/// The verification by which the referee decides, and no vote.
const MATMUL: u8 = 2;

/// Checks one successful call.
///
/// # Errors
/// Names the rule that was broken, by its number in the architecture, and by what.
pub(crate) fn check(before: &Sight, after: &Sight, events: &[NamedEvent], ledger: &mut Ledger) -> Result<()> {
    // A token that calls back can take out what a call has credited before the call has told of it: what counts is what
    // a call comes to as a whole.
    let (lowering, others): (Vec<_>, Vec<_>) = events.iter().partition(|event| Ledger::lowers(event));
    for event in others.into_iter().chain(lowering) {
        ledger.add(event, after)?;
    }
    money_is_conserved(after, ledger)?;
    for job in &after.jobs {
        attempts_are_sound(before.job(job.job_id), job)?;
    }
    for worker in &after.workers {
        nothing_is_oversold(worker, after)?;
        stake_moves_by_the_rules(before.worker(worker.worker_id), worker, events)?;
        reputation_moves_by_outcomes(before.worker(worker.worker_id), worker, after.now.timestamp, events)?;
    }
    for event in events {
        votes_enrich_nobody(after, event, events)?;
        claims_are_of_jobs_alone(after, event)?;
    }
    let mut items = events.iter().filter(|event| event.name == "JobsAllocated").flat_map(|event| &event.list);
    items.try_for_each(|item| allocation_was_allowed(before, after, Item::unpack(*item).0))
}

/// Rule 1. Every fri is in escrow, owed, at stake, in a bond or a balance, burnt, or with an account.
fn money_is_conserved(now: &Sight, ledger: &Ledger) -> Result<()> {
    let open = now.jobs.iter().filter(|job| !state::is_final(job.state));
    let escrow: u128 = open.map(|job| job.max_price).sum();
    let (bonds, owed) = (ledger.dispute_bonds(), ledger.owed());
    let held = now.held_by(Contract::JobMgr);
    ensure!(
        held == escrow + bonds + owed,
        "1: JobMgr holds {held}, not {escrow} in escrow, {bonds} in bonds, {owed} owed"
    );
    let staked: u128 = now.workers.iter().map(|worker| worker.stake).sum();
    let held = now.held_by(Contract::CdcPool);
    ensure!(held == staked, "1: CdcPool holds {held}, but {staked} is at stake");
    let (held, bonds) = (now.held_by(Contract::TaskAllocator), ledger.keeper_bonds());
    ensure!(held == bonds, "1: TaskAllocator holds {held}, but keepers have bonds of {bonds}");
    let (held, balances) = (now.held_by(Contract::Paymaster), ledger.balances());
    ensure!(held == balances, "1: Paymaster holds {held}, but the balances are {balances}");
    let burnt = now.held.get(&burn_address()).copied().unwrap_or_default();
    ensure!(burnt == ledger.burnt(), "1: {burnt} was burnt, not {}", ledger.burnt());
    let contracts: u128 = Contract::HOLDERS.iter().map(|contract| now.held_by(*contract)).sum();
    let total = now.held_by_accounts() + contracts + burnt + now.held_by(Contract::Token);
    ensure!(total == BALANCE * Actor::ALL.len() as u128, "1: {total} fri in all");
    Ok(())
}

/// Rule 2, and that a final state stays as it is.
fn attempts_are_sound(before: Option<&JobSeen>, job: &JobSeen) -> Result<()> {
    let id = job.job_id;
    let has_worker = job.worker_id != 0;
    match job.state {
        state::QUEUED => ensure!(!has_worker, "2: job {id} is queued and has a worker"),
        state::ALLOCATED..=state::SETTLED | state::FAILED => {
            ensure!(has_worker, "2: job {id} is in state {} without a worker", job.state);
        }
        _ => ensure!(!has_worker, "2: job {id} ended in the queue with a worker"),
    }
    ensure!((1..=job.max_attempts).contains(&job.attempt), "2: job {id} is in attempt {}", job.attempt);
    let Some(before) = before.filter(|before| *before != job) else { return Ok(()) };
    ensure!(!state::is_final(before.state), "2: job {id} has changed after its end");
    let has_run = before.state == state::ALLOCATED || before.state == state::COMMITTED;
    // In the queue, or ended there: a call of a hostile token may end a job that its own call had just queued again.
    let is_back = matches!(job.state, state::QUEUED | state::CANCELLED | state::EXPIRED);
    let expected = before.attempt + u8::from(has_run && is_back);
    ensure!(job.attempt == expected, "2: job {id} went from attempt {} to {}", before.attempt, job.attempt);
    let is_the_same = before.worker_id == job.worker_id || before.state == state::QUEUED || is_back;
    ensure!(is_the_same, "2: attempt {} of job {id} went to worker {}", job.attempt, job.worker_id);
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
    let may_be_wrong = |job: &&JobSeen| matches!(job.state, state::COMMITTED | state::DISPUTED);
    let least = now.jobs.iter().filter(|job| job.worker_id == id).filter(may_be_wrong).count();
    ensure!(usize::from(worker.holds) >= least, "4: worker {id} has {} holds, not {least}", worker.holds);
    ensure!(worker.status != state::EXITED || worker.holds == 0, "4: worker {id} is gone and held");
    Ok(())
}

/// Rule 3: the worker of a new allocation has what the job requires, at a price that it pays.
fn allocation_was_allowed(before: &Sight, after: &Sight, item: Item) -> Result<()> {
    let (job_id, worker_id) = (item.job_id, item.worker_id);
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
    ensure!(job.worker_id == worker_id, "2: job {job_id} is with worker {}", job.worker_id);
    let is_at_its_rate = job.rate_gfri == worker.rate_gfri && item.rate_gfri == worker.rate_gfri;
    ensure!(is_at_its_rate, "3: job {job_id} is not at its worker's rate");
    ensure!(job.price(job.rate_gfri) <= job.max_price, "3: job {job_id} costs more than its client pays");
    let is_another = |other: &&JobSeen| other.group_id == job.group_id && other.job_id != job_id;
    let mut others = after.jobs.iter().filter(|other| job.group_id != 0 && is_another(other));
    ensure!(
        others.all(|other| other.worker_id != worker_id),
        "3: worker {worker_id} has two of group {}",
        job.group_id
    );
    Ok(())
}

/// Rule 4: a stake comes with the registration and with what is added, and goes by slashing and with the withdrawal.
fn stake_moves_by_the_rules(before: Option<&WorkerSeen>, worker: &WorkerSeen, events: &[NamedEvent]) -> Result<()> {
    let id = worker.worker_id;
    if let Some(before) = before {
        ensure!(before.owner == worker.owner, "4: worker {id} has another owner");
    }
    let of_worker = events.iter().filter(|event| number(event.get("worker_id")) == u64::from(id));
    let amount = |event: &NamedEvent, field: &str| u128::try_from(event.get(field)).unwrap_or(u128::MAX);
    let mut expected = before.map_or(0, |before| before.stake);
    // What comes in counts first: a call of a hostile token may slash what is being added before that is told.
    for event in of_worker.clone() {
        match event.name.as_str() {
            "WorkerRegistered" => expected = amount(event, "stake"),
            "StakeAdded" => expected = expected.saturating_add(amount(event, "amount")),
            _ => {}
        }
    }
    for event in of_worker {
        match event.name.as_str() {
            "WorkerSlashed" => {
                let parts = ["burned", "to_challenger", "to_client"].map(|field| amount(event, field));
                let taken = amount(event, "amount");
                ensure!(parts.iter().sum::<u128>() == taken, "4: worker {id} was slashed by more or less than {taken}");
                ensure!(taken <= expected, "4: worker {id} was slashed by more than its stake");
                expected -= taken;
            }
            "StakeWithdrawn" => {
                let is_whole = amount(event, "amount") == expected && event.get("owner") == worker.owner;
                ensure!(is_whole && worker.status == state::EXITED, "4: the stake of worker {id} went elsewhere");
                expected = 0;
            }
            _ => {}
        }
    }
    ensure!(worker.stake == expected, "4: worker {id} has {} at stake, not {expected}", worker.stake);
    Ok(())
}

/// Rule 4: where other workers' results alone speak against a result, all that is slashed is burnt.
fn votes_enrich_nobody(now: &Sight, event: &NamedEvent, events: &[NamedEvent]) -> Result<()> {
    if event.name != "WorkerSlashed" || event.get("fault") != Felt::TWO {
        return Ok(());
    }
    let worker_id = event.get("worker_id");
    let id = number(worker_id);
    // A call rejects one result at most, but for those that a token calls back to.
    let rejected = events.iter().filter(|event| event.name == "ResultRejected" && event.get("worker_id") == worker_id);
    let mut jobs = rejected.filter_map(|event| now.job(number(event.get("job_id"))));
    let is_proven = jobs.any(|job| job.verification == MATMUL);
    let is_burnt = event.get("burned") == event.get("amount");
    ensure!(is_proven || is_burnt, "4: votes against worker {id} enrich somebody");
    Ok(())
}

/// Rule 3: no worker takes a seat in a group by itself.
fn claims_are_of_jobs_alone(now: &Sight, event: &NamedEvent) -> Result<()> {
    let job = now.job(number(event.get("job_id"))).filter(|_| event.name == "JobClaimed");
    ensure!(job.is_none_or(|job| job.group_id == 0), "3: a member of a group was claimed");
    Ok(())
}

/// Rule 4: the outcomes that the events tell, one after the other, give the reputation. It decays with time, but only
/// where something happens to the worker, and never below what everybody starts with.
fn reputation_moves_by_outcomes(
    before: Option<&WorkerSeen>,
    worker: &WorkerSeen,
    now_s: u64,
    events: &[NamedEvent],
) -> Result<()> {
    let id = worker.worker_id;
    let Some(before) = before.filter(|before| before.reputation != worker.reputation) else { return Ok(()) };
    let of_worker = |event: &&NamedEvent| number(event.get("worker_id")) == u64::from(id);
    let periods = now_s.saturating_sub(before.reputation_at) / (30 * 86_400);
    let decayed = (0..periods.min(36))
        .fold(before.reputation, |reputation, _| reputation - reputation.saturating_sub(500).div_ceil(10));
    let expected = events.iter().filter(of_worker).fold(decayed, |reputation, event| match event.name.as_str() {
        "JobSettled" => reputation + 1000_u16.saturating_sub(reputation).div_ceil(50),
        "AttemptFailed" if event.get("expired") == Felt::ONE => reputation - reputation.div_ceil(5),
        "AttemptFailed" => reputation - reputation.div_ceil(20),
        "ResultRejected" if event.get("cause") != Felt::TWO => reputation - reputation.div_ceil(3),
        _ => reputation,
    });
    let (old, found) = (before.reputation, worker.reputation);
    ensure!(found == expected, "4: the reputation of worker {id} went from {old} to {found}, not to {expected}");
    Ok(())
}

fn number(felt: Felt) -> u64 {
    u64::try_from(felt).unwrap_or(u64::MAX)
}
