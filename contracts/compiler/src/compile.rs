//! Compiles every contract of a Cairo crate, with the compiler as a library.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use cairo_lang_compiler::{CompilerConfig, db::RootDatabase, project::setup_project};
use cairo_lang_defs::ids::NamedLanguageElementId as _;
use cairo_lang_filesystem::db::init_dev_corelib;
use cairo_lang_starknet::{compile::compile_prepared_db, contract::find_contracts, starknet_plugin_suite};
use cairo_lang_starknet_classes::{allowed_libfuncs::ListSelector, contract_class::ContractClass};

/// Compiles the crate in `crate_dir` against the core library in `corelib` and writes one class file per
/// contract to `out`. Diagnostics, warnings included, go to stderr.
///
/// # Errors
/// On any diagnostic, on a contract that uses functions public networks refuse, if two contracts share a name
/// or there is none, and if a file cannot be read or written. Nothing is written unless all compile.
pub(crate) fn compile(corelib: &Path, crate_dir: &Path, out: &Path) -> Result<()> {
    for (name, class) in contract_classes(corelib, crate_dir)? {
        let file = write_class(out, &name, &class)?;
        println!("{}: {} Sierra felts", file.display(), class.sierra_program.len());
    }
    Ok(())
}

/// The classes by contract name, in the order of the names.
fn contract_classes(corelib: &Path, crate_dir: &Path) -> Result<BTreeMap<String, ContractClass>> {
    let corelib_src = corelib.join("src");
    ensure!(corelib_src.join("lib.cairo").is_file(), "no core library in {}: unpack it first", corelib.display());
    let mut db = RootDatabase::builder().with_plugin_suite(starknet_plugin_suite()).build()?;
    init_dev_corelib(&mut db, corelib_src);
    let crates = setup_project(&mut db, crate_dir).with_context(|| format!("opening {}", crate_dir.display()))?;

    let contracts = find_contracts(&db, &crates);
    // The default reporter prints to stderr and fails on warnings. Identifiers stay numbers: their names would
    // only add debug information, which has no part in the class hash.
    let config = CompilerConfig { replace_ids: false, ..CompilerConfig::default() };
    let classes = compile_prepared_db(&db, &contracts.iter().collect::<Vec<_>>(), config)?;
    ensure!(!classes.is_empty(), "{} holds no contract", crate_dir.display());

    let mut by_name = BTreeMap::new();
    for (contract, class) in contracts.iter().zip(classes) {
        let name = contract.submodule_id.name(&db).to_string();
        class
            .validate_version_compatible(ListSelector::DefaultList)
            .with_context(|| format!("{name} cannot be declared on a public network"))?;
        ensure!(by_name.insert(name.clone(), class).is_none(), "two contracts are called {name}");
    }
    Ok(by_name)
}

fn write_class(out: &Path, name: &str, class: &ContractClass) -> Result<PathBuf> {
    fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let file = out.join(format!("{name}.contract_class.json"));
    let mut json = serde_json::to_string(class).with_context(|| format!("writing {name} as JSON"))?;
    json.push('\n');
    fs::write(&file, json).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}
