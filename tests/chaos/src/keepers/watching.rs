//! Who leads, by the database, and how often that changed.

use std::{sync::Arc, time::Duration};

use keeper_store::{Leases as _, PostgresStore};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

/// The lease of the keeper that leads, as the keeper names it.
const LEADER: &str = "leader";
/// How often it is asked.
const POLL: Duration = Duration::from_millis(100);

/// What was seen of the lease.
#[derive(Clone, Debug, Default)]
pub(crate) struct Led {
    /// Who has it.
    pub(crate) leader: Option<String>,
    /// Who had it last, whether it stands or not.
    last: Option<String>,
    /// How often another than the one before got it.
    pub(crate) takeovers: u64,
}

/// Watches the lease until it is dropped.
pub(crate) struct Watching {
    pub(crate) led: watch::Receiver<Led>,
    task: JoinHandle<()>,
}

impl Watching {
    pub(crate) fn begin(store: Arc<PostgresStore>) -> Self {
        let (tell, led) = watch::channel(Led::default());
        let task = tokio::spawn(async move {
            loop {
                // A database that does not answer here would not answer to anybody.
                if let Ok(current) = store.current(LEADER).await {
                    let leader = current.map(|lease| lease.holder);
                    tell.send_modify(|led| led.note(leader));
                }
                sleep(POLL).await;
            }
        });
        Self { led, task }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Led {
    fn note(&mut self, leader: Option<String>) {
        if leader.is_some() && leader != self.last {
            self.takeovers += u64::from(self.last.is_some());
            self.last.clone_from(&leader);
        }
        self.leader = leader;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_takeover_is_another_holders() {
        let mut led = Led::default();
        for leader in [None, Some("a"), None, Some("a"), Some("b"), Some("b"), None, Some("a")] {
            led.note(leader.map(ToOwned::to_owned));
        }
        assert_eq!(led.takeovers, 2);
    }
}
