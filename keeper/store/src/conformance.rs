//! The suite that every [`Store`] must pass. Call [`exercise`] from a test of the implementation.
//!
//! What a store must do beyond it cannot be told apart here: that a second open finds everything again, and
//! that a commit survives a crash.

mod forks;
mod history;
mod intents;
mod leases;
mod queue;
mod server;

use std::collections::BTreeMap;

pub use intents::signed;

use futures::TryStreamExt as _;
use keeper_scheduler::{Explanation, Outcome};
use keeper_types::{
    Address, Attempt, BlockEvents, BlockHeader, BlockNumber, Capabilities, ChainId, EventPosition, Felt, Fri, JobId,
    JobSpec, JobState, MarketEvent, Queue, Rate, Requirements, TxHash, Verification, WorkerId,
};

use crate::{ExplanationRecord, Identity, JobTimings, Observation, Stage, Store, StoreError, rebuild_market};

pub use self::{
    forks::{a_stream_shows_one_moment, forks_leave_what_a_fresh_index_has},
    leases::{a_zombie_is_fenced, exercise_leases, holders_never_overlap},
    queue::{exercise_queue, items},
    server::Server,
};

/// Runs the suite. `open` gives a new, empty store for [`identity`] each time.
///
/// # Panics
/// Panics where the store does not do what [`Store`] says.
pub async fn exercise<S: Store>(open: impl AsyncFn() -> S) {
    assert_eq!(open().await.identity(), &identity());
    a_new_store_is_empty(&open().await).await;
    blocks_and_events_come_back(&open().await).await;
    what_does_not_follow_is_refused_whole(&open().await).await;
    what_was_read_after_another_block_is_refused(&open().await).await;
    reverting_forgets_what_was_above(&open().await).await;
    the_block_at_or_below_a_height_is_found(&open().await).await;
    what_was_accepted_on_l1_stays_so(&open().await).await;
    many_rows_are_appended_at_once(&open().await).await;
    the_market_is_rebuilt(&open().await).await;
    intents::exercise(&open).await;
    the_latest_explanation_stands(&open().await).await;
    the_first_observation_stands(&open().await).await;
    numbers_beyond_the_database_are_refused(&open().await).await;
    a_stream_shows_one_moment(&open().await).await;
    history::what_is_over_is_forgotten_after_a_while(&open().await).await;
}

/// The deployment that the suite's stores follow.
pub fn identity() -> Identity {
    Identity {
        chain_id: ChainId::SEPOLIA,
        job_mgr: Address(Felt::from(0xa)),
        cdc_pool: Address(Felt::from(0xb)),
        task_allocator: Address(Felt::from(0xc)),
        deployment_block: BlockNumber(10),
    }
}

/// A block of a fork: its hash tells number and fork, and it builds on the block below on fork `below`.
pub fn block(number: u64, fork: u64, below: u64, events: Vec<MarketEvent>) -> BlockEvents {
    let hash = |number: u64, fork: u64| Felt::from(u128::from(fork) << 64 | u128::from(number));
    let header = BlockHeader {
        number: BlockNumber(number),
        hash: hash(number, fork),
        parent_hash: hash(number.saturating_sub(1), below),
        timestamp: number.saturating_add(1_000),
    };
    let position = |index| EventPosition {
        block: header.number,
        timestamp: header.timestamp,
        index,
        tx_hash: TxHash(hash(number, fork) + Felt::ONE),
    };
    BlockEvents { header, events: (0..).map(|index| position(2 * index)).zip(events).collect() }
}

/// A submitted job.
pub fn submitted(job_id: u64) -> MarketEvent {
    let spec = JobSpec {
        manifest_hash: Felt::MAX,
        model_id: Felt::ZERO,
        requirements: Requirements { gpu_count: 1, ..Requirements::default() },
        priority: 5,
        queue: Queue::High,
        max_price: Fri(u128::MAX),
        deadline: 10_000,
        execution_timeout_s: 60,
        max_attempts: 2,
        max_latency_ms: 0,
        verification: Verification::None,
        replicas: 1,
        quorum: 1,
    };
    let client = Address(Felt::TWO);
    MarketEvent::JobSubmitted {
        job_id: JobId(job_id),
        client,
        spec: Box::new(spec),
        deadline_block: BlockNumber(900),
        group_id: None,
    }
}

fn registered(worker_id: u32) -> MarketEvent {
    MarketEvent::WorkerRegistered {
        worker_id: WorkerId(worker_id),
        owner: Address(Felt::THREE),
        capabilities: Capabilities { gpu_count: 4, region: "eu-w1".parse().ok(), ..Capabilities::default() },
        slots: 3,
        rate: Rate(1),
        stake: Fri(1),
    }
}

fn cancelled(job_id: u64) -> MarketEvent {
    MarketEvent::JobCancelled { job_id: JobId(job_id), client: Address(Felt::TWO), refunded: Fri(7) }
}

/// A chain of blocks 11 to 13 with events in the first and last.
fn chain() -> [BlockEvents; 3] {
    [
        block(11, 0, 0, vec![registered(1), submitted(1)]),
        block(12, 0, 0, vec![]),
        block(13, 0, 0, vec![submitted(2), cancelled(1)]),
    ]
}

/// Every event from a block on.
///
/// # Panics
/// Panics where the store fails.
pub async fn events_from(store: &dyn Store, from: u64) -> Vec<(EventPosition, MarketEvent)> {
    store.load_events(BlockNumber(from)).try_collect().await.expect("events can be read")
}

async fn a_new_store_is_empty(store: &dyn Store) {
    assert_eq!(store.cursor().await.expect("reads"), None);
    assert_eq!(store.block(BlockNumber(11)).await.expect("reads"), None);
    assert_eq!(store.recent_blocks(9).await.expect("reads"), []);
    assert_eq!(store.final_block().await.expect("reads"), None);
    assert_eq!(events_from(store, 0).await, []);
    assert_eq!(store.open_intents().await.expect("reads"), []);
    assert_eq!(store.live_intents(Address(Felt::ONE)).await.expect("reads"), []);
    assert_eq!(store.intents_since(Address(Felt::ONE), 0).await.expect("reads"), []);
    assert_eq!(store.last_round(Address(Felt::ONE)).await.expect("reads"), None);
    assert_eq!(store.intent_by_tx(TxHash(Felt::ONE)).await.expect("reads"), None);
    assert_eq!(store.latest_allocation(JobId(1), Attempt(1)).await.expect("reads"), None);
    assert_eq!(store.explanation(JobId(1)).await.expect("reads"), None);
    assert_eq!(store.timings(JobId(1)).await.expect("reads"), []);
    assert_eq!(store.all_timings().await.expect("reads"), []);
    store.append_blocks(&[]).await.expect("nothing can be appended");
    store.revert_to(BlockNumber(0)).await.expect("nothing can be reverted");
}

async fn blocks_and_events_come_back(store: &dyn Store) {
    let chain = chain();
    store.append_blocks(&chain[..2]).await.expect("appends");
    store.append_block(chain[2].header, &chain[2].events).await.expect("appends");
    assert_eq!(store.cursor().await.expect("reads"), Some(chain[2].header));
    for given in &chain {
        let number = given.header.number;
        assert_eq!(store.block(number).await.expect("reads"), Some(given.header));
        assert_eq!(store.block_hash(number).await.expect("reads"), Some(given.header.hash));
    }
    assert_eq!(store.block_hash(BlockNumber(u64::MAX)).await.expect("reads"), None);
    assert_eq!(store.recent_blocks(2).await.expect("reads"), [chain[2].header, chain[1].header]);
    let all: Vec<_> = chain.iter().flat_map(|block| block.events.clone()).collect();
    assert_eq!(events_from(store, 0).await, all);
    assert_eq!(events_from(store, 12).await, all[2..]);
    assert_eq!(events_from(store, u64::MAX).await, []);
    // A gap is allowed, and the block above it is not compared with the one below.
    let sparse = block(20, 5, 5, vec![submitted(3)]);
    store.append_blocks(std::slice::from_ref(&sparse)).await.expect("appends");
    assert_eq!(store.cursor().await.expect("reads"), Some(sparse.header));
}

async fn what_does_not_follow_is_refused_whole(store: &dyn Store) {
    let chain = chain();
    store.append_blocks(&chain).await.expect("appends");
    let next = block(14, 0, 0, vec![submitted(3)]);

    let forked = [next.clone(), block(15, 0, 9, vec![])];
    let error = store.append_blocks(&forked).await.expect_err("a fork is refused");
    assert!(matches!(error, StoreError::Fork { block, .. } if block == forked[1].header), "{error}");
    assert!(error.to_string().contains("the chain has forked"), "{error}");

    for refused in [chain[2].clone(), chain[0].clone()] {
        let error = store.append_blocks(&[next.clone(), refused]).await.expect_err("a lower block is refused");
        assert!(matches!(error, StoreError::NotAfterCursor { cursor: BlockNumber(14), .. }), "{error}");
    }

    let mut elsewhere = block(15, 0, 0, vec![submitted(4)]);
    elsewhere.events[0].0.block = BlockNumber(14);
    let mut another_time = block(15, 0, 0, vec![submitted(4)]);
    another_time.events[0].0.timestamp += 1;
    let mut twice = block(15, 0, 0, vec![submitted(4), submitted(5)]);
    twice.events[1].0.index = twice.events[0].0.index;
    for refused in [elsewhere, another_time, twice] {
        let error = store.append_blocks(&[next.clone(), refused]).await.expect_err("a misplaced event is refused");
        assert!(matches!(error, StoreError::MisplacedEvent { block: BlockNumber(15), .. }), "{error}");
        assert!(!error.is_transient());
    }

    // Block 14 was good each time, and is not there.
    assert_eq!(store.cursor().await.expect("reads"), Some(chain[2].header));
    assert_eq!(events_from(store, 14).await, []);
    store.append_blocks(&[next]).await.expect("appends");
}

async fn what_was_read_after_another_block_is_refused(store: &dyn Store) {
    let chain = chain();
    let headers = chain.each_ref().map(|block| Some(block.header));
    store.append_after(None, &chain[..1]).await.expect("nothing was there, and nothing is");
    store.append_after(headers[0], &chain[1..2]).await.expect("it is the last");
    // Another keeper took back what these were read after: to take them would leave a gap without an error.
    store.revert_to(BlockNumber(11)).await.expect("reverts");
    for base in [headers[1], None] {
        let error = store.append_after(base, &chain[2..]).await.expect_err("it is not the last");
        assert!(matches!(error, StoreError::CursorMoved { found: Some(BlockNumber(11)), .. }), "{error}");
        assert!(!error.is_transient());
    }
    assert_eq!(store.cursor().await.expect("reads"), headers[0]);
    // The rules of appending hold besides.
    let error = store.append_after(headers[0], &chain[..1]).await.expect_err("it is not above");
    assert!(matches!(error, StoreError::NotAfterCursor { .. }), "{error}");
    store.append_after(headers[0], &chain[1..]).await.expect("appends");
}

async fn reverting_forgets_what_was_above(store: &dyn Store) {
    let chain = chain();
    store.append_blocks(&chain).await.expect("appends");
    let observation = |job_id, block| Observation {
        job_id: JobId(job_id),
        attempt: Attempt(1),
        stage: Stage::Submitted,
        block: BlockNumber(block),
        observed_ms: 5,
    };
    store.observe(&[observation(1, 11), observation(2, 13)]).await.expect("writes");
    store.save_explanations(&[explanation(1, None, 12), explanation(2, None, 13)]).await.expect("writes");

    store.revert_to(BlockNumber(12)).await.expect("reverts");
    assert_eq!(store.cursor().await.expect("reads"), Some(chain[1].header));
    assert_eq!(store.block(BlockNumber(13)).await.expect("reads"), None);
    assert_eq!(events_from(store, 0).await, chain[0].events);
    assert_eq!(store.timings(JobId(2)).await.expect("reads"), []);
    assert_eq!(store.timings(JobId(1)).await.expect("reads").len(), 1);
    assert_eq!(store.explanation(JobId(2)).await.expect("reads"), None);
    assert!(store.explanation(JobId(1)).await.expect("reads").is_some());

    let other = block(13, 1, 0, vec![submitted(7)]);
    store.append_blocks(std::slice::from_ref(&other)).await.expect("appends");
    assert_eq!(events_from(store, 12).await, other.events);
    store.revert_to(BlockNumber(u64::MAX)).await.expect("reverts");
    assert_eq!(store.cursor().await.expect("reads"), Some(other.header));
    store.revert_to(BlockNumber(0)).await.expect("reverts");
    assert_eq!(store.cursor().await.expect("reads"), None);
    assert_eq!(events_from(store, 0).await, []);
}

async fn the_block_at_or_below_a_height_is_found(store: &dyn Store) {
    assert_eq!(store.block_at_or_below(BlockNumber(u64::MAX)).await.expect("reads"), None);
    let blocks = [block(11, 0, 0, vec![]), block(14, 0, 0, vec![]), block(15, 0, 0, vec![])];
    store.append_blocks(&blocks).await.expect("appends");
    let found = async |number| store.block_at_or_below(BlockNumber(number)).await.expect("reads");
    assert_eq!(found(10).await, None);
    for (number, index) in [(11, 0), (12, 0), (13, 0), (14, 1), (15, 2), (16, 2), (u64::MAX, 2)] {
        assert_eq!(found(number).await, Some(blocks[index].header), "at or below {number}");
    }
}

async fn what_was_accepted_on_l1_stays_so(store: &dyn Store) {
    assert_eq!(store.final_block().await.expect("reads"), None);
    store.append_blocks(&chain()).await.expect("appends");
    let of = |number, fork| block(number, fork, fork, vec![]).header.reference();

    let error = store.record_final(of(12, 7)).await.expect_err("another block is recorded");
    assert!(matches!(error, StoreError::FinalityViolation { recorded, .. } if recorded == of(12, 0)), "{error}");
    assert!(!error.is_transient());
    assert_eq!(store.final_block().await.expect("reads"), None);

    for block in [of(12, 0), of(12, 0), of(11, 0)] {
        store.record_final(block).await.expect("it is what is recorded, or lower");
        assert_eq!(store.final_block().await.expect("reads"), Some(of(12, 0)));
    }
    // Blocks may have been left out, so what was never given may be accepted too.
    store.record_final(of(9, 3)).await.expect("lower ones change nothing");
    let error = store.record_final(of(12, 7)).await.expect_err("it is another");
    assert!(matches!(error, StoreError::FinalityViolation { told, .. } if told == of(12, 7)), "{error}");
    assert!(error.to_string().contains("block 12 was accepted on L1"), "{error}");

    // Reading again from the start must come to the same block.
    store.revert_to(BlockNumber(0)).await.expect("reverts");
    assert_eq!(store.final_block().await.expect("reads"), Some(of(12, 0)));
    for (below, forked) in [(11, block(12, 7, 0, vec![])), (11, block(13, 7, 7, vec![]))] {
        let blocks = [block(below, 0, 0, vec![]), forked];
        let error = store.append_blocks(&blocks).await.expect_err("it is not the accepted chain");
        assert!(matches!(error, StoreError::FinalityViolation { recorded, .. } if recorded == of(12, 0)), "{error}");
        assert_eq!(store.cursor().await.expect("reads"), None, "nothing of it is there");
    }
    store.append_blocks(&chain()).await.expect("appends");
    store.record_final(of(20, 0)).await.expect("above the cursor too");
    assert_eq!(store.final_block().await.expect("reads"), Some(of(20, 0)));

    store.forget_final().await.expect("writes");
    assert_eq!(store.final_block().await.expect("reads"), None);
    store.record_final(of(13, 0)).await.expect("writes");
}

async fn many_rows_are_appended_at_once(store: &dyn Store) {
    // More than any implementation puts into one statement, and no round number of it.
    let jobs = |number: u64| (0..number % 7 * 5).map(move |job| submitted(1_000 * number + job)).collect();
    let blocks: Vec<_> = (11..411).map(|number| block(number, 0, 0, jobs(number))).collect();
    store.append_blocks(&blocks[..399]).await.expect("appends");
    store.append_blocks(&blocks[399..]).await.expect("appends");
    let mut stored = store.recent_blocks(u32::MAX).await.expect("reads");
    stored.reverse();
    assert_eq!(stored, blocks.iter().map(|block| block.header).collect::<Vec<_>>());
    let all: Vec<_> = blocks.into_iter().flat_map(|block| block.events).collect();
    assert_eq!(events_from(store, 0).await, all);
}

async fn the_market_is_rebuilt(store: &dyn Store) {
    store.append_blocks(&chain()).await.expect("appends");
    let market = rebuild_market(store).await.expect("the events follow from each other");
    let states: BTreeMap<_, _> = market.jobs.iter().map(|(job_id, job)| (job_id.0, job.state)).collect();
    assert_eq!(states, [(1, JobState::Cancelled), (2, JobState::Queued)].into());
    assert_eq!(market.jobs[&JobId(2)].submitted_at, 1_013);
    assert_eq!(market.workers.len(), 1);

    store.append_blocks(&[block(14, 0, 0, vec![cancelled(9)])]).await.expect("appends");
    let error = rebuild_market(store).await.expect_err("job 9 is unknown");
    assert_eq!(error.to_string(), "the stored events are not the chain's");
}

/// Why a job was not placed.
pub fn explanation(job_id: u64, round: Option<u64>, block: u64) -> ExplanationRecord {
    let explanation = Explanation {
        job_id: JobId(job_id),
        attempt: Attempt(1),
        outcome: Outcome::NoFeasibleWorker,
        workers_evaluated: 2,
        rejections: [(keeper_scheduler::Rejection::Vram, 2)].into(),
        winner: None,
        runner_up: None,
        strategy: keeper_types::Strategy::Standard,
        dropped: Vec::new(),
        chosen_by: None,
        nearness: None,
        reservation: None,
    };
    ExplanationRecord { explanation, round, snapshot_block: BlockNumber(block), time_ms: 77 }
}

async fn the_latest_explanation_stands(store: &dyn Store) {
    store.save_explanations(&[explanation(1, None, 5), explanation(2, Some(1), 5)]).await.expect("writes");
    store.save_explanations(&[explanation(1, Some(2), 6)]).await.expect("writes");
    assert_eq!(store.explanation(JobId(1)).await.expect("reads"), Some(explanation(1, Some(2), 6)));
    assert_eq!(store.explanation(JobId(2)).await.expect("reads"), Some(explanation(2, Some(1), 5)));
    assert_eq!(store.explanation(JobId(3)).await.expect("reads"), None);
    // Many at once, two of them about one job.
    let many: Vec<_> = (100..1_300).map(|id| explanation(id, Some(id), 7)).chain([explanation(100, None, 8)]).collect();
    store.save_explanations(&many).await.expect("writes");
    assert_eq!(store.explanation(JobId(100)).await.expect("reads"), Some(explanation(100, None, 8)));
    assert_eq!(store.explanation(JobId(1_299)).await.expect("reads"), Some(explanation(1_299, Some(1_299), 7)));
    store.save_explanations(&[]).await.expect("writes nothing");
}

async fn the_first_observation_stands(store: &dyn Store) {
    let seen = |job_id, attempt, stage, observed_ms| Observation {
        job_id: JobId(job_id),
        attempt: Attempt(attempt),
        stage,
        block: BlockNumber(1),
        observed_ms,
    };
    let all = Stage::ALL.into_iter().zip([10, 20, 30, 40]).map(|(stage, ms)| seen(2, 1, stage, ms));
    store.observe(&all.collect::<Vec<_>>()).await.expect("writes");
    store.observe(&[seen(2, 1, Stage::Allocated, 99), seen(2, 2, Stage::Submitted, 50)]).await.expect("writes");
    store.observe(&[seen(1, 1, Stage::Revealed, 60), seen(1, 1, Stage::Revealed, 61)]).await.expect("writes");

    let timings = |job_id, attempt, [submitted, allocated, revealed, settled]: [Option<u64>; 4]| JobTimings {
        job_id: JobId(job_id),
        attempt: Attempt(attempt),
        observed_submitted_ms: submitted,
        observed_allocated_ms: allocated,
        observed_revealed_ms: revealed,
        observed_settled_ms: settled,
    };
    let expected = [
        timings(1, 1, [None, None, Some(60), None]),
        timings(2, 1, [Some(10), Some(20), Some(30), Some(40)]),
        timings(2, 2, [Some(50), None, None, None]),
    ];
    assert_eq!(store.all_timings().await.expect("reads"), expected);
    assert_eq!(store.timings(JobId(2)).await.expect("reads"), expected[1..]);
}

async fn numbers_beyond_the_database_are_refused(store: &dyn Store) {
    let chain = chain();
    store.append_blocks(&chain).await.expect("appends");
    let error = store.append_blocks(&[block(u64::MAX, 0, 0, vec![])]).await;
    if let Err(error) = error {
        assert!(matches!(error, StoreError::OutOfRange { value: u64::MAX, .. }), "{error}");
        assert_eq!(store.cursor().await.expect("reads"), Some(chain[2].header));
    }
}
