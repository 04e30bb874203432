//! Connecting to the server, and saying in words that help why that does not work.

use std::time::Duration;

use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{DatabaseUrl, StoreError};

/// Connections for reading; a stream of events holds one until it has ended.
const MAX_READERS: u32 = 4;
/// How long a call waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// The server's code for a database that is not there.
const INVALID_CATALOG_NAME: &str = "3D000";
/// The server's class of codes for a user or a password that it does not take.
const INVALID_AUTHORIZATION: &str = "28";

pub(super) fn pool(most: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(most).acquire_timeout(ACQUIRE_TIMEOUT)
}

pub(super) fn options(url: &DatabaseUrl) -> PgConnectOptions {
    // Notices, such as that a table is there already, would be lines in the log that nobody can use.
    url.options().clone().application_name("ciro-keeper").options([("client_min_messages", "warning")])
}

pub(super) fn readers(url: &DatabaseUrl) -> PgPool {
    pool(MAX_READERS).connect_lazy_with(options(url).options([("default_transaction_read_only", "on")]))
}

/// Connects outside a pool, which would go on trying: what is wrong is said at once.
pub(super) async fn connect(url: &DatabaseUrl, options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let connecting = tokio::time::timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(options));
    match connecting.await {
        Err(_) => {
            let reason = format!("it has not answered within {} s", ACQUIRE_TIMEOUT.as_secs());
            Err(StoreError::Unreachable { database: url.clone(), reason })
        }
        Ok(connected) => connected.map_err(|error| not_connected(url, error)),
    }
}

/// Why a connection could not be made, in words that name what can be changed.
fn not_connected(url: &DatabaseUrl, error: sqlx::Error) -> StoreError {
    let database = url.clone();
    match error {
        sqlx::Error::Io(error) => StoreError::Unreachable { database, reason: error.to_string() },
        sqlx::Error::Database(error) => match error.code() {
            Some(code) if code == INVALID_CATALOG_NAME => StoreError::NoSuchDatabase { database },
            Some(code) if code.starts_with(INVALID_AUTHORIZATION) => {
                StoreError::NotLetIn { database, reason: error.message().to_owned() }
            }
            _ => sqlx::Error::Database(error).into(),
        },
        error => error.into(),
    }
}
