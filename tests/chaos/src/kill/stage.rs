//! The chain, the contracts and the folder that everything works in.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use e2e::{Localnet, LocalnetOptions, Workplace};
use keeper_chain::Contracts;
use serde_json::json;

/// The keeper's account; the first deploys the contracts.
pub(crate) const KEEPER: usize = 2;
/// The client's account.
pub(crate) const CLIENT: usize = 3;
/// The first worker's account.
pub(crate) const FIRST_WORKER: usize = 4;

const STRK: u128 = 1_000_000_000_000_000_000;

/// Where everything happens.
pub(crate) struct Stage {
    pub(crate) chain: Localnet,
    pub(crate) place: Workplace,
    pub(crate) contracts: Contracts,
}

impl Stage {
    /// Starts a chain with a block every second and deploys the contracts.
    pub(crate) async fn set(workers: u8, can_fork: bool) -> Result<Self> {
        Self::set_for(workers, 0, can_fork).await
    }

    /// As [`Stage::set`], with accounts for more keepers behind those of the workers.
    pub(crate) async fn set_for(workers: u8, more_keepers: u8, can_fork: bool) -> Result<Self> {
        let options = LocalnetOptions {
            block_time: Some(1),
            archive: can_fork,
            accounts: Some(u8::try_from(FIRST_WORKER - 1)? + workers + more_keepers),
            balance: Some(1_000_000_000 * STRK),
        };
        let chain = Localnet::start(options);
        let place = Workplace::new(&chain);
        place.deploy(&chain).await;
        let contracts = place.contracts(&chain).await;
        let stage = Self { chain, place, contracts };
        std::fs::create_dir_all(stage.runs()).context("making a folder for what jobs leave behind")?;
        Ok(stage)
    }

    /// A command as the n-th account: by an account file and a key, as on a public network.
    pub(crate) fn command(&self, account: usize, arguments: &[&str]) -> tokio::process::Command {
        self.signed_by(account, self.place.command(arguments))
    }

    /// Has a command sign as the n-th account, and tell in JSON.
    pub(crate) fn signed_by(&self, account: usize, mut command: tokio::process::Command) -> tokio::process::Command {
        let held = self.chain.account(account);
        let name = format!("account-{account}.json");
        if !self.place.path(&name).exists() {
            let descriptor = json!({
                "version": 1,
                "variant": { "type": "open_zeppelin", "version": 1, "public_key": held.public_key, "legacy": false },
                "deployment": { "status": "deployed", "class_hash": held.class_hash, "address": held.address },
            });
            self.place.write(&name, &descriptor.to_string());
        }
        command.args(["--account", &name, "--json"]).env("STARKNET_PRIVATE_KEY", &held.private_key);
        command
    }

    /// Takes the newest block away and makes another in its place.
    pub(crate) async fn fork(&self) {
        let newest = self.chain.ask("starknet_blockNumber", json!([])).await;
        self.chain.ask("devnet_abortBlocks", json!({ "starting_block_id": { "block_number": newest } })).await;
        // Its timestamp makes it another.
        self.chain.ask("devnet_increaseTime", json!({ "time": 1 })).await;
    }

    /// Has L1 accept every block so far.
    pub(crate) async fn accept_on_l1(&self) {
        let newest = self.chain.ask("starknet_blockNumber", json!([])).await;
        self.chain.ask("devnet_acceptOnL1", json!({ "starting_block_id": { "block_number": newest } })).await;
    }

    /// Where jobs say that they ran: a file for each job.
    pub(crate) fn runs(&self) -> PathBuf {
        self.place.path("runs")
    }

    /// The chain's memory, in MiB, as the system tells.
    pub(crate) fn chain_rss_mb(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.chain.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib / 1024)
    }

    /// Copies the processes' logs.
    pub(crate) fn keep_logs(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        for entry in std::fs::read_dir(self.place.path(""))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log")
                && let Some(name) = path.file_name()
            {
                std::fs::copy(&path, folder.join(name)).with_context(|| format!("keeping {}", path.display()))?;
            }
        }
        Ok(())
    }
}
