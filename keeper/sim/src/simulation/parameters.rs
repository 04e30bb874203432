//! The parameter file: what is simulated, and the sets that are compared.

mod check;
mod sets;

use std::{collections::BTreeMap, path::PathBuf};

use keeper_types::Region;
use serde::{Deserialize, Serialize};

pub use check::ParameterError;
pub use sets::{BackfillKind, Ordering, ParameterSet, PlanSet, QueuesSet};

/// A parameter file. `docs/simulator.md` describes every field with its unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// What the plots and the table are headed by.
    pub title: String,
    /// Every set is run once with each of these.
    pub seeds: Vec<u64>,
    /// How long a run is.
    pub horizon: Horizon,
    /// What lies between a decision and a start.
    #[serde(default)]
    pub network: Network,
    /// Kinds of workers.
    pub workers: Vec<WorkerKind>,
    /// Where jobs come from.
    pub workload: WorkloadKind,
    /// Who submits synthetic jobs; none for a trace, whose virtual clusters are the tenants.
    #[serde(default)]
    pub tenants: Vec<TenantKind>,
    /// How attempts fail by themselves.
    #[serde(default)]
    pub faults: Faults,
    /// What clients do while they wait.
    #[serde(default)]
    pub clients: Clients,
    /// The longest wait in seconds that every queue is held against, by the queue's name. It is the same for all sets
    /// and no set decides by it.
    pub sla_s: BTreeMap<String, u32>,
    /// What is compared.
    pub sets: Vec<ParameterSet>,
}

/// When jobs stop arriving, and when a run stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Horizon {
    /// Jobs that arrive at most; no limit where it is left out.
    pub jobs: Option<u64>,
    /// Seconds in which jobs arrive; no limit where it is left out.
    pub arrivals_s: Option<u64>,
    /// How long the run goes on after the last arrival at most, in seconds. What waits or runs then is counted as
    /// such.
    #[serde(default = "a_week_s")]
    pub drain_s: u64,
}

fn a_week_s() -> u64 {
    604_800
}

/// What lies between a decision and a start. All zero: a decision starts at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Network {
    /// Milliseconds from one round to the next, as blocks are; 0: a round whenever something has happened.
    pub round_ms: u64,
    /// Milliseconds from a round to the start of what it decided.
    pub delay_ms: u64,
    /// Milliseconds that come on top at most, drawn evenly for each attempt.
    pub jitter_ms: u64,
    /// Of 10,000 assignments, how many never arrive.
    pub loss_bps: u16,
}

/// Workers that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerKind {
    /// What the kind is called; unique.
    pub name: String,
    /// How many there are.
    pub count: u32,
    /// GPUs of each.
    pub gpus: u16,
    /// Jobs that each runs at a time; as many as GPUs where it is left out. The engine `queues` has no slots.
    pub slots: Option<u8>,
    /// Memory of each GPU, in GiB. The engine `queues` does not look at it.
    #[serde(default)]
    pub vram_gib: u16,
    /// Where they stand.
    pub region: Option<Region>,
    /// What they ask, in fri for a GPU and a second.
    #[serde(default)]
    pub rate: u64,
    /// 0 to 1,000.
    #[serde(default = "middling")]
    pub reputation: u16,
    /// Mean seconds from a return to the next failure; they never fail where it is left out.
    pub mtbf_s: Option<u32>,
    /// Mean seconds from a failure to the return.
    #[serde(default = "half_an_hour_s")]
    pub mttr_s: u32,
}

fn middling() -> u16 {
    500
}

fn half_an_hour_s() -> u32 {
    1_800
}

/// Where jobs come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkloadKind {
    /// Drawn.
    Synthetic(Synthetic),
    /// Recorded.
    Philly(PhillyTrace),
}

/// Jobs that are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    /// When they come.
    pub arrivals: Arrivals,
    /// How long they run.
    pub duration: Duration,
    /// How wide they are.
    pub shapes: Vec<Shape>,
    /// A job's limit by its duration.
    #[serde(default)]
    pub limit_factor: Factor,
    /// Deadlines; none where it is left out.
    pub deadline: Option<Deadline>,
    /// The most that clients pay, in fri for a GPU and a second; anything where it is left out.
    pub max_rate: Option<u64>,
}

/// When jobs come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Arrivals {
    /// At any moment, independent of each other.
    Poisson {
        /// Jobs in an hour, on average.
        per_hour: f64,
    },
    /// The same, with times in which more come (a Poisson process that is modulated by two states).
    Bursty {
        /// Jobs in an hour while it is calm.
        per_hour: f64,
        /// How many times as many come in a burst.
        factor: f64,
        /// How long a burst is, in seconds, on average.
        burst_s: f64,
        /// How long it is calm between two, in seconds, on average.
        calm_s: f64,
    },
}

/// How long jobs run: log-normal, cut off at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Duration {
    /// Half of the jobs run for less than this, in seconds.
    pub median_s: f64,
    /// Standard deviation of the natural logarithm.
    pub sigma: f64,
    /// The shortest, in seconds.
    pub min_s: u32,
    /// The longest, in seconds.
    pub max_s: u32,
}

/// A width of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// GPUs.
    pub gpus: u16,
    /// Memory that each GPU must have, in GiB. The engine `queues` does not look at it.
    #[serde(default)]
    pub vram_gib: u16,
    /// How frequent the width is beside the others.
    pub weight: u32,
}

/// A factor that is drawn evenly between two.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Factor {
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

/// The limits of Mu'alem and Feitelson's f-model (TPDS 2001).
impl Default for Factor {
    fn default() -> Self {
        Self { least: 1.0, most: 5.0 }
    }
}

/// Which jobs have a deadline, and when that is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deadline {
    /// Of 10,000 jobs, how many have one.
    pub share_bps: u16,
    /// From submission to deadline, by the duration: the least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

/// The Philly trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhillyTrace {
    /// The file; one that is not absolute is looked for beside the parameter file.
    pub file: PathBuf,
    /// What submission times are multiplied by, in percent: 200 is half the load.
    #[serde(default = "as_it_was")]
    pub stretch_percent: u32,
}

fn as_it_was() -> u32 {
    100
}

/// Tenants of synthetic jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantKind {
    /// What it is called; unique.
    pub name: String,
    /// Its part of the capacity beside the other tenants'.
    #[serde(default = "one")]
    pub weight: u32,
    /// Its part of the submissions beside the other tenants'.
    #[serde(default = "one")]
    pub demand: u32,
    /// Where its jobs wait.
    #[serde(default = "default_queue")]
    pub queue: String,
    /// The lowest priority of its jobs, 1 to 10.
    #[serde(default = "middle")]
    pub least_priority: u8,
    /// The highest.
    #[serde(default = "middle")]
    pub most_priority: u8,
    /// Where its jobs must run; anywhere where it is left out. The engine `queues` does not look at it.
    pub region: Option<Region>,
}

fn one() -> u32 {
    1
}

fn default_queue() -> String {
    "default".to_owned()
}

fn middle() -> u8 {
    5
}

/// How attempts fail by themselves, of 10,000 that begin. At most one of these happens to an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The job is wrong and would fail anywhere.
    pub client_bps: u16,
    /// The worker breaks the attempt and lives on.
    pub worker_bps: u16,
    /// Something between them fails.
    pub infrastructure_bps: u16,
    /// The attempt hangs until its limit.
    pub hang_bps: u16,
}

/// What clients do while they wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clients {
    /// Mean seconds after which a client takes back a job that has not been assigned yet; never where it is left out.
    pub patience_s: Option<u32>,
    /// Whether a job that still waits at its deadline is given up.
    pub expire_at_deadline: bool,
}

impl Default for Clients {
    fn default() -> Self {
        Self { patience_s: None, expire_at_deadline: true }
    }
}
