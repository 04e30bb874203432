//! The layout that a database has, how it comes to this version's, and what keeps out who knows another.
//!
//! Several keepers may start at once, and others may be writing. All steps to a new layout are one transaction. It
//! locks the table of layouts, which every transaction that writes reads first ([`check`]): so it waits for those that
//! are under way, and who writes after it sees the new layout, and is refused if it knows only the old one.

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool,
    migrate::{Migrate as _, MigrateError, Migrator},
    postgres::PgConnectOptions,
};

use super::{LOCK_TIMEOUT, MIGRATOR, commit, connect};
use crate::{DatabaseUrl, StoreError, places::MIGRATE};

/// How long who wants to migrate waits for another that does.
const PATIENCE_WITH_MIGRATION: &str = "10min";
/// The server's code where a lock was waited for too long.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// The newest layout that this version knows.
pub(super) fn known_layout() -> i64 {
    newest_layout(&MIGRATOR)
}

pub(super) fn newest_layout(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Brings the database to the newest layout, and lays it out where it is empty; gives the layout that it had. Of
/// several that do this at once, one does it, and the others wait for it.
pub(super) async fn bring_up(
    migrator: &Migrator,
    url: &DatabaseUrl,
    options: &PgConnectOptions,
) -> Result<i64, StoreError> {
    let mut connection = connect(url, options).await?;
    wait_for_locks(&mut connection, PATIENCE_WITH_MIGRATION).await?;
    // The lock that versions before this one take too. It goes with the connection.
    connection.lock().await.map_err(|error| migration_error(url, error))?;
    wait_for_locks(&mut connection, LOCK_TIMEOUT).await?;
    let from = in_one(migrator, url, &mut connection).await?;
    connection.close().await?;
    Ok(from)
}

async fn in_one(migrator: &Migrator, url: &DatabaseUrl, connection: &mut PgConnection) -> Result<i64, StoreError> {
    let failed = |error| migration_error(url, error);
    let mut transaction = connection.begin().await?;
    transaction.ensure_migrations_table(&migrator.table_name).await.map_err(failed)?;
    let (from, known) = (newest_applied(&mut transaction).await?, newest_layout(migrator));
    if from > known {
        return Err(StoreError::Layout { database: url.into(), found: from, known });
    }
    if from < known {
        let lock = sqlx::query("LOCK TABLE _sqlx_migrations IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await;
        lock.map_err(|error| failed(error.into()))?;
    }
    // It is locked already.
    let mut migrations = Migrator::with_migrations(migrator.iter().cloned().collect());
    migrations.set_locking(false);
    migrations.run_direct(None, &mut *transaction, false).await.map_err(failed)?;
    commit(transaction, MIGRATE).await?;
    Ok(from)
}

async fn wait_for_locks(connection: &mut PgConnection, limit: &str) -> Result<(), StoreError> {
    sqlx::query(AssertSqlSafe(format!("SET lock_timeout = '{limit}'"))).execute(connection).await?;
    Ok(())
}

fn migration_error(url: &DatabaseUrl, error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(sqlx::Error::Database(error))
        | MigrateError::ExecuteMigration(sqlx::Error::Database(error), _)
            if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) =>
        {
            StoreError::MigrationBlocked { database: url.into() }
        }
        error => StoreError::Migrate(Box::new(error)),
    }
}

/// Refuses to write into another layout than the one that was opened. None can be made before the transaction ends.
pub(super) async fn check(connection: &mut PgConnection, url: &DatabaseUrl, known: i64) -> Result<(), StoreError> {
    let found = newest_applied(connection).await?;
    if found == known { Ok(()) } else { Err(StoreError::Layout { database: url.into(), found, known }) }
}

/// The layout that the database has.
pub(super) async fn layout(url: &DatabaseUrl, pool: &PgPool) -> Result<i64, StoreError> {
    let has_layout: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(pool).await?;
    if !has_layout {
        return Err(StoreError::NoDatabase { database: url.into() });
    }
    newest_applied(&mut *pool.acquire().await?).await
}

async fn newest_applied(connection: &mut PgConnection) -> Result<i64, StoreError> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(connection).await?;
    Ok(found.unwrap_or(0))
}

#[cfg(test)]
mod tests;
