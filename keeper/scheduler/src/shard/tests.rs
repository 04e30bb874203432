use std::collections::BTreeMap;

use keeper_types::{Felt, RunningJob};
use proptest::{prelude::*, strategy::Strategy};

use super::*;
use crate::{
    Outcome, Plan, Policy, RoundInputs, plan,
    plan::{
        fixtures::{NOW, job, running, snapshot, worker},
        generators::any_snapshot,
    },
    snapshot_root,
};

fn set(count: u8, members: &[u8]) -> ShardSet {
    ShardSet::new(count, members.iter().copied()).unwrap()
}

fn each(count: u8) -> impl Iterator<Item = Portion> {
    (0..count).map(move |shard| Portion::of(set(count, &[shard])))
}

fn any_count() -> impl Strategy<Value = u8> {
    2..=MAX_SHARDS
}

/// The dealing is public: others recompute it, and a job's shard is for good.
#[test]
fn the_dealing_is_known() {
    let jobs: Vec<u8> = (1..=12).map(|id| shard_of_job(JobId(id), 3)).collect();
    assert_eq!(jobs, KNOWN_JOBS);
    let workers: Vec<u8> = (1..=12).map(|id| shard_of_worker(WorkerId(id), BlockNumber(1_000), 3)).collect();
    assert_eq!(workers, KNOWN_WORKERS);
    // The first number of SplitMix64 from the seed 0.
    assert_eq!(SplitMix64::mix(0), 0xe220_a839_7b1d_cdaf);
    let account = Address(Felt::from_hex_unchecked("0x123000000000000000000000000000000000000000000000001"));
    assert_eq!(shard_of_account(account, 3), shard_of_job(JobId(1), 3), "it is dealt out by its low end");
}

const KNOWN_JOBS: [u8; 12] = [2, 1, 0, 1, 2, 2, 0, 1, 1, 1, 0, 0];
const KNOWN_WORKERS: [u8; 12] = [2, 1, 1, 0, 1, 1, 2, 2, 1, 2, 0, 0];

#[test]
fn numbers_are_dealt_out_evenly() {
    for count in 2..=MAX_SHARDS {
        let mut jobs = BTreeMap::<u8, u32>::new();
        let mut workers = BTreeMap::<u8, u32>::new();
        for id in 1..=16_000 {
            *jobs.entry(shard_of_job(JobId(id), count)).or_default() += 1;
            let worker_id = WorkerId(u32::try_from(id).unwrap());
            *workers.entry(shard_of_worker(worker_id, BlockNumber(77), count)).or_default() += 1;
        }
        for dealt in [jobs, workers] {
            let even = 16_000 / u32::from(count);
            assert_eq!(dealt.len(), usize::from(count));
            assert!(dealt.values().all(|number| number.abs_diff(even) < even / 5), "{dealt:?}");
        }
    }
}

#[test]
fn workers_go_on_at_blocks_of_their_own() {
    let goes_on = |id, block| {
        let at = |block| shard_of_worker(WorkerId(id), BlockNumber(block), 4);
        at(block) != at(block + 1)
    };
    for block in 0..ROTATION_BLOCKS {
        let moving = (0..1_000).filter(|id| goes_on(*id, block)).count();
        assert!((50..200).contains(&moving), "{moving} of 1,000 after block {block}");
    }
}

#[test]
fn shards_that_there_cannot_be_are_refused() {
    let error = |count, members: &[u8]| ShardSet::new(count, members.iter().copied()).unwrap_err().to_string();
    assert_eq!(error(1, &[0]), "1 shards, but there are 2 to 16");
    assert_eq!(error(17, &[0]), "17 shards, but there are 2 to 16");
    assert_eq!(error(3, &[]), "no shard is named");
    assert_eq!(error(3, &[1, 3]), "shard 3 of 3: the first is 0");
    assert!(serde_json::from_str::<ShardSet>(r#"{"count":3,"members":[3]}"#).is_err(), "also where they are read");
    let written = serde_json::to_string(&set(3, &[2, 0])).unwrap();
    assert_eq!(written, r#"{"count":3,"members":[0,2]}"#);
    assert_eq!(serde_json::from_str::<ShardSet>(&written).unwrap(), set(3, &[0, 2]));
    assert_eq!(set(3, &[2, 0]).to_string(), "shards 0 and 2 of 3");
    assert_eq!(set(3, &[1]).to_string(), "shard 1 of 3");
}

/// Where one keeper decides about everything, records and names know nothing of shards.
#[test]
fn a_whole_market_is_written_as_before() {
    let whole = snapshot(vec![job(1)], vec![worker(1)]);
    let written = serde_json::to_value(&whole).unwrap();
    let keys: Vec<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["block", "jobs", "now", "running", "seed", "used_milli", "workers"]);
    let inputs = serde_json::to_value(RoundInputs::of(&whole, &Policy::BALANCED)).unwrap();
    let keys: Vec<&str> = inputs.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["agents", "manifests", "policy", "version", "without_manifest"]);
    assert_eq!(format!("{:#x}", snapshot_root(&whole)), KNOWN_ROOT);
}

/// As [`crate::commitment`] states it.
const KNOWN_ROOT: &str = "0x29e31ab4f6334133881afc9954c92a10628bfe178eef3a72c6a8a38db245ea7";

#[test]
fn everything_in_a_portion_is_in_the_root() {
    let base = || snapshot((1..9).map(job).collect(), (1..9).map(worker).collect());
    let shards = set(3, &[0, 1]);
    let whole = Portion::of(set(3, &[0, 1, 2]));
    let (held_job, held_worker) = (
        (1..9).map(JobId).find(|job_id| shards.has_job(*job_id)).unwrap(),
        (1..9).map(WorkerId).find(|worker_id| shards.has_worker(*worker_id, BlockNumber(1_000))).unwrap(),
    );
    let portion = Portion::of(shards);
    let portions = [
        portion.clone(),
        whole,
        Portion::of(set(4, &[0, 1])),
        Portion { withheld_jobs: [held_job].into(), ..portion.clone() },
        Portion { withheld_workers: [held_worker].into(), ..portion },
    ];
    let mut roots: Vec<Felt> = portions.into_iter().map(|portion| snapshot_root(&base().of_portion(portion))).collect();
    roots.push(snapshot_root(&base()));
    // The same jobs and workers, said to be other shards.
    let mut claimed = base().of_portion(Portion::of(set(3, &[0])));
    claimed.portion = Some(Portion::of(set(3, &[1])));
    roots.push(snapshot_root(&claimed));
    roots.push(snapshot_root(&base().of_portion(Portion::of(set(3, &[0])))));
    let count = roots.len();
    roots.sort_unstable();
    roots.dedup();
    assert_eq!(roots.len(), count);
}

#[test]
fn what_is_left_out_is_there_or_not_named() {
    let base = || snapshot((1..9).map(job).collect(), (1..9).map(worker).collect());
    let shards = set(2, &[0]);
    let everything = Portion {
        withheld_jobs: (1..30).map(JobId).collect(),
        withheld_workers: (1..30).map(WorkerId).collect(),
        shards: shards.clone(),
    };
    let cut = base().of_portion(everything);
    assert!(cut.jobs.is_empty() && cut.workers.is_empty());
    let portion = cut.portion.unwrap();
    let named = (1..9).map(JobId).filter(|job_id| shards.has_job(*job_id)).collect();
    assert_eq!(portion.withheld_jobs, named, "of these shards, and queued");
    let named = (1..9).map(WorkerId).filter(|id| shards.has_worker(*id, BlockNumber(1_000))).collect();
    assert_eq!(portion.withheld_workers, named);
}

#[test]
fn a_foreign_job_or_worker_is_found() {
    let base = || snapshot((1..9).map(job).collect(), (1..9).map(worker).collect());
    let portion = || Portion::of(set(2, &[0]));
    let cut = || base().of_portion(portion());
    assert_eq!(cut().check_portion(), Ok(()));
    assert_eq!(base().check_portion(), Ok(()), "of a whole market nothing is foreign");
    let foreign_job = (1..9).find(|id| shard_of_job(JobId(*id), 2) == 1).unwrap();
    let mut more = cut();
    more.jobs.push(job(foreign_job));
    assert_eq!(more.check_portion(), Err(Misplaced::Job { job_id: JobId(foreign_job), shard: 1 }));
    let block = BlockNumber(1_000);
    let foreign_worker = (1..9).find(|id| shard_of_worker(WorkerId(*id), block, 2) == 1).unwrap();
    let mut more = cut();
    more.workers.push(worker(foreign_worker));
    assert_eq!(more.check_portion(), Err(Misplaced::Worker { worker_id: WorkerId(foreign_worker), shard: 1 }));
    let mut held = cut();
    let job_id = held.jobs[0].job_id;
    held.portion.as_mut().unwrap().withheld_jobs.insert(job_id);
    assert!(matches!(held.check_portion(), Err(Misplaced::Job { .. })), "it was said to be left out");
}

/// What another shard's jobs hold counts for the worker and not for the client.
#[test]
fn a_foreign_job_on_a_shards_worker_takes_its_room_only() {
    let block = BlockNumber(1_000);
    let worker_id = (1..99).find(|id| shard_of_worker(WorkerId(*id), block, 2) == 0).unwrap();
    let elsewhere = (1..99).find(|id| shard_of_worker(WorkerId(*id), block, 2) == 1).unwrap();
    let (own, foreign) = ((100..).find(|id| shard_of_job(JobId(*id), 2) == 0).unwrap(), {
        (100..).find(|id| shard_of_job(JobId(*id), 2) == 1).unwrap()
    });
    let whole = crate::Snapshot {
        running: vec![running(own, elsewhere), running(foreign, worker_id), running(foreign + 1_000_000, elsewhere)],
        used_milli: [(Address(Felt::TWO), 900), (Address(Felt::ONE), 7)].into(),
        ..snapshot(vec![job((1..).find(|id| shard_of_job(JobId(*id), 2) == 0).unwrap())], vec![worker(worker_id)])
    };
    let cut = whole.of_portion(Portion::of(set(2, &[0])));
    let counted: Vec<(u64, bool)> =
        cut.running.iter().map(|job| (job.job_id.0, cut.counts_for_its_client(job))).collect();
    assert!(counted.starts_with(&[(own, true), (foreign, false)]), "{counted:?}");
    assert_eq!(cut.used_milli, [(Address(Felt::TWO), 450)].into(), "half of the shards, half of the use");
}

/// A job that only one worker can take is placed within as many periods as there are shards, whatever the block.
#[test]
fn a_job_whose_only_worker_is_elsewhere_gets_it_in_time() {
    for (count, start) in [(2, 0), (3, 17), (5, 123_456), (16, 999)] {
        for id in 1..40 {
            let shard = shard_of_job(JobId(id), count);
            let placed = (start..start + u64::from(count) * ROTATION_BLOCKS).find(|block| {
                let whole = crate::Snapshot { block: BlockNumber(*block), ..snapshot(vec![job(id)], vec![worker(7)]) };
                let Plan { explanations, .. } =
                    plan(&whole.of_portion(Portion::of(set(count, &[shard]))), &Policy::BALANCED);
                matches!(explanations[&JobId(id)].outcome, Outcome::Placed { .. })
            });
            assert!(placed.is_some(), "job {id} of {count} shards never meets the worker");
        }
    }
}

proptest! {
    #[test]
    fn no_two_shards_have_a_worker_at_one_block(whole in any_snapshot(12, 12), count in any_count(), block in 0_u64..10_000) {
        let whole = crate::Snapshot { block: BlockNumber(block), ..whole };
        let cuts: Vec<_> = each(count).map(|portion| whole.clone().of_portion(portion)).collect();
        let workers: Vec<WorkerId> = cuts.iter().flat_map(|cut| &cut.workers).map(|worker| worker.worker_id).collect();
        let distinct: BTreeSet<WorkerId> = workers.iter().copied().collect();
        prop_assert_eq!(distinct.len(), workers.len());
        // What all shards have together is the market.
        prop_assert_eq!(distinct, whole.workers.iter().map(|worker| worker.worker_id).collect());
        let mut jobs: Vec<JobId> = cuts.iter().flat_map(|cut| &cut.jobs).map(|job| job.job_id).collect();
        jobs.sort_unstable();
        let mut all: Vec<JobId> = whole.jobs.iter().map(|job| job.job_id).collect();
        all.sort_unstable();
        prop_assert_eq!(jobs, all);
        let counted = |cut: &crate::Snapshot| cut.running.iter().filter(|job| cut.counts_for_its_client(job)).count();
        prop_assert_eq!(cuts.iter().map(counted).sum::<usize>(), whole.running.len());
        // A worker's shard knows all that runs on it.
        for cut in &cuts {
            let on_its_workers = |job: &&RunningJob| cut.workers.iter().any(|worker| worker.worker_id == job.worker_id);
            prop_assert_eq!(cut.running.iter().filter(on_its_workers).count(), whole.running.iter().filter(on_its_workers).count());
            prop_assert!(cut.check_portion().is_ok());
        }
    }

    #[test]
    fn every_job_meets_every_worker_within_as_many_periods_as_shards(
        job_id in any::<u64>(), worker_id in any::<u32>(), start in 0_u64..1 << 40, count in any_count(),
    ) {
        let shard = shard_of_job(JobId(job_id), count);
        let blocks = start..start + u64::from(count) * ROTATION_BLOCKS;
        let met = blocks.filter(|block| shard_of_worker(WorkerId(worker_id), BlockNumber(*block), count) == shard);
        prop_assert_eq!(met.count() as u64, ROTATION_BLOCKS, "for as many blocks as a period has");
    }

    #[test]
    fn all_shards_together_decide_as_one_keeper_does(whole in any_snapshot(12, 12), count in any_count()) {
        let all: Vec<u8> = (0..count).collect();
        let cut = whole.clone().of_portion(Portion::of(set(count, &all)));
        prop_assert_eq!(plan(&cut, &Policy::BALANCED), plan(&whole, &Policy::BALANCED));
    }

    #[test]
    fn shards_never_give_one_job_or_slot_twice(whole in any_snapshot(12, 12), count in any_count()) {
        let plans: Vec<Plan> =
            each(count).map(|portion| plan(&whole.clone().of_portion(portion), &Policy::BALANCED)).collect();
        let items: Vec<_> = plans.iter().flat_map(|plan| &plan.items).collect();
        let jobs: BTreeSet<JobId> = items.iter().map(|item| item.job_id).collect();
        prop_assert_eq!(jobs.len(), items.len());
        for worker in &whole.workers {
            let given = items.iter().filter(|item| item.worker_id == worker.worker_id).count();
            prop_assert!(given <= usize::from(worker.free_slots));
        }
        let explained: usize = plans.iter().map(|plan| plan.explanations.len()).sum();
        prop_assert_eq!(explained, whole.jobs.len(), "each job once");
    }

    #[test]
    fn inputs_name_the_portion(whole in any_snapshot(6, 6), count in any_count()) {
        prop_assert!(whole.now >= NOW);
        for portion in each(count) {
            let cut = whole.clone().of_portion(portion);
            let bytes = serde_json::to_vec(&RoundInputs::of(&cut, &Policy::BALANCED)).unwrap();
            prop_assert_eq!(RoundInputs::parse(&bytes).unwrap().portion, cut.portion);
        }
    }
}
