//! Tools that take minutes to build: built once, kept in the cache under a digest of their sources.
//!
//! A tool is built into a folder with a temporary name and renamed when it runs, so an interrupted build is
//! never taken for a finished one. What the cache holds is run before it is used.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, Result};

use crate::{
    digest::{files_below, sha256_of_files},
    failure::{OrHint as _, failure},
    process::{cargo, run, succeeds},
    repo::Repo,
    system::{self, C_COMPILER, MAKE, Need, PERL},
};

/// How many hex digits of a source digest name a folder.
const DIGEST_DIGITS: usize = 16;

/// A cargo workspace of ours whose binaries are kept.
#[derive(Debug)]
pub(crate) struct Tool {
    name: &'static str,
    workspace: &'static str,
    binaries: &'static [&'static str],
    needs: &'static [Need],
    /// How long a build from nothing takes on two cores.
    cold_build: &'static str,
}

/// The local chain, and the class hashes of its Starknet version.
pub(crate) const LOCALNET: Tool = Tool {
    name: "localnet",
    workspace: "scripts/localnet",
    binaries: &["localnet", "class-hashes"],
    needs: &[C_COMPILER, MAKE, PERL],
    cold_build: "about a quarter of an hour",
};

/// The Cairo compiler, with the contracts' core library taken from its package.
pub(crate) const CONTRACT_COMPILER: Tool = Tool {
    name: "contract-compiler",
    workspace: "contracts/compiler",
    binaries: &["contract-compiler"],
    needs: &[C_COMPILER],
    cold_build: "about three minutes",
};

impl Tool {
    /// The folder with the tool's binaries; builds them where they are missing or do not run.
    pub(crate) fn ensure(&self, repo: &Repo) -> Result<PathBuf> {
        let workspace = self.workspace(repo);
        let digest = source_digest(&workspace)?;
        let tools = repo.cache().join("tools");
        let folder = tools.join(format!("{}-{}", self.name, &digest[..DIGEST_DIGITS]));
        if self.runs(&folder) {
            return Ok(folder);
        }

        println!(
            "building {} ({} from nothing on two cores, once; kept in {})",
            self.name,
            self.cold_build,
            folder.display()
        );
        self.check_needs()?;
        let started = Instant::now();
        let built = self.build(repo, &workspace)?;
        fs::create_dir_all(&tools).with_context(|| format!("creating {}", tools.display()))?;
        let staging = tempfile::tempdir_in(&tools).context("making a folder for the new tool")?;
        for binary in self.binaries {
            fs::copy(built.join(binary), staging.path().join(binary)).with_context(|| format!("keeping {binary}"))?;
        }
        if !self.runs(staging.path()) {
            return Err(failure(
                format!("the {} just built does not run", self.name),
                format!("run it by hand: {}", built.join(self.binaries[0]).display()),
            ));
        }
        // Only a folder whose binaries do not run is in the way, or one that another build just finished.
        if folder.exists() && !self.runs(&folder) {
            fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        let staging = staging.keep();
        if fs::rename(&staging, &folder).is_err() {
            fs::remove_dir_all(&staging).context("removing the folder of the new tool")?;
        }
        if !self.runs(&folder) {
            return Err(failure(
                format!("{} could not be kept", self.name),
                format!("is {} writable?", tools.display()),
            ));
        }
        println!("built {} in {} s", self.name, started.elapsed().as_secs());
        Ok(folder)
    }

    /// The folder of the tool's workspace.
    pub(crate) fn workspace(&self, repo: &Repo) -> PathBuf {
        repo.path(self.workspace)
    }

    /// Cargo's target folder of the workspace; what else is built there finds the dependencies ready.
    pub(crate) fn target(&self, repo: &Repo) -> PathBuf {
        repo.cache().join(format!("target-{}", self.name.trim_start_matches("contract-")))
    }

    /// Looks for what a build calls, and installs it where that can be done.
    pub(crate) fn check_needs(&self) -> Result<()> {
        system::ensure(self.needs)
    }

    /// Builds the workspace in release mode; returns the folder with its binaries.
    fn build(&self, repo: &Repo, workspace: &Path) -> Result<PathBuf> {
        let target = self.target(repo);
        let mut build = cargo(workspace);
        build.args(["build", "--release", "--locked"]).env("CARGO_TARGET_DIR", &target);
        run(&mut build, "the compiler's first error above is the one to look at; a full disk or memory is common")?;
        Ok(target.join("release"))
    }

    fn runs(&self, folder: &Path) -> bool {
        self.binaries.iter().all(|binary| succeeds(Command::new(folder.join(binary)).arg("--version")))
    }
}

/// A digest of all that decides what a workspace's binaries do.
fn source_digest(workspace: &Path) -> Result<String> {
    let hint = "is the checkout complete? `git status` tells";
    let mut files = files_below(&workspace.join("src"), "").or_hint("listing a tool's sources", hint)?;
    files.extend([workspace.join("Cargo.toml"), workspace.join("Cargo.lock")]);
    sha256_of_files(workspace, &files).or_hint("hashing a tool's sources", hint)
}
