//! How an endpoint is, and in which order endpoints are asked. Pure: the time is handed in.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    breaker::{Breaker, Circuit},
    endpoint::Fault,
    latency::Latency,
    limiter::Limiter,
    settings::PoolSettings,
};

/// How far an endpoint can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is asked.
    Healthy,
    /// It is behind the others; asked where no other answers.
    Lagging,
    /// It failed often, or wants to be left alone; asked where no other answers.
    Resting,
    /// It was not looked at yet.
    Unchecked,
    /// It has other blocks than the others; not asked.
    Disagreeing,
    /// It is of another chain, or speaks another specification; not asked.
    Wrong,
}

/// Whose node an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    Unknown,
    Right,
    Wrong,
}

/// What is known of an endpoint.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) identity: Identity,
    /// The newest block that it told of.
    pub(super) head: Option<u64>,
    /// Blocks by which that was behind what was agreed on.
    pub(super) lag: u64,
    /// Whether it had another block than the others when they were last compared.
    pub(super) disagrees: bool,
    pub(super) latency: Latency,
    pub(super) breaker: Breaker,
    pub(super) limiter: Limiter,
    max_lag: u64,
    requests: u64,
    failures: u64,
    contradictions: u64,
    last_fault: Option<String>,
}

/// What is told of an endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointHealth {
    /// Its address, without a key.
    pub url: String,
    /// How far it can be believed.
    pub standing: Standing,
    /// The newest block that it told of.
    pub head: Option<u64>,
    /// Blocks by which it was behind the others then.
    pub lag: u64,
    /// What it was asked since the start.
    pub requests: u64,
    /// How much of that failed.
    pub failures: u64,
    /// How often others agreed on something else.
    pub contradictions: u64,
    /// Nineteen in twenty answers come within so many milliseconds.
    pub p95_ms: u64,
    /// What last went wrong.
    pub last_fault: Option<String>,
}

impl Health {
    pub(super) fn new(settings: &PoolSettings) -> Self {
        Self {
            identity: Identity::Unknown,
            head: None,
            lag: 0,
            disagrees: false,
            latency: Latency::default(),
            breaker: Breaker::new(settings.failures, settings.rest),
            limiter: Limiter::new(settings.rate),
            max_lag: settings.max_lag,
            requests: 0,
            failures: 0,
            contradictions: 0,
            last_fault: None,
        }
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.identity {
            Identity::Wrong => Standing::Wrong,
            Identity::Unknown => Standing::Unchecked,
            Identity::Right if self.disagrees => Standing::Disagreeing,
            Identity::Right if self.breaker.circuit(now) != Circuit::Closed => Standing::Resting,
            Identity::Right if self.limiter.free_at(now) > now => Standing::Resting,
            Identity::Right if self.lag > self.max_lag => Standing::Lagging,
            Identity::Right => Standing::Healthy,
        }
    }

    /// It is asked something, or may be only later.
    ///
    /// # Errors
    /// Says when.
    pub(super) fn try_ask(&mut self, now: Instant) -> Result<(), Instant> {
        let free_at = self.limiter.free_at(now);
        if free_at > now {
            return Err(free_at);
        }
        self.limiter.took(now);
        self.requests += 1;
        Ok(())
    }

    /// It answered after a while, or failed.
    pub(super) fn answered(&mut self, now: Instant, took: Duration, fault: Option<&Fault>) {
        self.latency.note(took);
        let Some(fault) = fault else { return self.breaker.succeeded(now) };
        match fault {
            // It is well, and told so.
            Fault::TooOften(wait) => self.limiter.hold(now, wait.unwrap_or_default()),
            // Others may be a moment ahead; by how much is for the lag to tell.
            Fault::Behind(_) => {}
            _ => self.failed(now, &fault.to_string()),
        }
    }

    /// Others had answered before it did.
    pub(super) fn overtaken(&mut self, now: Instant, after: Duration, is_overdue: bool) {
        self.latency.note(after);
        if is_overdue {
            self.failed(now, "others answer long before it");
        }
    }

    /// Others agreed on something else, about which there can be no two opinions.
    pub(super) fn contradicted(&mut self, now: Instant) {
        self.contradictions += 1;
        self.failed(now, "others agree on another answer");
    }

    /// It told of this block as its newest, when `agreed` was the newest of all.
    pub(super) fn told_head(&mut self, head: u64, agreed: u64) {
        self.head = Some(head);
        self.lag = agreed.saturating_sub(head);
    }

    /// Something is wrong with it.
    pub(super) fn failed(&mut self, now: Instant, what: &str) {
        self.failures += 1;
        self.last_fault = Some(what.to_owned());
        self.breaker.failed(now, rand::random());
    }

    pub(super) fn told(&self, url: String, now: Instant) -> EndpointHealth {
        EndpointHealth {
            url,
            standing: self.standing(now),
            head: self.head,
            lag: self.lag,
            requests: self.requests,
            failures: self.failures,
            contradictions: self.contradictions,
            p95_ms: u64::try_from(self.latency.percentile(95).as_millis()).unwrap_or(u64::MAX),
            last_fault: self.last_fault.clone(),
        }
    }
}

/// The order in which endpoints are asked, by how they are and how fast: the healthy ones, or where there is none those
/// that may do as well as nothing. An endpoint that is of another chain, or has other blocks, is never asked.
pub(super) fn order(endpoints: &[(Standing, Duration)]) -> Vec<usize> {
    let of = |standings: &[Standing]| {
        let mut chosen: Vec<usize> =
            (0..endpoints.len()).filter(|place| standings.contains(&endpoints[*place].0)).collect();
        chosen.sort_by_key(|place| (endpoints[*place].0, pace(endpoints[*place].1), *place));
        chosen
    };
    let healthy = of(&[Standing::Healthy]);
    if healthy.is_empty() { of(&[Standing::Lagging, Standing::Resting]) } else { healthy }
}

/// Times within a factor of two are alike: otherwise the order would change with every answer.
fn pace(median: Duration) -> u32 {
    u64::BITS - u64::try_from(median.as_millis()).unwrap_or(u64::MAX).leading_zeros()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rpc::endpoint::Refusal;

    fn healthy() -> Health {
        Health { identity: Identity::Right, ..Health::new(&PoolSettings::default()) }
    }

    #[test]
    fn an_endpoint_stands_as_it_was_found() {
        let now = Instant::now();
        let mut health = Health::new(&PoolSettings::default());
        assert_eq!(health.standing(now), Standing::Unchecked);
        health.identity = Identity::Right;
        assert_eq!(health.standing(now), Standing::Healthy);
        health.told_head(95, 100);
        assert_eq!(health.standing(now), Standing::Healthy, "a few blocks are no lag");
        health.told_head(94, 100);
        assert_eq!(health.standing(now), Standing::Lagging);
        health.disagrees = true;
        assert_eq!(health.standing(now), Standing::Disagreeing);
        health.identity = Identity::Wrong;
        assert_eq!(health.standing(now), Standing::Wrong);
    }

    #[test]
    fn failures_and_contradictions_make_it_rest_and_being_asked_less_does_too() {
        let now = Instant::now();
        let took = Duration::from_millis(5);
        let mut failing = healthy();
        (0..5).for_each(|_| failing.answered(now, took, Some(&Fault::Status(500))));
        assert_eq!(failing.standing(now), Standing::Resting);
        let mut lying = healthy();
        (0..5).for_each(|_| lying.contradicted(now));
        assert_eq!((lying.standing(now), lying.contradictions), (Standing::Resting, 5));
        let mut busy = healthy();
        busy.answered(now, took, Some(&Fault::TooOften(Some(Duration::from_secs(2)))));
        assert_eq!(busy.standing(now), Standing::Resting);
        assert_eq!(busy.standing(now + Duration::from_secs(2)), Standing::Healthy);
        let mut behind = healthy();
        let refusal = Refusal { code: 24, message: String::new(), data: None };
        (0..50).for_each(|_| behind.answered(now, took, Some(&Fault::Behind(refusal.clone()))));
        assert_eq!(behind.standing(now), Standing::Healthy);
    }

    #[test]
    fn the_faster_of_the_healthy_come_first_and_the_others_only_where_there_is_none() {
        let millis = Duration::from_millis;
        let mixed = [
            (Standing::Resting, millis(1)),
            (Standing::Healthy, millis(90)),
            (Standing::Healthy, millis(9)),
            (Standing::Wrong, millis(0)),
            (Standing::Healthy, millis(8)),
        ];
        assert_eq!(order(&mixed), [2, 4, 1]);
        let poor = [(Standing::Resting, millis(1)), (Standing::Disagreeing, millis(1)), (Standing::Lagging, millis(9))];
        assert_eq!(order(&poor), [2, 0]);
        assert!(order(&[(Standing::Wrong, millis(1)), (Standing::Unchecked, millis(1))]).is_empty());
    }

    fn standing() -> impl Strategy<Value = Standing> {
        use Standing::{Disagreeing, Healthy, Lagging, Resting, Unchecked, Wrong};
        prop::sample::select(vec![Healthy, Lagging, Resting, Unchecked, Disagreeing, Wrong])
    }

    proptest! {
        /// Whatever the endpoints are: none is asked twice, none that cannot be believed is asked, none that is unwell
        /// while one is well, and every one that is well is.
        #[test]
        fn the_order_holds(endpoints in prop::collection::vec((standing(), (0_u64..500).prop_map(Duration::from_millis)), 0..8)) {
            let order = order(&endpoints);
            let mut once = order.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), order.len());
            let healthy = endpoints.iter().filter(|(standing, _)| *standing == Standing::Healthy).count();
            for place in &order {
                let standing = endpoints[*place].0;
                prop_assert!(!matches!(standing, Standing::Wrong | Standing::Disagreeing | Standing::Unchecked));
                prop_assert!(healthy == 0 || standing == Standing::Healthy);
            }
            prop_assert!(healthy == 0 || order.len() == healthy);
        }
    }
}
