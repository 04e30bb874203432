//! Taking a database out of the way, where what it was recorded from is no more.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use sqlx::{ConnectOptions as _, Connection as _};

use super::backup::with_suffix;
use crate::{
    StoreError,
    sqlite::{folder_of, lock, options},
};

/// Names that are tried before it is given up.
const MOST_NAMES: u32 = 10_000;

/// Gives the database at `path` another name beside it, its own with `.LABEL` behind it and, where that is taken, a
/// number; returns that name. Nothing is deleted: the file can be read and checked there, and removed by whoever likes to.
///
/// # Errors
/// [`StoreError::NoDatabase`] where there is none, [`StoreError::InUse`] where a keeper runs on it, and where somebody
/// reads it for longer than SQLite waits.
pub async fn set_aside(path: &Path, label: &str) -> Result<PathBuf, StoreError> {
    if fs::metadata(path).map_or(true, |file| file.len() == 0) {
        return Err(StoreError::NoDatabase { database: path.into() });
    }
    let _lock = lock(path).await?;
    // Without a write-ahead log the one file is all of it; a log that stayed would be taken for the next database's.
    let mut connection = options(path).connect().await?;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode = DELETE").fetch_one(&mut connection).await?;
    connection.close().await?;
    if journal != "delete" {
        return Err(StoreError::NotDurable { setting: "journal_mode", found: journal, expected: "delete" });
    }
    let to = linked(path, label)?;
    fs::remove_file(path).map_err(|source| file_error(path, source))?;
    let folder = folder_of(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| file_error(folder, source))?;
    Ok(to)
}

/// Gives the file a second name that nothing has. Unlike a rename, a link never replaces another file.
fn linked(path: &Path, label: &str) -> Result<PathBuf, StoreError> {
    let mut to = with_suffix(path, &format!(".{label}"));
    for number in 2..=MOST_NAMES {
        match fs::hard_link(path, &to) {
            Ok(()) => return Ok(to),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                to = with_suffix(path, &format!(".{label}-{number}"));
            }
            Err(source) => return Err(file_error(&to, source)),
        }
    }
    Err(StoreError::Exists { path: to })
}

fn file_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::File { path: path.to_path_buf(), source }
}
