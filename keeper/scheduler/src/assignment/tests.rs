use keeper_types::{JobId, WorkerId};

use super::*;

fn job(job_id: u64, scores: &[(u32, u32)]) -> JobScores {
    let scores = scores.iter().map(|&(worker_id, score)| (WorkerId(worker_id), score)).collect();
    JobScores { job_id: JobId(job_id), scores }
}

fn instance(workers: &[(u32, u32)], jobs: &[JobScores]) -> Result<Instance, InstanceError> {
    let workers: Vec<_> = workers.iter().map(|&(worker_id, slots)| (WorkerId(worker_id), slots)).collect();
    Instance::new(&workers, jobs)
}

fn solve(workers: &[(u32, u32)], jobs: &[JobScores]) -> Solution {
    let mut matcher = Matcher::new(instance(workers, jobs).unwrap());
    let solution = matcher.solve();
    solution.verify(matcher.instance()).unwrap();
    solution
}

fn workers_of(solution: &Solution) -> Vec<Option<u32>> {
    solution.allocations.iter().map(|(_, worker_id)| worker_id.map(|worker_id| worker_id.0)).collect()
}

#[test]
fn the_second_job_gets_the_worker_that_the_first_can_do_without() {
    let solution = solve(&[(1, 1), (2, 1)], &[job(1, &[(1, 900), (2, 800)]), job(2, &[(1, 850)])]);
    assert_eq!(workers_of(&solution), [Some(2), Some(1)]);
    assert_eq!(solution.score, 1_650);
}

#[test]
fn a_worker_takes_as_many_jobs_as_it_has_slots() {
    let jobs: Vec<_> = (1..=5).map(|id| job(id, &[(7, u32::try_from(id).unwrap() * 100)])).collect();
    let solution = solve(&[(7, 3)], &jobs);
    assert_eq!(workers_of(&solution), [None, None, Some(7), Some(7), Some(7)]);
    // Two jobs are left out, the better of them at 200: that is what a slot is worth, and what the others gain less.
    let price = solution.certificate.prices[0].1;
    assert!((200..=300).contains(&price), "{price}");
}

#[test]
fn what_does_not_fit_or_scores_nothing_is_not_allocated() {
    let jobs = [job(1, &[(2, 0)]), job(2, &[]), job(3, &[(1, 5)])];
    let solution = solve(&[(1, 0), (2, 4)], &jobs);
    assert_eq!(workers_of(&solution), [None, None, None]);
    assert_eq!(solution.score, 0);
}

#[test]
fn nothing_to_assign_is_assigned() {
    assert_eq!(solve(&[], &[]).score, 0);
    assert_eq!(solve(&[(1, 1)], &[]).score, 0);
    assert_eq!(workers_of(&solve(&[], &[job(1, &[])])), [None]);
}

#[test]
fn equal_jobs_are_placed_in_the_order_of_their_ids() {
    let jobs: Vec<_> = [30, 10, 20].map(|id| job(id, &[(1, 400)])).to_vec();
    let solution = solve(&[(1, 2)], &jobs);
    let solved_twice = solve(&[(1, 2)], &jobs);
    assert_eq!(solution, solved_twice);
    assert_eq!(workers_of(&solution).iter().flatten().count(), 2);
}

#[test]
fn as_many_slots_as_can_be_written_are_no_trouble() {
    let solution = solve(&[(1, u32::MAX), (2, 1)], &[job(1, &[(1, 10_000)]), job(2, &[(1, 9_000), (2, 10_000)])]);
    assert_eq!(solution.score, 20_000);
}

#[test]
fn many_jobs_of_the_same_score_are_left_out_in_few_bids() {
    let scores: Vec<_> = (1..=50).map(|worker| (worker, 5_000)).collect();
    let jobs: Vec<_> = (1..=400).map(|id| job(id, &scores)).collect();
    let workers: Vec<_> = (1..=50).map(|worker| (worker, 2)).collect();
    assert_eq!(solve(&workers, &jobs).score, 100 * 5_000);
}

#[test]
fn malformed_batches_are_refused_by_the_field() {
    let message = |workers: &[(u32, u32)], jobs: &[JobScores]| instance(workers, jobs).unwrap_err().to_string();
    assert_eq!(message(&[(1, 1), (1, 2)], &[]), "workers: 1 is listed twice");
    assert_eq!(message(&[(1, 1)], &[job(4, &[]), job(4, &[])]), "jobs: 4 is listed twice");
    assert_eq!(message(&[(1, 1)], &[job(4, &[(1, 5), (1, 6)])]), "scores of 4: 1 is listed twice");
    assert_eq!(message(&[(1, 1)], &[job(4, &[(2, 5)])]), "scores of 4: 2 is not among the workers");
    assert_eq!(message(&[(1, 1)], &[job(4, &[(1, 10_001)])]), "scores of 4: 10001 on 1 is above 10000");
}

#[test]
fn changes_to_what_is_not_there_are_refused() {
    let mut matcher = Matcher::new(instance(&[(1, 1)], &[job(1, &[(1, 5)])]).unwrap());
    assert_eq!(matcher.replace(&[JobId(2)], &[]).unwrap_err().to_string(), "jobs: 2 is not in the batch");
    assert_eq!(matcher.replace(&[], &[job(1, &[])]).unwrap_err().to_string(), "jobs: 1 is listed twice");
    assert_eq!(matcher.set_slots(WorkerId(3), 1).unwrap_err().to_string(), "workers: 3 is not in the batch");
}

#[test]
fn a_batch_can_be_solved_again_without_ever_being_solved_from_nothing() {
    let mut matcher = Matcher::new(instance(&[(1, 1), (2, 1)], &[]).unwrap());
    matcher.replace(&[], &[job(1, &[(1, 900), (2, 800)]), job(2, &[(1, 850)])]).unwrap();
    let solution = matcher.resolve();
    solution.verify(matcher.instance()).unwrap();
    assert_eq!(solution.score, 1_650);
}

#[test]
fn a_worker_that_had_no_slots_gets_what_suits_it_once_it_has_some() {
    let jobs = [job(1, &[(1, 9_000), (2, 9_900)]), job(2, &[(1, 8_000)]), job(3, &[(1, 7_000), (2, 7_500)])];
    let mut matcher = Matcher::new(instance(&[(1, 1), (2, 0)], &jobs).unwrap());
    assert_eq!(matcher.solve().score, 9_000);
    matcher.set_slots(WorkerId(2), 1).unwrap();
    let solution = matcher.resolve();
    solution.verify(matcher.instance()).unwrap();
    assert_eq!(solution.score, 17_900);
}

#[test]
fn the_certificate_of_another_batch_is_refused() {
    let solution = solve(&[(1, 1)], &[job(1, &[(1, 5)])]);
    let refusal = |workers: &[(u32, u32)], jobs: &[JobScores]| {
        solution.verify(&instance(workers, jobs).unwrap()).unwrap_err().to_string()
    };
    assert_eq!(refusal(&[(1, 1)], &[job(2, &[(1, 5)])]), "allocations: job 0 is not the batch's");
    assert_eq!(refusal(&[(1, 1)], &[job(1, &[])]), "allocations: 1 does not fit 1");
    assert_eq!(refusal(&[(1, 0)], &[job(1, &[(1, 5)])]), "allocations: 1 got 1 jobs and has 0 slots");
    assert_eq!(refusal(&[(1, 1)], &[job(1, &[(1, 6)])]), "score: 5 is stated, 6 is the sum");
    assert_eq!(refusal(&[(1, 1), (2, 1)], &[job(1, &[(1, 5)])]), "certificate.prices: worker 1 is not the batch's");
}

#[test]
fn a_worker_is_listed_once_whether_few_or_many_fit() {
    let workers: Vec<_> = (1..=32).map(|worker| (worker, 1)).collect();
    let message = |jobs: &[JobScores]| instance(&workers, jobs).unwrap_err().to_string();
    assert_eq!(message(&[job(4, &[(9, 5), (9, 6)])]), "scores of 4: 9 is listed twice");
    let mut scores: Vec<_> = (1..=32).map(|worker| (worker, 0)).collect();
    scores.push((9, 0));
    assert_eq!(message(&[job(4, &scores)]), "scores of 4: 9 is listed twice");
}

/// Searches go far here, past what rows have at hand and past their pools, for round after round.
#[test]
fn a_large_batch_stays_optimal_however_often_it_is_changed() {
    let mut word = 1_u64;
    let mut factors = || -> [u32; 3] {
        std::array::from_fn(|_| {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from(word >> 33).unwrap() % 101
        })
    };
    let of_workers: Vec<_> = (0..150).map(|_| factors()).collect();
    let mut next = |id: u64| {
        let of_job = factors();
        let product =
            |of_worker: &[u32; 3]| of_job.iter().zip(of_worker).map(|(job, worker)| job * worker).sum::<u32>();
        let scores: Vec<_> = (1..).zip(of_workers.iter().map(|of_worker| product(of_worker) / 3)).collect();
        job(id, &scores)
    };
    let workers: Vec<_> = (1..=150).map(|worker| (worker, 1)).collect();
    let jobs: Vec<_> = (1..=150).map(&mut next).collect();
    let mut matcher = Matcher::new(instance(&workers, &jobs).unwrap());
    matcher.solve().verify(matcher.instance()).unwrap();
    for round in 0..60 {
        let gone: Vec<_> = (1..=5).map(|place| JobId(round * 5 + place)).collect();
        let new: Vec<_> = gone.iter().map(|job_id| next(job_id.0 + 150)).collect();
        matcher.replace(&gone, &new).unwrap();
        matcher.resolve().verify(matcher.instance()).unwrap();
    }
}
