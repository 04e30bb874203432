//! Names the commit that the program was built from, for `keeper --version` and deployment files.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    // Where there is no repository, as in a published package, there is nothing to name.
    let folder = git(&["rev-parse", "--git-dir"]);
    let commit = folder.as_ref().and_then(|_| git(&["rev-parse", "--short=12", "HEAD"]));
    if let Some(folder) = folder {
        println!("cargo::rerun-if-changed={folder}/HEAD");
        println!("cargo::rerun-if-changed={folder}/logs/HEAD");
    }
    match commit {
        Some(commit) => {
            println!("cargo::rustc-env=CIRO_COMMIT={commit}");
            println!("cargo::rustc-env=CIRO_VERSION={version} ({commit})");
        }
        None => println!("cargo::rustc-env=CIRO_VERSION={version}"),
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
