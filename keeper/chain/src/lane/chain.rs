//! Whether the node is still on the chain that is recorded.
//!
//! A local chain may be stopped, and another started where it was, with the same accounts, nonces and chain id. What was
//! signed for the one before would be taken by the other.

use std::{fmt, sync::Arc};

use keeper_store::Store;

use crate::ChainSource;

/// What is recorded, and what the node has.
#[derive(Clone)]
pub(super) struct RecordedChain {
    pub(super) node: Arc<dyn ChainSource>,
    pub(super) store: Arc<dyn Store>,
}

impl RecordedChain {
    /// Whether the node has the newest recorded block, which no other chain has. Where nothing is recorded there is nothing
    /// that could be another's; where either does not answer, nothing is known.
    pub(super) async fn is_there(&self) -> bool {
        let recorded = match self.store.cursor().await {
            Ok(Some(recorded)) => recorded,
            Ok(None) => return true,
            Err(error) => {
                tracing::debug!(%error, "the newest recorded block cannot be read");
                return false;
            }
        };
        // The whole header: chains that begin anew may repeat the first blocks' hashes, not their times.
        match self.node.header(recorded.number).await {
            Ok(found) => found == Some(recorded),
            Err(error) => {
                tracing::debug!(%error, "whether the node is on the recorded chain is not known");
                false
            }
        }
    }
}

impl fmt::Debug for RecordedChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedChain").finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    };

    use async_trait::async_trait;
    use keeper_store::{Identity, SqliteStore, Store as _};
    use keeper_types::{Address, BlockEvents, BlockHeader, BlockNumber, BlockRef, ChainId, Felt, JobId};

    use super::*;
    use crate::{Index, JobStanding, RpcError};

    /// A node that has one block, or does not answer.
    #[derive(Debug)]
    pub(in crate::lane) struct OneBlock {
        block: Mutex<Result<Option<BlockHeader>, ()>>,
        asked: AtomicU64,
    }

    impl OneBlock {
        pub(in crate::lane) fn new(block: Result<Option<BlockHeader>, ()>) -> Arc<Self> {
            Arc::new(Self { block: Mutex::new(block), asked: AtomicU64::new(0) })
        }

        pub(in crate::lane) fn has(&self, block: Result<Option<BlockHeader>, ()>) {
            *self.block.lock().unwrap() = block;
        }

        /// How often it was asked for a block.
        pub(in crate::lane) fn asked(&self) -> u64 {
            self.asked.load(Ordering::SeqCst)
        }
    }

    #[async_trait]
    impl ChainSource for OneBlock {
        async fn header(&self, number: BlockNumber) -> Result<Option<BlockHeader>, RpcError> {
            let has = *self.block.lock().unwrap();
            self.asked.fetch_add(1, Ordering::SeqCst);
            let reason = "it does not answer".to_owned();
            let found = has.map_err(|()| RpcError::Unreachable { url: "http://node".to_owned(), reason })?;
            Ok(found.filter(|block| block.number == number))
        }

        fn first(&self) -> BlockNumber {
            BlockNumber(1)
        }

        async fn check(&self) -> Result<(), RpcError> {
            Ok(())
        }

        async fn head(&self) -> Result<BlockHeader, RpcError> {
            unreachable!("it is not asked for")
        }

        async fn accepted_on_l1(&self) -> Result<Option<BlockHeader>, RpcError> {
            unreachable!("it is not asked for")
        }

        async fn index(&self, _: BlockNumber, _: BlockNumber) -> Result<Option<Index>, RpcError> {
            unreachable!("it is not asked for")
        }

        async fn block(&self, _: BlockNumber) -> Result<Option<BlockEvents>, RpcError> {
            unreachable!("it is not asked for")
        }

        async fn cross_check(&self, _: BlockRef) -> Result<(), RpcError> {
            unreachable!("it is not asked for")
        }

        async fn jobs_at(&self, _: BlockRef, _: JobId, _: u8) -> Result<Vec<JobStanding>, RpcError> {
            unreachable!("it is not asked for")
        }
    }

    /// A store for a chain without contracts.
    pub(in crate::lane) async fn store(folder: &std::path::Path) -> SqliteStore {
        let nobody = Address(Felt::ONE);
        let identity = Identity {
            chain_id: ChainId::SEPOLIA,
            job_mgr: nobody,
            cdc_pool: nobody,
            task_allocator: nobody,
            deployment_block: BlockNumber(1),
        };
        SqliteStore::open(&folder.join("keeper.sqlite"), identity).await.unwrap()
    }

    #[tokio::test]
    async fn only_a_node_with_the_newest_recorded_block_is_sent_to() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(store(folder.path()).await);
        let node = OneBlock::new(Ok(None));
        let recorded = RecordedChain { node: node.clone(), store: store.clone() };
        assert!(recorded.is_there().await, "nothing is recorded that could be another chain's");

        let header =
            BlockHeader { number: BlockNumber(7), hash: Felt::from(70), parent_hash: Felt::from(60), timestamp: 1_000 };
        store.append_blocks(&[BlockEvents { header, events: Vec::new() }]).await.unwrap();
        assert!(!recorded.is_there().await, "the chain does not reach so far");
        let has = |block| node.has(block);
        has(Ok(Some(header)));
        assert!(recorded.is_there().await);
        // A chain that began anew repeats hashes of empty blocks.
        has(Ok(Some(BlockHeader { timestamp: 2_000, ..header })));
        assert!(!recorded.is_there().await);
        has(Ok(Some(BlockHeader { hash: Felt::from(71), ..header })));
        assert!(!recorded.is_there().await);
        has(Err(()));
        assert!(!recorded.is_there().await, "who does not answer may be another");
    }
}
