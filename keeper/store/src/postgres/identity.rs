//! The one row that says which deployment the database follows, and whose turn it is to write blocks.

use keeper_types::BlockNumber;
use sqlx::{PgConnection, PgPool};

use super::columns::{integer, number, parsed};
use crate::{Identity, StoreError, places::BEGIN_AT};

type Row = (String, String, String, String, i64);

/// Waits until no other transaction writes blocks, and keeps others waiting until this one ends.
pub(super) async fn take_turn(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT 1 FROM identity FOR UPDATE").execute(connection).await?;
    Ok(())
}

pub(super) async fn read(pool: &PgPool) -> Result<Option<Identity>, StoreError> {
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
pub(super) async fn begin_at(pool: &PgPool, identity: &Identity) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await?;
    take_turn(&mut transaction).await?;
    let found: i64 = sqlx::query_scalar("SELECT deployment_block FROM identity").fetch_one(&mut *transaction).await?;
    let first = integer("block number", identity.deployment_block.0)?;
    sqlx::query("UPDATE identity SET deployment_block = $1").bind(first).execute(&mut *transaction).await?;
    if first < found {
        sqlx::query("DELETE FROM blocks").execute(&mut *transaction).await?;
    }
    super::commit(transaction, BEGIN_AT).await
}

/// The identity that the database has, or `identity` where it had none and has it now.
pub(super) async fn read_or_write(pool: &PgPool, identity: &Identity) -> Result<Identity, StoreError> {
    // Another keeper may do the same at this moment; the first stands.
    sqlx::query("INSERT INTO identity VALUES (1, $1, $2, $3, $4, $5) ON CONFLICT DO NOTHING")
        .bind(identity.chain_id.to_string())
        .bind(identity.job_mgr.to_string())
        .bind(identity.cdc_pool.to_string())
        .bind(identity.task_allocator.to_string())
        .bind(integer("block number", identity.deployment_block.0)?)
        .execute(pool)
        .await?;
    Ok(read(pool).await?.unwrap_or_else(|| identity.clone()))
}
