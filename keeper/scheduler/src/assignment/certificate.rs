//! A solution, and the proof that there is no better one.

use keeper_types::{JobId, WorkerId};

use super::{
    instance::{Instance, NONE, Row},
    state::State,
};

/// Which job goes to which worker, at what score in sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution {
    /// Every job of the batch, by ascending id, with its worker if it got one.
    pub allocations: Vec<(JobId, Option<WorkerId>)>,
    /// The sum of the scores of what is allocated.
    pub score: u64,
    /// Why no assignment has a higher sum.
    pub certificate: Certificate,
}

/// Prices that prove a sum optimal: the dual solution.
///
/// Take any assignment. Each allocated pair's score is at most the job's value plus the worker's price, and no
/// worker's price is counted more often than it has slots, so no sum is above the sum of all values plus the sum of
/// all prices times slots. An assignment that reaches that bound is therefore optimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// What a slot of each worker is worth, by ascending worker id.
    pub prices: Vec<(WorkerId, u32)>,
    /// What each job gains above its worker's price, by ascending job id.
    pub values: Vec<(JobId, u32)>,
}

/// What a solution or its certificate gets wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The allocations are not of exactly the batch's jobs, in order.
    #[error("allocations: job {place} is not the batch's")]
    Jobs {
        /// From 0.
        place: usize,
    },
    /// The values are not of exactly the batch's jobs, in order.
    #[error("certificate.values: job {place} is not the batch's")]
    Values {
        /// From 0.
        place: usize,
    },
    /// The prices are not of exactly the batch's workers, in order.
    #[error("certificate.prices: worker {place} is not the batch's")]
    Prices {
        /// From 0.
        place: usize,
    },
    /// A job is allocated to a worker that does not fit.
    #[error("allocations: {job_id} does not fit {worker_id}")]
    Infeasible {
        /// Which job.
        job_id: JobId,
        /// To which worker.
        worker_id: WorkerId,
    },
    /// A worker got more jobs than it has slots.
    #[error("allocations: {worker_id} got {jobs} jobs and has {slots} slots")]
    OverSlots {
        /// Which.
        worker_id: WorkerId,
        /// What it got.
        jobs: u32,
        /// What it has.
        slots: u32,
    },
    /// A pair's score is above the job's value plus the worker's price.
    #[error("certificate: {job_id} on {worker_id} scores {score}, above value and price ({bound})")]
    Loose {
        /// Which job.
        job_id: JobId,
        /// On which worker.
        worker_id: WorkerId,
        /// What the pair scores.
        score: u32,
        /// What value and price add up to.
        bound: u64,
    },
    /// The sum stated is not the sum of the scores.
    #[error("score: {stated} is stated, {sum} is the sum")]
    Score {
        /// What is stated.
        stated: u64,
        /// What the allocated pairs add up to.
        sum: u64,
    },
    /// The sum is below the bound, so there may be a better assignment.
    #[error("certificate: the score is {score}, the bound {bound}")]
    Gap {
        /// What the allocated pairs add up to.
        score: u64,
        /// What the certificate proves.
        bound: u64,
    },
}

impl Solution {
    pub(super) fn of(instance: &Instance, state: &State) -> Self {
        let workers = instance.workers();
        let mut score = 0;
        let mut allocations = Vec::with_capacity(instance.job_count());
        let mut values = Vec::with_capacity(instance.job_count());
        for (job_id, row) in instance.jobs() {
            let column = state.column[row as usize];
            let worker_id = (column != NONE).then(|| workers[column as usize]);
            if worker_id.is_some() {
                // What is held is held without slack, so the score need not be fetched.
                let held = state.value[row as usize] + state.price[column as usize];
                debug_assert_eq!(held, instance.rows()[row as usize].score(column), "row {row}, column {column}");
                score += u64::from(held.unsigned_abs());
            }
            allocations.push((job_id, worker_id));
            values.push((job_id, u32::from(state.value[row as usize].unsigned_abs())));
        }
        let prices = workers.iter().zip(&state.price).map(|(&id, price)| (id, u32::from(price.unsigned_abs())));
        Self { allocations, score, certificate: Certificate { prices: prices.collect(), values } }
    }

    /// Checks in one pass over the scores that this is an assignment of the batch and that none scores higher.
    ///
    /// # Errors
    /// Names the first thing that does not hold, by job and worker.
    pub fn verify(&self, instance: &Instance) -> Result<(), CertificateError> {
        let sum = self.verify_allocations(instance)?;
        if sum != self.score {
            return Err(CertificateError::Score { stated: self.score, sum });
        }
        let bound = self.certificate.bound(instance)?;
        if sum != bound {
            return Err(CertificateError::Gap { score: sum, bound });
        }
        Ok(())
    }

    fn verify_allocations(&self, instance: &Instance) -> Result<u64, CertificateError> {
        let jobs = instance.jobs().map(|(job_id, _)| job_id);
        if let Some(place) = first_difference(jobs, self.allocations.iter().map(|(job_id, _)| *job_id)) {
            return Err(CertificateError::Jobs { place });
        }
        let mut jobs_of = vec![0_u32; instance.worker_count()];
        let mut sum = 0;
        for &(job_id, worker_id) in &self.allocations {
            let Some(worker_id) = worker_id else { continue };
            let infeasible = CertificateError::Infeasible { job_id, worker_id };
            sum += u64::from(instance.score(job_id, worker_id).ok_or(infeasible.clone())?);
            jobs_of[instance.workers().binary_search(&worker_id).map_err(|_| infeasible)?] += 1;
        }
        for ((&worker_id, &slots), jobs) in instance.workers().iter().zip(instance.slots()).zip(jobs_of) {
            if jobs > slots {
                return Err(CertificateError::OverSlots { worker_id, jobs, slots });
            }
        }
        Ok(sum)
    }
}

impl Certificate {
    /// The sum that no assignment of the batch can be above.
    ///
    /// # Errors
    /// The prices and values are not those of the batch, or some pair scores more than its job's value plus its
    /// worker's price.
    pub fn bound(&self, instance: &Instance) -> Result<u64, CertificateError> {
        let jobs = instance.jobs().map(|(job_id, _)| job_id);
        if let Some(place) = first_difference(jobs, self.values.iter().map(|(job_id, _)| *job_id)) {
            return Err(CertificateError::Values { place });
        }
        let workers = instance.workers().iter().copied();
        if let Some(place) = first_difference(workers, self.prices.iter().map(|(worker_id, _)| *worker_id)) {
            return Err(CertificateError::Prices { place });
        }
        for ((job_id, row), &(_, value)) in instance.jobs().zip(&self.values) {
            self.verify_row(job_id, &instance.rows()[row as usize], value)?;
        }
        let values = self.values.iter().map(|&(_, value)| u64::from(value));
        let prices = self.prices.iter().zip(instance.slots());
        let prices = prices.map(|(&(_, price), &slots)| u64::from(price) * u64::from(slots));
        Ok(values.chain(prices).fold(0, u64::saturating_add))
    }

    fn verify_row(&self, job_id: JobId, row: &Row, value: u32) -> Result<(), CertificateError> {
        let check = |score: i16, (worker_id, price): (WorkerId, u32)| {
            let (score, bound) = (u32::from(score.unsigned_abs()), u64::from(value) + u64::from(price));
            if u64::from(score) > bound {
                return Err(CertificateError::Loose { job_id, worker_id, score, bound });
            }
            Ok(())
        };
        match row {
            Row::Dense(scores) => scores.iter().zip(&self.prices).try_for_each(|(&score, &price)| check(score, price)),
            Row::Sparse(edges) => {
                edges.iter().try_for_each(|edge| check(edge.score, self.prices[edge.column as usize]))
            }
        }
    }
}

/// Where two lists differ first.
fn first_difference<T: PartialEq>(left: impl Iterator<Item = T>, right: impl Iterator<Item = T>) -> Option<usize> {
    let (mut left, mut right) = (left, right);
    for place in 0.. {
        match (left.next(), right.next()) {
            (None, None) => return None,
            (left, right) if left == right => {}
            _ => return Some(place),
        }
    }
    None
}
