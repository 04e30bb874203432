//! Heartbeats, and reputation that time takes away.

use keeper_types::Felt;

use crate::{
    parties::outcome,
    stage::{Sent, Stage, felts, refused, said, told},
    world::{ADMIN, CLIENT, KEEPER, OTHER, UNBONDING_S, W1, W2},
};

const EPOCH_S: u64 = 600;
const MONTH_S: u64 = 30 * 86_400;

/// A group of the first hundred workers, as a keeper reports it.
fn group(workers: &[u32]) -> Felt {
    let bit = |worker: &u32| Felt::TWO.pow((worker - 1) % 100);
    let number = Felt::from((workers[0] - 1) / 100) * Felt::TWO.pow(100_u32);
    workers.iter().map(bit).fold(number, |sum, bit| sum + bit)
}

async fn report(stage: &Stage, account: usize, groups: &[Felt]) -> Sent {
    let arguments = [felts![groups.len()], groups.to_vec()].concat();
    stage.act(account, "CdcPool", "heartbeat_batch", &arguments).await
}

async fn alive(stage: &Stage, workers: [u32; 3]) -> [bool; 3] {
    let mut alive = [false; 3];
    for (worker, is_alive) in workers.iter().zip(&mut alive) {
        *is_alive = stage.ask("CdcPool", "is_alive", &felts![*worker]).await.is_true();
    }
    alive
}

/// Begins the epoch that many after the present one.
async fn begin_epoch(stage: &Stage, later: u64) -> u64 {
    let epoch = stage.now().await.at / EPOCH_S + later;
    stage.set_time(epoch * EPOCH_S + 1).await;
    epoch
}

#[tokio::test]
async fn a_heartbeat_counts_for_its_epoch_and_the_next() {
    let stage = Stage::start().await;
    let workers = [stage.register(W1).await, stage.register(W2).await, stage.register(OTHER).await];
    assert_eq!(alive(&stage, workers).await, [false; 3]);
    let epoch = begin_epoch(&stage, 1).await;
    let owner = stage.address(W1);
    let events = told(stage.act(W1, "CdcPool", "heartbeat", &[]).await);
    let recorded = said("CdcPool", "HeartbeatsRecorded", &[owner], &felts![epoch, 1, group(&workers[..1])]);
    assert_eq!(events, [recorded]);
    assert_eq!(alive(&stage, workers).await, [true, false, false]);
    // Others of the same group are added, within the epoch and after it.
    stage.act(W2, "CdcPool", "heartbeat", &[]).await.unwrap();
    assert_eq!(alive(&stage, workers).await, [true, true, false]);
    begin_epoch(&stage, 1).await;
    assert_eq!(alive(&stage, workers).await, [true, true, false]);
    stage.act(OTHER, "CdcPool", "heartbeat", &[]).await.unwrap();
    assert_eq!(alive(&stage, workers).await, [true; 3]);
    begin_epoch(&stage, 1).await;
    assert_eq!(alive(&stage, workers).await, [false, false, true]);
    // An epoch without a beat, and one is enough to forget.
    stage.act(W1, "CdcPool", "heartbeat", &[]).await.unwrap();
    begin_epoch(&stage, 2).await;
    assert_eq!(alive(&stage, workers).await, [false; 3]);
    stage.act(W2, "CdcPool", "heartbeat", &[]).await.unwrap();
    assert_eq!(alive(&stage, workers).await, [false, true, false]);
    assert!(!stage.ask("CdcPool", "is_alive", &felts![0]).await.is_true());
    assert!(!stage.ask("CdcPool", "is_alive", &felts![u32::MAX]).await.is_true());
    stage.conserved().await;
}

#[tokio::test]
async fn keepers_report_for_many() {
    let stage = Stage::start().await;
    let workers = [stage.register(W1).await, stage.register(W2).await, stage.register(OTHER).await];
    let epoch = begin_epoch(&stage, 1).await;
    for stranger in [ADMIN, CLIENT, OTHER, W1] {
        refused(report(&stage, stranger, &[]).await, "CdcPool: caller not a keeper");
    }
    refused(report(&stage, KEEPER, &[]).await, "CdcPool: empty batch");
    refused(report(&stage, KEEPER, &vec![Felt::from(1 << 2); 251]).await, "CdcPool: batch too large");
    refused(report(&stage, KEEPER, &[group(&[101])]).await, "CdcPool: unknown group");
    refused(report(&stage, KEEPER, &[group(&[1]), Felt::ZERO - Felt::ONE]).await, "CdcPool: unknown group");
    let (keeper, some) = (stage.address(KEEPER), group(&[workers[0], workers[2]]));
    let recorded = said("CdcPool", "HeartbeatsRecorded", &[keeper], &felts![epoch, 1, some]);
    assert_eq!(told(report(&stage, KEEPER, &[some]).await), [recorded]);
    assert_eq!(alive(&stage, workers).await, [true, false, true]);
    // The same group as often as one likes: beats are only ever added.
    told(report(&stage, KEEPER, &vec![group(&[workers[1]]); 250]).await);
    assert_eq!(alive(&stage, workers).await, [true; 3]);
    stage.conserved().await;
}

#[tokio::test]
async fn workers_beat_until_they_leave() {
    let stage = Stage::start().await;
    for stranger in [ADMIN, KEEPER, CLIENT, OTHER] {
        refused(stage.act(stranger, "CdcPool", "heartbeat", &[]).await, "CdcPool: caller not a worker");
    }
    stage.register(W1).await;
    stage.act(W1, "CdcPool", "drain_worker", &[]).await.unwrap();
    stage.act(W1, "CdcPool", "heartbeat", &[]).await.unwrap();
    stage.act(W1, "CdcPool", "exit_worker", &[]).await.unwrap();
    refused(stage.act(W1, "CdcPool", "heartbeat", &[]).await, "CdcPool: worker is leaving");
    let exit = stage.now().await.after(UNBONDING_S);
    stage.pass(exit).await;
    stage.act(W1, "CdcPool", "withdraw_stake", &[]).await.unwrap();
    refused(stage.act(W1, "CdcPool", "heartbeat", &[]).await, "CdcPool: worker is leaving");
    stage.conserved().await;
}

/// What is left after so many periods.
fn decayed(mut reputation: u16, periods: u64) -> u16 {
    for _ in 0..periods.min(36) {
        reputation -= reputation.saturating_sub(500).div_ceil(10);
    }
    reputation
}

/// A worker with a reputation above where everyone begins.
async fn renowned(stage: &Stage, jobs: usize) -> (u32, u16) {
    let worker = stage.register(W1).await;
    let mut expected = 500_u16;
    for _ in 0..jobs {
        let job = stage.answered(&stage.spec().await, W1, worker, outcome("right")).await;
        stage.on_job(CLIENT, "accept_result", job).await.unwrap();
        expected += (1_000 - expected).div_ceil(50);
    }
    assert_eq!(stage.reputation(worker).await, u128::from(expected));
    (worker, expected)
}

async fn decay(stage: &Stage, worker: u32) -> Sent {
    stage.act(OTHER, "CdcPool", "decay_reputation", &felts![worker]).await
}

#[tokio::test]
async fn reputation_above_the_middle_fades_by_whole_months() {
    let stage = Stage::start().await;
    refused(decay(&stage, 0).await, "CdcPool: unknown worker");
    refused(decay(&stage, 1).await, "CdcPool: unknown worker");
    let (worker, reputation) = renowned(&stage, 8).await;
    let since = u64::try_from(stage.worker(worker).await["reputation_at"].number()).unwrap();
    stage.set_time(since + MONTH_S - 1).await;
    refused(decay(&stage, worker).await, "CdcPool: nothing to decay");
    stage.set_time(since + 2 * MONTH_S + 5).await;
    let expected = decayed(reputation, 2);
    let changed = said("CdcPool", "ReputationChanged", &felts![worker], &felts![reputation, expected]);
    assert_eq!(told(decay(&stage, worker).await), [changed]);
    // By whole periods: what is left of the third still counts.
    assert_eq!(stage.worker(worker).await["reputation_at"].number(), (since + 2 * MONTH_S).into());
    refused(decay(&stage, worker).await, "CdcPool: nothing to decay");
    stage.set_time(since + 3 * MONTH_S).await;
    told(decay(&stage, worker).await);
    assert_eq!(stage.reputation(worker).await, decayed(reputation, 3).into());
    stage.conserved().await;
}

#[tokio::test]
async fn an_outcome_counts_after_what_time_took() {
    let stage = Stage::start().await;
    let (worker, reputation) = renowned(&stage, 8).await;
    let since = u64::try_from(stage.worker(worker).await["reputation_at"].number()).unwrap();
    stage.set_time(since + 5 * MONTH_S + 7).await;
    let job = stage.running(&stage.spec().await, worker).await;
    let now = stage.now().await.at;
    let before = decayed(reputation, 5);
    let events = told(stage.fail_attempt(W1, job, 1).await);
    let after = before - before.div_ceil(20);
    assert_eq!(stage.reputation(worker).await, after.into());
    let told: Vec<_> = events.iter().filter(|said| said.name == "ReputationChanged").collect();
    assert_eq!(told.first().unwrap().data[0], Felt::from(reputation));
    assert_eq!(told.last().unwrap().data[1], Felt::from(after));
    assert_eq!(stage.worker(worker).await["reputation_at"].number(), now.into());
    stage.conserved().await;
}

#[tokio::test]
async fn reputation_at_or_below_the_middle_does_not_fade() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let since = u64::try_from(stage.worker(worker).await["reputation_at"].number()).unwrap();
    stage.set_time(since + 100 * MONTH_S).await;
    // Time passes all the same, 36 periods at a time: there is nothing to report, and nothing left to decay.
    for _ in 0..3 {
        assert_eq!(told(decay(&stage, worker).await), []);
    }
    refused(decay(&stage, worker).await, "CdcPool: nothing to decay");
    let job = stage.running(&stage.spec().await, worker).await;
    stage.fail_attempt(W1, job, 1).await.unwrap();
    let now = stage.now().await.at;
    stage.set_time(now + 2 * MONTH_S).await;
    assert_eq!(told(decay(&stage, worker).await), []);
    assert_eq!(stage.reputation(worker).await, 475);
    stage.conserved().await;
}
