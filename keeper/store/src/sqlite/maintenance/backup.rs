//! A copy of the database, made while a keeper may be writing to it.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use sqlx::{Connection as _, SqliteConnection};

use super::check::{Report, check, check_pages};
use crate::{
    StoreError,
    sqlite::{
        folder_of,
        layout::{known_layout, layout_of},
        options,
    },
};

/// Writes a copy of the database at `path`, as it is at one moment, to the file `to`, and checks the copy before it
/// takes that name. When this returns, the copy and its name are on the disk.
///
/// A database of an earlier layout is copied too; of the copy only the pages are checked then.
///
/// # Errors
/// [`StoreError::Exists`] where there is such a file and `replace` is not set, [`StoreError::NoDatabase`] where there
/// is nothing to copy, [`StoreError::Damaged`] where the copy does not pass: then so would not the original.
pub async fn backup(path: &Path, to: &Path, replace: bool) -> Result<Report, StoreError> {
    if fs::metadata(path).map_or(true, |file| file.len() == 0) {
        return Err(StoreError::NoDatabase { database: path.into() });
    }
    // The database itself is never replaced, whatever was asked for.
    let is_itself = matches!((fs::canonicalize(path), fs::canonicalize(to)), (Ok(from), Ok(to)) if from == to);
    if is_itself || (!replace && fs::exists(to).map_err(|source| file_error(to, source))?) {
        return Err(StoreError::Exists { path: to.to_path_buf() });
    }
    let partial = with_suffix(to, ".partial");
    let result = copy(path, to, &partial, replace).await;
    if result.is_err() {
        // What failed is told; that its remainder cannot be removed either would say nothing more.
        let _ = fs::remove_file(&partial);
    }
    result
}

async fn copy(path: &Path, to: &Path, partial: &Path, replace: bool) -> Result<Report, StoreError> {
    match fs::remove_file(partial) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(file_error(partial, source)),
        _ => {}
    }
    let target = partial.to_str().ok_or_else(|| {
        file_error(partial, io::Error::new(io::ErrorKind::InvalidInput, "the file's name is not Unicode"))
    })?;
    let mut source = SqliteConnection::connect_with(&options(path).read_only(true)).await?;
    sqlx::query("VACUUM INTO ?").bind(target).execute(&mut source).await?;
    source.close().await?;
    sync(partial)?;

    let report = verified(partial).await?;
    if replace {
        fs::rename(partial, to).map_err(|source| file_error(to, source))?;
    } else {
        // Unlike a rename, a link fails where somebody made the file meanwhile.
        fs::hard_link(partial, to).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => StoreError::Exists { path: to.to_path_buf() },
            _ => file_error(to, source),
        })?;
        fs::remove_file(partial).map_err(|source| file_error(partial, source))?;
    }
    sync(folder_of(to))?;
    Ok(report)
}

/// Checks a copy; only its pages where it has an earlier layout.
async fn verified(copy: &Path) -> Result<Report, StoreError> {
    let mut connection = SqliteConnection::connect_with(&options(copy).read_only(true)).await?;
    let layout = layout_of(copy, &mut connection).await?;
    let report = if layout == known_layout() {
        check(copy).await?
    } else {
        Report { layout, findings: check_pages(&mut connection).await?, ..Report::default() }
    };
    connection.close().await?;
    match report.findings.first() {
        None => Ok(report),
        Some(first) => Err(StoreError::Damaged { findings: report.findings.len(), first: first.detail.clone() }),
    }
}

/// Waits until a file's content, or a folder's entries, are on the disk.
fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|source| file_error(path, source))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn file_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::File { path: path.to_path_buf(), source }
}
