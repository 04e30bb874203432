//! The folders that jobs run in: fresh, empty, the agent's own, and gone afterwards.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use keeper_types::{Attempt, JobId, WorkerId};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tracing::warn;

const PREFIX: &str = "job-";
/// Locked by the agent that uses the folder, for as long as its process lives.
const LOCK: &str = "agent.lock";
/// An agent that was killed is gone by then.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where one worker's jobs run.
#[derive(Clone, Debug)]
pub(crate) struct Workspaces {
    root: PathBuf,
    /// Locked until the last copy is dropped.
    _lock: Arc<File>,
}

impl Workspaces {
    /// Uses a folder of the worker's own below `root`, and removes what an agent that was killed left there. It fails where
    /// another agent uses it, whose jobs would lose their folders.
    pub(crate) async fn open(root: &Path, worker_id: WorkerId) -> io::Result<Self> {
        let root = root.join(format!("worker-{worker_id}"));
        DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        let lock = Arc::new(lock(&root).await?);
        for entry in fs::read_dir(&root)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        // A job runs in its folder whatever the agent's own directory is.
        Ok(Self { root: root.canonicalize()?, _lock: lock })
    }

    /// An empty folder for the attempt.
    pub(crate) fn create(&self, job_id: JobId, attempt: Attempt) -> io::Result<Workspace> {
        let path = self.root.join(format!("{PREFIX}{job_id}-{attempt}"));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Workspace { path })
    }
}

async fn lock(root: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(root.join(LOCK))?;
    let until = Instant::now() + GONE_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                let reason =
                    "another agent of this worker runs its jobs there\nhint: a worker has one agent; stop the other";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, reason));
            }
            Err(TryLockError::WouldBlock) => sleep(LOOK_EVERY).await,
        }
    }
}

/// One attempt's folder, removed on drop.
#[derive(Debug)]
pub(crate) struct Workspace {
    path: PathBuf,
}

impl Workspace {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder and waits until it is gone.
    pub(crate) async fn remove(self) {
        // The drop does it; a panic there has been reported.
        let _ = spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            warn!(path = %self.path.display(), %error, "cannot remove a job's folder");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_empty_private_and_gone_afterwards() {
        use std::os::unix::fs::PermissionsExt as _;

        let root = tempfile::tempdir().unwrap();
        let workspaces = Workspaces::open(root.path(), WorkerId(7)).await.unwrap();
        let workspace = workspaces.create(JobId(1), Attempt(2)).unwrap();
        let path = workspace.path().to_owned();
        assert!(path.ends_with("worker-7/job-1-2"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(workspaces.create(JobId(1), Attempt(2)).is_err());
        fs::write(path.join("left"), b"over").unwrap();
        drop(workspace);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_killed_agent_left_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let workspaces = Workspaces::open(root.path(), WorkerId(7)).await.unwrap();
        let left = workspaces.create(JobId(1), Attempt(1)).unwrap();
        std::mem::forget(left);
        drop(workspaces);
        fs::create_dir(root.path().join("worker-7/mine")).unwrap();
        Workspaces::open(root.path(), WorkerId(7)).await.unwrap().create(JobId(1), Attempt(1)).unwrap();
        assert!(root.path().join("worker-7/mine").exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_agent_is_refused_and_takes_nothing_away() {
        let root = tempfile::tempdir().unwrap();
        let first = Workspaces::open(root.path(), WorkerId(7)).await.unwrap();
        let workspace = first.create(JobId(1), Attempt(1)).unwrap();
        let refused = Workspaces::open(root.path(), WorkerId(7)).await.unwrap_err();
        assert!(refused.to_string().contains("another agent of this worker"), "{refused}");
        assert!(workspace.path().exists());
        Workspaces::open(root.path(), WorkerId(8)).await.unwrap();
        drop((first, workspace));
        Workspaces::open(root.path(), WorkerId(7)).await.unwrap();
    }
}
