//! How a pool of endpoints behaves.

use std::time::Duration;

/// What can be set about a pool of endpoints.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// How long one request may take.
    pub timeout: Duration,
    /// After so long a connection is given up on which something was sent that the other end did not acknowledge, as where the
    /// network is cut. The system would go on sending it, also for a request that nobody waits for any more, and deliver it once
    /// the network is back. Only where the system can be told so, which is Linux.
    pub unacknowledged: Duration,
    /// How many endpoints must give the same answer, where there are as many that are healthy.
    pub agreement: usize,
    /// Blocks by which an endpoint may be behind the others and still be asked for what is new.
    pub max_lag: u64,
    /// Requests a second that an endpoint gets at most; without a bound where there is none.
    pub rate: Option<u32>,
    /// An endpoint rests after so many failures among the last twice as many requests.
    pub failures: u32,
    /// How long an endpoint rests at first. Doubles with every rest up to half a minute.
    pub rest: Duration,
    /// How often every endpoint is looked at.
    pub check_every: Duration,
    /// Whether what endpoints say is compared at all; only [`PoolSettings::believing_the_first`] says no.
    pub(super) compares: bool,
}

/// The longest rest of an endpoint that goes on failing.
pub(super) const LONGEST_REST: Duration = Duration::from_secs(30);
/// The shortest timeout, in milliseconds.
const LEAST_TIMEOUT_MS: u128 = 100;
/// The longest, in milliseconds.
const MOST_TIMEOUT_MS: u128 = 300_000;

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            unacknowledged: Duration::from_secs(30),
            agreement: 2,
            max_lag: 5,
            rate: None,
            failures: 5,
            rest: Duration::from_secs(2),
            check_every: Duration::from_secs(5),
            compares: true,
        }
    }
}

impl PoolSettings {
    /// Believes the first endpoint whatever it says: for the test that shows that this does harm.
    #[cfg(feature = "sabotage")]
    #[must_use]
    pub fn believing_the_first(self) -> Self {
        Self { compares: false, ..self }
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// Names the setting and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        let timeout = self.timeout.as_millis();
        if !(LEAST_TIMEOUT_MS..=MOST_TIMEOUT_MS).contains(&timeout) {
            return Err(format!("timeout_ms is {timeout}, but must be {LEAST_TIMEOUT_MS} to {MOST_TIMEOUT_MS}"));
        }
        if !(1..=8).contains(&self.agreement) {
            return Err(format!("agreement is {}, but must be 1 to 8", self.agreement));
        }
        if self.rate == Some(0) {
            return Err("rate is 0, but must be at least 1: leave it out for no bound".to_owned());
        }
        Ok(())
    }
}
