//! The README's table of class hashes says what `contracts/artifacts/manifest.json` says.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{failure::failure, repo::Repo};

const MANIFEST: &str = "contracts/artifacts/manifest.json";

/// Compares the table with the manifest.
pub(super) fn check(repo: &Repo) -> Result<()> {
    let read = |name: &str| fs::read_to_string(repo.path(name)).with_context(|| format!("reading {name}"));
    let missing = missing(&read("README.md")?, &read(MANIFEST)?)?;
    if missing.is_empty() {
        println!("class hashes: the README names those of the manifest");
        return Ok(());
    }
    let hint = format!("copy the class hashes of {MANIFEST} into the README's table of contracts");
    Err(failure(format!("the README does not name the class of {}", missing.join(", ")), hint))
}

/// The contracts whose class hash the README lacks.
fn missing(readme: &str, manifest: &str) -> Result<Vec<String>> {
    let manifest: Value = serde_json::from_str(manifest).with_context(|| format!("reading {MANIFEST}"))?;
    let contracts = manifest["contracts"].as_object().context("the manifest lists no contracts")?;
    let lacks = |class: &Value| class["class_hash"].as_str().is_none_or(|hash| !readme.contains(hash));
    Ok(contracts.iter().filter(|(_, class)| lacks(class)).map(|(name, _)| name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_the_readme_lacks_is_named() {
        let manifest = r#"{"contracts":{"JobMgr":{"class_hash":"0x1a"},"CdcPool":{"class_hash":"0x2b"}}}"#;
        assert_eq!(missing("| JobMgr | `0x1a` |", manifest).unwrap(), ["CdcPool"]);
        assert!(missing("`0x1a` `0x2b`", manifest).unwrap().is_empty());
        assert!(missing("", "{}").is_err());
    }
}
