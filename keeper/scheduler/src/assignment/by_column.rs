//! The scores once more, column by column: a search that comes from empty slots asks who wants this one.

use super::instance::{Instance, Row};

/// A copy of the scores, made when it is first needed; a column takes up what changed when it is next looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct ByColumn {
    /// For how many rows there is room in a column; 0 where there is no copy.
    room: usize,
    scores: Vec<i16>,
    /// Rows that changed since the copy was made, and how many of them each column has taken up.
    changed: Vec<u32>,
    known: Vec<usize>,
    /// Of those that changed, the ones from here on were taken up by no column yet.
    fresh: usize,
}

/// Columns that are copied together: as many as a cache line holds scores of a row.
const TOGETHER: usize = 32;

impl ByColumn {
    /// Whether the copy would not be much larger than the scores: it has a place for every pair.
    pub(super) fn is_worth_it(instance: &Instance) -> bool {
        let rows = instance.rows();
        rows.iter().filter(|row| matches!(row, Row::Dense(_))).count() * 2 > rows.len()
    }

    /// Makes the copy where there is none, or where more has changed than it is worth to take up.
    pub(super) fn prepare(&mut self, instance: &Instance) {
        let (rows, columns) = (instance.rows(), instance.slots().len());
        if self.room >= rows.len() && self.known.len() == columns && self.changed.len() <= rows.len() {
            return;
        }
        self.room = rows.len();
        self.changed.clear();
        self.fresh = 0;
        self.known.clear();
        self.known.resize(columns, 0);
        self.scores.clear();
        self.scores.resize(self.room * columns, 0);
        let firsts = (0..).step_by(TOGETHER);
        for (first, copies) in firsts.zip(self.scores.chunks_mut((self.room * TOGETHER).max(1))) {
            let mut copies: Vec<_> = copies.chunks_exact_mut(self.room).collect();
            for (place, row) in rows.iter().enumerate() {
                match row {
                    Row::Dense(scores) => {
                        for (copy, score) in copies.iter_mut().zip(&scores[first..]) {
                            copy[place] = *score;
                        }
                    }
                    Row::Sparse(edges) => {
                        let start = edges.partition_point(|edge| (edge.column as usize) < first);
                        for edge in &edges[start..] {
                            let Some(copy) = copies.get_mut(edge.column as usize - first) else { break };
                            copy[place] = edge.score;
                        }
                    }
                }
            }
        }
    }

    /// The row has other scores from now on.
    pub(super) fn change(&mut self, row: u32) {
        if self.room > 0 && !self.changed[self.fresh..].contains(&row) {
            self.changed.push(row);
        }
    }

    /// A column's score with every row, 0 where they do not fit.
    pub(super) fn column(&mut self, instance: &Instance, column: u32) -> &[i16] {
        let (index, rows) = (column as usize, instance.rows());
        let scores = &mut self.scores[index * self.room..][..rows.len()];
        for &row in &self.changed[self.known[index]..] {
            scores[row as usize] = rows[row as usize].score(column);
        }
        self.known[index] = self.changed.len();
        self.fresh = self.changed.len();
        scores
    }
}

#[cfg(test)]
mod tests {
    use keeper_types::{JobId, WorkerId};

    use super::{super::instance::JobScores, *};

    /// Job `id` on 70 workers, more than are copied together: on all of them, or on every tenth.
    fn job(id: u64, seed: u32, is_sparse: bool) -> JobScores {
        let workers = (0..70_u32).filter(|worker| !is_sparse || worker % 10 == 3);
        let score = |worker: u32| (worker * 37 + seed * 11) % 50;
        JobScores { job_id: JobId(id), scores: workers.map(|worker| (WorkerId(worker), score(worker))).collect() }
    }

    fn check(by_column: &mut ByColumn, instance: &Instance) {
        for column in 0..70 {
            let expected: Vec<_> = instance.rows().iter().map(|row| row.score(column)).collect();
            assert_eq!(by_column.column(instance, column), expected, "column {column}");
        }
    }

    #[test]
    fn columns_have_the_scores_of_rows_before_and_after_changes() {
        let workers: Vec<_> = (0..70).map(|id| (WorkerId(id), 1)).collect();
        let jobs: Vec<_> = (0..40).map(|id| job(id, 1, id % 5 == 4)).collect();
        let mut instance = Instance::new(&workers, &jobs).unwrap();
        let mut by_column = ByColumn::default();
        assert!(ByColumn::is_worth_it(&instance));
        by_column.prepare(&instance);
        check(&mut by_column, &instance);
        for round in 0..60_u32 {
            let id = u64::from(round % 40);
            let row = instance.remove(JobId(id)).unwrap();
            by_column.change(row);
            if round % 7 == 0 {
                check(&mut by_column, &instance);
            }
            let row = instance.insert(&job(id, round, round % 3 == 0)).unwrap();
            by_column.change(row);
            assert_eq!(
                by_column.column(&instance, round % 70)[row as usize],
                instance.rows()[row as usize].score(round % 70)
            );
            by_column.prepare(&instance);
        }
        // A row more than there was room for.
        by_column.change(instance.insert(&job(1_000, 5, false)).unwrap());
        by_column.prepare(&instance);
        check(&mut by_column, &instance);
    }
}
