//! How long a round takes: the keeper's own share of it, and what it waits for the node's answers.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// A round's time so far, by a clock that only goes forward.
#[derive(Clone, Debug)]
pub(super) struct Share {
    began: Instant,
    node: Duration,
    /// What was done by when, since the beginning and without what the node took.
    stages: Vec<(&'static str, Duration)>,
}

impl Default for Share {
    fn default() -> Self {
        Self::begin(Instant::now(), Instant::now())
    }
}

impl Share {
    /// From when the block was at hand; from now where it has been looked at before, or something else was being done then.
    pub(super) fn begin(seen: Instant, idle_since: Instant) -> Self {
        let began = if seen >= idle_since { seen } else { Instant::now() };
        let mut share = Self { began, node: Duration::ZERO, stages: Vec::new() };
        share.mark("believed");
        share
    }

    /// The node took so long to answer.
    pub(super) fn wait(&mut self, waited: Duration) {
        self.node += waited;
    }

    /// This is done.
    pub(super) fn mark(&mut self, stage: &'static str) {
        self.stages.push((stage, self.own()));
    }

    /// The keeper's own until now.
    pub(super) fn own(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.node)
    }

    /// What the node took until now.
    pub(super) fn node(&self) -> Duration {
        self.node
    }
}

/// The stages with the microseconds at which each was done.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (stage, at)) in self.stages.iter().enumerate() {
            let space = if place > 0 { " " } else { "" };
            write!(f, "{space}{stage}={}", at.as_micros())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_node_takes_is_not_the_keepers() {
        let seen = Instant::now() - Duration::from_secs(10);
        let mut share = Share::begin(seen, seen);
        assert!(share.own() >= Duration::from_secs(10));
        share.wait(Duration::from_secs(9));
        share.mark("decided");
        assert!((Duration::from_secs(1)..Duration::from_secs(9)).contains(&share.own()), "{share:?}");
        assert_eq!(share.node(), Duration::from_secs(9));
        assert!(share.to_string().starts_with("believed=10") && share.to_string().contains(" decided=1"), "{share}");
    }

    #[test]
    fn a_block_that_was_looked_at_before_counts_from_now() {
        let seen = Instant::now() - Duration::from_secs(10);
        assert!(Share::begin(seen, Instant::now()).own() < Duration::from_secs(10));
    }
}
