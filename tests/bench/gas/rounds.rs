//! Allocations, in batches of every size.

use e2e::round_header;
use keeper_chain::Receipt;
use keeper_types::{AllocationItem, Attempt, JobId, Strategy, WorkerId};

use super::{Cost, crew::Crew};

impl Crew {
    /// Allocates `size` new jobs in one transaction, to workers with neighbouring ids, each another as far as there are
    /// that many.
    pub(crate) async fn measure_batch(&self, size: u64) -> Cost {
        let jobs = self.submit(usize::try_from(size).expect("a small number")).await.0;
        let first = self.turn.replace(self.turn.get() + jobs.len()) % self.workers.len();
        let turns = self.workers.iter().cycle().skip(first).map(|(worker_id, _)| *worker_id);
        Cost::share(&self.allocate(jobs.into_iter().zip(turns)).await, size)
    }

    /// Applies a round that gives each job to its worker.
    pub(crate) async fn allocate(&self, pairs: impl IntoIterator<Item = (JobId, WorkerId)>) -> Receipt {
        let (contracts, keeper) = (&self.market.contracts, &self.market.keeper);
        let mut items: Vec<_> = pairs
            .into_iter()
            .map(|(job_id, worker_id)| AllocationItem {
                job_id,
                worker_id,
                attempt: Attempt(1),
                strategy: Strategy::Batch,
                score: 5_000,
                rate: super::crew::RATE,
            })
            .collect();
        // As a plan's batch is: neighbouring workers share storage on chain.
        items.sort_by_key(|item| (item.worker_id, item.job_id));
        let round = contracts.last_round(keeper.address()).await.expect("the last round") + 1;
        let sent = contracts.send_round(keeper, &round_header(round), &items).await;
        let receipt = keeper.receipt(sent.expect("sending a round")).await.expect("the round's receipt");
        let done = contracts.round_receipt(receipt);
        assert_eq!((done.allocated as usize, done.skipped), (items.len(), 0), "every item holds");
        done.receipt
    }
}
