//! A PostgreSQL server of a test's own, in a folder of its own, reached by a socket in it.
//!
//! It ends, and its folder goes, with the process that started it, however that ends: a shell waits for the end of
//! the pipe to it, and then cleans up.

use std::{
    env, fs, io,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::DatabaseUrl;

/// What to do where there is no PostgreSQL.
const REMEDY: &str = "PostgreSQL's server programs are needed: apt-get install postgresql";
/// Where Debian has them, below the version's number.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Whom the server runs as where the tests run as root, which it refuses to.
const USERS: [&str; 2] = ["postgres", "nobody"];
/// The database's superuser.
const SUPERUSER: &str = "keeper";

/// A running server.
#[derive(Debug)]
pub struct Server {
    programs: PathBuf,
    folder: PathBuf,
    /// User and group of the server, where they are not this process's.
    owner: Option<(u32, u32)>,
    databases: AtomicU32,
    janitor: Child,
}

impl Server {
    /// The server that all tests of this process share.
    ///
    /// # Panics
    /// Panics where there is none to be started, with the remedy.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]).expect("a PostgreSQL server can be started"))
    }

    /// Lays out and starts a server with these settings beside its defaults, which are durable.
    ///
    /// # Errors
    /// Says what to install where PostgreSQL is not there, and what its programs said where they fail.
    pub fn start(settings: &[(&str, &str)]) -> io::Result<Self> {
        let programs = programs()?;
        let owner = owner()?;
        let folder = tempfile::Builder::new().prefix("keeper-postgres-").tempdir()?.keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        if let Some((user, group)) = owner {
            chown(&folder, Some(user), Some(group))?;
        }
        let janitor = janitor(&programs, &folder, owner)?;
        let server = Self { programs, folder, owner, databases: AtomicU32::new(0), janitor };
        let data = server.data();
        let options = ["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"];
        done(server.program("initdb").args(["-U", SUPERUSER, "-D"]).arg(&data).args(options))?;
        let socket = server.folder.display().to_string();
        let ours = [("listen_addresses", ""), ("unix_socket_directories", &socket), ("max_connections", "300")];
        let settings = ours.iter().chain(settings);
        let lines: String = settings.map(|(name, value)| format!("{name} = '{value}'\n")).collect();
        let file = data.join("postgresql.auto.conf");
        fs::write(&file, lines)?;
        server.start_again()?;
        Ok(server)
    }

    /// The URL of one of its databases.
    ///
    /// # Panics
    /// Panics where the name has no place in a URL.
    pub fn url(&self, database: &str) -> DatabaseUrl {
        let url = format!("postgres://{SUPERUSER}@localhost/{database}?host={}", self.folder.display());
        url.parse().expect("the name of a database fits a URL")
    }

    /// A new, empty database.
    ///
    /// # Panics
    /// Panics where the server does not make one.
    pub async fn create_database(&self) -> DatabaseUrl {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}")).await;
        self.url(&name)
    }

    /// Executes a statement in a database, as its superuser.
    ///
    /// # Panics
    /// Panics where the server refuses it.
    pub async fn execute(&self, database: &str, statement: &str) {
        let url = self.url(database);
        let mut connection = PgConnection::connect_with(url.options()).await.expect("the server takes connections");
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.expect("the statement is right");
        connection.close().await.expect("the connection closes");
    }

    /// Ends the server at once, as a crash does: nothing is written out first, and every connection is cut.
    ///
    /// # Errors
    /// Says what `pg_ctl` said.
    pub fn crash(&self) -> io::Result<()> {
        done(self.program("pg_ctl").arg("-D").arg(self.data()).args(["-m", "immediate", "-w", "stop"]))
    }

    /// Starts the server after [`Server::crash`], and waits until it has recovered.
    ///
    /// # Errors
    /// Says what `pg_ctl` and the server's log said.
    pub fn start_again(&self) -> io::Result<()> {
        let log = self.folder.join("log");
        let mut start = self.program("pg_ctl");
        start.arg("-D").arg(self.data()).arg("-l").arg(&log).args(["-t", "120", "-w", "start"]);
        // Nothing of it may be a pipe: the server would keep it open.
        let status = start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if status.success() {
            return Ok(());
        }
        let said = fs::read_to_string(&log).unwrap_or_default();
        Err(io::Error::other(format!("the server does not start: {said}")))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn program(&self, name: &str) -> Command {
        command(&self.programs.join(name), &self.folder, self.owner)
    }
}

/// Ends the server and waits until its folder is gone.
impl Drop for Server {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        // Whether it could clean up is nothing that a test can depend on.
        let _ = self.janitor.wait();
    }
}

/// Waits for the end of its input, which comes with the end of this process at the latest.
fn janitor(programs: &Path, folder: &Path, owner: Option<(u32, u32)>) -> io::Result<Child> {
    const SCRIPT: &str = "cat >/dev/null; \"$1/pg_ctl\" -D \"$2/data\" -m immediate -w stop; rm -rf \"$2\"";
    let mut shell = command(Path::new("/bin/sh"), folder, owner);
    shell.args(["-c", SCRIPT, "sh"]).arg(programs).arg(folder);
    // A group of its own: an interrupt from the terminal is for the tests.
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn()
}

fn command(program: &Path, folder: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(if folder.exists() { folder } else { Path::new("/") });
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

/// The folder with `initdb` and `pg_ctl`: on the path, or the newest of Debian's.
fn programs() -> io::Result<PathBuf> {
    let is_whole = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file();
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    folders.extend(versions.into_iter().rev().map(|(_, folder)| folder));
    folders.into_iter().find(is_whole).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, REMEDY))
}

/// Whom the server runs as; `None` for whoever runs the tests.
fn owner() -> io::Result<Option<(u32, u32)>> {
    if id(&["-u"])? != Some(0) {
        return Ok(None);
    }
    for user in USERS {
        if let (Some(user), Some(group)) = (id(&["-u", user])?, id(&["-g", user])?) {
            return Ok(Some((user, group)));
        }
    }
    Err(io::Error::other("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`"))
}

fn id(arguments: &[&str]) -> io::Result<Option<u32>> {
    let Output { status, stdout, .. } = Command::new("id").args(arguments).output()?;
    Ok(String::from_utf8_lossy(&stdout).trim().parse().ok().filter(|_| status.success()))
}

fn done(command: &mut Command) -> io::Result<()> {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output()?;
    if status.success() {
        return Ok(());
    }
    let said = [stdout, stderr].concat();
    let name = Path::new(command.get_program()).display().to_string();
    Err(io::Error::other(format!("{name} failed: {}", String::from_utf8_lossy(&said).trim())))
}
