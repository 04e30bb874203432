//! What of the driver's statements is in the log.

use std::time::Duration;

use log::LevelFilter;
use sqlx::ConnectOptions;

/// A statement that takes longer is called slow.
const SLOW: Duration = Duration::from_secs(1);

/// Statements that take long are in the log where somebody asks for it (`RUST_LOG=info,sqlx=debug`), with the other ones. By
/// default they would be warnings, each with the text of a statement, on every machine that is busy; what comes of a slow
/// database is told by whoever waits for it.
pub(crate) fn quiet<Options: ConnectOptions>(options: Options) -> Options {
    options.log_slow_statements(LevelFilter::Debug, SLOW)
}
