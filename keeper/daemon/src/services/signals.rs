//! The operator's word: SIGTERM and SIGINT.

use std::{fmt, future::pending, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::Instant,
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

/// Tells a signal that a person gives again from one that only comes twice.
#[derive(Debug, Default)]
struct Echoes(Option<(Signal, Instant)>);

impl Echoes {
    fn is_echo(&mut self, signal: Signal, now: Instant) -> bool {
        let is_echo = self.0.is_some_and(|(last, at)| last == signal && now.duration_since(at) < ECHO);
        if !is_echo {
            self.0 = Some((signal, now));
        }
        is_echo
    }
}

/// The signals, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Signals(mpsc::Receiver<Signal>);

/// A signal that comes again so soon is the same one told twice: `timeout` tells its child, and then the whole group.
const ECHO: Duration = Duration::from_millis(500);

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
            let mut echoes = Echoes::default();
            loop {
                let came = tokio::select! {
                    _ = terminate.recv() => Signal::Terminate,
                    _ = interrupt.recv() => Signal::Interrupt,
                };
                if !echoes.is_echo(came, Instant::now()) && sender.send(came).await.is_err() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_told_twice_at_once_counts_once() {
        let (mut echoes, start) = (Echoes::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert!(!echoes.is_echo(Signal::Terminate, at(0)));
        assert!(echoes.is_echo(Signal::Terminate, at(1)));
        assert!(echoes.is_echo(Signal::Terminate, at(499)), "what is left out does not begin the time anew");
        assert!(!echoes.is_echo(Signal::Terminate, at(500)));
        assert!(!echoes.is_echo(Signal::Interrupt, at(501)), "another signal is news");
    }
}
