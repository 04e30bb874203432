//! The worker agent: says what its machine has, runs the jobs that the chain gives it, and publishes the results.
//!
//! [`Agent`] keeps a session with a keeper and runs what it is offered. It trusts nobody: before a job is run, the
//! chain must say that it is allocated to this worker and that the manifest is the client's; before a result is
//! submitted, that it still is. What is run is bounded by the manifest's limits and the job's time on chain.
//!
//! It tells the keeper what the worker is and which jobs it does not take ([`ProfileSource`]), and holds to it: what
//! comes all the same is refused, and given up on chain so that another worker gets it.
//!
//! Everything the agent asks of Starknet goes through [`WorkerChain`].

mod agent;
mod canonical;
mod chain;
pub mod exec_job;
mod executor;
mod gpus;
pub mod matmul;
mod probe;
mod profile;
mod workspace;

pub use agent::{Agent, AgentConfig, AgentError, AgentParts, OtherKeeper};
pub use canonical::{MAX_JUDGED_SIZE, NotCanonical, canonical_manifest, canonical_matmul};
pub use chain::{AllocationOnChain, FailureCode, WorkerChain, WorkerChainError};
pub use executor::{
    Executor, Executors, HelperCommand, JobRun, MatmulExecutor, Output, ProcessConfig, ProcessExecutor, RunError,
    StderrTail,
};
pub use probe::{Gpu, Inventory, MachineProbe, Probe, ProbeReport};
pub use profile::{MachineProfile, ProfileConfig, ProfileSource, model_id};
