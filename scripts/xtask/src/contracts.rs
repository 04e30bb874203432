//! `cargo xtask contracts`: the Cairo contracts, compiled and hashed into `contracts/artifacts`.
//!
//! Only package registries are asked for anything: the compiler is a crate, and Cairo's core library is taken
//! from an npm package whose contents are pinned by hash. docs/design/0003-contract-build.md gives the reasons.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{
    compare::{differences, install},
    digest::{files_below, sha256, sha256_of_files},
    failure::{OrHint as _, failure},
    process::{capture, run as run_command},
    repo::Repo,
    system::{self, NPM},
    tools::{CONTRACT_COMPILER, LOCALNET},
};

/// The Cairo crate.
const CONTRACTS: &str = "contracts";
/// What the binaries embed.
const ARTIFACTS: &str = "contracts/artifacts";
/// The token and the account that the invariants' harness lays out.
const HARNESS: &str = "tests/invariants/cairo";
const HARNESS_ARTIFACTS: &str = "tests/invariants/artifacts";
/// Says what each artifact was made from.
const MANIFEST: &str = "manifest.json";

/// The package that carries Cairo's core library, and the hash of the one file in it that is used.
const CORE_LIBRARY_PACKAGE: &str = "wasm-cairo";
const CORE_LIBRARY_VERSION: &str = "0.10.2";
const CORE_LIBRARY_FILE: &str = "package/wasm-cairo_bg.wasm";
const CORE_LIBRARY_SHA256: &str = "fb8e14d690be2994ea5ed768bde1f3f716ba3cacf882f25e0bb71eb2ead45b66";

/// The crate of the compiler, as named in `contracts/compiler/Cargo.lock`.
const COMPILER_CRATE: &str = "cairo-lang-starknet";

/// How the contracts are built.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only compare with what is checked in
    #[arg(long)]
    check: bool,
}

/// What `manifest.json` holds.
#[derive(Debug, Serialize)]
struct Manifest {
    compiler: Source,
    core_library: Source,
    /// SHA-256 over the sorted relative paths and the contents of the Cairo sources.
    sources_sha256: String,
    contracts: BTreeMap<String, Class>,
}

#[derive(Debug, Serialize)]
struct Source {
    name: &'static str,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'static str>,
}

/// A compiled contract.
#[derive(Debug, Serialize)]
pub(crate) struct Class {
    pub(crate) file: String,
    pub(crate) class_hash: String,
    pub(crate) compiled_class_hash: String,
}

/// What compiling contracts takes.
#[derive(Debug)]
pub(crate) struct Compiler {
    pub(crate) program: PathBuf,
    /// Gone when this is dropped.
    pub(crate) core_library: tempfile::TempDir,
}

/// A line of `class-hashes`.
#[derive(Debug, Deserialize)]
struct Hashes {
    file: PathBuf,
    class_hash: String,
    compiled_class_hash: String,
}

/// Builds the artifacts, or checks that those in the repository are what the sources give.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<()> {
    if args.check { check(repo) } else { write(repo) }
}

/// Compiles the contracts into the repository.
fn write(repo: &Repo) -> Result<()> {
    for (sources, kept) in [(CONTRACTS, ARTIFACTS), (HARNESS, HARNESS_ARTIFACTS)] {
        let compiled = tempfile::tempdir().context("making a temporary folder")?;
        build(repo, sources, compiled.path())?;
        let artifacts = repo.path(kept);
        // A contract that no longer exists must not leave its class behind.
        for name in differences(&artifacts, compiled.path(), is_artifact)? {
            if !compiled.path().join(&name).exists() {
                fs::remove_file(artifacts.join(&name)).with_context(|| format!("removing {name}"))?;
            }
        }
        let written = install(compiled.path(), &artifacts)?;
        println!("contracts: {} files in {kept}", written.len());
    }
    Ok(())
}

/// Fails where the repository's artifacts are not what its sources give.
pub(crate) fn check(repo: &Repo) -> Result<()> {
    for (sources, kept) in [(CONTRACTS, ARTIFACTS), (HARNESS, HARNESS_ARTIFACTS)] {
        let compiled = tempfile::tempdir().context("making a temporary folder")?;
        build(repo, sources, compiled.path())?;
        let differing = differences(&repo.path(kept), compiled.path(), is_artifact)?;
        if !differing.is_empty() {
            return Err(failure(
                format!("in {kept}, not what the sources give: {}", differing.join(", ")),
                "run `cargo xtask contracts`, then `cargo xtask bindings`, and commit the results",
            ));
        }
        println!("contracts: {kept} is what the sources give");
    }
    Ok(())
}

fn is_artifact(name: &str) -> bool {
    name.ends_with(".json")
}

/// Compiles one of the crates; only the market's own has a manifest.
fn build(repo: &Repo, sources: &str, out: &Path) -> Result<()> {
    let contracts = compile(repo, &repo.path(sources), out)?;
    if sources != CONTRACTS {
        return Ok(());
    }
    let manifest = Manifest {
        compiler: Source { name: COMPILER_CRATE, version: compiler_version(repo)?, sha256: None },
        core_library: Source {
            name: CORE_LIBRARY_PACKAGE,
            version: CORE_LIBRARY_VERSION.to_owned(),
            sha256: Some(CORE_LIBRARY_SHA256),
        },
        sources_sha256: sources_digest(repo)?,
        contracts,
    };
    let mut text = serde_json::to_string_pretty(&manifest).context("writing the manifest")?;
    text.push('\n');
    fs::write(out.join(MANIFEST), text).context("writing the manifest")
}

/// Compiles the Cairo crate in `folder` into `out` and hashes its classes, by contract name.
pub(crate) fn compile(repo: &Repo, folder: &Path, out: &Path) -> Result<BTreeMap<String, Class>> {
    let compiler = compiler(repo)?;
    let class_hashes = LOCALNET.ensure(repo)?.join("class-hashes");
    run_command(
        Command::new(&compiler.program)
            .args(["compile", "--corelib"])
            .arg(compiler.core_library.path())
            .arg("--crate-dir")
            .arg(folder)
            .arg("--out")
            .arg(out),
        "the compiler's diagnostics above name the lines",
    )?;
    classes(&class_hashes, out)
}

/// The compiler, built where it is missing, and the core library, freshly unpacked.
pub(crate) fn compiler(repo: &Repo) -> Result<Compiler> {
    let program = CONTRACT_COMPILER.ensure(repo)?.join("contract-compiler");
    // Unpacking takes a moment; a kept copy would have to be checked as a whole each time.
    let core_library = tempfile::tempdir().context("making a temporary folder")?;
    let package = core_library_package(repo)?;
    run_command(
        Command::new(&program).arg("unpack").arg(&package).arg(core_library.path()),
        "the package's layout is known for exactly one version; see contracts/compiler",
    )?;
    Ok(Compiler { program, core_library })
}

/// The class hashes of every contract class in `folder`, by contract name.
fn classes(class_hashes: &Path, folder: &Path) -> Result<BTreeMap<String, Class>> {
    let files = files_below(folder, ".contract_class.json")?;
    let lines = capture(Command::new(class_hashes).args(&files), "a class that cannot be hashed cannot be declared")?;
    lines.lines().map(|line| class(line).with_context(|| format!("reading `{line}`"))).collect()
}

fn class(line: &str) -> Result<(String, Class)> {
    let hashes: Hashes = serde_json::from_str(line)?;
    let file = hashes.file.file_name().context("no file name")?.to_string_lossy().into_owned();
    let name = file.trim_end_matches(".contract_class.json").to_owned();
    Ok((name, Class { file, class_hash: hashes.class_hash, compiled_class_hash: hashes.compiled_class_hash }))
}

fn sources_digest(repo: &Repo) -> Result<String> {
    let crate_folder = repo.path(CONTRACTS);
    sha256_of_files(&crate_folder, &files_below(&crate_folder.join("src"), ".cairo")?)
}

/// The compiler's version, from the lock file that it was built with.
fn compiler_version(repo: &Repo) -> Result<String> {
    let lock = repo.path("contracts/compiler/Cargo.lock");
    let text = fs::read_to_string(&lock).with_context(|| format!("reading {}", lock.display()))?;
    locked_version(&text, COMPILER_CRATE).with_context(|| format!("{COMPILER_CRATE} is not in {}", lock.display()))
}

fn locked_version(lock: &str, package: &str) -> Option<String> {
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{package}\"\n")))?;
    let version = entry.lines().find_map(|line| line.strip_prefix("version = "))?;
    Some(version.trim_matches('"').to_owned())
}

/// The file that carries the core library: from the cache where it is intact, else downloaded.
fn core_library_package(repo: &Repo) -> Result<PathBuf> {
    let kept = repo.cache().join(format!("{CORE_LIBRARY_PACKAGE}-{CORE_LIBRARY_VERSION}.wasm"));
    if fs::read(&kept).is_ok_and(|bytes| sha256(&bytes) == CORE_LIBRARY_SHA256) {
        return Ok(kept);
    }
    println!("downloading {CORE_LIBRARY_PACKAGE} {CORE_LIBRARY_VERSION} (3 MB)");
    system::ensure(&[NPM])?;
    let download = tempfile::tempdir().context("making a temporary folder")?;
    let hint = "the package comes from the npm registry: is it reachable?";
    run_command(
        Command::new("npm")
            .current_dir(download.path())
            .args(["pack", "--silent"])
            .arg(format!("{CORE_LIBRARY_PACKAGE}@{CORE_LIBRARY_VERSION}")),
        hint,
    )?;
    let archive = format!("{CORE_LIBRARY_PACKAGE}-{CORE_LIBRARY_VERSION}.tgz");
    let mut unpack = Command::new("tar");
    unpack.current_dir(download.path()).args(["-xzf", &archive, CORE_LIBRARY_FILE]);
    run_command(&mut unpack, hint)?;

    let bytes = fs::read(download.path().join(CORE_LIBRARY_FILE)).or_hint("reading the package", hint)?;
    let found = sha256(&bytes);
    if found != CORE_LIBRARY_SHA256 {
        return Err(failure(
            format!("{CORE_LIBRARY_FILE} has SHA-256 {found}, but {CORE_LIBRARY_SHA256} is the one that was reviewed"),
            "do not use it; find out why a published version changed",
        ));
    }
    keep(repo.cache(), &kept, &bytes)?;
    Ok(kept)
}

/// Writes a file so that it is there completely or not at all.
fn keep(folder: &Path, file: &Path, bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let temporary = tempfile::NamedTempFile::new_in(folder).context("making a temporary file")?;
    fs::write(temporary.path(), bytes).context("writing the download")?;
    temporary.persist(file).with_context(|| format!("writing {}", file.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_class_hashes_becomes_an_entry() {
        let (name, class) =
            class(r#"{"file":"/tmp/x/JobMgr.contract_class.json","class_hash":"0x01","compiled_class_hash":"0x02"}"#)
                .unwrap();
        assert_eq!(name, "JobMgr");
        assert_eq!((class.file.as_str(), class.class_hash.as_str()), ("JobMgr.contract_class.json", "0x01"));
        assert_eq!(class.compiled_class_hash, "0x02");
    }

    #[test]
    fn the_compilers_version_is_read_from_the_lock_file() {
        let lock = "[[package]]\nname = \"cairo-lang-starknet-classes\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"cairo-lang-starknet\"\nversion = \"2.9.0-dev.0\"\nsource = \"x\"\n";
        assert_eq!(locked_version(lock, "cairo-lang-starknet").as_deref(), Some("2.9.0-dev.0"));
        assert_eq!(locked_version(lock, "cairo-lang"), None);
    }

    #[test]
    fn a_kept_download_replaces_a_broken_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("package.wasm");
        fs::write(&file, "half a downl").unwrap();
        keep(folder.path(), &file, b"the whole download").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"the whole download");
    }
}
