//! Bringing a database to this version's layout.

use std::path::{Path, PathBuf};

use sqlx::{
    migrate::Migrator,
    sqlite::{SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::backup::{backup, with_suffix};
use crate::{
    StoreError,
    sqlite::{
        MIGRATOR, check_durability,
        layout::{bring_up, layout, newest_layout},
        lock, options,
    },
};

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The layout that the database had.
    pub from: i64,
    /// The layout that it has: this version's.
    pub to: i64,
    /// The copy that was made before, where anything had to be done.
    pub backup: Option<PathBuf>,
}

/// Brings the database at `path` to this version's layout. Where that changes anything and `keep_copy` is set, a copy
/// of what it was before is made beside it: the file's name with `.layout-` and the number.
///
/// # Errors
/// [`StoreError::NoDatabase`] where no keeper has run there, [`StoreError::InUse`] where one is running,
/// [`StoreError::Layout`] where a newer version wrote it: nothing is changed then.
pub async fn migrate(path: &Path, keep_copy: bool) -> Result<Migrated, StoreError> {
    migrate_by(&MIGRATOR, path, keep_copy).await
}

pub(super) async fn migrate_by(migrator: &Migrator, path: &Path, keep_copy: bool) -> Result<Migrated, StoreError> {
    if std::fs::metadata(path).map_or(true, |file| file.len() == 0) {
        return Err(StoreError::NoDatabase { database: path.into() });
    }
    let _lock = lock(path).await?;
    let options = options(path).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    check_durability(&pool).await?;
    let (from, to) = (layout(path, &pool).await?, newest_layout(migrator));
    if from > to {
        return Err(StoreError::Layout { database: path.into(), found: from, known: to });
    }
    let copy = (keep_copy && from < to).then(|| with_suffix(path, &format!(".layout-{from}")));
    if let Some(copy) = &copy {
        // One of an earlier try holds the same.
        backup(path, copy, true).await?;
    }
    bring_up(migrator, path, &pool).await?;
    pool.close().await;
    Ok(Migrated { from, to, backup: copy })
}
