//! `cargo xtask setup`: what the tests and the demo need and a checkout does not hold.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    process::{self, cargo},
    repo::Repo,
    system::{self, C_COMPILER, POSTGRES},
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

/// Installs and builds what is missing and says where it is.
pub(crate) fn run(repo: &Repo) -> Result<Programs> {
    system::ensure(&[POSTGRES])?;
    let programs = programs(repo)?;
    println!("local chain  {}", programs.localnet.display());
    println!("keeper       {}", programs.keeper.display());
    Ok(programs)
}

/// Builds what is missing.
pub(crate) fn programs(repo: &Repo) -> Result<Programs> {
    system::ensure(&[C_COMPILER])?;
    let localnet = LOCALNET.ensure(repo)?.join("localnet");
    println!("building the keeper (a few minutes the first time)");
    process::run(
        cargo(repo.root()).args(["build", "--locked", "--package", "keeper"]),
        "the compiler's first error above is the one to look at",
    )?;
    Ok(Programs { localnet, keeper: repo.keeper() })
}
