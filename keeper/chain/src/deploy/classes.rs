//! The contracts' classes, which are built into this program, and what is deployed from them.

use std::collections::BTreeMap;

use keeper_types::{Address, Felt};
use serde::Deserialize;
use starknet::{
    core::{types::Call, utils::get_contract_address},
    macros::{felt, selector},
};

use super::DeployError;
use crate::deployment::DeployedContract;

/// Makes contracts from classes; at the same address on every network, also on local chains.
const UNIVERSAL_DEPLOYER: Felt = felt!("0x02ceed65a4bd731034c01113685c831b01c15d7d432f71afb1cf1634b53a2125");
const MANIFEST: &str = include_str!("../../../../contracts/artifacts/manifest.json");

/// A class that is built into this program.
pub(super) struct BuiltInClass {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

/// The class of that name from the repository's artifacts.
macro_rules! built_in {
    ($name:literal) => {
        BuiltInClass {
            name: $name,
            text: include_str!(concat!("../../../../contracts/artifacts/", $name, ".contract_class.json")),
        }
    };
}

pub(super) const CDC_POOL: BuiltInClass = built_in!("CdcPool");
pub(super) const JOB_MGR: BuiltInClass = built_in!("JobMgr");
pub(super) const TASK_ALLOCATOR: BuiltInClass = built_in!("TaskAllocator");
pub(super) const PAYMASTER: BuiltInClass = built_in!("Paymaster");
pub(super) const REFEREE: BuiltInClass = built_in!("Referee");
/// In the order in which they are declared and deployed.
pub(super) const CLASSES: [&BuiltInClass; 5] = [&CDC_POOL, &JOB_MGR, &TASK_ALLOCATOR, &PAYMASTER, &REFEREE];

/// The hashes of a built-in class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ClassHashes {
    /// What the class is called on chain.
    pub class_hash: Felt,
    /// What the sequencer compiles it to.
    pub compiled_class_hash: Felt,
}

#[derive(Deserialize)]
struct Manifest {
    contracts: std::collections::BTreeMap<String, ClassHashes>,
}

/// The hashes of the class of that name that is built into this program.
pub fn built_in_class(name: &str) -> Option<ClassHashes> {
    let manifest: Manifest = serde_json::from_str(MANIFEST).ok()?;
    manifest.contracts.get(name).copied()
}

impl BuiltInClass {
    pub(super) fn hashes(&self) -> Result<ClassHashes, DeployError> {
        built_in_class(self.name).ok_or_else(|| self.wrong("the manifest does not list it".to_owned()))
    }

    fn wrong(&self, reason: String) -> DeployError {
        DeployError::Class { name: self.name, reason }
    }

    /// The constructor's arguments, by their names in the class.
    fn arguments(&self, values: &BTreeMap<&'static str, Felt>) -> Result<Vec<Felt>, DeployError> {
        let class: ClassAbi = serde_json::from_str(self.text).map_err(|error| self.wrong(error.to_string()))?;
        let inputs = class.abi.into_iter().filter(|entry| entry.kind == "constructor").flat_map(|entry| entry.inputs);
        let value = |input: AbiInput| {
            let value = values.get(input.name.as_str()).copied();
            value.ok_or_else(|| self.wrong(format!("its constructor asks for {}", input.name)))
        };
        inputs.map(value).collect()
    }
}

/// As much of a class as tells its constructor's arguments.
#[derive(Deserialize)]
struct ClassAbi {
    abi: Vec<AbiEntry>,
}

#[derive(Deserialize)]
struct AbiEntry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    inputs: Vec<AbiInput>,
}

#[derive(Deserialize)]
struct AbiInput {
    name: String,
}

/// A contract before it is deployed.
pub(super) struct Planned {
    pub(super) name: &'static str,
    class_hash: Felt,
    arguments: Vec<Felt>,
    pub(super) address: Address,
}

impl Planned {
    pub(super) fn new(
        class: &BuiltInClass,
        salt: Felt,
        values: &BTreeMap<&'static str, Felt>,
    ) -> Result<Self, DeployError> {
        let class_hash = class.hashes()?.class_hash;
        let arguments = class.arguments(values)?;
        // Deployed without mixing in the caller, so that the address depends on the contract alone.
        let address = Address(get_contract_address(salt, class_hash, &arguments, Felt::ZERO));
        Ok(Self { name: class.name, class_hash, arguments, address })
    }

    pub(super) fn call(&self, salt: Felt) -> Call {
        let unique = Felt::ZERO;
        let mut calldata = vec![self.class_hash, salt, unique, Felt::from(self.arguments.len())];
        calldata.extend_from_slice(&self.arguments);
        Call { to: UNIVERSAL_DEPLOYER, selector: selector!("deployContract"), calldata }
    }

    pub(super) fn deployed(&self) -> DeployedContract {
        DeployedContract { address: self.address, class_hash: self.class_hash }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use starknet::core::types::contract::SierraClass;

    use super::*;

    #[test]
    fn built_in_classes_hash_to_what_the_manifest_says() {
        for class in CLASSES {
            let sierra: SierraClass = serde_json::from_str(class.text).unwrap();
            assert_eq!(sierra.class_hash().unwrap(), class.hashes().unwrap().class_hash, "{}", class.name);
        }
    }

    #[test]
    fn a_constructor_is_given_what_it_asks_for_by_name() {
        let values = BTreeMap::from([("admin", Felt::ONE)]);
        let error = CDC_POOL.arguments(&values).unwrap_err().to_string();
        assert!(error.contains("its constructor asks for token"), "{error}");
    }
}
