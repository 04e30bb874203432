//! What the tests compare with: two methods that share nothing with the one under test.

/// Scores by job and worker, 0 where they do not fit; and the workers' slots.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) scores: Vec<Vec<u32>>,
    pub(super) slots: Vec<u32>,
}

/// The best sum, by trying everything.
pub(super) fn brute_force(table: &Table) -> u64 {
    fn from(scores: &[Vec<u32>], slots: &mut [u32]) -> u64 {
        let Some((row, rest)) = scores.split_first() else { return 0 };
        let mut best = from(rest, slots);
        for column in 0..slots.len() {
            if slots[column] > 0 && row[column] > 0 {
                slots[column] -= 1;
                best = best.max(u64::from(row[column]) + from(rest, slots));
                slots[column] += 1;
            }
        }
        best
    }
    from(&table.scores, &mut table.slots.clone())
}

/// The best sum, by Kuhn's and Munkres' method on a square table: a column for every slot, rows and columns of
/// zeros so that everybody may stay alone.
pub(super) fn hungarian(table: &Table) -> u64 {
    let jobs = table.scores.len();
    let mut columns = Vec::new();
    for (worker, &slots) in table.slots.iter().enumerate() {
        columns.extend(std::iter::repeat_n(worker, jobs.min(slots as usize)));
    }
    let size = jobs + columns.len();
    let cost = |row: usize, column: usize| match (table.scores.get(row), columns.get(column)) {
        (Some(scores), Some(&worker)) => -i64::from(scores[worker]),
        _ => 0,
    };
    // Potentials and the row of each column, all from 1; column 0 is where a new row starts.
    let (mut of_row, mut of_column) = (vec![0; size + 1], vec![0; size + 1]);
    let mut row_of = vec![0; size + 1];
    for row in 1..=size {
        row_of[0] = row;
        let (mut least, mut from) = (vec![i64::MAX; size + 1], vec![0; size + 1]);
        let mut is_used = vec![false; size + 1];
        let mut current = 0;
        while row_of[current] != 0 {
            is_used[current] = true;
            let (mut delta, mut next) = (i64::MAX, 0);
            for column in (1..=size).filter(|&column| !is_used[column]) {
                let slack = cost(row_of[current] - 1, column - 1) - of_row[row_of[current]] - of_column[column];
                if slack < least[column] {
                    (least[column], from[column]) = (slack, current);
                }
                if least[column] < delta {
                    (delta, next) = (least[column], column);
                }
            }
            for column in 0..=size {
                if is_used[column] {
                    of_row[row_of[column]] += delta;
                    of_column[column] -= delta;
                } else {
                    least[column] -= delta;
                }
            }
            current = next;
        }
        while current != 0 {
            row_of[current] = row_of[from[current]];
            current = from[current];
        }
    }
    let total: i64 = (1..=size).map(|column| -cost(row_of[column] - 1, column - 1)).sum();
    total.unsigned_abs()
}
