//! `cargo xtask setup`: what the tests and the demo need and a checkout does not hold.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    process::{self, cargo},
    repo::Repo,
    system::{self, C_COMPILER},
    tools::LOCALNET,
};

/// The programs that the end-to-end tests and the demo start.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The local chain.
    pub(crate) localnet: PathBuf,
    /// The keeper.
    pub(crate) keeper: PathBuf,
}

/// Builds what is missing and says where it is.
pub(crate) fn run(repo: &Repo) -> Result<Programs> {
    let programs = programs(repo)?;
    println!("local chain  {}", programs.localnet.display());
    println!("keeper       {}", programs.keeper.display());
    Ok(programs)
}

/// Builds the local chain where it is missing.
pub(crate) fn localnet(repo: &Repo) -> Result<PathBuf> {
    system::ensure(&[C_COMPILER])?;
    Ok(LOCALNET.ensure(repo)?.join("localnet"))
}

/// Builds what is missing.
pub(crate) fn programs(repo: &Repo) -> Result<Programs> {
    let localnet = localnet(repo)?;
    println!("building the keeper (a few minutes the first time)");
    process::run(
        cargo(repo.root()).args(["build", "--locked", "--package", "keeper"]),
        "the compiler's first error above is the one to look at",
    )?;
    Ok(Programs { localnet, keeper: repo.keeper() })
}
