//! What a round was decided from that no chain tells. With it, whoever has the chain rebuilds the round's snapshot.

use std::collections::{BTreeMap, BTreeSet};

use keeper_types::{AgentView, BlockNumber, Felt, JobId, ManifestView, Market, WorkerId};
use serde::{Deserialize, Serialize, Serializer};

use crate::{Balancing, ManifestStatus, Policy, Portion, Snapshot, geography::RegionLatencies};

/// The form of [`RoundInputs`] that this program writes and reads.
const VERSION: u32 = 2;

/// The inputs of a round besides the chain. A keeper publishes them before it sends the round, under the snapshot's
/// root, which vouches for them: other inputs give a snapshot with another root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundInputs {
    /// The form of this record: 2.
    pub version: u32,
    /// What the keeper decided by.
    #[serde(serialize_with = "as_before")]
    pub policy: Policy,
    /// Workers whose agents were connected, with what these said and how far away they were.
    pub agents: BTreeMap<WorkerId, AgentView>,
    /// Queued jobs whose manifest was not there, or could not be read.
    pub without_manifest: BTreeSet<JobId>,
    /// What queued jobs' manifests say about where they may run; what is not listed says nothing and needs a process.
    pub manifests: BTreeMap<JobId, ManifestView>,
    /// What of the market the round is about, where several keepers decide at once; all of it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portion: Option<Portion>,
}

impl RoundInputs {
    /// The inputs that `snapshot` was made with.
    pub fn of(snapshot: &Snapshot, policy: &Policy) -> Self {
        let online = snapshot.workers.iter().filter(|worker| worker.online);
        let without_manifest = snapshot.jobs.iter().filter(|job| job.manifest != ManifestStatus::Available);
        let said = snapshot.jobs.iter().filter(|job| job.manifest_view != ManifestView::default());
        Self {
            version: VERSION,
            policy: policy.clone(),
            agents: online.map(|worker| (worker.worker_id, worker.agent.clone())).collect(),
            without_manifest: without_manifest.map(|job| job.job_id).collect(),
            manifests: said.map(|job| (job.job_id, job.manifest_view.clone())).collect(),
            portion: snapshot.portion.clone(),
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
        let manifest = |job: &keeper_types::Job| {
            let status = match self.without_manifest.contains(&job.job_id) {
                true => ManifestStatus::Missing,
                false => ManifestStatus::Available,
            };
            (status, self.manifests.get(&job.job_id).cloned().unwrap_or_default())
        };
        let agent = |worker_id| self.agents.get(&worker_id).cloned();
        let whole = Snapshot::of_market(market, (block, now), seed_of(block_hash), manifest, agent);
        let snapshot = match &self.portion {
            Some(portion) => whole.of_portion(portion.clone()),
            None => whole,
        };
        // Whose turn it is counts among the portion's own workers.
        snapshot.with_turn(market, &self.policy)
    }
}

/// Leaves settings out that do nothing and that earlier programs do not know, so that these read the others.
fn as_before<S: Serializer>(policy: &Policy, serializer: S) -> Result<S::Ok, S::Error> {
    let mut said = serde_json::to_value(policy).map_err(serde::ser::Error::custom)?;
    let newer = [
        ("balancing", policy.balancing != Balancing::Score),
        ("adaptive", policy.balancing == Balancing::Adaptive),
        ("preference_wait_s", policy.preference_wait_s > 0),
        ("geography", policy.geography != RegionLatencies::NONE),
    ];
    if let Some(said) = said.as_object_mut() {
        said.retain(|name, _| newer.iter().all(|(newer, is_said)| newer != name || *is_said));
    }
    said.serialize(serializer)
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
    low_bits(block_hash)
}

/// The lowest 64 bits of a felt.
pub(crate) fn low_bits(felt: Felt) -> u64 {
    let bytes = felt.to_bytes_be();
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
        assert_eq!(inputs.agents.len(), 3);
        assert_eq!(inputs.without_manifest, BTreeSet::from([snapshot.jobs[2].job_id]));
        let bytes = serde_json::to_vec(&inputs).unwrap();
        assert_eq!(RoundInputs::parse(&bytes).unwrap(), inputs);
    }

    /// Programs refuse fields that they do not know.
    #[test]
    fn inputs_leave_newer_settings_out_where_they_do_nothing() {
        let written = |policy: &Policy| serde_json::to_value(RoundInputs::of(&snapshot(1, 1), policy)).unwrap();
        let by_score = written(&Policy::BALANCED);
        let expected: BTreeSet<_> = [
            "weights",
            "max_items",
            "ordering",
            "aging_interval_s",
            "age_full_s",
            "queues",
            "client_weights",
            "reservations",
            "retry_base_s",
            "retry_max_s",
            "emergency_priority",
            "assignment",
        ]
        .into();
        let keys: BTreeSet<_> = by_score["policy"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, expected);
        let geography = RegionLatencies { within_ms: 1, ..RegionLatencies::NONE };
        let in_turn = Policy { balancing: Balancing::RoundRobin, preference_wait_s: 9, geography, ..Policy::BALANCED };
        assert_eq!(written(&in_turn)["policy"]["balancing"], "round_robin");
        let bytes = serde_json::to_vec(&RoundInputs::of(&snapshot(1, 1), &in_turn)).unwrap();
        assert_eq!(RoundInputs::parse(&bytes).unwrap().policy, in_turn);
    }

    #[test]
    fn other_inputs_are_refused() {
        let inputs = RoundInputs::of(&snapshot(1, 1), &Policy::BALANCED);
        let newer = serde_json::to_vec(&RoundInputs { version: 3, ..inputs.clone() }).unwrap();
        assert!(RoundInputs::parse(&newer).unwrap_err().to_string().contains("version 3"));
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
