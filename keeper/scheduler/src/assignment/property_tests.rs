use keeper_types::{JobId, WorkerId};
use proptest::{collection::vec, prelude::*};

use super::{
    hungarian::{Table, brute_force, hungarian},
    *,
};

/// Scores of all kinds: ties, everything, and products of few factors; some pairs do not fit.
fn scores(jobs: usize, workers: usize) -> impl Strategy<Value = Vec<Vec<u32>>> {
    let cell = prop_oneof![Just(0..=3_u32).boxed(), Just(0..=MAX_SCORE).boxed(), Just(4_990..=5_010).boxed(),];
    let free = (cell, 0..=100_u32).prop_flat_map(move |(range, fits)| {
        let pair = (range, 0..100_u32).prop_map(move |(score, lot)| if lot < fits { score } else { 0 });
        vec(vec(pair, workers), jobs)
    });
    let factors = |count| vec(vec(0..=100_u32, 2), count);
    let low_rank = (factors(jobs), factors(workers)).prop_map(|(jobs, workers)| {
        let product = |job: &[u32], worker: &[u32]| (job[0] * worker[0] + job[1] * worker[1]) / 2;
        jobs.iter().map(|job| workers.iter().map(|worker| product(job, worker)).collect()).collect()
    });
    prop_oneof![free, low_rank]
}

fn table(jobs: std::ops::Range<usize>, workers: std::ops::Range<usize>, slots: u32) -> impl Strategy<Value = Table> {
    (jobs, workers).prop_flat_map(move |(jobs, workers)| {
        (scores(jobs, workers), vec(0..=slots, workers)).prop_map(|(scores, slots)| Table { scores, slots })
    })
}

/// Ids with gaps, so that nothing can take an id for a place.
fn worker_id(column: usize) -> WorkerId {
    WorkerId(u32::try_from(column * 3 + 5).unwrap())
}

fn job_id(row: usize) -> JobId {
    JobId(row as u64 * 2 + 1)
}

fn job(row: usize, scores: &[u32]) -> JobScores {
    let fits = scores.iter().enumerate().filter(|(_, score)| **score > 0);
    JobScores { job_id: job_id(row), scores: fits.map(|(column, &score)| (worker_id(column), score)).collect() }
}

fn workers(table: &Table) -> Vec<(WorkerId, u32)> {
    table.slots.iter().enumerate().map(|(column, &slots)| (worker_id(column), slots)).collect()
}

fn jobs(table: &Table) -> Vec<JobScores> {
    table.scores.iter().enumerate().map(|(row, scores)| job(row, scores)).collect()
}

fn instance(table: &Table) -> Instance {
    Instance::new(&workers(table), &jobs(table)).unwrap()
}

fn solved(table: &Table) -> (Matcher, Solution) {
    let mut matcher = Matcher::new(instance(table));
    let solution = matcher.solve();
    solution.verify(matcher.instance()).unwrap();
    (matcher, solution)
}

/// Changes some rows and slots of the table and of the matcher alike.
fn change(table: &mut Table, matcher: &mut Matcher, rows: &[(usize, Vec<u32>)], slots: &[(usize, u32)]) {
    for (row, scores) in rows {
        let row = row % table.scores.len();
        table.scores[row].clone_from(scores);
        table.scores[row].resize(table.slots.len(), 0);
        matcher.replace(&[job_id(row)], &[job(row, &table.scores[row])]).unwrap();
    }
    for &(column, slots) in slots {
        let column = column % table.slots.len();
        table.slots[column] = slots;
        matcher.set_slots(worker_id(column), slots).unwrap();
    }
}

type Changes = (Vec<(usize, Vec<u32>)>, Vec<(usize, u32)>);

fn changes(width: usize) -> impl Strategy<Value = Changes> {
    (vec((0..1_000_usize, vec(0..=MAX_SCORE, width)), 0..4), vec((0..1_000_usize, 0..4_u32), 0..3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn small_batches_get_the_best_sum_there_is(table in table(0..6, 1..5, 3)) {
        let (_, solution) = solved(&table);
        prop_assert_eq!(solution.score, brute_force(&table));
    }

    #[test]
    fn the_oracle_is_right(table in table(0..6, 1..5, 3)) {
        prop_assert_eq!(hungarian(&table), brute_force(&table));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn medium_batches_get_the_best_sum_there_is(table in table(1..60, 1..60, 3)) {
        let (_, solution) = solved(&table);
        prop_assert_eq!(solution.score, hungarian(&table));
    }

    #[test]
    fn a_changed_batch_is_solved_as_well_as_from_nothing(
        (mut table, rounds) in (table(1..30, 1..30, 3), vec(changes(30), 1..6)),
    ) {
        let (mut matcher, _) = solved(&table);
        for (rows, slots) in rounds {
            change(&mut table, &mut matcher, &rows, &slots);
            let again = matcher.resolve();
            again.verify(matcher.instance()).unwrap();
            prop_assert_eq!(again.score, hungarian(&table));
            prop_assert_eq!(again.score, solved(&table).1.score);
        }
    }

    /// As above, by searches from both ends, which the matcher by itself keeps for larger batches.
    #[test]
    fn a_changed_batch_is_solved_as_well_from_both_ends(
        (mut table, rounds) in (table(1..60, 1..60, 3), vec(changes(60), 1..8)),
        patience in 0..6_usize,
    ) {
        let (mut matcher, _) = solved(&table);
        matcher.meet_after(patience);
        for (rows, slots) in rounds {
            change(&mut table, &mut matcher, &rows, &slots);
            let again = matcher.resolve();
            again.verify(matcher.instance()).unwrap();
            prop_assert_eq!(again.score, hungarian(&table));
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(table in table(1..20, 1..20, 3), by in 0..20_usize) {
        let (mut workers, mut jobs) = (workers(&table), jobs(&table));
        workers.reverse();
        let by = by % jobs.len();
        jobs.rotate_left(by);
        for job in &mut jobs {
            job.scores.reverse();
        }
        let solution = Matcher::new(Instance::new(&workers, &jobs).unwrap()).solve();
        prop_assert_eq!(solution, solved(&table).1);
    }

    #[test]
    fn what_was_solved_before_does_not_change_a_solution_from_nothing(
        (mut table, (rows, slots)) in (table(1..20, 1..20, 3), changes(20)),
    ) {
        let (mut matcher, _) = solved(&table);
        change(&mut table, &mut matcher, &rows, &slots);
        matcher.resolve();
        prop_assert_eq!(matcher.solve(), solved(&table).1);
    }

    #[test]
    fn a_solution_that_was_tampered_with_is_found_out(table in table(1..8, 1..8, 2), place in 0..8_usize) {
        let (matcher, solution) = solved(&table);
        let instance = matcher.instance();
        let mut other = solution.clone();
        other.score += 1;
        prop_assert!(other.verify(instance).is_err());
        let mut other = solution.clone();
        let place = place % other.certificate.values.len();
        other.certificate.values[place].1 += 1;
        prop_assert!(other.verify(instance).is_err());
        if solution.certificate.values[place].1 > 0 {
            let mut other = solution.clone();
            other.certificate.values[place].1 -= 1;
            prop_assert!(other.verify(instance).is_err());
            let mut other = solution;
            let (job_id, worker_id) = other.allocations[place];
            other.allocations[place].1 = None;
            other.score -= u64::from(instance.score(job_id, worker_id.unwrap()).unwrap());
            prop_assert!(other.verify(instance).is_err());
        }
    }
}

proptest! {
    // Each takes as long as ten of the others.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One slot for each job and scores of few factors: a crowd without slack, where both ends have far to go.
    #[test]
    fn a_changed_crowd_is_solved_as_well_from_both_ends(
        (jobs, workers, changed) in (60..120_usize).prop_flat_map(|size| {
            let factors = |count| vec(vec(0..=100_u32, 4), count);
            (factors(size), factors(size), vec(factors(5), 1..6))
        }),
        patience in 0..20_usize,
    ) {
        let score = |job: &[u32], worker: &[u32]| job.iter().zip(worker).map(|(job, worker)| job * worker).sum::<u32>() / 40;
        let row = |job: &Vec<u32>| workers.iter().map(|worker| score(job, worker)).collect::<Vec<_>>();
        let mut table = Table { slots: vec![1; workers.len()], scores: jobs.iter().map(row).collect() };
        let (mut matcher, _) = solved(&table);
        matcher.meet_after(patience);
        for (round, new) in changed.iter().enumerate() {
            let rows: Vec<_> = (round * 5..).zip(new.iter().map(row)).collect();
            change(&mut table, &mut matcher, &rows, &[]);
            let again = matcher.resolve();
            again.verify(matcher.instance()).unwrap();
        }
        prop_assert_eq!(matcher.resolve().score, hungarian(&table));
    }
}
