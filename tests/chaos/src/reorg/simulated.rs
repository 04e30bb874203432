//! Deep reorganisations on a simulated chain, each between two given requests.

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use keeper_follow::{
    Fold, Latch, Turn,
    simulation::{SimulatedChain, Twist},
};
use keeper_store::{SqliteStore, Store, conformance::identity, rebuild_market};
use keeper_types::{BlockNumber, EventPosition, MarketEvent};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::figures::Figures;

const DEEPEST: u64 = 2_048;
/// Turns within which every chain here can be read many times over.
const MOST_TURNS: u32 = 10_000;

pub(super) async fn run(chains: u32, seed: u64, figures: &mut Figures) -> Result<()> {
    for number in 0..chains {
        let mut rng = StdRng::seed_from_u64(seed ^ u64::from(number).rotate_left(32));
        let chain = Arc::new(SimulatedChain::new(rng.random_range(DEEPEST..2 * DEEPEST)));
        let twists = (0..rng.random_range(1..6)).map(|_| Twist {
            after: if rng.random_bool(0.7) { rng.random_range(0..60) } else { rng.random_range(0..4_000) },
            depth: if rng.random_bool(0.5) { rng.random_range(1..64) } else { rng.random_range(64..=DEEPEST) },
            blocks: rng.random_range(1..600),
        });
        let twists: Vec<Twist> = twists.collect();
        figures.simulated.0 += 1;
        figures.simulated.1 += twists.len() as u64;
        figures.simulated_deepest = twists.iter().map(|twist| twist.depth).fold(figures.simulated_deepest, u64::max);
        chain.twist(twists);
        let followed = follow(&chain).await?;
        let fresh = follow(&chain).await?;
        match (followed, fresh) {
            (Some(followed), Some(fresh)) => figures.compare(&followed, &fresh, &format!("simulated chain {number}")),
            _ => {
                figures.stuck += 1;
                figures.tell(format!("simulated chain {number} was not caught up with"));
            }
        }
    }
    Ok(())
}

/// Follows a chain into a new store until there is nothing more; `None` where that never is.
async fn follow(chain: &Arc<SimulatedChain>) -> Result<Option<Vec<(EventPosition, MarketEvent)>>> {
    let folder = tempfile::tempdir().context("making a folder")?;
    let store = Arc::new(SqliteStore::open(&folder.path().join("keeper.sqlite"), identity()).await?);
    let (latch, reread) = (Arc::new(Latch::new()), Arc::new(AtomicBool::new(false)));
    let mut fold = Fold::new(chain.clone(), store.clone(), latch, reread, 0, || 0);
    for _ in 0..MOST_TURNS {
        if !matches!(fold.turn().await?, Turn::CaughtUp(Some(_))) || chain.twists_left() > 0 {
            continue;
        }
        let is_same = rebuild_market(&*store).await? == *fold.market();
        let events = store.load_events(BlockNumber(0)).try_collect().await?;
        return Ok(is_same.then_some(events));
    }
    Ok(None)
}
