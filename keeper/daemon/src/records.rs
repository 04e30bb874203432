//! What the keeper of this data directory has recorded, for commands that only read it.

use anyhow::{Result, bail};
use futures::TryStreamExt as _;
use keeper_chain::{Contracts, Follower};
use keeper_store::{Identity, Lease, Leases as _, Location, PostgresStore, SqliteStore, Store, StoreError};
use keeper_types::{BlockHeader, BlockNumber};

use crate::{
    context::Context,
    services::{ShardLed, led, shard_of_lease},
};

/// Which deployment a keeper of these contracts records.
pub(crate) fn identity(contracts: &Contracts) -> Identity {
    let deployment = contracts.deployment();
    Identity {
        chain_id: deployment.network.chain_id(),
        job_mgr: deployment.job_mgr.address,
        cdc_pool: deployment.cdc_pool.address,
        task_allocator: deployment.task_allocator.address,
        deployment_block: deployment.block,
    }
}

/// Opens the keeper's database, and checks that what it holds is of the deployment and the chain in use.
///
/// # Errors
/// [`StoreError::NoDatabase`] where no keeper has run with this data directory. Fails also where the records are of
/// other contracts, or of a chain that is no more: then numbers in them are those of other jobs.
pub(crate) async fn open(context: &Context, contracts: &Contracts) -> Result<Box<dyn Store>> {
    let settings = &context.settings;
    let (store, database): (Box<dyn Store>, Location) = match &settings.database {
        Some(url) => (Box::new(PostgresStore::open_read_only(url).await?), url.into()),
        None => {
            (Box::new(SqliteStore::open_read_only(&settings.database_file()).await?), settings.database_file().into())
        }
    };
    let expected = identity(contracts);
    if !store.identity().is_same_market(&expected) {
        let found = Box::new(store.identity().clone());
        return Err(StoreError::IdentityMismatch { database, found, expected: Box::new(expected) }.into());
    }
    let Some(first) = first_block(&*store).await? else { return Ok(store) };
    // The whole header: a local chain that began anew may repeat the first blocks' hashes, not their times.
    if Follower::new(&context.rpc, contracts.deployment()).header(first.number).await? != Some(first) {
        bail!(
            "`{database}` was recorded from another chain: its first block, {} ({:#066x}), is not on the chain of {}\n\
             hint: where a local chain began anew, `keeper run` forgets the old one and reads the new one; otherwise \
             use another {}",
            first.number,
            first.hash,
            context.rpc.endpoint(),
            database.option()
        );
    }
    Ok(store)
}

/// Who leads the keepers of the database in use.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Leaders {
    /// The keeper that leads the whole market; `None` where none does, or the market is dealt out.
    pub(crate) leader: Option<Lease>,
    /// Who leads each shard; none where the market is one.
    pub(crate) shards: Vec<ShardLed>,
}

/// Who leads the keepers of the database in use; nobody where it is one keeper's own.
///
/// # Errors
/// Fails where the database does not answer.
pub(crate) async fn leaders(context: &Context) -> Result<Leaders> {
    match &context.settings.database {
        Some(url) => Ok(Leaders::of(PostgresStore::open_read_only(url).await?.standing().await?)),
        None => Ok(Leaders::default()),
    }
}

impl Leaders {
    fn of(standing: Vec<Lease>) -> Self {
        let counts = standing.iter().filter_map(|lease| Some(shard_of_lease(&lease.name)?.1));
        // How many shards there are is told by those that are led.
        let shards = counts.filter(|count| *count > 1).max().map(|count| led(&standing, count)).unwrap_or_default();
        let leader =
            standing.into_iter().find(|lease| shard_of_lease(&lease.name).is_some_and(|(_, count)| count == 1));
        Self { leader, shards }
    }
}

/// The block of the first recorded event, which no ordinary reorganisation reaches; the newest where there is no event.
async fn first_block(store: &dyn Store) -> Result<Option<BlockHeader>, StoreError> {
    let first = store.load_events(BlockNumber(0)).try_next().await?;
    match first {
        Some((position, _)) => store.block(position.block).await,
        None => store.cursor().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str, holder: &str) -> Lease {
        Lease { name: name.to_owned(), holder: holder.to_owned(), term: 5, expires_ms: 1 }
    }

    #[test]
    fn who_leads_is_told_by_the_leases_that_stand() {
        assert_eq!(Leaders::of(vec![lease("lane/0x1", "a")]), Leaders::default());
        let whole = Leaders::of(vec![lease("lane/0x1", "a"), lease("leader", "a")]);
        assert_eq!((whole.leader, whole.shards), (Some(lease("leader", "a")), Vec::new()));
        let dealt = Leaders::of(vec![lease("candidate/a", "a"), lease("leader/2-of-3", "a")]);
        let told: Vec<_> = dealt.shards.iter().map(|led| (led.shard, led.keeper.as_deref(), led.term)).collect();
        assert_eq!(told, [(0, None, None), (1, None, None), (2, Some("a"), Some(5))]);
        assert_eq!(dealt.leader, None, "nobody leads the whole market");
    }
}
