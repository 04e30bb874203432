//! The one row that says which deployment the database follows.

use keeper_types::BlockNumber;
use sqlx::SqlitePool;

use super::{
    columns::{integer, number, parsed},
    commit,
};
use crate::{Identity, StoreError, places::BEGIN_AT};

type Row = (String, String, String, String, i64);

pub(super) async fn read(pool: &SqlitePool) -> Result<Option<Identity>, StoreError> {
    let row: Option<Row> =
        sqlx::query_as("SELECT chain_id, job_mgr, cdc_pool, task_allocator, deployment_block FROM identity")
            .fetch_optional(pool)
            .await?;
    let Some((chain_id, job_mgr, cdc_pool, task_allocator, deployment_block)) = row else { return Ok(None) };
    Ok(Some(Identity {
        chain_id: parsed("chain id", &chain_id)?,
        job_mgr: parsed("address", &job_mgr)?,
        cdc_pool: parsed("address", &cdc_pool)?,
        task_allocator: parsed("address", &task_allocator)?,
        deployment_block: BlockNumber(number("block number", deployment_block)?),
    }))
}

/// Takes on another first block of the same contracts. Where it is an earlier one, what is stored begins too late
/// and is read anew.
pub(super) async fn begin_at(pool: &SqlitePool, found: &Identity, identity: &Identity) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await?;
    sqlx::query("UPDATE identity SET deployment_block = ?")
        .bind(integer("block number", identity.deployment_block.0)?)
        .execute(&mut *transaction)
        .await?;
    if identity.deployment_block < found.deployment_block {
        sqlx::query("DELETE FROM blocks").execute(&mut *transaction).await?;
    }
    commit(transaction, BEGIN_AT).await
}

/// The identity that the database has, or `identity` where it had none and has it now.
pub(super) async fn read_or_write(pool: &SqlitePool, identity: &Identity) -> Result<Identity, StoreError> {
    if let Some(found) = read(pool).await? {
        return Ok(found);
    }
    sqlx::query("INSERT INTO identity VALUES (1, ?, ?, ?, ?, ?)")
        .bind(identity.chain_id.to_string())
        .bind(identity.job_mgr.to_string())
        .bind(identity.cdc_pool.to_string())
        .bind(identity.task_allocator.to_string())
        .bind(integer("block number", identity.deployment_block.0)?)
        .execute(pool)
        .await?;
    Ok(identity.clone())
}
