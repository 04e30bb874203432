//! `keeper config check|show`.

use anyhow::Result;
use clap::Subcommand;

use super::{Global, RunArgs};
use crate::{output, settings::Settings};

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read it and say whether it is right
    Check(RunArgs),
    /// Print what is in force, flags and environment included; it holds no secrets
    Show(RunArgs),
}

/// Checks or shows the configuration.
///
/// # Errors
/// Names the field that is wrong.
pub(crate) fn run(global: &Global, command: &ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::Check(run) => {
            Settings::resolve(global, run)?;
            println!("the configuration is right");
            Ok(())
        }
        ConfigCommand::Show(run) => {
            let settings = Settings::resolve(global, run)?;
            if global.json {
                return output::json(&settings);
            }
            print!("{}", settings.to_toml()?);
            Ok(())
        }
    }
}
