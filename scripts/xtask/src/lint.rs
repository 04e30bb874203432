//! `cargo xtask lint`: formatting, clippy, documentation, the dependency rules of ARCHITECTURE.md, links, lock files, and
//! the table of requirements.

mod boundaries;
mod class_hashes;
mod links;
mod requirements;

use anyhow::Result;

use crate::{
    failure::{self, failure},
    process::{capture, cargo, run as run_command},
    repo::Repo,
};

/// The workspaces with a lock file of their own; clippy does not visit them, as both take minutes to check.
const OTHER_WORKSPACES: [&str; 2] = ["contracts/compiler", "scripts/localnet"];

const FORMAT_HINT: &str =
    "run `cargo fmt --all`, in that folder for a workspace of its own; no rustfmt? `rustup component add rustfmt`";
const CLIPPY_HINT: &str =
    "mend the code, or allow the lint where it is wrong and say why; no clippy? `rustup component add clippy`";

/// Runs every check, the quick ones first, and fails where one has failed.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let checks: [fn(&Repo) -> Result<()>; 8] = [
        formatting,
        boundaries::check,
        links::check,
        class_hashes::check,
        requirements::check,
        lock_files,
        clippy,
        documentation,
    ];
    let failed = checks.iter().filter_map(|check| check(repo).err()).inspect(failure::report).count();
    if failed > 0 {
        return Err(failure(format!("{failed} of {} checks failed", checks.len()), "each says above what to do"));
    }
    println!("lint: clean");
    Ok(())
}

fn formatting(repo: &Repo) -> Result<()> {
    run_command(cargo(repo.root()).args(["fmt", "--all", "--check"]), FORMAT_HINT)?;
    for workspace in OTHER_WORKSPACES {
        run_command(cargo(&repo.path(workspace)).args(["fmt", "--all", "--check"]), FORMAT_HINT)?;
    }
    Ok(())
}

/// A dependency that a crate of this workspace gains is one of the others' too; who has their programs built already would
/// not notice.
fn lock_files(repo: &Repo) -> Result<()> {
    for workspace in OTHER_WORKSPACES {
        let hint = format!("run `cargo metadata` in {workspace}, and check its Cargo.lock in");
        capture(cargo(&repo.path(workspace)).args(["metadata", "--locked", "--format-version", "1"]), &hint)?;
    }
    Ok(())
}

fn clippy(repo: &Repo) -> Result<()> {
    let mut clippy = cargo(repo.root());
    clippy.args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
    run_command(&mut clippy, CLIPPY_HINT)
}

/// Links between documented items must resolve.
fn documentation(repo: &Repo) -> Result<()> {
    let mut doc = cargo(repo.root());
    doc.args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings");
    run_command(&mut doc, "mend the comment that is named")
}
