//! `cargo xtask setup`: what the tests and the demo need and a checkout does not hold.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{
    process::{self, cargo},
    repo::Repo,
    system::{self, C_COMPILER, POSTGRES},
    tools::LOCALNET,
};

const BUILD_HINT: &str = "the compiler's first error above is the one to look at";

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

/// The keeper that dies where it is told to, beside the ordinary one, which is built again after it.
pub(crate) fn failpoints_keeper(repo: &Repo) -> Result<PathBuf> {
    system::ensure(&[C_COMPILER])?;
    let built = |more: &[&str]| {
        process::run(cargo(repo.root()).args(["build", "--locked", "--package", "keeper"]).args(more), BUILD_HINT)
    };
    built(&["--features", "failpoints"])?;
    let kept = repo.built("keeper-failpoints");
    std::fs::copy(repo.keeper(), &kept).with_context(|| format!("keeping {}", kept.display()))?;
    built(&[])?;
    Ok(kept)
}

/// The keeper as it is shipped, where times are measured.
pub(crate) fn release_keeper(repo: &Repo) -> Result<PathBuf> {
    process::run(cargo(repo.root()).args(["build", "--release", "--locked", "--package", "keeper"]), BUILD_HINT)?;
    Ok(repo.target().join("release/keeper"))
}

/// The local chain, built where it is missing.
pub(crate) fn localnet(repo: &Repo) -> Result<PathBuf> {
    system::ensure(&[C_COMPILER])?;
    Ok(LOCALNET.ensure(repo)?.join("localnet"))
}

/// Builds what is missing.
pub(crate) fn programs(repo: &Repo) -> Result<Programs> {
    let localnet = localnet(repo)?;
    println!("building the keeper (a few minutes the first time)");
    process::run(cargo(repo.root()).args(["build", "--locked", "--package", "keeper"]), BUILD_HINT)?;
    Ok(Programs { localnet, keeper: repo.keeper() })
}
