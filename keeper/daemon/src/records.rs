//! What the keeper of this data directory has recorded, for commands that only read it.

use anyhow::{Context as _, Result, bail};
use futures::TryStreamExt as _;
use keeper_chain::{Contracts, Follower, Network};
use keeper_store::{
    DatabaseUrl, Identity, Lease, Leases as _, Location, PostgresStore, SqliteStore, Store, StoreError,
};
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
    let (store, database) = read_only(context).await?;
    let expected = identity(contracts);
    if !store.identity().is_same_market(&expected) {
        let found = Box::new(store.identity().clone());
        return Err(StoreError::IdentityMismatch { database, found, expected: Box::new(expected) }.into());
    }
    if let Some(first) = block_of_another_chain(context, contracts, &*store).await? {
        bail!(
            "`{database}` was recorded from another chain: its first block, {} ({:#066x}), is not on the chain of {}\n\
             hint: where a local chain began anew, `keeper run` sets it aside and reads the new one; otherwise use \
             another {}",
            first.number,
            first.hash,
            context.rpc.endpoint(),
            database.option()
        );
    }
    Ok(store)
}

/// The database of a server is of a local chain that is no more.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{database}` was recorded from another chain: its first block, {} ({:#066x}), is not on the local chain\n\
     hint: make the database anew, with PostgreSQL's `dropdb` and `createdb`, or name another with --database",
    .first.number, .first.hash
)]
pub(crate) struct OfFormerChain {
    database: DatabaseUrl,
    first: BlockHeader,
}

/// Where a local chain began anew, takes what was recorded from the one before out of the way: the nonces of its
/// transactions are given out again on this one, and its jobs are others. Nothing is deleted. On public networks nothing is
/// done: there a chain does not begin anew, and what looks like it is the node's doing.
///
/// # Errors
/// [`OfFormerChain`] where the database is a server's, which other keepers may be using. Fails where another keeper is at
/// work on the file, or the node does not answer.
pub(crate) async fn leave_former_chain(context: &Context, contracts: &Contracts) -> Result<()> {
    if context.settings.network != Network::Devnet {
        return Ok(());
    }
    let settings = &context.settings;
    if let Some(database) = &settings.database {
        let Some(store) = if_there(PostgresStore::open_read_only(database).await)? else { return Ok(()) };
        return match block_of_another_chain(context, contracts, &store).await? {
            Some(first) => Err(OfFormerChain { database: database.clone(), first }.into()),
            None => Ok(()),
        };
    }
    let file = settings.database_file();
    let Some(store) = if_there(SqliteStore::open_read_only(&file).await)? else { return Ok(()) };
    let first = block_of_another_chain(context, contracts, &store).await;
    // It must not be read while it is moved.
    store.close().await;
    let Some(first) = first? else { return Ok(()) };
    let label = format!("chain-{}", &format!("{:064x}", first.hash)[..8]);
    let aside = keeper_store::set_aside(&file, &label).await;
    let aside = aside.context("setting aside what was recorded from a local chain that is no more")?;
    tracing::warn!(
        kept_as = %aside.display(), first_block = %first.number, hash = format!("{:#066x}", first.hash),
        "the local chain began anew: what was recorded from the one before is set aside"
    );
    Ok(())
}

/// The store, where there is one that can be read before it was brought to this version's layout.
fn if_there<S>(opened: Result<S, StoreError>) -> Result<Option<S>> {
    match opened {
        Ok(store) => Ok(Some(store)),
        Err(StoreError::NoDatabase { .. } | StoreError::Layout { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The database in use, for reading.
async fn read_only(context: &Context) -> Result<(Box<dyn Store>, Location), StoreError> {
    let settings = &context.settings;
    Ok(match &settings.database {
        Some(url) => (Box::new(PostgresStore::open_read_only(url).await?), url.into()),
        None => {
            let file = settings.database_file();
            (Box::new(SqliteStore::open_read_only(&file).await?), file.into())
        }
    })
}

/// The first recorded block, where the chain has another in its place or does not reach so far.
async fn block_of_another_chain(
    context: &Context,
    contracts: &Contracts,
    store: &dyn Store,
) -> Result<Option<BlockHeader>> {
    let Some(first) = first_block(store).await? else { return Ok(None) };
    // The whole header: a local chain that began anew may repeat the first blocks' hashes, not their times.
    let found = Follower::new(&context.rpc, contracts.deployment()).header(first.number).await?;
    Ok((found != Some(first)).then_some(first))
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
