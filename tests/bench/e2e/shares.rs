//! What the keeper says of its own time: its log's lines, which are timed by a clock that only goes forward.

use std::time::Duration;

use serde_json::Value;

/// What the keeper logs when a round is sent.
const SENT: &str = "sending the round";
/// Why a job is not considered, though there may be a worker for it.
const OVERFLOW: &str = "queue_full";

/// What the log tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares {
    /// For each round, from the block at hand to the request that sends it, without the time that the node took to
    /// answer.
    pub(crate) own: Vec<Duration>,
    /// For each round, how long the node took to answer in between.
    pub(crate) node: Vec<Duration>,
    /// Of the own share, how long each stage of each round took, in their order.
    pub(crate) stages: Vec<(String, Vec<Duration>)>,
    /// Jobs that found their queue full.
    pub(crate) overflow: u64,
}

impl Shares {
    /// Reads `believed=3979 snapshot=4285`: by when each stage was done, in microseconds.
    fn add_stages(&mut self, told: &str) {
        let mut before = 0;
        for (name, at) in told.split(' ').filter_map(|stage| stage.split_once('=')) {
            let at: u64 = at.parse().expect("a time in the log");
            let took = Duration::from_micros(at.saturating_sub(before));
            before = at;
            match self.stages.iter_mut().find(|(known, _)| known == name) {
                Some((_, times)) => times.push(took),
                None => self.stages.push((name.to_owned(), vec![took])),
            }
        }
    }
}

/// Reads a log in JSON.
pub(crate) fn read(log: &str) -> Shares {
    let mut shares = Shares::default();
    for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let fields = &line["fields"];
        if fields["message"] == SENT {
            let micros = |name: &str| Duration::from_micros(fields[name].as_u64().expect("a time in the log"));
            shares.own.push(micros("own_us"));
            shares.node.push(micros("node_us"));
            shares.add_stages(fields["stages"].as_str().expect("stages in the log"));
        }
        shares.overflow += u64::from(fields["code"] == OVERFLOW);
    }
    shares
}
