//! Results that the agent is committed to and may not show yet.
//!
//! A replica's result must stay the agent's own until every replica of the job is committed, so its output waits in
//! the agent's folder, not in the artifact store. What is needed to show it is written down before the commitment is
//! sent: an agent that is started anew goes on where the one before it stopped.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use keeper_types::{Address, Attempt, ContentHash, JobId, JobState, WorkerId};
use serde::{Deserialize, Serialize};
use tokio::{fs, time::sleep};
use tracing::{debug, info, warn};

use super::{Key, job::Context};
use crate::AllocationOnChain;

/// The folder of one worker's commitments.
#[derive(Clone, Debug)]
pub(super) struct Commitments {
    folder: PathBuf,
}

/// What is written down of a commitment, beside the output. The salt is not: it is derived again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    job_id: JobId,
    attempt: Attempt,
    result_hash: ContentHash,
}

impl Commitments {
    /// Uses a folder of the worker's own below `root`: another deployment has other jobs of the same numbers.
    pub(super) fn open(root: &Path, worker_id: WorkerId, cdc_pool: Address) -> io::Result<Self> {
        let folder = root.join(format!("worker-{worker_id}-{:x}", cdc_pool.0));
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }

    /// The attempts whose results wait to be shown.
    pub(super) fn waiting(&self) -> io::Result<Vec<Key>> {
        let mut keys = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match serde_json::from_slice::<Record>(&std::fs::read(&path)?) {
                Ok(record) => keys.push((record.job_id, record.attempt)),
                Err(error) => warn!(path = %path.display(), %error, "a commitment cannot be read"),
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// Writes a result down; a crash leaves all of it or nothing that counts.
    pub(super) async fn keep(&self, key: Key, output: &Bytes) -> io::Result<ContentHash> {
        let result_hash = ContentHash::of(output);
        let record = Record { job_id: key.0, attempt: key.1, result_hash };
        let text = serde_json::to_vec(&record).map_err(io::Error::other)?;
        fs::write(self.path(key, "output"), output).await?;
        let unfinished = self.path(key, "new");
        fs::write(&unfinished, text).await?;
        fs::rename(unfinished, self.path(key, "json")).await?;
        Ok(result_hash)
    }

    async fn load(&self, key: Key) -> io::Result<(ContentHash, Bytes)> {
        let record: Record =
            serde_json::from_slice(&fs::read(self.path(key, "json")).await?).map_err(io::Error::other)?;
        let output = fs::read(self.path(key, "output")).await?;
        if ContentHash::of(&output) != record.result_hash {
            return Err(io::Error::other("the output is not the one that was committed to"));
        }
        Ok((record.result_hash, Bytes::from(output)))
    }

    /// Forgets a result.
    pub(super) async fn forget(&self, key: Key) {
        // The record goes first: an output without one means nothing.
        for kind in ["json", "output"] {
            if let Err(error) = fs::remove_file(self.path(key, kind)).await
                && error.kind() != io::ErrorKind::NotFound
            {
                warn!(%error, "a commitment cannot be removed");
            }
        }
    }

    fn path(&self, (job_id, attempt): Key, kind: &str) -> PathBuf {
        self.folder.join(format!("{job_id}-{attempt}.{kind}"))
    }
}

/// Waits until the result may be shown, publishes the output and reveals it; ends when there is nothing to show any
/// more.
pub(super) async fn reveal(context: Arc<Context>, commitments: Commitments, key: Key, pause: Duration) {
    let (job_id, attempt) = key;
    loop {
        match context.chain.allocation(job_id).await {
            Ok(Some(found)) if is_committed(&context, &found, attempt) => {
                if found.reveals_open {
                    match show(&context, &commitments, key).await {
                        Ok(()) => info!(%job_id, %attempt, "revealed the result"),
                        Err(error) => warn!(%job_id, %attempt, error, "cannot reveal the result yet"),
                    }
                }
            }
            // The commitment may be on its way still.
            Ok(Some(found)) if context.is_live(&found, attempt) => {}
            Ok(_) => {
                debug!(%job_id, %attempt, "nothing is left to reveal");
                return commitments.forget(key).await;
            }
            Err(error) => debug!(%job_id, %attempt, %error, "the chain cannot be asked about a commitment"),
        }
        sleep(pause).await;
    }
}

fn is_committed(context: &Context, found: &AllocationOnChain, attempt: Attempt) -> bool {
    found.state == JobState::Committed && found.worker_id == context.worker_id && found.attempt == attempt
}

async fn show(context: &Context, commitments: &Commitments, key: Key) -> Result<(), String> {
    let (result_hash, output) = commitments.load(key).await.map_err(|error| error.to_string())?;
    context.artifacts.put(output).await.map_err(|error| error.to_string())?;
    let revealed = context.chain.reveal_result(key.0, key.1, result_hash).await;
    revealed.map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use keeper_types::Felt;

    use super::*;

    #[tokio::test]
    async fn what_was_kept_is_found_again_and_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let open = |pool: u64| Commitments::open(root.path(), WorkerId(1), Address(Felt::from(pool))).unwrap();
        let key = (JobId(4), Attempt(2));
        let output = Bytes::from_static(b"an output");
        let hash = open(1).keep(key, &output).await.unwrap();
        assert_eq!(open(1).waiting().unwrap(), [key]);
        assert_eq!(open(2).waiting().unwrap(), [], "another deployment's jobs are others");
        assert_eq!(open(1).load(key).await.unwrap(), (hash, output));
        std::fs::write(open(1).path(key, "output"), b"another").unwrap();
        open(1).load(key).await.unwrap_err();
        open(1).forget(key).await;
        assert_eq!(open(1).waiting().unwrap(), []);
    }
}
