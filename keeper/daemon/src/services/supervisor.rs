//! Runs the services, and stops them all when one fails or the operator says so.

use std::{future::Future, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// How long a keeper's services may take to finish once they were told to.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);

/// A set of services that live and die together.
#[derive(Debug)]
pub(crate) struct Supervisor {
    services: JoinSet<(&'static str, Result<()>)>,
    cancel: CancellationToken,
    shutdown_limit: Duration,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::with_shutdown_limit(SHUTDOWN_LIMIT)
    }
}

impl Supervisor {
    /// A supervisor that gives its services this long to finish.
    pub(crate) fn with_shutdown_limit(shutdown_limit: Duration) -> Self {
        Self { services: JoinSet::new(), cancel: CancellationToken::new(), shutdown_limit }
    }

    /// What tells every service to stop.
    pub(crate) fn cancel_token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Starts a service.
    pub(crate) fn start<F>(&mut self, name: &'static str, service: F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.services.spawn(async move { (name, service.await) });
    }

    /// Runs until `stop` says so or a service ends, then stops the others.
    ///
    /// # Errors
    /// The failure of the service that ended, or that one did not stop in time.
    pub(crate) async fn run(mut self, stop: impl Future<Output = &'static str>) -> Result<()> {
        let first = tokio::select! {
            reason = stop => {
                tracing::info!(reason, "stopping");
                Ok(())
            }
            ended = self.services.join_next() => ended.map_or(Ok(()), |ended| outcome(ended, true)),
        };
        self.cancel.cancel();
        let rest = async {
            let mut result = Ok(());
            while let Some(ended) = self.services.join_next().await {
                result = result.and(outcome(ended, false));
            }
            result
        };
        match tokio::time::timeout(self.shutdown_limit, rest).await {
            Ok(result) => first.and(result),
            Err(_) => first.and(Err(anyhow!("services did not stop within {} s", self.shutdown_limit.as_secs()))),
        }
    }
}

fn outcome(ended: Result<(&'static str, Result<()>), tokio::task::JoinError>, unexpected: bool) -> Result<()> {
    let (name, result) = ended.context("a service panicked")?;
    match result {
        Ok(()) if unexpected => Err(anyhow!("{name} ended by itself")),
        result => result.with_context(|| format!("{name} failed")),
    }
}

/// Waits for SIGINT or SIGTERM and says which came.
///
/// # Errors
/// Fails where signals cannot be listened for.
pub(crate) fn stop_signal() -> Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failing_service_stops_the_others_and_is_named() {
        let mut supervisor = Supervisor::default();
        let cancel = supervisor.cancel_token();
        supervisor.start("the good one", async move {
            cancel.cancelled().await;
            Ok(())
        });
        supervisor.start("the bad one", async { Err(anyhow!("it broke")) });
        let error = supervisor.run(std::future::pending()).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "the bad one failed: it broke");
    }

    #[tokio::test]
    async fn a_service_must_not_end_by_itself() {
        let mut supervisor = Supervisor::default();
        supervisor.start("the short one", async { Ok(()) });
        let error = supervisor.run(std::future::pending()).await.unwrap_err();
        assert_eq!(error.to_string(), "the short one ended by itself");
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_stop_is_given_up() {
        let mut supervisor = Supervisor::default();
        supervisor.start("the deaf one", std::future::pending());
        let error = supervisor.run(async { "SIGTERM" }).await.unwrap_err();
        assert_eq!(error.to_string(), "services did not stop within 10 s");
    }
}
