//! SHA-256 over files, for cache keys and for the manifest of the compiled contracts.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of some bytes, in lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 over files: for each, in the order of their paths relative to `base`, the path, its contents'
/// length and its contents. Neither the machine nor the order in which a folder is read changes it.
pub(crate) fn sha256_of_files(base: &Path, files: &[PathBuf]) -> Result<String> {
    let mut by_path = BTreeMap::new();
    for file in files {
        let relative = file.strip_prefix(base).context("a file lies outside its base folder")?;
        by_path.insert(relative.to_string_lossy().replace('\\', "/"), file);
    }
    let mut hasher = Sha256::new();
    for (relative, file) in by_path {
        let contents = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        hasher.update(relative.as_bytes());
        hasher.update([0]);
        hasher.update((contents.len() as u64).to_le_bytes());
        hasher.update(&contents);
    }
    Ok(hex(&hasher.finalize()))
}

/// Every file below `folder` whose name ends in `suffix`, folders named `target` and hidden ones left out.
pub(crate) fn files_below(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() {
                if name != "target" && name != "node_modules" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(suffix) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, contents) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        folder
    }

    fn digest(files: &[(&str, &str)]) -> String {
        let folder = folder(files);
        let mut found = files_below(folder.path(), ".cairo").unwrap();
        found.reverse();
        sha256_of_files(folder.path(), &found).unwrap()
    }

    #[test]
    fn sha256_is_the_published_one() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn the_digest_depends_on_names_and_contents_only() {
        let digest_of_two = digest(&[("a.cairo", "1"), ("b/c.cairo", "2")]);
        assert_eq!(digest_of_two, digest(&[("b/c.cairo", "2"), ("a.cairo", "1"), ("notes.md", "not a source")]));
        assert_ne!(digest_of_two, digest(&[("a.cairo", "1"), ("b/d.cairo", "2")]));
        assert_ne!(digest_of_two, digest(&[("a.cairo", "12"), ("b/c.cairo", "")]));
    }

    #[test]
    fn build_outputs_and_hidden_folders_are_no_sources() {
        let folder = folder(&[("src/a.cairo", ""), ("target/b.cairo", ""), (".git/c.cairo", "")]);
        assert_eq!(files_below(folder.path(), ".cairo").unwrap(), [folder.path().join("src/a.cairo")]);
    }
}
