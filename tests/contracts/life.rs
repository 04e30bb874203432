//! One job from its submission to its payment.

use e2e::{Market, capabilities, job_spec};
use keeper_types::{Fri, JobState};

#[tokio::test]
async fn a_job_is_submitted_allocated_run_and_settled() {
    let market = Market::start().await;
    let (worker_id, worker) = market.register(4, &capabilities(), 2).await;
    let job_id = market.submit(&job_spec(market.now().await)).await;
    assert_eq!(market.contracts.held().await.unwrap(), Fri(1_000_000_000_000_000_000));
    assert_eq!(market.allocate(&[(job_id, worker_id)]).await, (1, 0));
    assert_eq!(market.contracts.worker(worker_id).await.unwrap().unwrap().used_slots, 1);
    market.submit_result(&worker, job_id).await;
    market.contracts.accept_result(&market.client, job_id).await.unwrap();
    let job = market.contracts.job(job_id).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Settled);
    let paid = job.price();
    assert_eq!(market.contracts.credit_of(worker.address()).await.unwrap(), paid);
    let refunded = Fri(job.spec.max_price.0 - paid.0);
    assert_eq!(market.contracts.credit_of(market.client.address()).await.unwrap(), refunded);
}
