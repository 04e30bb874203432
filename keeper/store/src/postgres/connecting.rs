//! Connecting to the server, and saying in words that help why that does not work.

use std::time::Duration;

use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{DatabaseUrl, StoreError, statements::quiet};

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
    // What the server remarks besides errors would be lines in the log that nobody can use: that a table is there already,
    // or that a transaction is over where a call was given up while it was committed. It is in the server's own log.
    quiet(url.options().clone().application_name("ciro-keeper").options([("client_min_messages", "error")]))
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

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use tracing::Level;

    use super::*;
    use crate::conformance::Server;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Has the server warn, and take longer than a second.
    async fn provoke(options: &PgConnectOptions) {
        let mut connection = PgConnection::connect_with(options).await.unwrap();
        sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
        sqlx::query("SELECT pg_sleep(1.1)").execute(&mut connection).await.unwrap();
    }

    #[tokio::test]
    async fn what_the_server_and_the_driver_remark_is_not_in_the_log() {
        let url = Server::shared().create_database().await;
        let log = Log::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt().with_max_level(Level::INFO).with_ansi(false);
        let lines = lines.with_writer(move || writer.clone());
        let _logging = tracing::subscriber::set_default(lines.finish());
        let written = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        provoke(&options(&url)).await;
        assert_eq!(written(), "");
        provoke(url.options()).await;
        let loud = written();
        assert!(loud.contains("there is no transaction in progress") && loud.contains("slow statement"), "{loud}");
    }
}
