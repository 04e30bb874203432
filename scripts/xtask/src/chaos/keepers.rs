//! `cargo xtask chaos keepers`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// How many keepers there are, and what is done to them.
#[derive(Debug, clap::Args)]
pub(crate) struct KeepersArgs {
    /// Keepers on one database; the first and the third have the same account, the others their own
    #[arg(long, default_value_t = 3)]
    keepers: u8,
    /// Shards that the market is dealt out into, so that several keepers lead at once
    #[arg(long, default_value_t = 1)]
    shards: u8,
    /// How many jobs are submitted meanwhile
    #[arg(long, default_value_t = 1_000)]
    jobs: u32,
    /// How often a keeper is stopped, killed or cut off
    #[arg(long, default_value_t = 40)]
    faults: u32,
    /// Worker agents
    #[arg(long, default_value_t = 4)]
    workers: u8,
    /// Fail where no keeper is at work again so many seconds after a fault of the one that led; 0 for any time
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    within: u64,
    /// Do without networks of their own: keepers are stopped and killed, not cut off
    #[arg(long)]
    signals_only: bool,
    /// What faults are drawn from; a fresh one, which is printed, if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Have no keeper ask whether another is at work: proves that the test notices what is wasted then
    #[arg(long)]
    pub(super) sabotage: bool,
    /// Keep the processes' logs in this folder
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The command that the program gets.
pub(super) fn keepers(program: &Path, args: &KeepersArgs) -> Command {
    let mut command = Command::new(program);
    command.args(["keepers", "--keepers", &args.keepers.to_string(), "--jobs", &args.jobs.to_string()]);
    command.args(["--faults", &args.faults.to_string(), "--workers", &args.workers.to_string()]);
    if args.shards > 1 {
        command.args(["--shards", &args.shards.to_string()]);
    }
    if args.within > 0 {
        command.args(["--within", &args.within.to_string()]);
    }
    if args.signals_only {
        command.arg("--signals-only");
    }
    if let Some(folder) = &args.logs {
        command.arg("--logs").arg(folder);
    }
    super::add_draws(&mut command, args.seed, args.sabotage, args.json.as_deref());
    command
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn what_is_asked_for_is_passed_on() {
        let args = KeepersArgs {
            keepers: 4,
            shards: 3,
            jobs: 90,
            faults: 9,
            workers: 2,
            within: 10,
            signals_only: true,
            seed: Some(7),
            sabotage: true,
            logs: Some("logs".into()),
            json: Some("figures.json".into()),
        };
        let command = keepers(Path::new("chaos"), &args);
        let passed: Vec<&OsStr> = command.get_args().collect();
        let expected = "keepers --keepers 4 --jobs 90 --faults 9 --workers 2 --shards 3 --within 10 --signals-only --logs logs \
                        --seed 7 --sabotage --json figures.json";
        assert_eq!(passed, expected.split(' ').map(OsStr::new).collect::<Vec<_>>());
        let anytime = keepers(Path::new("chaos"), &KeepersArgs { within: 0, ..args });
        assert!(!anytime.get_args().any(|argument| argument == "--within"));
    }
}
