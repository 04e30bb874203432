//! Whether any worker would run a job for what it pays.

use std::ops::ControlFlow;

use keeper_chain::{Contracts, RpcError};
use keeper_scheduler::{
    Policy, Rejection, WorkerView,
    matching::{Need, WorkerIndex},
};
use keeper_types::{JobSpec, Rate, Worker, WorkerId, WorkerStatus};

/// The workers that a job could run on, if it paid enough.
#[derive(Debug)]
struct Offers<'a> {
    spec: &'a JobSpec,
    /// What it needs, whatever that costs.
    need: Need,
    fitting: u32,
    cheapest: Option<(Rate, WorkerId)>,
}

impl<'a> Offers<'a> {
    fn none(spec: &'a JobSpec) -> Self {
        Self { spec, need: Need::new(&spec.requirements, Rate::MAX), fitting: 0, cheapest: None }
    }

    /// Takes note of a worker that fits, connected and free or not.
    fn note(&mut self, worker: &Worker) {
        let view = WorkerView::new(worker, None);
        let index = WorkerIndex::new(std::slice::from_ref(&view), &Policy::BALANCED);
        let rejections = index.rejections(&self.need, &[]);
        if worker.status != WorkerStatus::Active || !rejections.into_keys().all(Rejection::is_passing) {
            return;
        }
        self.fitting += 1;
        let offer = (worker.rate, worker.worker_id);
        self.cheapest = Some(self.cheapest.map_or(offer, |cheapest| cheapest.min(offer)));
    }

    /// Whether a worker was found that asks no more than the job pays.
    fn is_met(&self) -> bool {
        self.cheapest.is_some_and(|(rate, _)| rate <= self.spec.max_rate())
    }

    /// What to say to whoever submits it, where every worker that fits is too dear.
    fn warning(&self) -> Option<String> {
        let (rate, worker_id) = self.cheapest.filter(|_| !self.is_met())?;
        let JobSpec { max_price, execution_timeout_s, .. } = self.spec;
        let cost = rate.cost(self.spec.requirements.billed_units(), *execution_timeout_s);
        Some(format!(
            "--max-price {max_price} pays {} at most, but the least that any of {} workers that fit asks is {rate} \
             (worker {worker_id}): nobody runs the job for less than {cost} for {execution_timeout_s} s",
            self.spec.max_rate(),
            self.fitting,
        ))
    }
}

/// What to say of jobs that no worker that fits would run for what they pay: each thing once. A job that no worker fits at
/// all is not spoken of; `keeper job check` says why.
///
/// # Errors
/// Fails where the node does not answer.
pub(super) async fn warnings(contracts: &Contracts, specs: &[JobSpec]) -> Result<Vec<String>, RpcError> {
    let mut offers: Vec<_> = specs.iter().map(Offers::none).collect();
    let visit = |page: &mut Vec<Worker>| {
        for offer in offers.iter_mut().filter(|offer| !offer.is_met()) {
            page.iter().for_each(|worker| offer.note(worker));
        }
        // As a rule the first page has somebody for each.
        if offers.iter().all(Offers::is_met) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    contracts.visit_workers(visit).await?;
    let mut warnings: Vec<_> = offers.iter().filter_map(Offers::warning).collect();
    warnings.dedup();
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use keeper_types::{Address, Capabilities, Felt, Fri, Queue, Requirements, Verification};

    use super::*;

    fn spec(max_price: u64, gpus: u8) -> JobSpec {
        JobSpec {
            manifest_hash: Felt::ONE,
            model_id: Felt::ZERO,
            requirements: Requirements { gpu_count: gpus, ..Requirements::default() },
            priority: 5,
            queue: Queue::Default,
            max_price: Fri::of_strk(max_price),
            deadline: 1,
            execution_timeout_s: 3_600,
            max_attempts: 1,
            max_latency_ms: 0,
            verification: Verification::None,
            replicas: 1,
            quorum: 1,
        }
    }

    fn worker(number: u32, strk: &str, gpus: u8, status: WorkerStatus) -> Worker {
        Worker {
            worker_id: WorkerId(number),
            owner: Address(Felt::from(number)),
            status,
            capabilities: Capabilities { gpu_count: gpus, ..Capabilities::default() },
            slots: 1,
            used_slots: 1,
            used_gpus: 0,
            rate: Rate::from_strk_per_gpu_hour(strk).unwrap(),
            stake: Fri::ZERO,
            reputation: 500,
            reputation_at: 0,
            is_static: false,
            holds: 0,
        }
    }

    fn warning(spec: &JobSpec, workers: &[Worker]) -> Option<String> {
        let mut offers = Offers::none(spec);
        workers.iter().for_each(|worker| offers.note(worker));
        offers.warning()
    }

    #[test]
    fn who_pays_less_than_the_least_of_those_that_fit_is_told_what_that_is() {
        use WorkerStatus::{Active, Draining};
        let workers = [
            worker(1, "9", 2, Active),
            worker(2, "4", 2, Active),
            // Cheaper, but without the GPUs, or taking no more jobs.
            worker(3, "1", 0, Active),
            worker(4, "1", 2, Draining),
        ];
        let told = warning(&spec(5, 2), &workers).unwrap();
        assert!(told.contains("any of 2 workers that fit asks is 4") && told.contains("(worker 2)"), "{told}");
        assert!(told.contains("less than 8") && told.starts_with("--max-price 5 STRK pays"), "{told}");
        assert_eq!(warning(&spec(9, 2), &workers), None, "that is enough");
        assert_eq!(warning(&spec(5, 0), &workers), None, "busy workers are free some day");
        assert_eq!(warning(&spec(1, 4), &workers), None, "price is not what is in the way");
    }
}
