//! Where a database is: a file of SQLite's, or a database of a PostgreSQL server's.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use sqlx::postgres::PgConnectOptions;
use url::Url;

/// Where a database is, in a form that can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file.
    File(PathBuf),
    /// A database of a server.
    Server(DatabaseUrl),
}

impl Location {
    /// The option that names another database.
    pub fn option(&self) -> &'static str {
        match self {
            Self::File(_) => "--data-dir",
            Self::Server(_) => "--database",
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(url) => url.fmt(f),
        }
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::File(path.to_path_buf())
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&DatabaseUrl> for Location {
    fn from(url: &DatabaseUrl) -> Self {
        Self::Server(url.clone())
    }
}

/// The URL of a PostgreSQL database, `postgres://USER@HOST:PORT/NAME`, with what sqlx understands after it, such as
/// `?sslmode=verify-full` or `?host=/run/postgresql`. What is shown of it has no password.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: Box<PgConnectOptions>,
    holds_password: bool,
}

impl DatabaseUrl {
    /// Whether the text that it was read from holds a password. One may also come from `PGPASSWORD` or from the
    /// password file of PostgreSQL's own programs.
    pub fn holds_password(&self) -> bool {
        self.holds_password
    }

    /// The database's name.
    pub(crate) fn name(&self) -> &str {
        self.options.get_database().unwrap_or_else(|| self.options.get_username())
    }

    /// How to connect to it.
    pub(crate) fn options(&self) -> &PgConnectOptions {
        &self.options
    }
}

impl FromStr for DatabaseUrl {
    type Err = BadDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // What was given is not repeated: it may hold a password.
        let url = Url::parse(text).map_err(|error| BadDatabaseUrl(error.to_string()))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(BadDatabaseUrl(format!("it begins with `{}:`", url.scheme())));
        }
        let names_database = !url.path().trim_start_matches('/').is_empty();
        if !names_database && !url.query_pairs().any(|(key, _)| key == "dbname") {
            return Err(BadDatabaseUrl("it names no database".to_owned()));
        }
        let holds_password = url.password().is_some() || url.query_pairs().any(|(key, _)| key == "password");
        let options: PgConnectOptions =
            text.parse().map_err(|_| BadDatabaseUrl("one of its parameters has no such value".to_owned()))?;
        Ok(Self { options: Box::new(options), holds_password })
    }
}

/// Server, user and database; none of the rest, in which a password may be.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (options, user, name) = (&self.options, self.options.get_username(), self.name());
        match options.get_socket() {
            Some(folder) => {
                write!(f, "postgres://{user}@localhost:{}/{name}?host={}", options.get_port(), folder.display())
            }
            None => write!(f, "postgres://{user}@{}:{}/{name}", options.get_host(), options.get_port()),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

impl PartialEq for DatabaseUrl {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for DatabaseUrl {}

/// A text is no URL of a PostgreSQL database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be postgres://USER@HOST:PORT/DATABASE, but {0}")]
pub struct BadDatabaseUrl(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> DatabaseUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            ("postgres://me:hunter2@db.example:6432/keeper", "postgres://me@db.example:6432/keeper"),
            ("postgresql://me@db.example/keeper?password=hunter2", "postgres://me@db.example:5432/keeper"),
            (
                "postgres://me:hunter2@x/keeper?host=/run/pg&sslmode=disable",
                "postgres://me@localhost:5432/keeper?host=/run/pg",
            ),
        ] {
            let url = url(text);
            assert!(url.holds_password());
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("DatabaseUrl({shown})"));
            assert_eq!(Location::from(&url).to_string(), shown);
        }
        assert!(!url("postgres://me@db.example/keeper").holds_password());
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["postgres://me@db.example:6432/keeper", "postgres://me@localhost:5433/keeper?host=/run/pg"] {
            assert_eq!(url(text).to_string(), text);
            assert_eq!(url(&url(text).to_string()), url(text));
        }
    }

    #[test]
    fn what_is_no_url_of_a_database_is_refused_without_being_repeated() {
        for text in [
            "me:hunter2",
            "mysql://me:hunter2@h/k",
            "postgres://me:hunter2@h",
            "postgres://me:hunter2@h/k?sslmode=hunter2",
            "/var/lib/hunter2",
        ] {
            let error = text.parse::<DatabaseUrl>().unwrap_err().to_string();
            assert!(error.starts_with("must be postgres://") && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
