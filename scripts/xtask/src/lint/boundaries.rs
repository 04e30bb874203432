//! The dependency rules: the scheduler is pure, and one crate alone knows Starknet.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{
    digest::files_below,
    failure::failure,
    process::{capture, cargo},
    repo::Repo,
};

/// Packages that would bring a clock, a network, a thread pool or chance into a decision. The field arithmetic
/// brings `rand`'s traits; what it must not bring is a source of chance, and that is `getrandom`.
const IMPURE_PACKAGES: [&str; 12] = [
    "chrono",
    "getrandom",
    "hyper",
    "mio",
    "reqwest",
    "sqlx",
    "sqlx-core",
    "starknet",
    "starknet-accounts",
    "starknet-providers",
    "tokio",
    "tracing-subscriber",
];

/// Words that no decision may contain: a clock, floating point, chance and what has an order by it, threads, files, the
/// network, the environment, output.
const IMPURE_WORDS: [&str; 19] = [
    "Instant",
    "SystemTime",
    "f32",
    "f64",
    "rand",
    "HashMap",
    "HashSet",
    "RandomState",
    "thread",
    "File",
    "fs",
    "net",
    "io",
    "env",
    "stdin",
    "stdout",
    "stderr",
    "println",
    "eprintln",
];

/// Packages that make a crate speak to Starknet.
const STARKNET_PACKAGES: [&str; 6] =
    ["cainome", "starknet", "starknet-accounts", "starknet-contract", "starknet-providers", "starknet-signers"];

/// The one crate of the keeper that may.
const STARKNET_CRATE: &str = "keeper-chain";

const HINT: &str = "ARCHITECTURE.md gives the rule; move what needs it to the crate that may have it";

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
}

/// Checks all rules.
pub(super) fn check(repo: &Repo) -> Result<()> {
    let mut breaches = impure_dependencies(&scheduler_tree(repo)?);
    breaches.extend(impure_sources(repo.root(), &repo.path("keeper/scheduler/src"))?);
    breaches.extend(starknet_outside_its_crate(&metadata(repo)?));
    if breaches.is_empty() {
        println!("boundaries: the scheduler is pure, and only {STARKNET_CRATE} knows Starknet");
        return Ok(());
    }
    Err(failure(format!("broken dependency rules:\n  {}", breaches.join("\n  ")), HINT))
}

fn scheduler_tree(repo: &Repo) -> Result<String> {
    let mut tree = cargo(repo.root());
    tree.args(["tree", "--locked", "--package", "keeper-scheduler", "--edges", "normal"]);
    capture(tree.args(["--prefix", "none", "--format", "{p}"]), HINT)
}

fn metadata(repo: &Repo) -> Result<Metadata> {
    let mut metadata = cargo(repo.root());
    let json = capture(metadata.args(["metadata", "--no-deps", "--locked", "--format-version", "1"]), HINT)?;
    serde_json::from_str(&json).context("reading cargo's metadata")
}

/// Packages in the scheduler's tree that must not be there; `tree` holds one `name version ...` a line.
fn impure_dependencies(tree: &str) -> Vec<String> {
    let mut names: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| IMPURE_PACKAGES.contains(name));
    names.into_iter().map(|name| format!("keeper-scheduler depends on {name}")).collect()
}

fn impure_sources(root: &Path, folder: &Path) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    for file in files_below(folder, ".rs")? {
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).display();
        breaches.extend(impure_words(&text).into_iter().map(|(line, word)| format!("{name}:{line} says {word}")));
    }
    Ok(breaches)
}

/// The line numbers and impure words of a source text; comments are free to name them.
fn impure_words(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let words = code.split(|character: char| !character.is_alphanumeric() && character != '_');
        for word in words {
            let impure = IMPURE_WORDS.iter().find(|impure| word == **impure || word.ends_with(&format!("_{impure}")));
            found.extend(impure.map(|impure| (index + 1, *impure)));
        }
    }
    found
}

fn starknet_outside_its_crate(metadata: &Metadata) -> Vec<String> {
    let of_the_keeper = metadata.packages.iter().filter(|package| {
        package.manifest_path.replace('\\', "/").contains("/keeper/") && package.name != STARKNET_CRATE
    });
    of_the_keeper
        .flat_map(|package| package.dependencies.iter().map(move |dependency| (package, dependency)))
        .filter(|(_, dependency)| STARKNET_PACKAGES.contains(&dependency.name.as_str()))
        .map(|(package, dependency)| format!("{} depends on {}", package.name, dependency.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impure_package_anywhere_in_the_tree_is_a_breach() {
        let tree = "keeper-scheduler v0.1.0 (/x)\nkeeper-types v0.1.0 (/x)\nrand_core v0.9.0\ntokio v1.0.0\ntokio v1.0.0 (*)\n";
        assert_eq!(impure_dependencies(tree), ["keeper-scheduler depends on tokio"]);
    }

    #[test]
    fn words_count_as_words_and_comments_do_not() {
        let text = "let now = Instant::now(); // no SystemTime\nlet x = 1.5_f64;\nlet threads = 3;\n/// as f32\nstd::thread::yield_now();";
        assert_eq!(impure_words(text), [(1, "Instant"), (2, "f64"), (5, "thread")]);
        let text = "let text = std::fs::read_to_string(path)?;\nlet home = env!(\"HOME\");\nuse std::{io, net::TcpStream};\nprintln!();";
        assert_eq!(impure_words(text), [(1, "fs"), (2, "env"), (3, "io"), (3, "net"), (4, "println")]);
    }

    #[test]
    fn only_one_crate_of_the_keeper_may_speak_to_starknet() {
        let package = |name: &str, path: &str, dependency: &str| serde_json::json!({"name": name, "manifest_path": path, "dependencies": [{"name": dependency}]});
        let metadata: Metadata = serde_json::from_value(serde_json::json!({"packages": [
            package("keeper-chain", "/r/keeper/chain/Cargo.toml", "starknet"),
            package("keeper-store", "/r/keeper/store/Cargo.toml", "starknet"),
            package("keeper-types", "/r/keeper/types/Cargo.toml", "starknet-types-core"),
            package("keeper-bindings", "/r/bindings/Cargo.toml", "cainome"),
        ]}))
        .unwrap();
        assert_eq!(starknet_outside_its_crate(&metadata), ["keeper-store depends on starknet"]);
    }
}
