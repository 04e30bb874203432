//! Whether the server keeps what it says that it has committed.

use sqlx::PgConnection;

use crate::StoreError;

/// What has to be on, whatever else is set.
const ALWAYS_ON: [&str; 2] = ["fsync", "full_page_writes"];
/// Settings of `synchronous_commit` under which an answer comes before the disk has it, or before the standby has it
/// that the server's operator asked to be waited for.
const TOO_EARLY: [&str; 2] = ["off", "local"];

/// Reads back what the server does for durability; gives `synchronous_commit`.
///
/// # Errors
/// [`StoreError::NotDurable`] names the first setting that is wrong.
pub(super) async fn check(connection: &mut PgConnection) -> Result<String, StoreError> {
    for setting in ALWAYS_ON {
        let found = current(connection, setting).await?;
        if found != "on" {
            return Err(StoreError::NotDurable { setting, found, expected: "on" });
        }
    }
    let setting = "synchronous_commit";
    let found = current(connection, setting).await?;
    if TOO_EARLY.contains(&found.as_str()) {
        return Err(StoreError::NotDurable { setting, found, expected: "on" });
    }
    Ok(found)
}

async fn current(connection: &mut PgConnection, setting: &str) -> Result<String, StoreError> {
    Ok(sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(connection).await?)
}
