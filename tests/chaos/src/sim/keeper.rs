//! One keeper's process, made of the parts of the real one.
//!
//! The deciding is the keeper's own: `Fold`, `Latch`, `LaneState`, `plan` and the store's rules. What drives them here does
//! as the drivers do, on the simulated clock: `following`, `allocating` and `exiting` as the daemon's services, `lane` as the
//! lane's driver. A process forgets everything when it dies; what it committed and what it sent is all that is left.

mod allocating;
mod exiting;
mod following;
mod lane;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};

use keeper_follow::Latch;
use keeper_store::Store as _;
use keeper_types::{Address, BlockHeader, Market, WorkerId};

use self::lane::Lane;
use super::{
    executor::{Owner, Sim},
    node::Node,
    setting::Sabotage,
    store::MemoryStore,
};

/// What a keeper believes, as of a block.
#[derive(Debug)]
pub(super) struct Believed {
    pub(super) market: Market,
    pub(super) head: BlockHeader,
    /// Reorganisations since the start.
    pub(super) fork: u64,
}

/// Where a process tells what it believes; empty until it does.
pub(super) type Belief = Arc<Mutex<Option<Arc<Believed>>>>;

/// The workers whose agents are connected.
pub(super) type Online = Arc<Mutex<BTreeSet<WorkerId>>>;

/// What a process is given when it starts.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) sim: Sim,
    pub(super) owner: Owner,
    pub(super) account: Address,
    pub(super) node: Node,
    pub(super) store: Arc<MemoryStore>,
    pub(super) latch: Arc<Latch>,
    pub(super) belief: Belief,
    pub(super) online: Online,
    /// Set once a round was applied, or there was nothing to decide.
    pub(super) works: Arc<AtomicBool>,
    pub(super) sabotage: Option<Sabotage>,
    /// Whether everything was read anew, and nothing has proved right since.
    pub(super) reread: Arc<AtomicBool>,
}

impl Process {
    /// Starts everything that runs in the process.
    pub(super) fn start(self) {
        let (owner, sim) = (self.owner, self.sim.clone());
        sim.note("start", [owner as u64, 0, 0], || format!("keeper {owner}"));
        *self.belief.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let lane = Lane::start(&self);
        sim.spawn(owner, following::run(self.clone()));
        sim.spawn(owner, allocating::run(self.clone(), lane.clone()));
        sim.spawn(owner, exiting::run(self, lane));
    }

    fn believed(&self) -> Option<Arc<Believed>> {
        self.belief.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_online(&self, worker_id: WorkerId) -> bool {
        self.online.lock().unwrap_or_else(PoisonError::into_inner).contains(&worker_id)
    }

    /// Waits until something else is believed than what was.
    async fn news(&self, before: Option<&Arc<Believed>>) -> Arc<Believed> {
        loop {
            if let Some(believed) = self.believed()
                && before.is_none_or(|before| !Arc::ptr_eq(before, &believed))
            {
                return believed;
            }
            self.sim.sleep(400).await;
        }
    }

    /// Whether a round of the account is open in the log.
    async fn has_open_round(&self) -> bool {
        let open = self.store.open_intents().await.unwrap_or_default();
        open.iter().any(|intent| intent.account == self.account && intent.action.round().is_some())
    }
}
