//! What every store must do with blocks that others replace.

use futures::TryStreamExt as _;
use keeper_types::{BlockEvents, BlockNumber};

use super::{block, events_from, submitted};
use crate::{Store, rebuild_market};

/// Follows forks, each of which replaces so many of the latest blocks and has blocks of its own with so many events,
/// and compares with a store that only ever saw the last of them.
///
/// # Panics
/// Panics where the two differ, or where a store fails.
pub async fn forks_leave_what_a_fresh_index_has(store: &dyn Store, fresh: &dyn Store, forks: &[(usize, Vec<usize>)]) {
    let mut chain: Vec<(u64, BlockEvents)> = Vec::new();
    let mut job_id = 0;
    for (fork, (replaced, blocks)) in (1_u64..).zip(forks) {
        chain.truncate(chain.len().saturating_sub(*replaced));
        let kept = chain.last().map_or(10, |(_, block)| block.header.number.0);
        store.revert_to(BlockNumber(kept)).await.expect("reverts");
        let mut appended = Vec::new();
        for events in blocks {
            let (number, below) = chain.last().map_or((11, 0), |(fork, block)| (block.header.number.0 + 1, *fork));
            let events = (0..*events).map(|_| {
                job_id += 1;
                submitted(job_id)
            });
            let new = block(number, fork, below, events.collect());
            chain.push((fork, new.clone()));
            appended.push(new);
        }
        store.append_blocks(&appended).await.expect("appends");
    }
    let blocks: Vec<_> = chain.into_iter().map(|(_, block)| block).collect();
    fresh.append_blocks(&blocks).await.expect("appends");
    let all = |store| async move { Store::recent_blocks(store, u32::MAX).await.expect("reads") };
    assert_eq!(all(store).await, all(fresh).await);
    assert_eq!(events_from(store, 0).await, events_from(fresh, 0).await);
    let (market, expected) = (rebuild_market(store).await, rebuild_market(fresh).await);
    assert_eq!(market.expect("the events follow from each other"), expected.expect("the events follow"));
    assert_eq!(store.cursor().await.expect("reads"), blocks.last().map(|block| block.header));
}

/// A stream shows one moment of a store, whatever is written meanwhile.
///
/// # Panics
/// Panics where it does not, or where the store fails.
pub async fn a_stream_shows_one_moment(store: &dyn Store) {
    const BLOCKS: u64 = 10_000;
    let blocks: Vec<_> = (11..11 + BLOCKS).map(|number| block(number, 0, 0, vec![submitted(number)])).collect();
    store.append_blocks(&blocks).await.expect("appends");
    let mut stream = store.load_events(BlockNumber(0));
    stream.try_next().await.expect("reads").expect("there are events");
    store.revert_to(BlockNumber(20)).await.expect("reverts");
    store.append_blocks(&[block(21, 1, 0, vec![submitted(1), submitted(2)])]).await.expect("appends");
    let rest: Vec<_> = stream.try_collect().await.expect("reads");
    assert!(rest.into_iter().eq(blocks.iter().skip(1).flat_map(|block| block.events.clone())));
    assert_eq!(events_from(store, 0).await.len(), 12);
}
