//! Comparing generated files with the ones that are checked in.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The names of files that differ between two flat folders: changed, missing or superfluous.
pub(crate) fn differences(checked_in: &Path, generated: &Path, concerns: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut names = file_names(checked_in)?;
    names.extend(file_names(generated)?);
    let mut differing = Vec::new();
    for name in names.into_iter().filter(|name| concerns(name)) {
        if contents(&checked_in.join(&name))? != contents(&generated.join(&name))? {
            differing.push(name);
        }
    }
    Ok(differing)
}

/// Copies the files of one flat folder over another's.
pub(crate) fn install(generated: &Path, destination: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(destination).with_context(|| format!("creating {}", destination.display()))?;
    let mut written = Vec::new();
    for name in file_names(generated)? {
        let to = destination.join(&name);
        fs::copy(generated.join(&name), &to).with_context(|| format!("writing {}", to.display()))?;
        written.push(to);
    }
    Ok(written)
}

fn file_names(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", folder.display())),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

fn contents(file: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, contents) in files {
            fs::write(folder.path().join(name), contents).unwrap();
        }
        folder
    }

    #[test]
    fn changed_missing_and_superfluous_files_differ() {
        let old = folder(&[("same.json", "1"), ("changed.json", "1"), ("superfluous.json", "1"), ("README.md", "1")]);
        let new = folder(&[("same.json", "1"), ("changed.json", "2"), ("missing.json", "1")]);
        let differing = differences(old.path(), new.path(), |name| name.ends_with(".json")).unwrap();
        assert_eq!(differing, ["changed.json", "missing.json", "superfluous.json"]);
    }

    #[test]
    fn a_folder_that_does_not_exist_yet_holds_no_files() {
        let new = folder(&[("a.json", "1")]);
        let old = new.path().join("artifacts");
        assert_eq!(differences(&old, new.path(), |_| true).unwrap(), ["a.json"]);
    }

    #[test]
    fn installing_makes_the_folders_equal() {
        let new = folder(&[("a.json", "1"), ("b.json", "2")]);
        let old = folder(&[("a.json", "0")]);
        install(new.path(), old.path()).unwrap();
        assert!(differences(old.path(), new.path(), |_| true).unwrap().is_empty());
    }
}
