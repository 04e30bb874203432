//! Takes notices of new blocks, and bounds how often they make the keeper look at the chain.

use std::time::Duration;

use keeper_chain::Heads;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Failure;

/// Looks at the chain out of turn that may be saved up.
const MOST_SAVED: u32 = 5;
/// How often another one is granted. Blocks come every second or two.
const GRANTED_EVERY: Duration = Duration::from_secs(1);

/// The service. It waits out whatever the node does; its state is how notices come, which a restart does not touch.
#[derive(Clone, Debug)]
pub(crate) struct Noticing {
    pub(crate) heads: Heads,
}

impl Noticing {
    /// Takes notices until cancelled.
    ///
    /// # Errors
    /// Never fails; the supervisor asks for the type.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Failure> {
        match cancel.run_until_cancelled(Box::pin(self.heads.run())).await {
            None => Ok(()),
            Some(never) => match never {},
        }
    }
}

/// How often the chain may be looked at out of turn: whoever floods the keeper with notices must not make it flood the
/// nodes with requests. A bucket of [`MOST_SAVED`], one more every [`GRANTED_EVERY`].
#[derive(Debug)]
pub(super) struct Allowance {
    /// When the bucket would have been empty, had all that was granted since been taken.
    empty_at: Instant,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self { empty_at: Instant::now() - GRANTED_EVERY * MOST_SAVED }
    }

    /// When the next look is allowed.
    pub(super) fn next(&self) -> Instant {
        self.empty_at + GRANTED_EVERY
    }

    /// Takes a look.
    pub(super) fn take(&mut self) {
        let full = Instant::now() - GRANTED_EVERY * MOST_SAVED;
        self.empty_at = self.empty_at.max(full) + GRANTED_EVERY;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep_until};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_gets_what_was_saved_and_then_one_a_second() {
        advance(Duration::from_secs(3_600)).await;
        let (mut allowance, began) = (Allowance::new(), Instant::now());
        let mut looks = 0_u32;
        while began.elapsed() <= Duration::from_secs(10) {
            sleep_until(allowance.next()).await;
            allowance.take();
            looks += 1;
        }
        assert!((MOST_SAVED + 10..=MOST_SAVED + 12).contains(&looks), "{looks}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_saved_up_than_that() {
        advance(Duration::from_secs(3_600)).await;
        let mut allowance = Allowance::new();
        advance(Duration::from_secs(3_600)).await;
        let at_once = (0..100).take_while(|_| {
            let is_allowed = allowance.next() <= Instant::now();
            if is_allowed {
                allowance.take();
            }
            is_allowed
        });
        assert_eq!(at_once.count(), 5);
    }
}
