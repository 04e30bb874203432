//! The operator's word: SIGTERM and SIGINT.

use std::{fmt, future::pending};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// What tells the program to stop. The first time it stops in order, the second time at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

impl Signal {
    /// 128 and the signal's number, as shells have it.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        })
    }
}

/// The signals, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Signals(mpsc::Receiver<Signal>);

/// More than two say nothing new.
const SIGNALS: usize = 2;

impl Signals {
    /// Takes the signals over from the system's defaults.
    ///
    /// # Errors
    /// Fails where the handlers cannot be installed.
    pub(crate) fn install() -> Result<Self> {
        let mut terminate = signal(SignalKind::terminate()).context("installing the handler for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("installing the handler for SIGINT")?;
        let (sender, receiver) = mpsc::channel(SIGNALS);
        tokio::spawn(async move {
            loop {
                let came = tokio::select! {
                    _ = terminate.recv() => Signal::Terminate,
                    _ = interrupt.recv() => Signal::Interrupt,
                };
                if sender.send(came).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self(receiver))
    }

    /// Signals that something else than the system gives.
    #[cfg(test)]
    pub(crate) fn by_hand() -> (mpsc::Sender<Signal>, Self) {
        let (sender, receiver) = mpsc::channel(SIGNALS);
        (sender, Self(receiver))
    }

    /// The next signal. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => pending().await,
        }
    }
}
