//! What is done to a keeper.

use std::time::Duration;

use rand::{Rng as _, rngs::StdRng};

use super::network::Cable;

/// Of the faults, how many hit the keeper that leads.
const LEADER_SHARE: f64 = 0.75;
/// Of those, how many hit it while it is about to send a round.
const SENDING_SHARE: f64 = 0.6;
/// How long a fault lasts: about one to three leases, so that some are over before anybody took over and most are not.
const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(9);

/// What is done to a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGSTOP, and SIGCONT after a while.
    Stop(Duration),
    /// SIGKILL, and a start at once.
    Kill,
    /// A cable is pulled for a while.
    Cut(Cable, Duration),
    /// Both from the chain and from the database.
    CutOff(Duration),
}

/// Whom it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The keeper that leads, at any time or when it is about to send a round.
    Leader { sends: bool },
    /// One that stands by.
    Another,
}

impl Fault {
    /// Draws one, and whom it hits.
    pub(crate) fn draw(rng: &mut StdRng, has_cables: bool) -> (Self, Target) {
        let hits_leader = rng.random_bool(LEADER_SHARE);
        let sends = rng.random_bool(SENDING_SHARE);
        let target = if hits_leader { Target::Leader { sends } } else { Target::Another };
        let time = SHORTEST + (LONGEST - SHORTEST).mul_f64(rng.random());
        let kinds = if has_cables { 5 } else { 2 };
        let fault = match rng.random_range(0..kinds) {
            0 => Self::Stop(time),
            1 => Self::Kill,
            2 => Self::Cut(Cable::Chain, time),
            3 => Self::Cut(Cable::Database, time),
            _ => Self::CutOff(time),
        };
        (fault, target)
    }

    /// How long it lasts.
    pub(crate) fn time(self) -> Duration {
        match self {
            Self::Kill => Duration::ZERO,
            Self::Stop(time) | Self::Cut(_, time) | Self::CutOff(time) => time,
        }
    }

    /// The cables that it pulls.
    pub(crate) fn cables(self) -> Vec<Cable> {
        match self {
            Self::Stop(_) | Self::Kill => Vec::new(),
            Self::Cut(cable, _) => vec![cable],
            Self::CutOff(_) => vec![Cable::Chain, Cable::Database],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stop(_) => "stopped",
            Self::Kill => "killed",
            Self::Cut(Cable::Chain, _) => "cut off from the chain",
            Self::Cut(Cable::Database, _) => "cut off from the database",
            Self::Cut(Cable::Agents, _) => "cut off from agents",
            Self::CutOff(_) => "cut off from both",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn every_kind_is_drawn_where_there_are_cables_and_signals_only_where_there_are_none() {
        let names = |has_cables| {
            let mut rng = StdRng::seed_from_u64(7);
            (0..100).map(|_| Fault::draw(&mut rng, has_cables).0.name()).collect::<BTreeSet<_>>()
        };
        assert_eq!(names(true).len(), 5);
        assert_eq!(names(false), BTreeSet::from(["stopped", "killed"]));
        let draw = |seed| Fault::draw(&mut StdRng::seed_from_u64(seed), true);
        assert_eq!(draw(3), draw(3));
    }
}
