//! That these tests know every error text and every event of the contracts.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::abi::{Abi, artifact};

/// Texts that no call can bring forth on a chain whose token is STRK and whose other contracts are ours.
const OUT_OF_REACH: [&str; 6] = [
    // STRK reverts by itself and never answers false.
    "JobMgr: token transfer failed",
    "CdcPool: token transfer failed",
    "TaskAllocator: transfer failed",
    // 2^15 results of one worker that are all in doubt at once.
    "CdcPool: too many holds",
    // More than there is of the token.
    "TaskAllocator: bond too large",
    // As the first three.
    "Paymaster: transfer failed",
];

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

fn tests() -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("contracts");
    let files = files(&folder, ".rs").into_iter().filter(|path| !path.ends_with("texts.rs"));
    files.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// What the texts of the contracts and of their components begin with.
const PREFIXES: [&str; 8] =
    ["JobMgr: ", "CdcPool: ", "TaskAllocator: ", "Paymaster: ", "Referee: ", "Access: ", "Pausable: ", "Upgradeable: "];

#[test]
fn every_error_text_is_brought_forth_by_a_test() {
    let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../contracts/src");
    let tests = tests();
    let (mut known, mut missing) = (0, Vec::new());
    for path in files(&sources, ".cairo") {
        let source = std::fs::read_to_string(path).unwrap();
        for text in source.split('\'').filter(|text| PREFIXES.iter().any(|prefix| text.starts_with(prefix))) {
            known += 1;
            if !OUT_OF_REACH.contains(&text) && !tests.contains(&format!("\"{text}\"")) {
                missing.push(text.to_owned());
            }
        }
    }
    assert!(known > 100, "only {known} texts were found");
    assert!(missing.is_empty(), "no test brings forth: {missing:#?}");
}

#[test]
fn every_event_is_looked_at_by_a_test() {
    let manifest: Value = serde_json::from_str(&artifact("manifest.json")).unwrap();
    let tests = tests();
    let mut missing = Vec::new();
    for contract in manifest["contracts"].as_object().unwrap().keys() {
        for event in Abi::of(contract).events {
            if !tests.contains(&format!("\"{event}\"")) && !tests.contains(&format!("MarketEvent::{event} ")) {
                missing.push(format!("{contract}.{event}"));
            }
        }
    }
    assert!(missing.is_empty(), "no test looks at: {missing:#?}");
}
