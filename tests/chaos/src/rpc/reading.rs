//! A follower that records what it reads, as the keeper's does.

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use keeper_chain::{Follower, Step};
use keeper_store::{Identity, SqliteStore, Store as _};
use keeper_types::{BlockHeader, BlockNumber};
use tempfile::TempDir;

use super::stage::{Events, Stage};

/// Blocks that are looked back through after a reorganisation.
const LOOK_BACK: u32 = 64;

/// A store and its folder.
pub(super) struct Record {
    store: SqliteStore,
    _folder: TempDir,
}

/// What came of following.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// Up to the newest block.
    UpToDate,
    /// The chain was said to be another, and what was recorded of that is forgotten.
    RolledBack,
}

impl Record {
    pub(super) async fn new(stage: &Stage) -> Result<Self> {
        let folder = tempfile::tempdir().context("making a folder")?;
        let deployment = stage.market.deployment();
        let identity = Identity {
            chain_id: keeper_types::ChainId::SEPOLIA,
            job_mgr: deployment.job_mgr.address,
            cdc_pool: deployment.cdc_pool.address,
            task_allocator: deployment.task_allocator.address,
            deployment_block: deployment.block,
        };
        let store = SqliteStore::open(&folder.path().join("keeper.sqlite"), identity).await?;
        Ok(Self { store, _folder: folder })
    }

    /// Follows once: to the newest block, or to a reorganisation.
    ///
    /// # Errors
    /// Fails where the endpoints do not answer, or tell what does not fit.
    pub(super) async fn follow(&self, follower: &Follower) -> Result<Followed> {
        loop {
            let cursor = self.store.cursor().await?;
            match follower.step(cursor).await? {
                Step::UpToDate => return Ok(Followed::UpToDate),
                Step::Extended { blocks, .. } => self.store.append_blocks(&blocks).await?,
                Step::Reorganised => {
                    self.roll_back(follower).await?;
                    return Ok(Followed::RolledBack);
                }
            }
        }
    }

    async fn roll_back(&self, follower: &Follower) -> Result<()> {
        for header in self.store.recent_blocks(LOOK_BACK).await? {
            if follower.header(header.number).await? == Some(header) {
                self.store.revert_to(header.number).await?;
                return Ok(());
            }
        }
        self.store.revert_to(BlockNumber(0)).await?;
        Ok(())
    }

    /// The recorded block some blocks below the newest.
    pub(super) async fn before(&self, blocks: u32) -> Result<Option<BlockHeader>> {
        let recent = self.store.recent_blocks(blocks).await?;
        Ok(recent.last().copied())
    }

    /// All that is recorded.
    pub(super) async fn events(&self) -> Result<Events> {
        Ok(self.store.load_events(BlockNumber(0)).try_collect().await?)
    }
}
