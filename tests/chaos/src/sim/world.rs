//! One world: everything there is, from its beginning until it is quiet.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use keeper_follow::Latch;
use keeper_store::conformance::identity;
use keeper_types::{Address, Felt, MarketEvent};

use super::{
    chain::{Chain, NodeState},
    checks,
    contracts::Contracts,
    executor::{Executor, Owner, Sim, WORLD},
    history::{History, Violation},
    keeper::{Belief, Online, Process},
    node::Node,
    people::People,
    setting::{Faults, Sabotage, Setting},
    store::{Disk, MemoryStore},
};

/// Time between two blocks, in milliseconds.
const BLOCK_MS: u64 = 2_000;
/// How long it may take after the faults until everything has come to its end, in milliseconds.
const QUIET_WITHIN_MS: u64 = 1_800_000;
/// How often it is looked whether it has.
const LOOK_MS: u64 = 700;

/// What came of a seed.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) jobs: u64,
    pub(super) faults: BTreeMap<&'static str, u64>,
    pub(super) violations: Vec<(Violation, String)>,
    /// From a crash until the keeper's next round was applied, or it had nothing to decide, in milliseconds.
    pub(super) recoveries_ms: Vec<u64>,
    pub(super) digest: u64,
    pub(super) notes: u64,
    pub(super) simulated_ms: u64,
    pub(super) lines: Vec<String>,
    pub(super) reorganisations: u64,
    pub(super) deepest: usize,
    /// Lost intents of which a transaction landed as that of a later one.
    pub(super) signed_again: u64,
}

/// Everything there is.
pub(super) struct World {
    pub(super) setting: Setting,
    pub(super) sim: Sim,
    chain: Arc<Mutex<Chain>>,
    people: Arc<Mutex<People>>,
    pub(super) disks: Vec<Arc<Mutex<Disk>>>,
    pub(super) beliefs: Vec<Belief>,
    online: Online,
    /// Whether each keeper has had a round applied since it started, or found that there was nothing to decide.
    works: Vec<Arc<AtomicBool>>,
    /// Keepers that died and do not work again yet, and when they did.
    recovering: BTreeMap<Owner, u64>,
    recoveries_ms: Vec<u64>,
    is_quiet: bool,
    looked_ms: u64,
}

/// A keeper's account.
pub(super) fn account(keeper: Owner) -> Address {
    Address(Felt::from(0x1000 + keeper))
}

/// Runs a seed.
pub(super) fn run(setting: Setting, is_told: bool) -> Outcome {
    let mut world = World::new(setting, is_told);
    let mut executor = Executor::new(world.sim.clone());
    world.begin();
    let shared = std::cell::RefCell::new(&mut world);
    executor.run(|owner| shared.borrow_mut().died(owner), || shared.borrow_mut().is_over());
    drop(executor);
    world.end()
}

impl World {
    fn new(setting: Setting, is_told: bool) -> Self {
        let sim = Sim::new(setting.seed, History::new(is_told));
        let mut contracts = Contracts::default();
        contracts.ignores_state = setting.sabotage == Some(Sabotage::NoCompare);
        let online = Online::default();
        let (people, registered) = People::new(sim.clone(), &setting, &mut contracts, online.clone());
        let keepers = (0..setting.keepers).map(|keeper| MarketEvent::KeeperAdded { keeper: account(keeper) });
        let events = keepers.chain(registered).collect();
        let chain = Chain::new(sim.clone(), contracts, events, setting.keepers, setting.is_strict);
        let shared: Arc<Mutex<Disk>> = Arc::default();
        let disk = || if setting.is_shared { shared.clone() } else { Arc::default() };
        Self {
            setting,
            sim,
            chain: Arc::new(Mutex::new(chain)),
            people: Arc::new(Mutex::new(people)),
            disks: (0..setting.keepers).map(|_| disk()).collect(),
            beliefs: (0..setting.keepers).map(|_| Belief::default()).collect(),
            works: (0..setting.keepers).map(|_| Arc::default()).collect(),
            online,
            recovering: BTreeMap::new(),
            recoveries_ms: Vec::new(),
            is_quiet: false,
            looked_ms: 0,
        }
    }

    pub(super) fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn people(&self) -> MutexGuard<'_, People> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&mut self) {
        self.sim.set_faults(self.setting.faults);
        for owner in 0..self.setting.keepers {
            self.process(owner).start();
        }
        let (sim, chain, people) = (self.sim.clone(), self.chain.clone(), self.people.clone());
        let (faults_ms, keepers) = (self.setting.faults_ms, self.setting.keepers);
        self.sim.spawn(WORLD, async move {
            loop {
                sim.sleep(BLOCK_MS / 2).await;
                let mut chain = chain.lock().unwrap_or_else(PoisonError::into_inner);
                let mut people = people.lock().unwrap_or_else(PoisonError::into_inner);
                people.act(&mut chain);
                if sim.now_ms() < faults_ms {
                    people.disturb(&mut chain);
                    disturb(&sim, &mut chain, keepers);
                }
                if sim.now_ms().is_multiple_of(BLOCK_MS) {
                    chain.mine();
                    accept_on_l1(&sim, &mut chain, sim.now_ms() >= faults_ms);
                }
            }
        });
    }

    fn process(&self, owner: Owner) -> Process {
        let (sim, sabotage) = (self.sim.clone(), self.setting.sabotage);
        let process = Some((sim.clone(), owner));
        Process {
            node: Node::new(sim.clone(), self.chain.clone(), owner),
            store: Arc::new(MemoryStore::new(identity(), self.disks[owner].clone(), process, sabotage)),
            sim,
            owner,
            account: account(owner),
            latch: Arc::new(Latch::new()),
            belief: self.beliefs[owner].clone(),
            online: self.online.clone(),
            works: self.works[owner].clone(),
            sabotage,
            reread: Arc::new(AtomicBool::new(false)),
        }
    }

    /// A process has died; somebody starts it again after a while.
    fn died(&mut self, owner: Owner) {
        self.sim.count("crash");
        self.recovering.entry(owner).or_insert(self.sim.now_ms());
        self.works[owner].store(false, Ordering::Relaxed);
        self.disks[owner].lock().unwrap_or_else(PoisonError::into_inner).log.forget_unwritten();
        *self.beliefs[owner].lock().unwrap_or_else(PoisonError::into_inner) = None;
        let (sim, process) = (self.sim.clone(), self.process(owner));
        let pause_ms = self.sim.draw(100..8_000);
        self.sim.spawn(WORLD, async move {
            sim.sleep(pause_ms).await;
            process.start();
        });
    }

    /// Looks whether everything has come to its end.
    fn is_over(&mut self) -> bool {
        let now_ms = self.sim.now_ms();
        if now_ms < self.looked_ms + LOOK_MS {
            return false;
        }
        self.looked_ms = now_ms;
        self.time_recoveries(now_ms);
        // What is done wrong on purpose has to be noticed, and no more.
        if self.setting.sabotage.is_some() && self.sim.with_history(|history| !history.violations().is_empty()) {
            return true;
        }
        if !self.is_quiet && now_ms >= self.setting.faults_ms {
            self.end_faults();
        }
        if !self.is_quiet {
            return false;
        }
        let is_late = now_ms >= self.setting.faults_ms + QUIET_WITHIN_MS;
        is_late || checks::waiting(self).is_none()
    }

    /// From now on everything works.
    fn end_faults(&mut self) {
        self.is_quiet = true;
        self.sim.set_faults(Faults::default());
        self.sim.spare();
        self.sim.note("quiet", [0; 3], String::new);
        let mut chain = self.chain();
        chain.halted_until_ms = 0;
        for node in &mut chain.nodes {
            *node = NodeState::default();
        }
    }

    fn time_recoveries(&mut self, now_ms: u64) {
        let (works, recoveries) = (&self.works, &mut self.recoveries_ms);
        self.recovering.retain(|owner, died_ms| {
            let is_recovered = works[*owner].load(Ordering::Relaxed);
            if is_recovered {
                recoveries.push(now_ms - *died_ms);
            }
            !is_recovered
        });
    }

    fn end(self) -> Outcome {
        let signed_again = checks::check(&self);
        let simulated_ms = self.sim.now_ms();
        let (jobs, reorganisations, deepest) = {
            let chain = self.chain();
            (self.setting.jobs, chain.reorganisations, chain.deepest)
        };
        self.sim.with_history(|history| Outcome {
            jobs,
            faults: history.faults().clone(),
            violations: history.violations().to_vec(),
            recoveries_ms: self.recoveries_ms.clone(),
            digest: history.digest(),
            notes: history.notes(),
            simulated_ms,
            lines: history.lines(),
            reorganisations,
            deepest,
            signed_again,
        })
    }
}

/// What goes wrong by itself, each second.
fn disturb(sim: &Sim, chain: &mut Chain, keepers: usize) {
    let now_ms = sim.now_ms();
    if sim.fault("reorganisation", |faults| faults.reorganise) {
        let deepest = if sim.chance(150) { 40 } else { 5 };
        let (depth, returned) = (sim.draw(1..deepest), [0, 500, 1_000][usize::try_from(sim.draw(0..3)).unwrap_or(0)]);
        chain.reorganise(usize::try_from(depth).unwrap_or(1), returned);
        // A chain that is replaced at once, or in time.
        let at_once = if sim.chance(500) { sim.draw(0..depth + 3) } else { 0 };
        for _ in 0..at_once {
            chain.mine();
        }
    }
    if sim.fault("halt", |faults| faults.halt) {
        chain.halted_until_ms = now_ms + sim.draw(5_000..45_000);
    }
    if sim.fault("price", |faults| faults.price) {
        chain.price = (chain.price * sim.draw(70..220) / 100).clamp(100, 1 << 40);
    }
    if sim.fault("eviction", |faults| faults.evict) {
        chain.evict();
    }
    for keeper in 0..keepers {
        disturb_keeper(sim, chain, keeper, now_ms);
    }
}

fn disturb_keeper(sim: &Sim, chain: &mut Chain, keeper: Owner, now_ms: u64) {
    if sim.chance(sim.faults().crash) {
        let steps = sim.draw(0..120);
        sim.doom(keeper, u32::try_from(steps).unwrap_or_default());
    }
    if sim.fault("use of the key", |faults| faults.outside_use) {
        chain.use_key(account(keeper));
    }
    if sim.fault("lag", |faults| faults.lag) {
        chain.nodes[keeper].lag = usize::try_from(sim.draw(0..6)).unwrap_or_default();
    }
    if sim.fault("outage", |faults| faults.outage) {
        chain.nodes[keeper].down_until_ms = now_ms + sim.draw(2_000..25_000);
    }
    if sim.fault("another chain", |faults| faults.other_chain) {
        let until_ms = now_ms + sim.draw(3_000..20_000);
        chain.nodes[keeper].instead = Some(chain.other_chain(until_ms));
    }
}

/// Now and then what is old enough is accepted on L1; all but the newest once nothing goes wrong any more.
fn accept_on_l1(sim: &Sim, chain: &mut Chain, is_quiet: bool) {
    let newest = chain.blocks.len() - 1;
    let behind = if is_quiet { 3 } else { usize::try_from(sim.draw(3..45)).unwrap_or(45) };
    if is_quiet || sim.chance(60) {
        chain.accepted = chain.accepted.max(newest.saturating_sub(behind));
    }
}
