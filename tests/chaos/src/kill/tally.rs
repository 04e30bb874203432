//! What became of every job, by the chain, by what jobs left behind, and by the keeper's log of what it sent.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use keeper_chain::{ChainJob, Follower, Step};
use keeper_store::{SqliteStore, Store};
use keeper_types::{Attempt, BlockHeader, EventPosition, Felt, JobId, JobState, MarketEvent, TxHash, WorkerId};

use super::{agents::Agents, stage::Stage, submitting::Acknowledged};

/// An attempt at a job.
type Key = (JobId, Attempt);

/// What came of it all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Jobs that were acknowledged and are not on chain, did not end as they should, or ended with another's result.
    pub(crate) lost: u64,
    /// Attempts that were allocated, answered or run twice, and jobs that were paid for twice.
    pub(crate) doubled: u64,
    /// Jobs that are not over, and transactions of which the keeper does not know what became.
    pub(crate) stuck: u64,
    /// Rounds on chain that the keeper did not write down before it sent them.
    pub(crate) unrecorded: u64,
    pub(crate) jobs: u64,
    pub(crate) rounds: u64,
    pub(crate) attempts: u64,
    /// Items that a round gave away and the contract did not: decided by what was no longer so.
    pub(crate) skipped: u64,
    /// What went wrong, for people.
    pub(crate) told: Vec<String>,
}

/// What is counted.
#[derive(Debug, Default)]
struct Evidence {
    acknowledged: Vec<Acknowledged>,
    /// Everything that the contracts said.
    events: Vec<(EventPosition, MarketEvent)>,
    /// What the contracts hold.
    jobs: BTreeMap<JobId, (JobState, Felt)>,
    /// How often each attempt ran.
    runs: BTreeMap<Key, u64>,
    /// How often each worker's agent was killed: an attempt that was cut short runs once more.
    agent_kills: BTreeMap<WorkerId, u64>,
    /// The transactions that the keeper wrote down.
    recorded: BTreeSet<TxHash>,
    /// Transactions of which the keeper does not know what became.
    open_intents: u64,
}

/// The database of the one keeper of the stage.
///
/// # Errors
/// Fails where it cannot be read.
pub(crate) async fn records(stage: &Stage) -> Result<SqliteStore> {
    Ok(SqliteStore::open_read_only(&stage.place.path("data/keeper.sqlite")).await?)
}

/// Looks at everything and counts.
///
/// # Errors
/// Fails where the chain does not answer, or the keeper's database cannot be read.
pub(crate) async fn count(
    stage: &Stage,
    store: &dyn Store,
    acknowledged: &[Acknowledged],
    agents: &Agents,
) -> Result<Tally> {
    let events = events(stage).await?;
    let jobs = stage.contracts.jobs().await?;
    let state = |job: ChainJob| (job.job_id, (job.state, job.result_hash));
    let mut recorded = BTreeSet::new();
    for tx_hash in rounds(&events) {
        if store.intent_by_tx(tx_hash).await?.is_some() {
            recorded.insert(tx_hash);
        }
    }
    let evidence = Evidence {
        acknowledged: acknowledged.to_vec(),
        events,
        jobs: jobs.into_iter().map(state).collect(),
        runs: runs(&std::fs::read_to_string(stage.runs().join("runs")).unwrap_or_default())?,
        agent_kills: agents.kills(),
        recorded,
        open_intents: store.open_intents().await?.len() as u64,
    };
    Ok(evidence.tally())
}

/// Everything that the contracts said, read anew from their deployment on.
pub(crate) async fn events(stage: &Stage) -> Result<Vec<(EventPosition, MarketEvent)>> {
    let follower = Follower::new(stage.contracts.rpc(), stage.contracts.deployment());
    let (mut events, mut cursor) = (Vec::new(), None::<BlockHeader>);
    loop {
        match follower.step(cursor).await? {
            Step::Extended { blocks, head } => {
                events.extend(blocks.iter().flat_map(|block| block.events.clone()));
                let last = blocks.last().context("a step without blocks")?.header;
                if last.number >= head {
                    return Ok(events);
                }
                cursor = Some(last);
            }
            Step::UpToDate => return Ok(events),
            Step::Reorganised => bail!("a chain that nobody reorganised was reorganised"),
        }
    }
}

fn rounds(events: &[(EventPosition, MarketEvent)]) -> impl Iterator<Item = TxHash> {
    let rounds = events.iter().filter(|(_, event)| matches!(event, MarketEvent::RoundApplied { .. }));
    rounds.map(|(position, _)| position.tx_hash)
}

/// Reads what jobs wrote when they ran: a line for each run, the job's number and the attempt.
fn runs(lines: &str) -> Result<BTreeMap<Key, u64>> {
    let mut runs = BTreeMap::new();
    for line in lines.lines() {
        let (job_id, attempt) = line.split_once(' ').with_context(|| format!("`{line}` tells of no run"))?;
        *runs.entry((job_id.parse()?, attempt.parse()?)).or_insert(0) += 1;
    }
    Ok(runs)
}

impl Evidence {
    fn tally(&self) -> Tally {
        let mut tally = Tally { jobs: self.acknowledged.len() as u64, ..Tally::default() };
        self.look_at_jobs(&mut tally);
        self.look_at_events(&mut tally);
        for tx_hash in rounds(&self.events).filter(|tx_hash| !self.recorded.contains(tx_hash)) {
            tally.unrecorded += 1;
            tally.tell(format!("the round of transaction {tx_hash} was not written down"));
        }
        if self.open_intents > 0 {
            tally.stuck += self.open_intents;
            tally.tell(format!("{} intents are open at the end", self.open_intents));
        }
        tally
    }

    fn look_at_jobs(&self, tally: &mut Tally) {
        for Acknowledged { job_id, result } in &self.acknowledged {
            match self.jobs.get(job_id) {
                None => {
                    tally.lost += 1;
                    tally.tell(format!("job {job_id} was acknowledged and is not on chain"));
                }
                Some((state, _)) if !state.is_final() => {
                    tally.stuck += 1;
                    tally.tell(format!("job {job_id} is {state} at the end"));
                }
                Some((JobState::Settled, found)) if *found == result.to_felt() => {}
                Some((state, found)) => {
                    tally.lost += 1;
                    tally.tell(format!("job {job_id} ended {state} with result {found:#x}, not {result}"));
                }
            }
        }
    }

    fn look_at_events(&self, tally: &mut Tally) {
        let mut allocated: BTreeMap<Key, WorkerId> = BTreeMap::new();
        let (mut answered, mut paid) = (BTreeSet::new(), BTreeSet::new());
        let mut twice = Vec::new();
        for (_, event) in &self.events {
            match event {
                MarketEvent::JobsAllocated { items } => {
                    for item in items {
                        if allocated.insert((item.job_id, item.attempt), item.worker_id).is_some() {
                            twice.push(format!("attempt {} at job {} was allocated twice", item.attempt, item.job_id));
                        }
                    }
                }
                MarketEvent::ResultSubmitted { job_id, attempt, .. } if !answered.insert((*job_id, *attempt)) => {
                    twice.push(format!("attempt {attempt} at job {job_id} was answered twice"));
                }
                MarketEvent::JobSettled { job_id, .. } if !paid.insert(*job_id) => {
                    twice.push(format!("job {job_id} was paid for twice"));
                }
                MarketEvent::RoundApplied { .. } => tally.rounds += 1,
                MarketEvent::AllocationSkipped { .. } => tally.skipped += 1,
                _ => {}
            }
        }
        tally.attempts = allocated.len() as u64;
        for ((job_id, attempt), runs) in &self.runs {
            let worker = allocated.get(&(*job_id, *attempt));
            let allowed = worker.map_or(0, |worker_id| 1 + self.agent_kills.get(worker_id).copied().unwrap_or(0));
            if *runs > allowed {
                twice.push(format!("attempt {attempt} at job {job_id} ran {runs} times, {allowed} allowed"));
            }
        }
        tally.doubled += twice.len() as u64;
        twice.into_iter().for_each(|line| tally.tell(line));
    }
}

impl Tally {
    fn tell(&mut self, line: String) {
        const MOST: usize = 12;
        if self.told.len() < MOST {
            self.told.push(line);
        }
    }

    /// Whether nothing went wrong.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.stuck == 0 && self.unrecorded == 0
    }
}

#[cfg(test)]
mod tests;
