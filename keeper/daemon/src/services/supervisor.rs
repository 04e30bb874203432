//! Runs the services, starts those again that fail in a way that may pass, and stops them all in order.
//!
//! **Restarts.** A service that fails with [`Failure::Passing`], panics, or ends by itself is named in the log and started
//! again after a pause that doubles, with jitter ([`super::restarts`]). The keeper stops instead where the
//! failure is final, where the same service panics a second time within ten minutes, or where ten restarts of whatever
//! services did not help within ten minutes. What services expect, such as a node that does not answer, they wait out
//! themselves; that is no restart, so an outage of the node of any length costs none. Nor does one of the database's server
//! ([`Failure::Outage`]): services that it ends are started again every two seconds or so until it is over.
//!
//! **State.** A service is given as what starts it, and starts from the database and the chain alone. What that means for
//! each is in its module; nothing else may survive in it.
//!
//! **Stopping**, by a signal or because a service failed for good, goes by [`Stage`]. All of it takes ten seconds at most:
//! what has not stopped by then is left where it is, and the exit code says so. A second signal ends the program at once.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use anyhow::anyhow;
use futures::{FutureExt as _, future::BoxFuture};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Health,
    failure::{Cause, Failure, Stopped},
    restarts::{self, Budget},
    signals::Signals,
};

/// How long the keeper may take to stop once it was told to.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How often the pause doubles, at most, where the database's server does not answer.
const MOST_DOUBLED: u32 = 3;
/// How often the supervisor's loop turns at least, for `/live`.
const BEAT: Duration = Duration::from_secs(1);

/// When a service stops: stages stop one after the other, the services of a stage together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Takes something on, or sends: agents' sessions, offers, rounds, exits. Nothing new is begun; what is being sent is
    /// finished or recorded, and agents are told.
    Work,
    /// What the others' work is believed by: the chain, for as long as they drain.
    Belief,
    /// Answers those who watch the keeper, to the end.
    Probes,
}

impl Stage {
    /// The order, and the share of the whole time by which a stage must have stopped, in percent.
    const ORDER: [(Self, u32); 3] = [(Self::Work, 80), (Self::Belief, 90), (Self::Probes, 100)];
}

type Run = BoxFuture<'static, Result<(), Failure>>;

struct Service {
    name: &'static str,
    stage: Stage,
    start: Box<dyn FnMut(CancellationToken) -> Run + Send>,
    state: State,
    /// Failures one after the other.
    failures: u32,
    panicked: Option<Instant>,
}

enum State {
    Running { since: Instant },
    Waiting { until: Instant },
}

/// How a service ended.
enum Ending {
    ByItself,
    Failed(Failure),
    Panicked(String),
}

/// The services of a keeper.
pub(crate) struct Supervisor {
    services: Vec<Service>,
    tasks: JoinSet<(usize, Ending)>,
    stages: [CancellationToken; Stage::ORDER.len()],
    budget: Budget,
    health: Arc<Health>,
}

impl Supervisor {
    /// A supervisor without services, which says in `health` how they are.
    pub(crate) fn new(health: Arc<Health>) -> Self {
        Self {
            services: Vec::new(),
            tasks: JoinSet::new(),
            stages: std::array::from_fn(|_| CancellationToken::new()),
            budget: Budget::default(),
            health,
        }
    }

    /// Adds a service: `start` makes it anew each time it is started, and it runs until its token is cancelled.
    pub(crate) fn add<F, S>(&mut self, name: &'static str, stage: Stage, mut start: S)
    where
        S: FnMut(CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let state = State::Waiting { until: Instant::now() };
        let start = Box::new(move |cancel| start(cancel).boxed());
        self.services.push(Service { name, stage, start, state, failures: 0, panicked: None });
    }

    /// Starts the services and keeps them running until a signal comes or one fails for good; then stops them all.
    ///
    /// # Errors
    /// Says why the keeper stopped where it was not told to, or did not stop in time.
    pub(crate) async fn run(mut self, mut signals: Signals) -> Result<(), Stopped> {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let result = loop {
            self.start_due();
            self.health.turned();
            let due = self.next_due();
            tokio::select! {
                signal = signals.next() => {
                    tracing::info!(%signal, "stopping");
                    break Ok(());
                }
                Some(Ok((index, ending))) = self.tasks.join_next() => {
                    if let Err(stopped) = self.ended(index, ending) {
                        break Err(stopped);
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                _ = beat.tick() => {}
            }
        };
        if let Err(stopped) = &result {
            tracing::error!(cause = ?stopped.cause(), exit_code = stopped.cause().exit_code(), "the keeper stops: {stopped}");
        }
        self.stop(result, signals).await
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        for index in 0..self.services.len() {
            if matches!(self.services[index].state, State::Waiting { until } if until <= now) {
                self.start(index, now);
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let waiting = self.services.iter().filter_map(|service| match service.state {
            State::Waiting { until } => Some(until),
            State::Running { .. } => None,
        });
        waiting.min()
    }

    fn start(&mut self, index: usize, now: Instant) {
        let service = &mut self.services[index];
        let cancel = self.stages[service.stage as usize].clone();
        // What it owned is gone with the panic; what it shares is behind locks that say when they were left half done.
        let run = AssertUnwindSafe((service.start)(cancel)).catch_unwind();
        self.tasks.spawn(async move {
            let ending = match run.await {
                Ok(Ok(())) => Ending::ByItself,
                Ok(Err(failure)) => Ending::Failed(failure),
                Err(panic) => Ending::Panicked(words_of(&*panic)),
            };
            (index, ending)
        });
        service.state = State::Running { since: now };
        self.health.service(service.name, true);
    }

    /// Decides what follows from a service's end while nobody told it to: its restart, or the keeper's.
    fn ended(&mut self, index: usize, ending: Ending) -> Result<(), Stopped> {
        let now = Instant::now();
        let service = &mut self.services[index];
        let name = service.name;
        self.health.service(name, false);
        if matches!(service.state, State::Running { since, .. } if now.duration_since(since) >= restarts::WELL_AFTER) {
            service.failures = 0;
        }
        service.failures = service.failures.saturating_add(1);
        let until = now + restarts::pause(service.failures);
        service.state = State::Waiting { until };
        let error = match ending {
            Ending::Failed(Failure::Final(cause, error)) => return Err(Stopped::failed(cause, name, error)),
            Ending::Failed(Failure::Outage(error)) => {
                // Its end is nobody's doing here, so that it costs no restart; and it should be noticed soon.
                let until = now + restarts::pause(service.failures.min(MOST_DOUBLED));
                service.state = State::Waiting { until };
                tracing::warn!(service = name, error = format!("{error:#}"), restart_in = ?until - now, "the database does not answer");
                return Ok(());
            }
            Ending::Failed(Failure::Passing(error)) => error,
            Ending::ByItself => anyhow!("it ended by itself"),
            Ending::Panicked(words) => {
                let before = service.panicked.replace(now);
                if before.is_some_and(|before| now.duration_since(before) < restarts::WINDOW) {
                    return Err(Stopped::by(Cause::Panics, format!("{name} panicked again: {words}")));
                }
                anyhow!("it panicked: {words}")
            }
        };
        if !self.budget.spend(now) {
            return Err(Stopped::failed(
                Cause::Restarts,
                &format!(
                    "restarted {} times within {} s in vain, and {name}",
                    restarts::BUDGET,
                    restarts::WINDOW.as_secs()
                ),
                error,
            ));
        }
        tracing::error!(service = name, error = format!("{error:#}"), restart_in = ?until - now, "a service failed; it is started again");
        Ok(())
    }

    /// Stops the services, stage by stage.
    async fn stop(mut self, mut result: Result<(), Stopped>, mut signals: Signals) -> Result<(), Stopped> {
        self.health.stopping();
        let began = Instant::now();
        let mut overdue = Vec::new();
        for (stage, share) in Stage::ORDER {
            self.stages[stage as usize].cancel();
            let until = began + STOP_LIMIT * share / 100;
            while !self.running(stage).is_empty() {
                tokio::select! {
                    signal = signals.next() => {
                        tracing::warn!(%signal, "stopping at once");
                        return Err(Stopped::at_once(signal));
                    }
                    Some(Ok((index, ending))) = self.tasks.join_next() => {
                        let name = self.services[index].name;
                        self.services[index].state = State::Waiting { until: began };
                        self.health.service(name, false);
                        result = result.and(last_word(name, ending));
                    }
                    () = sleep_until(until) => {
                        overdue.extend(self.running(stage));
                        break;
                    }
                }
            }
        }
        if overdue.is_empty() {
            return result;
        }
        self.tasks.abort_all();
        let services = overdue.join(", ");
        tracing::error!(services, "did not stop in time");
        result.and(Err(Stopped::stuck(&services, STOP_LIMIT)))
    }

    fn running(&self, stage: Stage) -> Vec<&'static str> {
        let running = |service: &&Service| service.stage == stage && matches!(service.state, State::Running { .. });
        self.services.iter().filter(running).map(|service| service.name).collect()
    }
}

/// What a service's end means that was told to stop.
fn last_word(name: &str, ending: Ending) -> Result<(), Stopped> {
    match ending {
        Ending::ByItself => Ok(()),
        Ending::Failed(Failure::Passing(error) | Failure::Outage(error)) => {
            tracing::warn!(service = name, error = format!("{error:#}"), "failed while it stopped");
            Ok(())
        }
        Ending::Failed(Failure::Final(cause, error)) => Err(Stopped::failed(cause, name, error)),
        Ending::Panicked(words) => {
            Err(Stopped::by(Cause::Panics, format!("{name} panicked while it stopped: {words}")))
        }
    }
}

/// What a panic said.
fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it did not say why".to_owned())
}

#[cfg(test)]
mod tests;
