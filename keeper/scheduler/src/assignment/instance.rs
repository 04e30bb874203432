//! What is to be assigned: jobs, workers with slots, and a score for every pair that fits.

use std::collections::BTreeMap;

use keeper_types::{JobId, WorkerId};

use super::MAX_SCORE;

/// No row, no column.
pub(super) const NONE: u32 = u32::MAX;

/// A job with its score on every worker that can run it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobScores {
    /// Whose scores these are.
    pub job_id: JobId,
    /// The workers that fit, each once, in any order. A score of 0 is worth as much as no allocation and is never
    /// used; a worker that is not named does not fit.
    pub scores: Vec<(WorkerId, u32)>,
}

/// A batch: every job and worker once, in the order of their ids.
#[derive(Clone, Debug)]
pub struct Instance {
    workers: Vec<WorkerId>,
    slots: Vec<u32>,
    /// Ascending ids, each with its row.
    jobs: BTreeMap<JobId, u32>,
    rows: Vec<Row>,
    /// Rows whose job has gone, for jobs to come.
    vacant: Vec<u32>,
}

/// The scores of one job by column, a worker's place among the ids.
#[derive(Clone, Debug)]
pub(super) enum Row {
    /// One score for every column, 0 where the worker does not fit.
    Dense(Vec<i16>),
    /// The columns that fit, ascending, with scores above 0.
    Sparse(Vec<Edge>),
}

/// A pair that fits, seen from its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) column: u32,
    pub(super) score: i16,
}

/// A sparse row's edge takes four times the room of a dense row's score, and its price is not read in order.
const DENSE_FROM_ONE_IN: usize = 8;

/// What is wrong with a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstanceError {
    /// A worker is listed twice.
    #[error("workers: {worker_id} is listed twice")]
    DuplicateWorker {
        /// Which.
        worker_id: WorkerId,
    },
    /// A job is listed twice, or is already in the batch.
    #[error("jobs: {job_id} is listed twice")]
    DuplicateJob {
        /// Which.
        job_id: JobId,
    },
    /// A job has two scores on one worker.
    #[error("scores of {job_id}: {worker_id} is listed twice")]
    DuplicateScore {
        /// Whose scores.
        job_id: JobId,
        /// Which worker.
        worker_id: WorkerId,
    },
    /// A score is on a worker that the batch does not have.
    #[error("scores of {job_id}: {worker_id} is not among the workers")]
    UnknownWorker {
        /// Whose scores.
        job_id: JobId,
        /// Which worker.
        worker_id: WorkerId,
    },
    /// A score is above the scale.
    #[error("scores of {job_id}: {score} on {worker_id} is above {MAX_SCORE}")]
    ScoreTooHigh {
        /// Whose scores.
        job_id: JobId,
        /// On which worker.
        worker_id: WorkerId,
        /// The score.
        score: u32,
    },
    /// A job is not in the batch.
    #[error("jobs: {job_id} is not in the batch")]
    UnknownJob {
        /// Which.
        job_id: JobId,
    },
    /// A worker is not in the batch.
    #[error("workers: {worker_id} is not in the batch")]
    NoSuchWorker {
        /// Which.
        worker_id: WorkerId,
    },
    /// There are more jobs or workers than can be numbered.
    #[error("{field}: {count} are more than a batch can hold")]
    TooMany {
        /// `jobs` or `workers`.
        field: &'static str,
        /// How many.
        count: usize,
    },
}

/// Rows and columns are numbered with 31 bits.
const MAX_COUNT: usize = 1 << 30;

impl Instance {
    /// Takes the workers with their free slots and the jobs with their scores, each in any order.
    ///
    /// # Errors
    /// Names the first field that is malformed, with the job and the worker.
    pub fn new(workers: &[(WorkerId, u32)], jobs: &[JobScores]) -> Result<Self, InstanceError> {
        if workers.len() > MAX_COUNT {
            return Err(InstanceError::TooMany { field: "workers", count: workers.len() });
        }
        let mut sorted = workers.to_vec();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(InstanceError::DuplicateWorker { worker_id: pair[0].0 });
        }
        let (workers, slots) = sorted.into_iter().unzip();
        let mut instance = Self { workers, slots, jobs: BTreeMap::new(), rows: Vec::new(), vacant: Vec::new() };
        let mut in_order: Vec<_> = jobs.iter().collect();
        in_order.sort_by_key(|job| job.job_id);
        for job in in_order {
            instance.insert(job)?;
        }
        Ok(instance)
    }

    /// How many jobs there are.
    pub fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// How many workers there are, with or without slots.
    pub fn worker_count(&self) -> usize {
        self.workers.len()
    }

    /// A job's score on a worker; nothing where the pair does not fit.
    pub fn score(&self, job_id: JobId, worker_id: WorkerId) -> Option<u32> {
        let column = self.column(worker_id)?;
        let score = self.rows[self.row(job_id)? as usize].score(column);
        (score > 0).then(|| u32::from(score.unsigned_abs()))
    }

    /// Adds a job and says which row it got.
    pub(super) fn insert(&mut self, job: &JobScores) -> Result<u32, InstanceError> {
        let job_id = job.job_id;
        if self.jobs.contains_key(&job_id) {
            return Err(InstanceError::DuplicateJob { job_id });
        }
        let row = self.read(job)?;
        let index = match self.vacant.pop() {
            Some(index) => {
                self.rows[index as usize] = row;
                index
            }
            None => {
                let index = u32::try_from(self.rows.len()).ok().filter(|&index| (index as usize) < MAX_COUNT);
                let index = index.ok_or(InstanceError::TooMany { field: "jobs", count: self.rows.len() + 1 })?;
                self.rows.push(row);
                index
            }
        };
        self.jobs.insert(job_id, index);
        Ok(index)
    }

    /// Takes a job out and says which row it had.
    pub(super) fn remove(&mut self, job_id: JobId) -> Result<u32, InstanceError> {
        let row = self.jobs.remove(&job_id).ok_or(InstanceError::UnknownJob { job_id })?;
        self.rows[row as usize] = Row::Sparse(Vec::new());
        self.vacant.push(row);
        Ok(row)
    }

    /// Changes how many slots a worker has free.
    pub(super) fn set_slots(&mut self, worker_id: WorkerId, slots: u32) -> Option<u32> {
        let column = self.column(worker_id)?;
        self.slots[column as usize] = slots;
        Some(column)
    }

    fn read(&self, job: &JobScores) -> Result<Row, InstanceError> {
        if job.scores.len() < self.workers.len() / DENSE_FROM_ONE_IN {
            self.read_sparse(job)
        } else {
            self.read_dense(job)
        }
    }

    fn read_dense(&self, job: &JobScores) -> Result<Row, InstanceError> {
        if let Some(scores) = self.read_all(job) {
            return Ok(Row::Dense(scores));
        }
        const UNREAD: i16 = -1;
        let mut scores = vec![UNREAD; self.workers.len()];
        for &(worker_id, score) in &job.scores {
            let edge = self.read_score(job.job_id, worker_id, score)?;
            let place = &mut scores[edge.column as usize];
            if *place != UNREAD {
                return Err(InstanceError::DuplicateScore { job_id: job.job_id, worker_id });
            }
            *place = edge.score;
        }
        for score in &mut scores {
            *score = (*score).max(0);
        }
        Ok(Row::Dense(scores))
    }

    /// The scores of a job that names all workers by ascending id, as most do; nothing where it does not.
    fn read_all(&self, job: &JobScores) -> Option<Vec<i16>> {
        let pairs = job.scores.iter().zip(&self.workers);
        let is_right = job.scores.len() == self.workers.len()
            && pairs.fold(true, |all, ((own, score), worker)| all & (own == worker) & (*score <= MAX_SCORE));
        is_right.then(|| job.scores.iter().map(|(_, score)| i16::try_from(*score).unwrap_or(0)).collect())
    }

    fn read_sparse(&self, job: &JobScores) -> Result<Row, InstanceError> {
        let job_id = job.job_id;
        let edges = job.scores.iter().map(|&(worker_id, score)| self.read_score(job_id, worker_id, score));
        let mut edges: Vec<Edge> = edges.collect::<Result<_, _>>()?;
        if !edges.is_sorted_by_key(|edge| edge.column) {
            edges.sort_unstable_by_key(|edge| edge.column);
        }
        if let Some(pair) = edges.windows(2).find(|pair| pair[0].column == pair[1].column) {
            let worker_id = self.workers[pair[0].column as usize];
            return Err(InstanceError::DuplicateScore { job_id, worker_id });
        }
        edges.retain(|edge| edge.score > 0);
        Ok(Row::Sparse(edges))
    }

    fn read_score(&self, job_id: JobId, worker_id: WorkerId, score: u32) -> Result<Edge, InstanceError> {
        let column = self.column(worker_id).ok_or(InstanceError::UnknownWorker { job_id, worker_id })?;
        if score > MAX_SCORE {
            return Err(InstanceError::ScoreTooHigh { job_id, worker_id, score });
        }
        Ok(Edge { column, score: i16::try_from(score).expect("MAX_SCORE fits") })
    }

    /// A worker's place among the ids. Ids are mostly given without gaps, so it is looked for there first.
    fn column(&self, worker_id: WorkerId) -> Option<u32> {
        let first = self.workers.first()?;
        let guess = worker_id.0.wrapping_sub(first.0);
        if self.workers.get(guess as usize) == Some(&worker_id) {
            return Some(guess);
        }
        let column = self.workers.binary_search(&worker_id).ok()?;
        u32::try_from(column).ok()
    }

    pub(super) fn row(&self, job_id: JobId) -> Option<u32> {
        self.jobs.get(&job_id).copied()
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn workers(&self) -> &[WorkerId] {
        &self.workers
    }

    pub(super) fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// The jobs by ascending id, with their rows.
    pub(super) fn jobs(&self) -> impl DoubleEndedIterator<Item = (JobId, u32)> + '_ {
        self.jobs.iter().map(|(&job_id, &row)| (job_id, row))
    }
}

impl Row {
    /// The score in a column, 0 where the pair does not fit.
    pub(super) fn score(&self, column: u32) -> i16 {
        match self {
            Self::Dense(scores) => scores[column as usize],
            Self::Sparse(edges) => {
                edges.binary_search_by_key(&column, |edge| edge.column).map_or(0, |place| edges[place].score)
            }
        }
    }

    pub(super) fn add_to(&self, sums: &mut [u64]) {
        match self {
            Self::Dense(scores) => {
                for (sum, score) in sums.iter_mut().zip(scores) {
                    *sum += u64::from(score.unsigned_abs());
                }
            }
            Self::Sparse(edges) => {
                for edge in edges {
                    sums[edge.column as usize] += u64::from(edge.score.unsigned_abs());
                }
            }
        }
    }
}
