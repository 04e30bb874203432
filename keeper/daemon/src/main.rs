//! The `keeper` command: follow the market, allocate jobs to GPU workers, run them, and look at it all.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line writes to its terminal")]

mod adapters;
mod cli;
mod context;
mod installation;
mod output;
mod records;
mod rights;
mod services;
mod settings;

use std::process::ExitCode;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::cli::Cli;

/// What a shell says of a program that SIGPIPE has ended.
const READER_IS_GONE: i32 = 141;
/// How an agent starts this program again to run a job's command.
const EXEC_JOB: [&str; 2] = ["worker", "exec-job"];

fn main() -> ExitCode {
    // Before anything else starts a thread: this process is about to become a job's supervisor.
    if std::env::args().skip(1).eq(EXEC_JOB) {
        return keeper_worker::exec_job::main();
    }
    let cli = Cli::read();
    let is_service = cli.is_service();
    if !is_service {
        end_with_the_reader();
    }
    start_logging(&cli);
    if let Err(error) = keeper_failpoints::arm() {
        output::print_error(&anyhow::Error::new(error));
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::print_error(&anyhow::Error::new(error).context("starting the runtime"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(Box::pin(start(cli)));
    if is_service {
        // What did not stop in time is not waited for again.
        runtime.shutdown_background();
    }
    code
}

async fn start(cli: Cli) -> ExitCode {
    match cli::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            cli::exit_code(&error)
        }
    }
}

/// A command whose output nobody reads any more, as in `keeper job list | head`, ends like any other program's.
/// Services go on: their output is not what they are for.
///
/// Not by the signal SIGPIPE: a connection to a node that breaks raises it too, and has to be told as what it is.
fn end_with_the_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_gone = |said: &str| said.starts_with("failed printing to stdout") && said.contains("Broken pipe");
        if panic.payload_as_str().is_some_and(is_gone) {
            std::process::exit(READER_IS_GONE);
        }
        usual(panic);
    }));
}

/// Logs go to standard error; standard output is for data.
fn start_logging(cli: &Cli) {
    let default = if cli.is_service() { "info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    if cli.global.log_json {
        registry.with(lines.json()).init();
    } else {
        registry.with(lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))).init();
    }
}
