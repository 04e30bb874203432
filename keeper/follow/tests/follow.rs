//! The fold on a simulated chain, into a real store.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::{Arc, atomic::AtomicBool};

use futures::TryStreamExt as _;
use keeper_follow::{
    Fold, FollowError, Latch, LatchState, Reconciled, Turn,
    simulation::{SimulatedChain, Twist},
};
use keeper_store::{SqliteStore, Store, conformance::identity, rebuild_market};
use keeper_types::{BlockEvents, BlockHeader, BlockNumber};
use proptest::prelude::*;
use tempfile::TempDir;

/// A store of its own, and what follows the chain into it.
struct Keeper {
    store: Arc<SqliteStore>,
    latch: Arc<Latch>,
    fold: Fold,
    _folder: Arc<TempDir>,
}

impl Keeper {
    async fn new(chain: &Arc<SimulatedChain>) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let store = SqliteStore::open(&folder.path().join("keeper.sqlite"), identity()).await.unwrap();
        Self::on(chain, Arc::new(store), folder)
    }

    /// A keeper on a store that is there, as after a restart or beside another.
    fn on(chain: &Arc<SimulatedChain>, store: Arc<SqliteStore>, folder: Arc<TempDir>) -> Self {
        let latch = Arc::new(Latch::new());
        let fold = Fold::new(chain.clone(), store.clone(), latch.clone(), Arc::new(AtomicBool::new(false)), 0, || 7);
        Self { store, latch, fold, _folder: folder }
    }

    fn beside(&self, chain: &Arc<SimulatedChain>) -> Self {
        Self::on(chain, self.store.clone(), self._folder.clone())
    }

    async fn turn(&mut self) -> Turn {
        self.fold.turn().await.unwrap()
    }

    /// Turns until the market is as of the newest block.
    async fn catch_up(&mut self, chain: &SimulatedChain) {
        for _ in 0..10_000 {
            if let Turn::CaughtUp(Some(head)) = self.turn().await
                && chain.twists_left() == 0
            {
                assert_eq!(head, chain.newest());
                return;
            }
        }
        panic!("it never catches up");
    }

    async fn stored(&self) -> Vec<BlockHeader> {
        self.store.recent_blocks(u32::MAX).await.unwrap()
    }

    /// That the events and the market are what reading the chain from its start gives; returns what did.
    async fn believes_what_a_fresh_index_does(&self, chain: &Arc<SimulatedChain>) -> Self {
        let mut fresh = Self::new(chain).await;
        fresh.catch_up(chain).await;
        let events =
            async |store: &SqliteStore| store.load_events(BlockNumber(0)).try_collect::<Vec<_>>().await.unwrap();
        assert!(events(&self.store).await == events(&fresh.store).await, "other events");
        assert_eq!(self.store.cursor().await.unwrap(), fresh.store.cursor().await.unwrap());
        assert!(rebuild_market(&*self.store).await.unwrap() == *self.fold.market(), "another market than the stored");
        assert!(self.fold.market() == fresh.fold.market(), "another market than the chain's");
        fresh
    }

    /// That the blocks are too.
    async fn equals_a_fresh_index(&self, chain: &Arc<SimulatedChain>) {
        let fresh = self.believes_what_a_fresh_index_does(chain).await;
        // Every block since the last that is accepted on L1, or all of them.
        let accepted = fresh.store.final_block().await.unwrap().map_or(BlockNumber(0), |block| block.number);
        let dense = |blocks: Vec<BlockHeader>| blocks.into_iter().filter(move |block| block.number > accepted);
        let expected: Vec<_> = chain
            .blocks()
            .into_iter()
            .map(|block| block.header)
            .filter(|block| block.number > accepted)
            .rev()
            .collect();
        assert!(dense(self.stored().await).eq(expected.iter().copied()), "other blocks");
        assert!(dense(fresh.stored().await).eq(expected.iter().copied()), "other blocks");
    }
}

fn chain_of(blocks: u64) -> Arc<SimulatedChain> {
    Arc::new(SimulatedChain::new(blocks))
}

/// Reorganisations that come while the chain is read: shallow ones mostly, and some as deep as 2,048 blocks.
fn twists() -> impl Strategy<Value = Vec<Twist>> {
    let depth = prop_oneof![4 => 1_u64..20, 2 => 20_u64..600, 1 => 600_u64..=2_048];
    let blocks = prop_oneof![3 => 1_u64..20, 1 => 20_u64..600];
    let twist = (prop_oneof![4 => 0_u64..40, 1 => 40_u64..2_000], depth, blocks);
    proptest::collection::vec(twist.prop_map(|(after, depth, blocks)| Twist { after, depth, blocks }), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whatever_is_reorganised_while_it_is_read_the_store_equals_a_fresh_index(
        blocks in prop_oneof![1_u64..50, 1_000_u64..3_000],
        accepted in prop_oneof![2 => Just(None), 1 => (0_u64..600).prop_map(Some)],
        twists in twists(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let chain = chain_of(blocks);
            let mut keeper = Keeper::new(&chain).await;
            // What is accepted on L1 is not reorganised.
            let most = twists.iter().map(|twist| twist.depth).sum::<u64>() + 10;
            if let Some(accepted) = accepted.filter(|accepted| blocks > accepted + most) {
                chain.accept_on_l1(BlockNumber(accepted + 10));
            }
            chain.twist(twists);
            keeper.catch_up(&chain).await;
            keeper.equals_a_fresh_index(&chain).await;
            assert!(keeper.latch.is_open());
        });
    }

    #[test]
    fn several_keepers_on_one_store_come_to_what_one_comes_to(
        twists in twists(),
        order in proptest::collection::vec(0_usize..3, 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let chain = chain_of(700);
            let first = Keeper::new(&chain).await;
            let mut keepers = [first.beside(&chain), first.beside(&chain), first];
            chain.twist(twists);
            for keeper in order {
                keepers[keeper].turn().await;
            }
            for keeper in &mut keepers {
                keeper.catch_up(&chain).await;
            }
            for keeper in &keepers {
                keeper.equals_a_fresh_index(&chain).await;
            }
        });
    }
}

#[tokio::test]
async fn a_deep_reorganisation_costs_few_requests() {
    let chain = chain_of(5_000);
    let mut keeper = Keeper::new(&chain).await;
    keeper.catch_up(&chain).await;
    for depth in [1, 7, 256, 2_048, 4_900] {
        chain.reorganise(depth, depth + 1);
        let before = chain.requests();
        let turn = keeper.turn().await;
        let standing = chain.newest().number.0 - (depth + 1);
        assert_eq!(turn, Turn::Reverted { standing: Some(BlockNumber(standing)) });
        let asked = chain.requests() - before;
        assert!(asked <= 2 * u64::from(depth.ilog2()) + 10, "{asked} requests for a depth of {depth}");
        keeper.catch_up(&chain).await;
    }
    keeper.equals_a_fresh_index(&chain).await;
    // Nothing of the chain but its first block is left.
    chain.reorganise(u64::MAX, 30);
    keeper.catch_up(&chain).await;
    keeper.equals_a_fresh_index(&chain).await;
}

#[tokio::test]
async fn a_node_that_is_behind_takes_nothing_back() {
    let chain = chain_of(100);
    let mut keeper = Keeper::new(&chain).await;
    keeper.catch_up(&chain).await;
    let stored = keeper.stored().await;
    for shown in [chain.newest().number.0 - 1, 50, 10] {
        chain.show_up_to(Some(BlockNumber(shown)));
        assert_eq!(keeper.turn().await, Turn::Behind { head: BlockNumber(shown) });
        assert_eq!(keeper.stored().await, stored);
    }
    // A node that is behind and on another fork is a reorganisation.
    chain.show_up_to(None);
    chain.reorganise(60, 30);
    assert_eq!(keeper.turn().await, Turn::Reverted { standing: Some(BlockNumber(49)) });
    keeper.catch_up(&chain).await;
    keeper.equals_a_fresh_index(&chain).await;
}

#[tokio::test]
async fn empty_blocks_are_left_out_only_where_they_are_accepted_on_l1() {
    let chain = chain_of(1_200);
    chain.accept_on_l1(BlockNumber(900));
    let mut keeper = Keeper::new(&chain).await;
    keeper.catch_up(&chain).await;
    let stored = keeper.stored().await;
    let below = stored.iter().filter(|block| block.number.0 <= 900).count();
    assert!((100..800).contains(&below), "{below} of the blocks below");
    let above = stored.iter().filter(|block| block.number.0 > 900).count();
    assert_eq!(above as u64, chain.newest().number.0 - 900);
    keeper.equals_a_fresh_index(&chain).await;
}

/// A chain of 100 blocks with the first 60 accepted on L1, and a keeper that has taken note of it.
async fn accepted() -> (Arc<SimulatedChain>, Keeper) {
    let chain = chain_of(100);
    chain.accept_on_l1(BlockNumber(60));
    let mut keeper = Keeper::new(&chain).await;
    assert!(!keeper.latch.is_open(), "nothing is known yet");
    keeper.catch_up(&chain).await;
    assert!(keeper.latch.is_open());
    assert_eq!(keeper.store.final_block().await.unwrap().unwrap().number, BlockNumber(60));
    (chain, keeper)
}

#[tokio::test]
async fn a_fork_below_what_is_accepted_on_l1_closes_the_latch_and_reverts_nothing() {
    let (chain, mut keeper) = accepted().await;
    let stored = keeper.stored().await;
    let forked = chain_of(100);
    forked.reorganise(70, 80);
    forked.accept_on_l1(BlockNumber(70));
    // The same store on another chain, as where a node is exchanged for one of a fork.
    let mut elsewhere = keeper.beside(&forked);
    for _ in 0..3 {
        let Turn::Latched(violation) = elsewhere.turn().await else { panic!("it goes on") };
        assert_eq!(violation.recorded.number, BlockNumber(60));
        assert_eq!(elsewhere.latch.state(), LatchState::Violated(violation));
        assert_eq!(elsewhere.stored().await, stored);
    }
    // While it runs: the recorded chain is replaced.
    chain.reorganise(70, 80);
    assert!(matches!(keeper.turn().await, Turn::Latched(_)));
    assert!(!keeper.latch.is_open());
    assert_eq!(keeper.stored().await, stored);
}

#[tokio::test]
async fn a_violation_is_noticed_on_a_chain_that_is_shorter_too() {
    let (chain, mut keeper) = accepted().await;
    let stored = keeper.stored().await;
    chain.reorganise(90, 20);
    let Turn::Latched(violation) = keeper.turn().await else { panic!("it goes on") };
    assert!(violation.recorded.number < BlockNumber(60) && violation.recorded.number > BlockNumber(19));
    assert_eq!(keeper.stored().await, stored);
}

#[tokio::test]
async fn only_the_recorded_block_itself_opens_the_latch() {
    let (chain, mut keeper) = accepted().await;
    let forked = chain_of(100);
    forked.reorganise(70, 80);
    let mut again = keeper.beside(&forked);
    assert!(matches!(again.turn().await, Turn::Latched(_)));

    // A node that is down, and one that is behind, prove nothing.
    forked.set_down(true);
    assert!(matches!(again.fold.turn().await, Err(FollowError::Chain(_))));
    forked.set_down(false);
    forked.show_up_to(Some(BlockNumber(30)));
    assert_eq!(again.turn().await, Turn::Behind { head: BlockNumber(30) });
    assert!(matches!(again.latch.state(), LatchState::Violated(_)), "it stays closed");
    forked.show_up_to(None);
    assert!(matches!(again.turn().await, Turn::Latched(_)));

    // A restart begins with a closed latch, and a node that is behind does not open it.
    chain.show_up_to(Some(BlockNumber(30)));
    let mut restarted = keeper.beside(&chain);
    assert_eq!(restarted.turn().await, Turn::Behind { head: BlockNumber(30) });
    assert_eq!(restarted.latch.state(), LatchState::Unconfirmed);
    chain.show_up_to(None);
    restarted.turn().await;
    assert!(restarted.latch.is_open());

    // An operator who takes the other chain for the right one forgets what was accepted.
    again.store.forget_final().await.unwrap();
    again.catch_up(&forked).await;
    assert!(again.latch.is_open());
    // Blocks below what was accepted before stay left out, and what they said is there.
    again.believes_what_a_fresh_index_does(&forked).await;
    keeper.turn().await;
}

#[tokio::test]
async fn a_local_chain_that_began_anew_ends_it_and_takes_nothing_from_the_store() {
    let chain = chain_of(100);
    let mut keeper = Keeper::new(&chain).await;
    keeper.fold = keeper.fold.ending_with_its_chain();
    keeper.catch_up(&chain).await;
    // An ordinary reorganisation is one.
    chain.reorganise(20, 25);
    keeper.catch_up(&chain).await;
    let stored = keeper.stored().await;
    chain.begin_anew(150);
    assert!(matches!(keeper.fold.turn().await, Err(FollowError::BeganAnew)));
    assert_eq!(keeper.stored().await, stored);
    // Elsewhere it is a reorganisation like any other.
    let mut other = keeper.beside(&chain);
    other.catch_up(&chain).await;
    other.equals_a_fresh_index(&chain).await;
}

#[tokio::test]
async fn what_is_accepted_on_l1_moves_up_and_never_down() {
    let (chain, mut keeper) = accepted().await;
    let accepted = async |keeper: &Keeper| keeper.store.final_block().await.unwrap().unwrap().number.0;
    chain.accept_on_l1(BlockNumber(40));
    chain.grow(40);
    keeper.catch_up(&chain).await;
    assert_eq!(accepted(&keeper).await, 60);
    chain.accept_on_l1(BlockNumber(120));
    chain.grow(40);
    keeper.catch_up(&chain).await;
    assert_eq!(accepted(&keeper).await, 120);
    // Above it the chain may still change.
    chain.reorganise(60, 70);
    keeper.catch_up(&chain).await;
    assert!(keeper.latch.is_open());
    keeper.equals_a_fresh_index(&chain).await;
}

/// Compares until it is known whether everything agrees.
async fn reconciled(keeper: &mut Keeper) -> Reconciled {
    loop {
        match keeper.fold.reconcile().await.unwrap() {
            Reconciled::Continues => {}
            reconciled => return reconciled,
        }
    }
}

#[tokio::test]
async fn events_that_a_node_hides_are_noticed_and_read_again() {
    let chain = chain_of(3_000);
    let mut keeper = Keeper::new(&chain).await;
    keeper.catch_up(&chain).await;
    let Reconciled::Agreed { jobs } = reconciled(&mut keeper).await else { panic!("they agree") };
    assert!(jobs >= 8, "at least the open jobs: {jobs}");

    // A block that closes jobs, and the last one that opens some: neither breaks the events that follow.
    let spoken = |block: &&BlockEvents| !block.events.is_empty();
    chain.grow(200);
    let last = chain.blocks().iter().rev().find(spoken).unwrap().header.number;
    chain.hide([last]);
    keeper.catch_up(&chain).await;
    let fork = keeper.fold.fork();
    let Reconciled::Differs { differences, count, is_reread: true } = reconciled(&mut keeper).await else {
        panic!("nothing is noticed")
    };
    assert!(count > 0 && !differences.is_empty());
    assert!(keeper.fold.fork() > fork, "what was believed is no longer");
    assert!(keeper.store.cursor().await.unwrap().is_some(), "it goes back to where everything agreed only");

    // The node still hides it: it is read from the start, and then only told.
    keeper.catch_up(&chain).await;
    assert!(matches!(reconciled(&mut keeper).await, Reconciled::Differs { is_reread: true, .. }));
    assert_eq!(keeper.store.cursor().await.unwrap(), None, "from the start");
    keeper.catch_up(&chain).await;
    assert!(matches!(reconciled(&mut keeper).await, Reconciled::Differs { is_reread: false, .. }));

    // The node has its events again; within some rounds all of them are read again.
    chain.hide([]);
    for _ in 0..10 {
        keeper.catch_up(&chain).await;
        if matches!(reconciled(&mut keeper).await, Reconciled::Agreed { .. }) {
            keeper.equals_a_fresh_index(&chain).await;
            return;
        }
    }
    panic!("it is never mended");
}

#[tokio::test]
async fn what_the_node_does_not_know_any_more_is_no_difference() {
    let chain = chain_of(50);
    let mut keeper = Keeper::new(&chain).await;
    keeper.catch_up(&chain).await;
    // A local chain says so by a code of its own. It has answered, so it can be reached.
    chain.set_stateless(true);
    assert_eq!(reconciled(&mut keeper).await, Reconciled::Unavailable);
    chain.set_stateless(false);
    assert!(matches!(reconciled(&mut keeper).await, Reconciled::Agreed { .. }));
    chain.reorganise(5, 9);
    assert_eq!(reconciled(&mut keeper).await, Reconciled::Unavailable);
}
