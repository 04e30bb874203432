use std::cmp::Reverse;

use keeper_types::{JobId, Strategy as Recorded, WorkerId};
use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::{tests::candidate, *};
use crate::assignment::{Instance, JobScores, Matcher};

fn any_set() -> impl Strategy<Value = PreferenceSet> {
    subsequence(Preference::RELAXATION_ORDER.to_vec(), 0..=5).prop_map(PreferenceSet::from)
}

fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    vec((any::<bool>(), 0..4_u16, any_set()), 0..10).prop_map(|drawn| {
        let drawn = (1..).zip(drawn);
        drawn
            .map(|(id, (is_static, score, meets))| Candidate {
                meets,
                ..candidate(id, Pool::of(is_static), score, &[])
            })
            .collect()
    })
}

fn in_two_orders<T: Clone + std::fmt::Debug>(
    items: impl Strategy<Value = Vec<T>>,
) -> impl Strategy<Value = (Vec<T>, Vec<T>)> {
    items.prop_flat_map(|items| (Just(items.clone()), Just(items).prop_shuffle()))
}

const NOW_S: u64 = 1_000;

fn any_hosts() -> impl Strategy<Value = Vec<Host>> {
    vec((any::<bool>(), 0..3_u16, 0..2_u8, 0..4_u8), 1..4).prop_map(|drawn| {
        let host = |(id, (is_static, score, free_slots, free_gpus))| Host {
            candidate: candidate(id, Pool::of(is_static), score, &[]),
            free_slots,
            free_gpus,
        };
        (1..).zip(drawn).map(host).collect()
    })
}

fn any_running() -> impl Strategy<Value = Vec<RunningJob>> {
    vec((1..4_u32, 1..=10_u8, any::<bool>(), 0..=NOW_S, 0..4_u8), 0..12).prop_map(|drawn| {
        let job = |(id, (worker, priority, is_preemptible, began_s, gpus))| RunningJob {
            job_id: JobId(id),
            worker_id: WorkerId(worker),
            priority,
            is_preemptible,
            began_s,
            gpus,
        };
        (1..).zip(drawn).map(job).collect()
    })
}

const RULES: EmergencyRules = EmergencyRules { min_priority: 5, min_run_time_s: 300 };

/// Whether the job fits a host once these jobs have gone from it.
fn fits(need: &EmergencyNeed, host: &Host, gone: &[&RunningJob]) -> bool {
    let slots = usize::from(host.free_slots) + gone.len();
    let gpus = u32::from(host.free_gpus) + gone.iter().map(|job| u32::from(job.gpus)).sum::<u32>();
    slots > 0 && gpus >= u32::from(need.gpus)
}

fn may_be_put_off(need: &EmergencyNeed, job: &RunningJob) -> bool {
    let is_urgent = need.priority >= RULES.min_priority && job.priority < need.priority;
    is_urgent && job.is_preemptible && NOW_S - job.began_s >= RULES.min_run_time_s
}

/// The lowest that the highest priority among victims can be, by trying every set of victims on every host: none where
/// no set will do, 0 where nobody has to go.
fn least_highest_priority(need: &EmergencyNeed, hosts: &[Host], running: &[RunningJob]) -> Option<u8> {
    let of_host = |host: &Host| {
        let on_host = running.iter().filter(|job| job.worker_id == host.candidate.worker_id);
        let victims: Vec<_> = on_host.filter(|job| may_be_put_off(need, job)).collect();
        let sets = (0..1_usize << victims.len()).map(|set| {
            let chosen = victims.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
            chosen.map(|(_, job)| *job).collect::<Vec<_>>()
        });
        let enough = sets.filter(|gone| fits(need, host, gone));
        enough.map(|gone| gone.iter().map(|job| job.priority).max().unwrap_or(0)).min()
    };
    hosts.iter().filter_map(of_host).min()
}

proptest! {
    #[test]
    fn fallback_drops_no_more_than_it_must(
        wanted in any_set(),
        (candidates, shuffled) in in_two_orders(any_candidates()),
    ) {
        let found = fallback(wanted, &candidates);
        prop_assert_eq!(&fallback(wanted, &shuffled), &found);
        prop_assert_eq!(found.is_none(), candidates.is_empty());
        let Some(found) = found else { return Ok(()) };
        let winner = candidates.iter().find(|candidate| candidate.worker_id == found.worker_id).unwrap();
        let dropped: PreferenceSet = found.dropped.iter().copied().collect();
        prop_assert_eq!(dropped, wanted.without(winner.meets));

        // With fewer preferences dropped from the front of the order, nobody would have been found.
        if let Some(last) = found.dropped.last() {
            let kept: PreferenceSet = wanted.iter().filter(|preference| preference >= last).collect();
            prop_assert!(candidates.iter().all(|candidate| !kept.without(candidate.meets).is_empty()));
        }
        // Standard is the same where nothing has to be dropped, and nothing otherwise.
        let strict = standard(wanted, &candidates);
        prop_assert_eq!(&strict, &standard(wanted, &shuffled));
        prop_assert_eq!(strict, found.dropped.is_empty().then_some(found));
    }

    #[test]
    fn standard_takes_no_dynamic_worker_while_a_static_one_will_do(
        wanted in any_set(),
        candidates in any_candidates(),
    ) {
        let will_do = |candidate: &&Candidate| wanted.without(candidate.meets).is_empty();
        if let Some(found) = standard(wanted, &candidates) {
            let place = (found.pool, Reverse(found.score), found.worker_id);
            let better = |candidate: &Candidate| candidate.place() < place;
            prop_assert!(!candidates.iter().filter(will_do).any(better));
        } else {
            prop_assert!(!candidates.iter().any(|candidate| will_do(&candidate)));
        }
    }

    #[test]
    fn a_batch_places_as_many_as_fit_each_once_and_over_no_room(
        wanted in any_set(),
        (candidates, shuffled) in in_two_orders(any_candidates().prop_flat_map(|candidates| {
            let count = candidates.len();
            let rooms = vec(0..4_u32, count);
            (Just(candidates), rooms).prop_map(|(candidates, rooms)| candidates.into_iter().zip(rooms).collect())
        })),
        count in 0..20_u64,
    ) {
        let jobs: Vec<_> = (1..=count).map(JobId).collect();
        let found = batch(&jobs, wanted, &candidates);
        prop_assert_eq!(&batch(&jobs, wanted, &shuffled), &found);
        let placed = found.allocations.iter().map(|(job_id, _)| *job_id);
        let listed: Vec<_> = placed.chain(found.unplaced.iter().copied()).collect();
        prop_assert_eq!(&listed, &jobs);
        let room: u32 = candidates.iter().map(|(_, room)| room).sum();
        prop_assert_eq!(found.allocations.len(), jobs.len().min(room as usize));
        for (candidate, room) in &candidates {
            let got = found.allocations.iter().filter(|(_, to)| to.worker_id == candidate.worker_id).count();
            prop_assert!(got <= *room as usize);
        }
        prop_assert!(found.allocations.iter().all(|(_, to)| to.strategy == Recorded::Batch));
    }

    #[test]
    fn a_batch_over_one_pool_has_the_highest_sum_of_scores(
        drawn in vec((1..100_u16, 0..4_u32), 1..8),
        count in 1..16_u64,
    ) {
        let candidates: Vec<_> =
            (1..).zip(drawn).map(|(id, (score, room))| (candidate(id, Pool::Dynamic, score, &[]), room)).collect();
        let jobs: Vec<_> = (1..=count).map(JobId).collect();
        let found = batch(&jobs, PreferenceSet::NONE, &candidates);
        let sum: u64 = found.allocations.iter().map(|(_, to)| u64::from(to.score)).sum();

        let slots: Vec<_> = candidates.iter().map(|(candidate, room)| (candidate.worker_id, *room)).collect();
        let score = |candidate: &Candidate| (candidate.worker_id, u32::from(candidate.score));
        let scores: Vec<_> = candidates.iter().map(|(candidate, _)| score(candidate)).collect();
        let alike: Vec<_> = jobs.iter().map(|job_id| JobScores { job_id: *job_id, scores: scores.clone() }).collect();
        let exact = Matcher::new(Instance::new(&slots, &alike).unwrap()).solve();
        prop_assert_eq!(sum, exact.score);
    }

    #[test]
    fn an_emergency_puts_off_the_least_that_is_allowed(
        priority in 1..=10_u8,
        gpus in 0..8_u8,
        (hosts, other_hosts) in in_two_orders(any_hosts()),
        (running, other_running) in in_two_orders(any_running()),
    ) {
        let need = EmergencyNeed { priority, gpus };
        let found = emergency(&need, &hosts, &running, &RULES, NOW_S);
        prop_assert_eq!(&emergency(&need, &other_hosts, &other_running, &RULES, NOW_S), &found);
        let least = least_highest_priority(&need, &hosts, &running);
        prop_assert_eq!(found.is_some(), least.is_some());
        let Some(found) = found else { return Ok(()) };

        let host = hosts.iter().find(|host| host.candidate.worker_id == found.allocation.worker_id).unwrap();
        let victims: Vec<_> = found
            .preempt
            .iter()
            .map(|job_id| running.iter().find(|job| job.job_id == *job_id).unwrap())
            .collect();
        prop_assert!(victims.iter().all(|job| job.worker_id == host.candidate.worker_id && may_be_put_off(&need, job)));
        prop_assert!(fits(&need, host, &victims));
        prop_assert_eq!(Some(victims.iter().map(|job| job.priority).max().unwrap_or(0)), least);
        // None of them could stay.
        for spared in 0..victims.len() {
            let mut fewer = victims.clone();
            fewer.remove(spared);
            prop_assert!(!fits(&need, host, &fewer));
        }
    }
}
