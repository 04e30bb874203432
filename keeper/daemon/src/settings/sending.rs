//! How a keeper sends: the `[sending]` section.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use keeper_chain::lane::{LaneSettings, LaneTimes};
use keeper_types::Fri;
use serde::{Deserialize, Serialize};

use crate::cli::RunArgs;

/// Transactions of an account that may be on their way at a time.
const MOST_IN_FLIGHT: usize = 64;

/// What can be set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SendingSettings {
    /// The most that an account spends in an hour, in STRK.
    pub(crate) max_fee_per_hour: String,
    /// The most transactions of an account that are on their way at a time.
    pub(crate) max_in_flight: usize,
    /// How long a transaction may be missing before the same bytes are sent again, in seconds.
    pub(crate) resend_after_s: u64,
    /// How long the network keeps a transaction that it does not include, in seconds.
    pub(crate) transaction_life_s: u64,
    /// Accounts that end what is due in place of the first.
    pub(crate) exit_accounts: Vec<ExitAccount>,
}

/// An account that ends what is due.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExitAccount {
    /// starkli's account file, or `devnet-N`.
    pub(crate) account: String,
    /// Its keystore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keystore: Option<PathBuf>,
}

impl Default for SendingSettings {
    fn default() -> Self {
        Self {
            max_fee_per_hour: "1000".to_owned(),
            max_in_flight: 8,
            resend_after_s: 10,
            transaction_life_s: 300,
            exit_accounts: Vec::new(),
        }
    }
}

impl SendingSettings {
    /// With what the flags say.
    pub(super) fn with_flags(mut self, run: &RunArgs) -> Self {
        if let Some(strk) = &run.max_fee_per_hour {
            self.max_fee_per_hour.clone_from(strk);
        }
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        self.ceiling()?;
        if !(1..=MOST_IN_FLIGHT).contains(&self.max_in_flight) {
            bail!("sending.max_in_flight is {}, but must be 1 to {MOST_IN_FLIGHT}", self.max_in_flight);
        }
        let (resend, life) = (self.resend_after_s, self.transaction_life_s);
        if !(1..=3_600).contains(&resend) {
            bail!("sending.resend_after_s is {resend}, but must be 1 to 3600");
        }
        if !(resend..=86_400).contains(&life) {
            bail!("sending.transaction_life_s is {life}, but must be {resend} (resend_after_s) to 86400");
        }
        Ok(())
    }

    fn ceiling(&self) -> Result<Fri> {
        let fri = Fri::from_strk(&self.max_fee_per_hour).context("sending.max_fee_per_hour")?;
        if fri == Fri::ZERO {
            bail!("sending.max_fee_per_hour is 0, with which nothing can be sent");
        }
        Ok(fri)
    }

    /// What a lane is told.
    ///
    /// # Errors
    /// Fails where a setting is wrong.
    pub(crate) fn lane(&self, poll: Duration) -> Result<LaneSettings> {
        let defaults = LaneSettings::default();
        let times = LaneTimes {
            gap_after_ms: self.resend_after_s * 1_000,
            life_ms: self.transaction_life_s * 1_000,
            ..defaults.times
        };
        Ok(LaneSettings { window: self.max_in_flight, times, poll, max_fee_per_hour: self.ceiling()?, ..defaults })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |change: &dyn Fn(&mut SendingSettings)| {
            let mut settings = SendingSettings::default();
            change(&mut settings);
            format!("{:#}", settings.validate().unwrap_err())
        };
        SendingSettings::default().validate().unwrap();
        assert!(wrong(&|settings| settings.max_fee_per_hour = "much".to_owned()).contains("max_fee_per_hour"));
        assert!(wrong(&|settings| settings.max_fee_per_hour = "0".to_owned()).contains("nothing can be sent"));
        assert!(wrong(&|settings| settings.max_in_flight = 65).contains("must be 1 to 64"));
        assert!(wrong(&|settings| settings.resend_after_s = 0).contains("must be 1 to 3600"));
        assert!(wrong(&|settings| settings.transaction_life_s = 9).contains("must be 10 (resend_after_s)"));
    }

    #[test]
    fn a_flag_beats_the_file() {
        let run = RunArgs { max_fee_per_hour: Some("2.5".to_owned()), ..RunArgs::default() };
        let lane = SendingSettings::default().with_flags(&run).lane(Duration::from_secs(1)).unwrap();
        assert_eq!(lane.max_fee_per_hour, Fri(2_500_000_000_000_000_000));
        assert_eq!((lane.window, lane.times.gap_after_ms, lane.times.life_ms), (8, 10_000, 300_000));
    }
}
