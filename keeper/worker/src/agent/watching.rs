//! Looks again and again at what the worker is, and tells what is news.

use std::{sync::Arc, time::Duration};

use keeper_types::AgentProfile;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tracing::warn;

use crate::ProfileSource;

/// What free disk has to differ by to be news: a tenth of what was told, and at least so much.
const LEAST_DISK_MOVE_GIB: u32 = 1;

/// What the worker is by now; `None` where that could not be found out.
pub(super) async fn look(source: &Arc<dyn ProfileSource>) -> Option<AgentProfile> {
    let source = Arc::clone(source);
    match spawn_blocking(move || source.profile()).await {
        Ok(profile) => Some(profile),
        Err(error) => {
            warn!(%error, "cannot look at what the worker is");
            None
        }
    }
}

/// Keeps `profile` up to date until nobody looks at it any more.
pub(super) async fn follow(source: Arc<dyn ProfileSource>, every: Duration, profile: watch::Sender<AgentProfile>) {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = profile.closed() => return,
            _ = ticks.tick() => {}
        }
        let Some(now) = look(&source).await else { continue };
        profile.send_if_modified(|before| {
            let is_news = is_news(before, &now);
            if is_news {
                *before = now;
            }
            is_news
        });
    }
}

/// A job that writes changes what is free all the time, and each change that is told may have keepers decide anew.
fn is_news(before: &AgentProfile, now: &AgentProfile) -> bool {
    let moved = now.disk_gib.abs_diff(before.disk_gib);
    let has_disk_moved = moved >= LEAST_DISK_MOVE_GIB && u64::from(moved) * 10 >= u64::from(before.disk_gib);
    let AgentProfile { gpu_model, disk_gib: _, pcie_generation, models, refuses } = now;
    has_disk_moved
        || (gpu_model, pcie_generation, models, refuses)
            != (&before.gpu_model, &before.pcie_generation, &before.models, &before.refuses)
}

#[cfg(test)]
mod tests {
    use keeper_types::Felt;

    use super::*;

    #[test]
    fn a_tenth_of_the_disk_is_news_and_so_is_anything_else() {
        let disk = |disk_gib| AgentProfile { disk_gib, ..AgentProfile::default() };
        assert!(!is_news(&disk(100), &disk(91)) && is_news(&disk(100), &disk(90)));
        assert!(!is_news(&disk(100), &disk(109)) && is_news(&disk(100), &disk(110)));
        assert!(!is_news(&disk(0), &disk(0)) && is_news(&disk(0), &disk(1)) && is_news(&disk(1), &disk(0)));
        assert!(is_news(&disk(u32::MAX), &disk(0)));
        let fetched = AgentProfile { models: [Felt::ONE].into(), ..disk(99) };
        assert!(is_news(&disk(100), &fetched));
    }
}
