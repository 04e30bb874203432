//! What can differ between a round and what was recomputed.

use std::{collections::BTreeSet, fmt};

use keeper_scheduler::{ShardSet, shard_of_job, shard_of_worker};
use keeper_types::{AllocationItem, Felt, JobId, PolicyId, WorkerId};
use serde::{Serialize, Serializer};

use super::round::AppliedRound;

/// The first thing that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Difference {
    /// The published policy is not the one that the round names.
    Policy { published: PolicyId, round: PolicyId },
    /// The round gives something to a job or a worker that is not of the shards that the published inputs name.
    Shard {
        job_id: JobId,
        worker_id: WorkerId,
        /// The shard of the one that is not of them.
        shard: u8,
        /// How many shards there are.
        count: u8,
    },
    /// Chain and published inputs give another snapshot.
    Snapshot {
        #[serde(serialize_with = "hexadecimal")]
        recomputed: Felt,
        #[serde(serialize_with = "hexadecimal")]
        round: Felt,
    },
    /// The published inputs name what the market did not have.
    Inputs,
    /// What a job's manifest is said to ask is not what it asks.
    Manifest { job_id: JobId },
    /// A job went elsewhere than planned; `None` where it was not placed, or not sent.
    Job { job_id: JobId, planned: Option<Placement>, sent: Option<Placement> },
    /// The items were sent in another order, where the policy goes by turns and the order says whose turn is next.
    Order { job_id: JobId },
    /// The plan's name is another.
    PlanRoot {
        #[serde(serialize_with = "hexadecimal")]
        recomputed: Felt,
        #[serde(serialize_with = "hexadecimal")]
        round: Felt,
    },
}

/// Where a job goes, and its worker's score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Placement {
    worker_id: WorkerId,
    /// Of 10,000; `None` where the chain does not tell, as of an item that was skipped.
    score: Option<u16>,
}

/// A round is not what its policy decides.
#[derive(Debug)]
pub(crate) struct Different {
    pub(super) round: Box<AppliedRound>,
    pub(super) difference: Difference,
}

impl std::error::Error for Different {}

impl fmt::Display for Different {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AppliedRound { keeper, header, block, tx_hash, .. } = &*self.round;
        write!(f, "DIFFERENT: round {} of keeper {keeper}, block {block}, transaction {tx_hash}: ", header.round)?;
        self.difference.fmt(f)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { published, round } => {
                write!(f, "the policy. The published one is {published}, the round says {round}")
            }
            Self::Shard { job_id, worker_id, shard, count } => write!(
                f,
                "the shard. The round gives job {job_id} to worker {worker_id}, of which one is of shard {shard} of \
                 {count}, and the published inputs are about others"
            ),
            Self::Snapshot { recomputed, round } => write!(
                f,
                "the snapshot. Chain and published inputs give the root {recomputed:#066x}, the round says {round:#066x}"
            ),
            Self::Inputs => {
                f.write_str("the inputs. They name workers or jobs that the market did not have at the round's block")
            }
            Self::Manifest { job_id } => {
                write!(f, "the manifest of job {job_id}. It does not say what the published inputs have it say")
            }
            Self::Job { job_id, planned: None, .. } => {
                write!(f, "job {job_id}. The plan does not place it, the round does")
            }
            Self::Job { job_id, planned: Some(planned), sent } => {
                let sent = sent.map_or_else(|| "nothing".to_owned(), |sent| sent.to_string());
                write!(f, "job {job_id}. The plan says {planned}; sent was {sent}")
            }
            Self::Order { job_id } => write!(
                f,
                "the order. Job {job_id} was not sent in its turn, from which the next round would take whose turn it is"
            ),
            Self::PlanRoot { recomputed, round } => {
                write!(f, "the plan's name. It is {recomputed:#066x}, the round says {round:#066x}")
            }
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}", self.worker_id)?;
        self.score.map_or(Ok(()), |score| write!(f, ", score {score}"))
    }
}

impl From<&AllocationItem> for Placement {
    fn from(item: &AllocationItem) -> Self {
        Self { worker_id: item.worker_id, score: Some(item.score) }
    }
}

fn hexadecimal<S: Serializer>(felt: &Felt, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{felt:#066x}"))
}

/// What was sent must be for jobs and workers of the shards that the round is about.
pub(super) fn misplaced(shards: &ShardSet, round: &AppliedRound) -> Option<Difference> {
    let (block, count) = (round.header.snapshot_block, shards.count());
    let allocated = round.allocated.iter().map(|item| (item.job_id, item.worker_id));
    let skipped = round.skipped.iter().map(|(job_id, worker_id, _)| (*job_id, *worker_id));
    allocated.chain(skipped).find_map(|(job_id, worker_id)| {
        let job = (!shards.has_job(job_id)).then(|| shard_of_job(job_id, count));
        let worker = (!shards.has_worker(worker_id, block)).then(|| shard_of_worker(worker_id, block, count));
        let shard = job.or(worker)?;
        Some(Difference::Shard { job_id, worker_id, shard, count })
    })
}

/// What was sent must be what the plan says: each item allocated as planned, or skipped by the contract.
pub(super) fn between(planned: &[AllocationItem], round: &AppliedRound) -> Option<Difference> {
    let mut sent: BTreeSet<JobId> = round.allocated.iter().map(|item| item.job_id).collect();
    sent.extend(round.skipped.iter().map(|(job_id, ..)| *job_id));
    let sent_for = |job_id: JobId| {
        let allocated = round.allocated.iter().find(|item| item.job_id == job_id).map(Placement::from);
        let skipped = round.skipped.iter().find(|(skipped, ..)| *skipped == job_id);
        allocated.or(skipped.map(|(_, worker_id, _)| Placement { worker_id: *worker_id, score: None }))
    };
    for item in planned {
        let AllocationItem { job_id, worker_id, attempt, .. } = item;
        if !round.allocated.contains(item) && !round.skipped.contains(&(*job_id, *worker_id, *attempt)) {
            return Some(Difference::Job { job_id: *job_id, planned: Some(item.into()), sent: sent_for(*job_id) });
        }
        sent.remove(job_id);
    }
    let job_id = *sent.first()?;
    Some(Difference::Job { job_id, planned: None, sent: sent_for(job_id) })
}

/// The first job that was allocated out of the order of the plan.
pub(super) fn out_of_order(planned: &[AllocationItem], round: &AppliedRound) -> Option<Difference> {
    let in_order = planned.iter().filter(|item| round.allocated.contains(item));
    let mut pairs = in_order.zip(&round.allocated);
    let (_, sent) = pairs.find(|(planned, sent)| planned != sent)?;
    Some(Difference::Order { job_id: sent.job_id })
}

#[cfg(test)]
mod tests {
    use keeper_types::{Address, Attempt, BlockNumber, Rate, RoundHeader, Strategy, TxHash};
    use serde_json::json;

    use super::*;

    fn item(job_id: u64, worker_id: u32) -> AllocationItem {
        AllocationItem {
            job_id: JobId(job_id),
            worker_id: WorkerId(worker_id),
            attempt: Attempt(1),
            strategy: Strategy::Standard,
            score: 7_000,
            rate: Rate(1),
        }
    }

    fn round(allocated: &[AllocationItem], skipped: &[(u64, u32)]) -> AppliedRound {
        let skipped = skipped.iter().map(|(job_id, worker_id)| (JobId(*job_id), WorkerId(*worker_id), Attempt(1)));
        AppliedRound {
            keeper: Address(Felt::TWO),
            header: RoundHeader {
                round: 3,
                snapshot_block: BlockNumber(8),
                snapshot_root: Felt::ONE,
                policy_id: PolicyId(Felt::ONE),
                plan_root: Felt::ONE,
            },
            block: BlockNumber(9),
            tx_hash: TxHash(Felt::from(0xabc)),
            allocated: allocated.to_vec(),
            skipped: skipped.collect(),
        }
    }

    #[test]
    fn what_was_planned_is_allocated_or_skipped() {
        assert_eq!(between(&[item(1, 1), item(2, 2)], &round(&[item(1, 1)], &[(2, 2)])), None);
        assert_eq!(between(&[], &round(&[], &[])), None);
    }

    #[test]
    fn the_first_job_that_went_elsewhere_is_named() {
        let named = |planned: &[AllocationItem], round: &AppliedRound| between(planned, round).unwrap().to_string();
        assert_eq!(
            named(&[item(1, 1)], &round(&[item(1, 2)], &[])),
            "job 1. The plan says worker 1, score 7000; sent was worker 2, score 7000"
        );
        assert_eq!(
            named(&[item(1, 1)], &round(&[], &[(1, 2)])),
            "job 1. The plan says worker 1, score 7000; sent was worker 2"
        );
        assert_eq!(
            named(&[item(1, 1)], &round(&[], &[])),
            "job 1. The plan says worker 1, score 7000; sent was nothing"
        );
        assert_eq!(
            named(&[item(1, 1)], &round(&[item(1, 1), item(5, 1)], &[])),
            "job 5. The plan does not place it, the round does"
        );
    }

    #[test]
    fn the_order_is_the_plans_but_for_what_was_skipped() {
        let planned = [item(1, 3), item(2, 1), item(3, 2)];
        assert_eq!(out_of_order(&planned, &round(&planned, &[])), None);
        assert_eq!(out_of_order(&planned, &round(&[planned[0], planned[2]], &[(2, 1)])), None);
        let sent = round(&[planned[0], planned[2], planned[1]], &[]);
        let difference = out_of_order(&planned, &sent).unwrap();
        assert_eq!(difference, Difference::Order { job_id: JobId(3) });
        assert_eq!(between(&planned, &sent), None, "which is not looked at where nobody takes turns");
        assert!(difference.to_string().starts_with("the order. Job 3 was not sent in its turn"));
    }

    #[test]
    fn what_is_of_another_shard_is_named() {
        let shards = |members: &[u8]| ShardSet::new(2, members.iter().copied()).unwrap();
        let block = round(&[], &[]).header.snapshot_block;
        let [own, foreign] = [0, 1].map(|shard| {
            let job_id = (1..).find(|id| shard_of_job(JobId(*id), 2) == shard).unwrap();
            (job_id, (1..).find(|id| shard_of_worker(WorkerId(*id), block, 2) == shard).unwrap())
        });
        assert_eq!(misplaced(&shards(&[0]), &round(&[item(own.0, own.1)], &[own])), None);
        assert_eq!(misplaced(&shards(&[0, 1]), &round(&[item(foreign.0, own.1)], &[])), None);
        for round in
            [round(&[item(foreign.0, own.1)], &[]), round(&[item(own.0, foreign.1)], &[]), round(&[], &[foreign])]
        {
            let difference = misplaced(&shards(&[0]), &round).unwrap();
            assert!(matches!(difference, Difference::Shard { shard: 1, count: 2, .. }), "{difference}");
            assert_eq!(serde_json::to_value(difference).unwrap()["what"], "shard");
        }
    }

    #[test]
    fn a_difference_names_the_round_and_its_transaction() {
        let different = Different { round: Box::new(round(&[], &[])), difference: Difference::Inputs };
        let text = different.to_string();
        assert!(text.starts_with("DIFFERENT: round 3 of keeper 0x0"), "{text}");
        assert!(text.contains("block 9, transaction 0x0") && text.contains("abc: the inputs. They name"), "{text}");
    }

    #[test]
    fn programs_are_told_what_differs() {
        let difference = Difference::Snapshot { recomputed: Felt::ONE, round: Felt::TWO };
        let value = serde_json::to_value(difference).unwrap();
        assert_eq!(value["what"], "snapshot");
        assert_eq!(value["recomputed"], format!("{:#066x}", Felt::ONE));
        let placement = Placement::from(&item(4, 1));
        let difference = Difference::Job { job_id: JobId(4), planned: Some(placement), sent: None };
        assert_eq!(
            serde_json::to_value(difference).unwrap(),
            json!({ "what": "job", "job_id": 4, "planned": { "worker_id": 1, "score": 7000 }, "sent": null })
        );
        assert_eq!(serde_json::to_value(Difference::Inputs).unwrap(), json!({ "what": "inputs" }));
    }
}
