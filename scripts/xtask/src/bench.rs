//! `cargo xtask bench NAME`: what things cost and how fast they are, measured on real runs.

mod e2e;
mod fgd;
mod follow;
mod gas;
mod matching;
mod philly;
mod queue;
mod queues;
mod round;
mod scheduler;

use std::process::ExitCode;

use anyhow::Result;

use crate::repo::Repo;

/// What is measured.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Bench {
    /// From submission to allocation: a local chain, a keeper, a thousand workers, steady load
    E2e(e2e::Args),
    /// How much of a cluster's shared GPUs seven policies allocate, on recorded jobs
    Fgd(fgd::Args),
    /// How fast a long history with reorganisations is followed, durably
    Follow(follow::Args),
    /// What every transaction of the market costs, on the local chain
    Gas(gas::Args),
    /// How fast whole batches are assigned, beside other solvers
    Matching(matching::Args),
    /// Recorded training jobs under our policy and its peers: waits, fairness, deadlines
    Philly(philly::Args),
    /// How fast work is queued, claimed and acknowledged durably, beside other queues
    Queue(queue::Args),
    /// Memory of a million pending jobs, and a million allocations with failing workers
    Queues(queues::Args),
    /// What a keeper's round costs, stage by stage
    Round(round::Args),
    /// How fast jobs are placed one after the other, beside slurmctld
    Scheduler(scheduler::Args),
}

/// Runs one benchmark.
pub(crate) fn run(repo: &Repo, bench: &Bench) -> Result<ExitCode> {
    match bench {
        Bench::E2e(args) => e2e::run(repo, args),
        Bench::Fgd(args) => fgd::run(repo, args),
        Bench::Follow(args) => follow::run(repo, args),
        Bench::Gas(args) => gas::run(repo, args),
        Bench::Matching(args) => matching::run(repo, args),
        Bench::Philly(args) => philly::run(repo, args),
        Bench::Queue(args) => queue::run(repo, args),
        Bench::Queues(args) => queues::run(repo, args),
        Bench::Round(args) => round::run(repo, args),
        Bench::Scheduler(args) => scheduler::run(repo, args),
    }
}
