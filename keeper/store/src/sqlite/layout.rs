//! The layout that a file has, and how it comes to this version's.

use std::path::Path;

use sqlx::{SqliteConnection, SqlitePool, migrate::Migrator};

use super::{MIGRATOR, commit};
use crate::{StoreError, places::MIGRATE};

/// The newest layout that this version knows.
pub(super) fn known_layout() -> i64 {
    newest_layout(&MIGRATOR)
}

pub(super) fn newest_layout(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Brings the database to the newest layout, and lays it out where it is empty.
///
/// All steps are one transaction: who reads meanwhile sees the layout from before, and where the process is killed, or
/// a step fails, the layout from before is what is left, for this version or the one that wrote it.
pub(super) async fn bring_up(migrator: &Migrator, path: &Path, pool: &SqlitePool) -> Result<(), StoreError> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let known = newest_layout(migrator);
    match layout_of(path, &mut transaction).await {
        Ok(found) if found > known => return Err(StoreError::Layout { database: path.into(), found, known }),
        Ok(_) | Err(StoreError::NoDatabase { .. }) => {}
        Err(error) => return Err(error),
    }
    let migrated = migrator.run_direct(None, &mut *transaction, false).await;
    migrated.map_err(|error| StoreError::Migrate(Box::new(error)))?;
    commit(transaction, MIGRATE).await
}

/// A reader cannot migrate, so it only reads what this very version would have laid out.
pub(super) async fn check_layout(path: &Path, pool: &SqlitePool) -> Result<(), StoreError> {
    let (found, known) = (layout(path, pool).await?, known_layout());
    if found == known { Ok(()) } else { Err(StoreError::Layout { database: path.into(), found, known }) }
}

/// The layout that the database has.
pub(super) async fn layout(path: &Path, pool: &SqlitePool) -> Result<i64, StoreError> {
    layout_of(path, &mut *pool.acquire().await?).await
}

pub(super) async fn layout_of(path: &Path, connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let has_layout: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
        .fetch_one(&mut *connection)
        .await?;
    if has_layout == 0 {
        return Err(StoreError::NoDatabase { database: path.into() });
    }
    let found: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(connection).await?;
    Ok(found.unwrap_or(0))
}

#[cfg(test)]
mod tests;
