//! `contract-compiler`: builds the CIRO Keeper contracts from nothing but package registries.
//!
//! `unpack` takes the Cairo core library out of a published WebAssembly package; `compile` turns the Cairo
//! crate into one contract class file per contract. The Cairo compiler itself is linked in as a library, so
//! no separately installed toolchain is involved and the same sources always give the same bytes.

mod compile;
mod core_library;
mod format;
mod wasm_module;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Unpack the Cairo core library from `wasm-cairo_bg.wasm` of the npm package wasm-cairo 0.10.2
    Unpack {
        /// The WebAssembly module
        wasm: PathBuf,
        /// Folder to write `src/` and `cairo_project.toml` to
        out_dir: PathBuf,
    },
    /// Compile every contract of a Cairo crate to `<ContractName>.contract_class.json`
    Compile {
        /// Folder that `unpack` wrote
        #[arg(long)]
        corelib: PathBuf,
        /// Folder with `cairo_project.toml` and `src/lib.cairo`
        #[arg(long)]
        crate_dir: PathBuf,
        /// Folder for the contract classes
        #[arg(long)]
        out: PathBuf,
    },
    /// Format the Cairo sources of a crate as `scarb fmt` does
    Fmt {
        /// Folder with `src/`
        #[arg(long)]
        crate_dir: PathBuf,
        /// Change nothing; fail if a file is not formatted
        #[arg(long)]
        check: bool,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Unpack { wasm, out_dir } => core_library::unpack(&wasm, &out_dir),
        Command::Compile { corelib, crate_dir, out } => compile::compile(&corelib, &crate_dir, &out),
        Command::Fmt { crate_dir, check } => format::format(&crate_dir, check),
    }
}
