//! What a round was decided from that no chain tells. With it, whoever has the chain rebuilds the round's snapshot.

use std::collections::BTreeSet;

use keeper_types::{BlockNumber, Felt, JobId, Market, WorkerId};
use serde::{Deserialize, Serialize};

use crate::{ManifestStatus, Policy, Snapshot};

/// The form of [`RoundInputs`] that this program writes and reads.
const VERSION: u32 = 1;

/// The inputs of a round besides the chain. A keeper publishes them before it sends the round, under the snapshot's
/// root, which vouches for them: other inputs give a snapshot with another root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundInputs {
    /// The form of this record: 1.
    pub version: u32,
    /// What the keeper decided by.
    pub policy: Policy,
    /// Workers whose agents were connected.
    pub online: BTreeSet<WorkerId>,
    /// Queued jobs whose manifest was not there, or could not be read.
    pub without_manifest: BTreeSet<JobId>,
}

impl RoundInputs {
    /// The inputs that `snapshot` was made with.
    pub fn of(snapshot: &Snapshot, policy: &Policy) -> Self {
        let online = snapshot.workers.iter().filter(|worker| worker.online).map(|worker| worker.worker_id);
        let without_manifest = snapshot.jobs.iter().filter(|job| job.manifest != ManifestStatus::Available);
        Self {
            version: VERSION,
            policy: policy.clone(),
            online: online.collect(),
            without_manifest: without_manifest.map(|job| job.job_id).collect(),
        }
    }

    /// Reads published inputs.
    ///
    /// # Errors
    /// Fails where they are of another form, or the policy makes no sense.
    pub fn parse(bytes: &[u8]) -> Result<Self, InputsError> {
        let inputs: Self = serde_json::from_slice(bytes)?;
        if inputs.version != VERSION {
            return Err(InputsError::Version { version: inputs.version });
        }
        inputs.policy.validate()?;
        Ok(inputs)
    }

    /// The snapshot of `market` as of `block`, with its timestamp in seconds and its hash. Why a manifest could not be
    /// read is lost, which changes neither the plan nor the root.
    pub fn snapshot(&self, market: &Market, (block, now): (BlockNumber, u64), block_hash: Felt) -> Snapshot {
        let manifest = |job: &keeper_types::Job| match self.without_manifest.contains(&job.job_id) {
            true => ManifestStatus::Missing,
            false => ManifestStatus::Available,
        };
        let online = |worker_id| self.online.contains(&worker_id);
        Snapshot::of_market(market, (block, now), seed_of(block_hash), manifest, online)
    }
}

/// Published inputs are no good.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// They cannot be read.
    #[error("not a round's inputs: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another program's.
    #[error("a round's inputs of version {version}, but version {VERSION} is expected")]
    Version {
        /// What they say.
        version: u32,
    },
    /// Nobody can have decided by this.
    #[error("the inputs' policy: {0}")]
    Policy(#[from] crate::PolicyError),
}

/// The seed of a snapshot: the lowest 64 bits of its block's hash, which no keeper chooses.
pub fn seed_of(block_hash: Felt) -> u64 {
    let bytes = block_hash.to_bytes_be();
    bytes[24..].iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan,
        plan::fixtures::{job, snapshot as snapshot_with, worker},
        plan_root, snapshot_root,
    };

    fn snapshot(jobs: u64, workers: u32) -> Snapshot {
        snapshot_with((1..=jobs).map(job).collect(), (1..=workers).map(worker).collect())
    }

    #[test]
    fn a_seed_is_the_low_end_of_the_hash() {
        assert_eq!(seed_of(Felt::from(u128::MAX - 1)), u64::MAX - 1);
    }

    #[test]
    fn inputs_are_read_as_they_were_written() {
        let mut snapshot = super::tests::snapshot(3, 4);
        snapshot.workers[1].online = false;
        snapshot.jobs[2].manifest = ManifestStatus::Malformed("no JSON".to_owned());
        let inputs = RoundInputs::of(&snapshot, &Policy::BALANCED);
        assert_eq!(inputs.online.len(), 3);
        assert_eq!(inputs.without_manifest, BTreeSet::from([snapshot.jobs[2].job_id]));
        let bytes = serde_json::to_vec(&inputs).unwrap();
        assert_eq!(RoundInputs::parse(&bytes).unwrap(), inputs);
    }

    #[test]
    fn other_inputs_are_refused() {
        let inputs = RoundInputs::of(&snapshot(1, 1), &Policy::BALANCED);
        let newer = serde_json::to_vec(&RoundInputs { version: 2, ..inputs.clone() }).unwrap();
        assert!(RoundInputs::parse(&newer).unwrap_err().to_string().contains("version 2"));
        let policy = Policy { max_items: 0, ..Policy::BALANCED };
        let senseless = serde_json::to_vec(&RoundInputs { policy, ..inputs }).unwrap();
        assert!(RoundInputs::parse(&senseless).unwrap_err().to_string().contains("max_items"));
        assert!(RoundInputs::parse(b"{}").is_err());
    }

    /// Why a manifest cannot be read makes no difference to what is decided and committed to.
    #[test]
    fn what_is_lost_changes_nothing() {
        let mut snapshot = super::tests::snapshot(5, 3);
        snapshot.jobs[0].manifest = ManifestStatus::Malformed("no JSON".to_owned());
        let mut rebuilt = snapshot.clone();
        rebuilt.jobs[0].manifest = ManifestStatus::Missing;
        assert_eq!(snapshot_root(&snapshot), snapshot_root(&rebuilt));
        let roots = [&snapshot, &rebuilt].map(|snapshot| plan_root(&plan(snapshot, &Policy::BALANCED).batch()));
        assert_eq!(roots[0], roots[1]);
    }
}
