//! What end-to-end tests share: a real local chain and the real `keeper` binary, as processes.
//!
//! `cargo xtask test` builds both and names them in `CIRO_LOCALNET` and `CIRO_KEEPER`. Every test has a chain
//! and folders of its own, so tests run side by side; a process that a test started dies with it.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test harness fails by panicking")]

mod keeper;
mod localnet;
mod lying;
mod market;
mod proxy;
mod raw;

pub use keeper::{Agent, KeeperProcess, Outcome, Workplace};
pub use localnet::{DevnetAccount, Localnet, LocalnetOptions, signal};
pub use lying::{Fault, LyingHeads, LyingProxy};
pub use market::{Market, POLICY, capabilities, job_spec, round_header};
pub use proxy::Proxy;
pub use raw::{Caller, Wallet, capabilities_to_chain, contracts_words, deployment_of, spec_to_chain};

use std::{path::PathBuf, time::Duration};

/// How long anything may take before a test gives up: far more than it needs on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `condition` gives a value, asking again and again.
///
/// # Panics
/// Panics where it does not within [`PATIENCE`].
pub async fn eventually<T, F, Fut>(what: &str, mut condition: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let asking = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {} s", PATIENCE.as_secs()),
    }
}

/// A program that `cargo xtask test` names in the environment.
fn program(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => panic!("{variable} names no program: run the tests with `cargo xtask test`"),
    }
}
