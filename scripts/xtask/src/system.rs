//! The system's own tools that the builds call. As root on Debian what is missing is installed; elsewhere the
//! reader is told what to install.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{
    failure::failure,
    process::{run, succeeds},
};

/// A tool that has to be there before a build starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// What to call it in a message.
    name: &'static str,
    /// A command that succeeds where the tool is usable.
    probe: &'static [&'static str],
    /// The Debian packages that bring it.
    packages: &'static [&'static str],
}

/// Links every Rust program, and compiles SQLite and the chain's C libraries.
pub(crate) const C_COMPILER: Need = Need {
    name: "a C compiler with its headers",
    probe: &["cc", "-include", "stdlib.h", "-x", "c", "-fsyntax-only", "/dev/null"],
    packages: &["gcc", "libc6-dev"],
};

/// Builds the OpenSSL and jemalloc that the local chain carries.
pub(crate) const MAKE: Need = Need { name: "make", probe: &["make", "--version"], packages: &["make"] };

/// Configures the OpenSSL that the local chain carries; Debian's essential `perl-base` lacks the modules.
pub(crate) const PERL: Need = Need {
    name: "perl with its standard modules",
    probe: &["perl", "-MFindBin", "-MIPC::Cmd", "-MFile::Compare", "-e", "1"],
    packages: &["perl"],
};

/// Downloads the package that carries Cairo's core library.
pub(crate) const NPM: Need = Need { name: "npm", probe: &["npm", "--version"], packages: &["npm"] };

/// Keeps the store of several keepers; its tests start a server of their own.
pub(crate) const POSTGRES: Need = Need {
    name: "PostgreSQL's server programs",
    probe: &["sh", "-c", "command -v initdb || ls /usr/lib/postgresql/*/bin/initdb"],
    packages: &["postgresql"],
};

/// Gives keepers networks of their own, so that they can be cut off.
pub(crate) const IPROUTE: Need = Need { name: "ip, of iproute2", probe: &["ip", "-Version"], packages: &["iproute2"] };

/// Makes sure that all of `needs` are there.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<Need> = needs.iter().copied().filter(|need| !is_present(need)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|need| need.name).collect::<Vec<_>>().join(", ");
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    let remedy = format!("apt-get install {} (or your system's packages for: {names})", packages.join(" "));
    if !can_install() {
        return Err(failure(format!("this build needs {names}"), remedy));
    }
    println!("installing what is missing: {names}");
    run(apt_get().arg("update"), &remedy)?;
    run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(&packages), &remedy)?;
    match missing.iter().find(|need| !is_present(need)) {
        Some(need) => Err(failure(format!("{} is still missing after the installation", need.name), remedy)),
        None => Ok(()),
    }
}

fn is_present(need: &Need) -> bool {
    need.probe.split_first().is_some_and(|(program, arguments)| succeeds(Command::new(program).args(arguments)))
}

fn can_install() -> bool {
    Path::new("/etc/debian_version").exists() && nix::unistd::Uid::effective().is_root()
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-q"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}
