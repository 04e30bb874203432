//! What tells one keeper of a database from another.
//!
//! A keeper that is started again must get its leases back at once, so its name has to outlive the process; and no two
//! processes may share a name, or each would fence the other. So the name is drawn once and kept in the data directory, in a
//! file that the process locks for as long as it lives, however it ends.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

const FILE: &str = "keeper.id";

/// Another process has the data directory.
#[derive(Debug, thiserror::Error)]
#[error(
    "another keeper runs with the data directory {path}\nhint: give each keeper a --data-dir of its own",
    path = .0.display()
)]
pub(crate) struct DataDirInUse(PathBuf);

/// A data directory that belongs to this process.
#[derive(Debug)]
pub(crate) struct Installation {
    name: String,
    /// Locked until it is closed.
    _file: File,
}

impl Installation {
    /// Takes the data directory, which has to be there.
    ///
    /// # Errors
    /// [`DataDirInUse`] where another process has it.
    pub(crate) fn take(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(FILE);
        let context = || format!("using {}", path.display());
        let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = opened.with_context(context)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(DataDirInUse(data_dir.to_path_buf()).into()),
            Err(std::fs::TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        let mut name = String::new();
        file.read_to_string(&mut name).with_context(context)?;
        let mut name = name.trim().to_owned();
        if name.is_empty() {
            name = format!("{}-{:08x}", host(), rand::random::<u32>());
            writeln!(file, "{name}").and_then(|()| file.sync_all()).with_context(context)?;
        }
        Ok(Self { name, _file: file })
    }

    /// The keeper's name: the machine's at the first start, and some random digits.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "keeper".to_owned() } else { name.chars().take(64).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outlives_the_process_and_is_one_processs_at_a_time() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Installation::take(here.path()).unwrap();
        let name = first.name().to_owned();
        let error = Installation::take(here.path()).unwrap_err().to_string();
        assert!(error.contains("another keeper runs with the data directory") && error.contains("hint: "), "{error}");
        assert_ne!(Installation::take(there.path()).unwrap().name(), name);
        drop(first);
        assert_eq!(Installation::take(here.path()).unwrap().name(), name);
    }
}
