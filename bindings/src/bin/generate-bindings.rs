//! Generates the Rust bindings from the compiled contracts: `generate-bindings [OUT_DIR]`.
//!
//! Run it through `cargo xtask bindings`, which also compares what it writes with what is committed.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use cainome::rs::{Abigen, ExecutionVersion};

/// Contracts and the modules that their bindings go to.
const CONTRACTS: [(&str, &str); 5] = [
    ("JobMgr", "job_mgr"),
    ("CdcPool", "cdc_pool"),
    ("TaskAllocator", "task_allocator"),
    ("Paymaster", "paymaster"),
    ("Referee", "referee"),
];

/// Components, each with an event type that is called `Event` as the contract's own, and what theirs is called here.
const COMPONENT_EVENTS: [(&str, &str); 3] = [
    ("ciro_contracts::components::access::AccessComponent::Event", "AccessEvent"),
    ("ciro_contracts::components::pausable::PausableComponent::Event", "PausableEvent"),
    ("ciro_contracts::components::upgradeable::UpgradeableComponent::Event", "UpgradeableEvent"),
];

const DERIVES: [&str; 5] = ["Clone", "Debug", "PartialEq", "serde::Serialize", "serde::Deserialize"];

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = std::env::args().nth(1).map_or_else(|| root.join("src"), PathBuf::from);
    let artifacts = root.join("../contracts/artifacts");
    for (contract, module) in CONTRACTS {
        let source = artifacts.join(format!("{contract}.contract_class.json"));
        generate(contract, &source, &out.join(format!("{module}.rs")))
            .with_context(|| format!("generating the bindings of {contract}"))?;
    }
    Ok(())
}

fn generate(contract: &str, source: &Path, target: &Path) -> Result<()> {
    let text = std::fs::read_to_string(source).with_context(|| format!("reading {}", source.display()))?;
    let class: serde_json::Value = serde_json::from_str(&text).context("reading the contract class")?;
    // The generator is given the interface alone: its parser of whole classes is older than the compiler.
    let abi = match class.get("abi").context("the class has no abi")? {
        serde_json::Value::String(text) => text.clone(),
        abi => serde_json::to_string(abi)?,
    };
    let abi_file = target.with_extension("abi.json");
    std::fs::write(&abi_file, abi)?;
    let derives = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let aliases: HashMap<_, _> =
        COMPONENT_EVENTS.iter().map(|(path, name)| ((*path).to_owned(), (*name).to_owned())).collect();
    let bindings = Abigen::new(contract, &abi_file.to_string_lossy())
        .with_execution_version(ExecutionVersion::V3)
        .with_types_aliases(aliases)
        .with_derives(derives(&DERIVES))
        .with_contract_derives(derives(&["Clone", "Debug"]))
        .generate();
    std::fs::remove_file(&abi_file)?;
    bindings?.write_to_file(&target.to_string_lossy()).context("writing the bindings")?;
    Ok(())
}
