//! Runs futures by a simulated clock, in one thread and in one order.
//!
//! The only thing to wait for is the clock, and whatever another future does. Time passes when nothing can go on. Every
//! task belongs to a process; where that dies, its tasks are dropped wherever they stand.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    ops::Range,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    history::{History, Violation},
    setting::Faults,
};

thread_local! {
    /// The time of the world that this thread runs, for what is told it by a function without arguments.
    static CLOCK_MS: Cell<u64> = const { Cell::new(0) };
}

/// What time it is in the world that this thread runs.
pub(super) fn clock_ms() -> u64 {
    CLOCK_MS.get()
}

/// Whose task it is: a keeper's number, or [`WORLD`].
pub(super) type Owner = usize;
/// Everything that no keeper does.
pub(super) const WORLD: Owner = usize::MAX;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Clock, dice and history of one world. Clones are of the same.
#[derive(Clone, Debug)]
pub(super) struct Sim {
    /// Guards the world's clock and dice; nothing waits while it is held, and one thread uses it.
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    now_ms: u64,
    timers: BTreeMap<(u64, u64), Waker>,
    timers_made: u64,
    rng: StdRng,
    spawned: Vec<(Owner, Task)>,
    dead: Vec<Owner>,
    /// Steps until a process dies.
    dies_in: BTreeMap<Owner, u32>,
    faults: Faults,
    history: History,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

impl Sim {
    pub(super) fn new(seed: u64, history: History) -> Self {
        let inner = Inner {
            now_ms: 0,
            timers: BTreeMap::new(),
            timers_made: 0,
            rng: StdRng::seed_from_u64(seed),
            spawned: Vec::new(),
            dead: Vec::new(),
            dies_in: BTreeMap::new(),
            faults: Faults::default(),
            history,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.inner().now_ms
    }

    pub(super) fn faults(&self) -> Faults {
        self.inner().faults
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.inner().faults = faults;
    }

    /// Whether something happens that does so in so many of a thousand cases.
    pub(super) fn chance(&self, per_mille: u32) -> bool {
        per_mille > 0 && self.inner().rng.random_ratio(per_mille.min(1_000), 1_000)
    }

    /// As [`Sim::chance`] with the rate of a fault, which is counted where it happens.
    pub(super) fn fault(&self, name: &'static str, rate: impl FnOnce(&Faults) -> u32) -> bool {
        let per_mille = rate(&self.inner().faults);
        let happens = self.chance(per_mille);
        if happens {
            self.count(name);
        }
        happens
    }

    /// Counts a fault.
    pub(super) fn count(&self, name: &'static str) {
        let mut inner = self.inner();
        let now_ms = inner.now_ms;
        inner.history.fault(now_ms, name);
    }

    pub(super) fn draw(&self, range: Range<u64>) -> u64 {
        self.inner().rng.random_range(range)
    }

    /// Writes down what happened. `tell` is asked only where people read it.
    pub(super) fn note(&self, kind: &'static str, words: [u64; 3], tell: impl FnOnce() -> String) {
        let mut inner = self.inner();
        let now_ms = inner.now_ms;
        inner.history.note(now_ms, kind, words, tell);
    }

    /// Something is as it must never be.
    pub(super) fn violate(&self, violation: Violation, tell: impl FnOnce() -> String) {
        let mut inner = self.inner();
        let now_ms = inner.now_ms;
        inner.history.violate(now_ms, violation, tell());
    }

    pub(super) fn with_history<R>(&self, read: impl FnOnce(&mut History) -> R) -> R {
        read(&mut self.inner().history)
    }

    pub(super) fn sleep(&self, ms: u64) -> Sleep {
        Sleep { until_ms: self.now_ms() + ms, sim: self.clone(), timer: None }
    }

    pub(super) fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + Send + 'static) {
        self.inner().spawned.push((owner, Box::pin(task)));
    }

    /// Has a process die at one of its next steps.
    pub(super) fn doom(&self, owner: Owner, steps: u32) {
        self.inner().dies_in.insert(owner, steps);
    }

    /// Nobody dies any more.
    pub(super) fn spare(&self) {
        self.inner().dies_in.clear();
    }

    /// A place where a process can die; what follows does not happen then.
    pub(super) async fn step(&self, owner: Owner) {
        let dies = {
            let mut inner = self.inner();
            match inner.dies_in.get_mut(&owner) {
                Some(0) => {
                    inner.dies_in.remove(&owner);
                    inner.dead.push(owner);
                    true
                }
                Some(left) => {
                    *left -= 1;
                    false
                }
                None => inner.dead.contains(&owner),
            }
        };
        if dies {
            std::future::pending::<()>().await;
        }
    }
}

/// Until the clock shows a time.
#[derive(Debug)]
pub(super) struct Sleep {
    sim: Sim,
    until_ms: u64,
    timer: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let sim = self.sim.clone();
        let mut inner = sim.inner();
        if inner.now_ms >= self.until_ms {
            return Poll::Ready(());
        }
        let key = match self.timer {
            Some(key) => key,
            None => {
                inner.timers_made += 1;
                (self.until_ms, inner.timers_made)
            }
        };
        self.timer = Some(key);
        inner.timers.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.timer {
            // What it would have woken may be dropped with it, and take the lock itself.
            let waker = self.sim.inner().timers.remove(&key);
            drop(waker);
        }
    }
}

struct TaskWaker {
    task: u64,
    is_queued: AtomicBool,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::Relaxed) {
            self.ready.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.task);
        }
    }
}

/// Polls tasks in the order in which they are woken.
pub(super) struct Executor {
    sim: Sim,
    tasks: BTreeMap<u64, (Owner, Task, Arc<TaskWaker>)>,
    made: u64,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

impl Executor {
    pub(super) fn new(sim: Sim) -> Self {
        Self { sim, tasks: BTreeMap::new(), made: 0, ready: Arc::default() }
    }

    /// Runs until it is over; looks whether it is whenever the clock moves. Returns the processes that died at each
    /// call of `died`.
    pub(super) fn run(&mut self, mut died: impl FnMut(Owner), mut is_over: impl FnMut() -> bool) {
        loop {
            self.absorb(&mut died);
            let next = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(task) = next {
                self.poll(task);
                continue;
            }
            if is_over() || !self.pass_time() {
                return;
            }
        }
    }

    fn absorb(&mut self, died: &mut impl FnMut(Owner)) {
        loop {
            let (dead, spawned) = {
                let mut inner = self.sim.inner();
                (std::mem::take(&mut inner.dead), std::mem::take(&mut inner.spawned))
            };
            if dead.is_empty() && spawned.is_empty() {
                return;
            }
            // What a process began before it died dies with it.
            let alive = spawned.into_iter().filter(|(owner, _)| !dead.contains(owner));
            for (owner, task) in alive {
                self.made += 1;
                let waker = TaskWaker { task: self.made, is_queued: AtomicBool::new(false), ready: self.ready.clone() };
                let waker = Arc::new(waker);
                waker.clone().wake();
                self.tasks.insert(self.made, (owner, task, waker));
            }
            for owner in dead {
                self.tasks.retain(|_, (other, _, _)| *other != owner);
                died(owner);
            }
        }
    }

    fn poll(&mut self, id: u64) {
        let Some((_, task, waker)) = self.tasks.get_mut(&id) else { return };
        waker.is_queued.store(false, Ordering::Relaxed);
        let waker = Waker::from(waker.clone());
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.tasks.remove(&id);
        }
    }

    /// Moves the clock to the next moment at which something happens; false where nothing ever will.
    fn pass_time(&self) -> bool {
        let mut inner = self.sim.inner();
        let Some(((at_ms, _), waker)) = inner.timers.pop_first() else { return false };
        inner.now_ms = inner.now_ms.max(at_ms);
        CLOCK_MS.set(inner.now_ms);
        drop(inner);
        waker.wake();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_only_when_nothing_can_go_on_and_the_dead_do_nothing() {
        let sim = Sim::new(1, History::new(false));
        let told = Arc::new(Mutex::new(Vec::new()));
        let say = |owner: Owner, after_ms: u64| {
            let (sim, told) = (sim.clone(), told.clone());
            async move {
                sim.sleep(after_ms).await;
                sim.step(owner).await;
                told.lock().unwrap().push((sim.now_ms(), owner));
            }
        };
        for (owner, after_ms) in [(1, 30), (2, 10), (1, 20), (3, 20)] {
            sim.spawn(owner, say(owner, after_ms));
        }
        sim.doom(1, 1);
        let mut dead = Vec::new();
        Executor::new(sim.clone()).run(|owner| dead.push(owner), || false);
        assert_eq!(*told.lock().unwrap(), [(10, 2), (20, 1), (20, 3)]);
        assert_eq!(dead, [1]);
    }
}
