//! The round trip between keeper and agent, from pings and pongs.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

/// Measurements that count: 40 s of them, as often as an agent is asked.
const WINDOW: usize = 8;
/// Pings whose answers are waited for. An agent that answers none leaves before there are as many.
const MAX_UNANSWERED: usize = 8;
/// What a value has to differ by from the one before to be news: so many milliseconds, and this share of it.
const LEAST_MOVE_MS: u32 = 5;
const LEAST_MOVE_PERCENT: u32 = 20;

/// What is known of one session's round trip: the least of the last measurements. What comes on top of it is the
/// other end's being busy, or this one's.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    /// The pings that are not answered, the oldest first, with when they were sent. Each is answered once and in order.
    asked: VecDeque<(u64, Instant)>,
    measured: VecDeque<u32>,
    /// What was last told, in milliseconds.
    told: Option<u32>,
}

impl RoundTrip {
    /// A ping is sent, with a token that nobody can guess.
    pub(super) fn ping(&mut self, token: u64, now: Instant) {
        if self.asked.len() == MAX_UNANSWERED {
            self.asked.pop_front();
        }
        self.asked.push_back((token, now));
    }

    /// A pong has come. Returns the round trip in milliseconds where it is news; a pong that nobody asked for, or with
    /// another token than the oldest ping's, is none.
    pub(super) fn pong(&mut self, token: u64, now: Instant) -> Option<u32> {
        let (_, asked) = self.asked.pop_front_if(|(asked, _)| *asked == token)?;
        if self.measured.len() == WINDOW {
            self.measured.pop_front();
        }
        self.measured.push_back(milliseconds(now.duration_since(asked)));
        let least = self.measured.iter().copied().min()?;
        if self.told.is_some_and(|told| !is_news(told, least)) {
            return None;
        }
        self.told = Some(least);
        self.told
    }
}

/// Whether a value has moved so far from the one before that it is worth telling.
fn is_news(before: u32, now: u32) -> bool {
    let moved = now.abs_diff(before);
    let share = u64::from(moved) * 100 > u64::from(before) * u64::from(LEAST_MOVE_PERCENT);
    moved >= LEAST_MOVE_MS && share
}

/// Rounded up: who is within a number of milliseconds by this is so in truth.
fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told after round trips of so many milliseconds.
    fn told(round_trips: &[u64]) -> Vec<Option<u32>> {
        let (mut round_trip, mut now) = (RoundTrip::default(), Instant::now());
        let mut measure = |ms: &u64| {
            round_trip.ping(*ms, now);
            now += Duration::from_millis(*ms);
            round_trip.pong(*ms, now)
        };
        round_trips.iter().map(&mut measure).collect()
    }

    #[test]
    fn the_least_of_the_last_eight_counts() {
        let slow_once = [50, 900, 50];
        assert_eq!(told(&slow_once), [Some(50), None, None]);
        // A way that has become longer counts once the last of the shorter ones is forgotten.
        let longer = [50, 90, 90, 90, 90, 90, 90, 90, 90];
        assert_eq!(told(&longer), [Some(50), None, None, None, None, None, None, None, Some(90)]);
    }

    #[test]
    fn only_what_moved_by_a_fifth_and_five_milliseconds_is_told() {
        assert_eq!(told(&[100, 81, 80, 79]), [Some(100), None, None, Some(79)]);
        assert_eq!(told(&[10, 6, 5]), [Some(10), None, Some(5)]);
        assert!(!is_news(0, 4) && is_news(0, 5) && !is_news(100, 120) && is_news(100, 121));
        assert!(is_news(u32::MAX, 0) && is_news(0, u32::MAX));
    }

    #[test]
    fn pongs_answer_pings_in_their_order() {
        let (mut round_trip, start) = (RoundTrip::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(round_trip.pong(1, at(0)), None, "nobody asked");
        round_trip.ping(1, at(0));
        round_trip.ping(2, at(5_000));
        assert_eq!(round_trip.pong(2, at(5_999)), None, "the first is not answered");
        assert_eq!(round_trip.pong(1, at(6_000)), Some(6_000));
        assert_eq!(round_trip.pong(7, at(6_000)), None, "a guess");
        assert_eq!(round_trip.pong(2, at(6_001)), Some(1_001));
        assert_eq!(round_trip.pong(2, at(6_002)), None);
    }

    #[test]
    fn a_part_of_a_millisecond_is_one() {
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::from_micros(1)), 1);
        assert_eq!(milliseconds(Duration::from_micros(1_000)), 1);
        assert_eq!(milliseconds(Duration::from_nanos(1_001_000)), 2);
        assert_eq!(milliseconds(Duration::MAX), u32::MAX);
    }

    #[test]
    fn an_agent_that_does_not_answer_is_not_remembered_without_end() {
        let (mut round_trip, now) = (RoundTrip::default(), Instant::now());
        (0..100).for_each(|token| round_trip.ping(token, now));
        assert_eq!(round_trip.asked.len(), MAX_UNANSWERED);
    }
}
