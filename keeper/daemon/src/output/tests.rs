use std::{collections::BTreeSet, fs, path::PathBuf};

use super::*;

#[test]
fn a_missing_deployment_is_first_to_be_asked_for() {
    let path = PathBuf::from("deployments/sepolia.json");
    let error = DeploymentError::Missing { network: Network::Sepolia, path };
    let (message, hint) = described(&error.into());
    assert_eq!(message, "no contracts are known on sepolia: deployments/sepolia.json does not exist");
    let hint = hint.unwrap();
    let ask = hint.find("from whoever deployed the contracts and keep it as deployments/sepolia.json").unwrap();
    let deploy = hint.find("a market of your own, `keeper contracts deploy --network sepolia`").unwrap();
    assert!(ask < deploy && hint.contains("--deployment;"), "{hint}");
}

#[test]
fn what_is_to_be_done_about_a_database_is_the_hint_and_not_in_the_error() {
    let told = |error: StoreError| described(&anyhow::Error::from(error).context("opening the database"));
    let path = PathBuf::from("data/keeper.sqlite");
    let (message, hint) = told(StoreError::NoDatabase { database: path.clone().into() });
    assert!(
        message
            .ends_with("no keeper has run with this data directory: `data/keeper.sqlite` does not exist or is empty")
    );
    assert!(hint.unwrap().starts_with("name the keeper's own data directory with --data-dir"));
    let (message, hint) = told(StoreError::InUse { path: path.clone() });
    assert_eq!(message, "opening the database: another keeper is running on `data/keeper.sqlite`");
    assert_eq!(hint.unwrap(), "stop it, or use another --data-dir");
    let (message, hint) = told(StoreError::Layout { database: path.into(), found: 9, known: 4 });
    let expected =
        "`data/keeper.sqlite` has layout 9, which a newer version of the keeper wrote; this one knows layout 4";
    assert_eq!(message, format!("opening the database: {expected}"));
    assert!(hint.unwrap().starts_with("upgrade this keeper"));
}

#[test]
fn a_contracts_refusal_gets_its_hint() {
    let refused = |reason: &str| described(&SendError::WouldRevert { reason: reason.to_owned() }.into());
    let (message, hint) = refused("Pausable: paused");
    assert_eq!(message, "the transaction would fail: Pausable: paused");
    assert!(hint.unwrap().contains("keeper admin unpause"));
    assert_eq!(refused("something else").1, None);
}

#[test]
fn a_hint_of_its_own_comes_before_the_usual_one() {
    let error = anyhow::anyhow!("it broke\nhint: mend it");
    assert_eq!(described(&error), ("it broke".to_owned(), Some("mend it".to_owned())));
}

/// Errors that say all there is to say, or that this program's own checks and calls rule out.
const WITHOUT_HINT: &[&str] = &[
    // What a contract checks of another contract, or of what a deployment sets.
    "Access: zero admin",
    "CdcPool: allocator set before",
    "CdcPool: batch too large",
    "CdcPool: caller not a keeper",
    "CdcPool: caller not job manager",
    "CdcPool: empty batch",
    "CdcPool: job manager set before",
    "CdcPool: not held",
    "CdcPool: nothing to decay",
    "CdcPool: too many asked",
    "CdcPool: too many holds",
    "CdcPool: unbonding too long",
    "CdcPool: unknown group",
    "CdcPool: zero address",
    "CdcPool: zero min stake",
    "JobMgr: allocator set before",
    "JobMgr: caller not allocator",
    "JobMgr: caller not referee",
    "JobMgr: paymaster set before",
    "JobMgr: referee set before",
    "JobMgr: too many asked",
    "JobMgr: unbonding too short",
    "JobMgr: window too long",
    "JobMgr: zero address",
    "Paymaster: not the job manager",
    "Paymaster: zero address",
    "Referee: zero address",
    "TaskAllocator: delay too long",
    "TaskAllocator: zero address",
    "Upgradeable: delay too long",
    "Upgradeable: zero class hash",
    // What the machine's probe or an option's own bounds rule out, or name by themselves.
    "CdcPool: bad compute capability",
    "CdcPool: bad driver version",
    "CdcPool: region too long",
    "CdcPool: too many CPU cores",
    "CdcPool: too many GPUs",
    "CdcPool: too much VRAM",
    "CdcPool: too much memory",
    "CdcPool: zero region",
    "CdcPool: zero slots",
    "JobMgr: bad compute capability",
    "JobMgr: bad driver version",
    "JobMgr: bad latency",
    "JobMgr: bad max attempts",
    "JobMgr: bad min reputation",
    "JobMgr: bad priority",
    "JobMgr: bad queue",
    "JobMgr: bad quorum",
    "JobMgr: bad replicas",
    "JobMgr: bad verification",
    "JobMgr: region too long",
    "JobMgr: too many CPU cores",
    "JobMgr: too many GPUs",
    "JobMgr: too much VRAM",
    "JobMgr: too much memory",
    "JobMgr: zero manifest hash",
    "Paymaster: bad max fee",
    "Paymaster: call not allowed",
    "Paymaster: fee too high",
    "Paymaster: no calls",
    "Paymaster: zero budget",
    "Paymaster: zero cap",
    "Referee: bad size",
    "Referee: malformed output",
    // What only a keeper or a worker's agent sends, which then decide or look anew by themselves.
    "JobMgr: not committed",
    "JobMgr: reveals closed",
    "JobMgr: wrong attempt",
    "JobMgr: wrong reveal",
    "JobMgr: zero commitment",
    "JobMgr: zero result hash",
    "TaskAllocator: bad metrics",
    "TaskAllocator: batch too large",
    "TaskAllocator: empty batch",
    "TaskAllocator: future snapshot",
    "TaskAllocator: not worker owner",
    "TaskAllocator: round too high",
    "TaskAllocator: stale round",
    "TaskAllocator: unknown worker",
    "TaskAllocator: zero policy",
    // The token refused, for reasons of its own.
    "CdcPool: token transfer failed",
    "JobMgr: token transfer failed",
    "Paymaster: transfer failed",
    "TaskAllocator: transfer failed",
];

/// The error texts in the contracts' sources.
fn errors_of_the_contracts() -> BTreeSet<String> {
    let contracts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts/src");
    let mut files: Vec<PathBuf> =
        fs::read_dir(contracts.join("components")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.extend(fs::read_dir(&contracts).unwrap().map(|entry| entry.unwrap().path().join("errors.cairo")));
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    let constants = texts.flat_map(|text| {
        let quoted = text.lines().filter_map(|line| {
            let (_, value) = line.split_once(": felt252 = '")?;
            Some(value.split_once('\'')?.0.to_owned())
        });
        quoted.collect::<Vec<_>>()
    });
    constants.collect()
}

#[test]
fn every_error_of_the_contracts_has_a_hint_or_is_known_to_need_none() {
    let errors = errors_of_the_contracts();
    assert!(errors.len() > 150, "only {} errors were found in the sources", errors.len());
    let hinted: Vec<&str> = refusals::HINTS.iter().map(|(text, _)| *text).collect();
    let known: BTreeSet<&str> = hinted.iter().chain(WITHOUT_HINT).copied().collect();
    assert_eq!(known.len(), hinted.len() + WITHOUT_HINT.len(), "none stands twice");
    let undecided: Vec<_> = errors.iter().filter(|error| !known.contains(error.as_str())).collect();
    assert!(undecided.is_empty(), "give these a hint, or say that they need none: {undecided:#?}");
    let gone: Vec<_> = known.iter().filter(|text| !errors.contains(**text)).collect();
    assert!(gone.is_empty(), "no contract has these errors any more: {gone:#?}");
}
