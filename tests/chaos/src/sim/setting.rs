//! What is drawn for a seed before anything happens: how many take part, and what goes wrong how often.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// Something that is done wrong on purpose, so that it shows that the checks can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sabotage {
    /// The keeper sends without writing down
    NoIntents,
    /// The keeper does not look at its log of intents when it starts
    ForgetIntents,
    /// The keeper takes no answer for not sent
    TimeoutIsFailure,
    /// The store keeps the events of blocks that were taken back
    NoRollback,
    /// The contracts allocate whatever they are told to
    NoCompare,
}

/// How often what goes wrong: in a thousand occasions, or in a thousand seconds where that is said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// A request does not arrive.
    pub(super) no_request: u32,
    /// A request arrives, and is not answered.
    pub(super) no_answer: u32,
    /// A transaction is taken, and gone.
    pub(super) vanish: u32,
    /// A receipt is not known yet, though the nonce is.
    pub(super) late_receipt: u32,
    /// A transaction waits longer than for the next block.
    pub(super) held_back: u32,
    /// A transaction reverts in its block.
    pub(super) revert: u32,
    /// A call of the database takes some milliseconds.
    pub(super) slow_store: u32,
    /// In a thousand seconds, for each keeper: it dies.
    pub(super) crash: u32,
    /// In a thousand seconds: blocks are replaced.
    pub(super) reorganise: u32,
    /// In a thousand seconds: no blocks are made for a while.
    pub(super) halt: u32,
    /// In a thousand seconds: the price of gas moves.
    pub(super) price: u32,
    /// In a thousand seconds: what waits to be included is thrown out.
    pub(super) evict: u32,
    /// In a thousand seconds, for each keeper: somebody else uses its key.
    pub(super) outside_use: u32,
    /// In a thousand seconds, for each keeper's node: it begins to lag, or catches up.
    pub(super) lag: u32,
    /// In a thousand seconds, for each keeper's node: it answers nothing for a while.
    pub(super) outage: u32,
    /// After a reorganisation, for each keeper's node: it shows the old chain for a while.
    pub(super) stale: u32,
    /// In a thousand seconds, for each keeper's node: it shows another chain from below what is final for a while.
    pub(super) other_chain: u32,
    /// In a thousand seconds, for each worker: it goes away, mostly for a while.
    pub(super) worker_death: u32,
    /// In a thousand seconds, for each worker: it changes what it offers.
    pub(super) worker_change: u32,
}

/// A world as it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) seed: u64,
    pub(super) sabotage: Option<Sabotage>,
    pub(super) keepers: usize,
    /// Whether the keepers share one database.
    pub(super) is_shared: bool,
    pub(super) workers: u32,
    pub(super) jobs: u64,
    /// How long things go wrong, in milliseconds.
    pub(super) faults_ms: u64,
    /// Whether nodes refuse nonces that do not come next.
    pub(super) is_strict: bool,
    pub(super) faults: Faults,
}

impl Setting {
    pub(super) fn of(seed: u64, sabotage: Option<Sabotage>) -> Self {
        // Other draws than those of the world, which begins from the same number.
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5e77_1265);
        let mut upto = |most: u32| match rng.random_range(0..4) {
            0 => 0,
            1 => rng.random_range(0..=most),
            _ => rng.random_range(0..=most / 4),
        };
        let faults = Faults {
            no_request: upto(120),
            no_answer: upto(120),
            vanish: upto(150),
            late_receipt: upto(700),
            held_back: upto(300),
            revert: upto(60),
            slow_store: upto(300),
            crash: upto(80),
            reorganise: upto(120),
            halt: upto(20),
            price: upto(80),
            evict: upto(80),
            outside_use: upto(40),
            lag: upto(120),
            outage: upto(30),
            stale: upto(500),
            other_chain: upto(20),
            worker_death: upto(30),
            worker_change: upto(20),
        };
        Self {
            seed,
            sabotage,
            keepers: rng.random_range(1..=3),
            is_shared: rng.random_bool(0.5),
            workers: rng.random_range(1..=5),
            jobs: rng.random_range(3..=16),
            faults_ms: rng.random_range(60_000..240_000),
            is_strict: rng.random_bool(0.3),
            faults,
        }
    }
}
