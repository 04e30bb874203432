//! When the keeper is killed.

use std::time::Duration;

use rand::{Rng as _, rngs::StdRng};
use tokio::time::{sleep, timeout};

use super::keeper::Keeper;

/// The longest time from the moment that is waited for to the kill.
const LONGEST_AFTER: Duration = Duration::from_millis(600);
/// The longest time to a kill at any moment.
const LONGEST_PAUSE: Duration = Duration::from_millis(2_500);
/// The longest time from a restart to the kill that interrupts it.
const LONGEST_RESTART: Duration = Duration::from_millis(1_500);
/// How long a line is waited for: where there is no work, nothing is logged.
const NO_SUCH_LINE: Duration = Duration::from_secs(5);

/// What the keeper logs in the middle of what it does, and what it is about to do then.
const CUES: [(&str, &str); 6] = [
    // A decision is explained and not yet signed, recorded or sent.
    ("decided", "code=\"placed\""),
    ("round applied", "round applied"),
    ("offered", "offered the job"),
    ("ran", "the job ran"),
    ("exits made", "ended what was due"),
    ("paid out", "paid out"),
];

/// When the keeper is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// So long after it works again.
    AnyTime(Duration),
    /// So long after it logged this.
    After(&'static str, &'static str, Duration),
    /// So long after it was started, whether it works or not.
    InRestart(Duration),
}

impl Moment {
    /// Draws one: of ten, three at any time, five after a line, two into a restart.
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let mut within = |longest: Duration| longest.mul_f64(rng.random::<f64>());
        let (any, after, restart) = (within(LONGEST_PAUSE), within(LONGEST_AFTER), within(LONGEST_RESTART));
        let (name, line) = CUES[rng.random_range(0..CUES.len())];
        match rng.random_range(0..10) {
            0..3 => Self::AnyTime(any),
            3..8 => Self::After(name, line, after),
            _ => Self::InRestart(restart),
        }
    }

    /// Whether the keeper is not given the time to work again.
    pub(crate) fn is_in_restart(self) -> bool {
        matches!(self, Self::InRestart(_))
    }

    /// What it is told by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AnyTime(_) => "any time",
            Self::After(name, ..) => name,
            Self::InRestart(_) => "in a restart",
        }
    }

    /// Waits for it.
    pub(crate) async fn wait_for(self, keeper: &Keeper) {
        let (Self::AnyTime(pause) | Self::After(_, _, pause) | Self::InRestart(pause)) = self;
        if let Self::After(_, wanted, _) = self {
            let mut lines = keeper.lines();
            let line = async {
                loop {
                    match lines.recv().await {
                        Ok(line) if line.contains(wanted) => return,
                        Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                        Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                    }
                }
            };
            // Killed all the same.
            let _ = timeout(NO_SUCH_LINE, line).await;
        }
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn every_kind_of_moment_is_drawn_and_the_same_seed_draws_the_same() {
        let draw = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            (0..200).map(|_| format!("{:?}", Moment::draw(&mut rng))).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let mut rng = StdRng::seed_from_u64(7);
        let names: BTreeSet<_> = (0..200).map(|_| Moment::draw(&mut rng).name()).collect();
        assert_eq!(names.len(), CUES.len() + 2);
    }
}
