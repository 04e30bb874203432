//! How long workers' agents may take.

use std::time::Duration;

use anyhow::{Result, bail};
use keeper_dispatch::ASSIGNMENT_TIMEOUT;

use super::Settings;

/// How long an agent may be silent unless told otherwise, in seconds.
pub(super) const DEFAULT_SILENCE_S: u64 = 15;
/// How long a worker has to begin a job that it was offered unless told otherwise, in seconds.
pub(super) const DEFAULT_ASSIGNMENT_TIMEOUT_S: u64 = ASSIGNMENT_TIMEOUT.as_secs();

impl Settings {
    pub(super) fn check_agents(&self) -> Result<()> {
        if !(3..=3_600).contains(&self.agent_silence_s) {
            bail!("keeper.agent_silence_s is {}, but must be 3 to 3600", self.agent_silence_s);
        }
        if !(3..=3_600).contains(&self.assignment_timeout_s) {
            bail!("keeper.assignment_timeout_s is {}, but must be 3 to 3600", self.assignment_timeout_s);
        }
        Ok(())
    }

    /// How long an agent may be silent before its session ends.
    pub(crate) fn agent_silence(&self) -> Duration {
        Duration::from_secs(self.agent_silence_s)
    }

    /// How long a worker has to begin a job that it was offered.
    pub(crate) fn assignment_timeout(&self) -> Duration {
        Duration::from_secs(self.assignment_timeout_s)
    }
}
