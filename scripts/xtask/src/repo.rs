//! Where things are: the checkout, its build outputs, and the cache that several checkouts share.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::failure::failure;

/// The checkout that is being worked on.
#[derive(Debug)]
pub(crate) struct Repo {
    root: PathBuf,
    cache: PathBuf,
    target: PathBuf,
}

impl Repo {
    /// Finds the checkout that this program was built from, and the folders named by `CIRO_CACHE`
    /// (default `$HOME/.cache/ciro`) and `CARGO_TARGET_DIR` (default `target`).
    pub(crate) fn locate() -> Result<Self> {
        // Cargo names the package's folder when it runs the program; the built-in path serves a direct call.
        let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&package)
            .ancestors()
            .nth(2)
            .filter(|root| root.join("scripts/xtask/Cargo.toml").exists())
            .ok_or_else(|| failure("the checkout was not found", "run `cargo xtask` inside the repository"))?
            .to_owned();
        let cache = match env::var_os("CIRO_CACHE") {
            Some(folder) => PathBuf::from(folder),
            None => {
                PathBuf::from(env::var_os("HOME").context("neither CIRO_CACHE nor HOME is set")?).join(".cache/ciro")
            }
        };
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
        Ok(Self { root, cache, target })
    }

    /// The repository's top folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside the repository.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Tools and downloads that outlive a checkout. Nothing in it is taken on trust.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// Cargo's target folder of the main workspace.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// The keeper's binary as `cargo build -p keeper` leaves it.
    pub(crate) fn keeper(&self) -> PathBuf {
        self.built("keeper")
    }

    /// A program of the main workspace as `cargo build` leaves it.
    pub(crate) fn built(&self, program: &str) -> PathBuf {
        self.target.join("debug").join(program)
    }
}
