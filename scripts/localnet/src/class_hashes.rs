//! Prints a contract class's two hashes: `class-hashes FILE...` writes one JSON object a line.
//!
//! Declaring a class on Starknet names the hash of the Cairo assembly that every sequencer compiles the class
//! to. Since Starknet 0.14.1 that hash is Blake2s; the keeper's client library knows only the older one, so
//! it is computed here, when the contracts are built, and kept in `contracts/artifacts/manifest.json`.

use anyhow::{Context as _, Result};
use cairo_lang_starknet_classes::{casm_contract_class::CasmContractClass, contract_class::ContractClass};
use starknet_devnet_types::contract_class::compute_sierra_class_hash;

/// The size of the assembly is not judged here: the chain applies its own limit when the class is declared.
const NO_BYTECODE_LIMIT: usize = usize::MAX;

const USAGE: &str = "usage: class-hashes FILE...
Prints {\"file\", \"class_hash\", \"compiled_class_hash\"} for each contract class (.contract_class.json), one a line.";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        None | Some("-h" | "--help") => println!("{USAGE}"),
        Some("-V" | "--version") => println!("class-hashes {}", env!("CARGO_PKG_VERSION")),
        Some(_) => {
            for file in &arguments {
                let text = std::fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
                let (class_hash, compiled_class_hash) = hashes(&text).with_context(|| format!("hashing {file}"))?;
                println!(
                    "{}",
                    serde_json::json!({
                        "file": file,
                        "class_hash": class_hash,
                        "compiled_class_hash": compiled_class_hash,
                    })
                );
            }
        }
    }
    Ok(())
}

/// The class hash and the compiled class hash (Blake2s) of a contract class given as JSON, as 0x hex of 64 digits.
fn hashes(class_json: &str) -> Result<(String, String)> {
    let class: ContractClass = serde_json::from_str(class_json).context("reading the contract class")?;
    let class_hash = compute_sierra_class_hash(&class).context("computing the class hash")?;
    let sierra = class.extract_sierra_program(false).context("reading the Sierra program")?;
    let casm = CasmContractClass::from_contract_class(class, sierra, false, NO_BYTECODE_LIMIT)
        .context("compiling Sierra to Cairo assembly")?;
    Ok((class_hash.to_fixed_hex_string(), casm.compiled_class_hash().to_fixed_hex_string()))
}
