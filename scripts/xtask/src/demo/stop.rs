//! Ctrl-C and SIGTERM end the demo in order.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::failure;

/// Whether the demo has been asked to stop.
#[derive(Debug, Default)]
pub(super) struct Stop {
    requested: Arc<AtomicBool>,
}

impl Stop {
    /// From here on the signals no longer end the process; they set a flag that the loops look at.
    pub(super) fn on_signals() -> Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&requested)).context("listening for signals")?;
        }
        Ok(Self { requested })
    }

    #[cfg(test)]
    pub(super) fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    /// Fails once a stop has been requested.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_requested() {
            return Err(failure("stopped before all jobs had settled", "the logs of this run are kept"));
        }
        Ok(())
    }
}
