//! What `keeper job check` says.

use anyhow::{Context as _, Result};
use keeper_scheduler::{Explanation, Snapshot, policy_id};
use keeper_types::{Fri, JobSpec, WorkerId};
use serde::{Serialize as _, Serializer, ser::Error as _};
use serde_json::{Value, json};

use super::{ANY_PRICE, Asker, Basis, Replica, Verdict, overall};
use crate::{cli::job::explain, output};

/// What the command found, and what it went by.
pub(super) struct Report<'a> {
    pub(super) spec: &'a JobSpec,
    pub(super) client: &'a Asker,
    pub(super) replicas: &'a [Replica],
    pub(super) snapshot: &'a Snapshot,
    pub(super) basis: &'a Basis,
}

impl Report<'_> {
    /// Prints it, as JSON or for people.
    pub(super) fn print(&self, is_json: bool) -> Result<()> {
        if is_json { output::json(&self.json()?) } else { self.tell() }
    }

    /// What stands in the way is of more interest than what does not.
    fn told(&self) -> Result<&Replica> {
        let blocked = self.replicas.iter().find(|replica| replica.verdict != Verdict::Now);
        blocked.or(self.replicas.first()).context("a job has one replica at least")
    }

    fn is_late(&self) -> bool {
        let start_by = self.replicas.iter().filter_map(|replica| replica.start_by).max();
        start_by.is_some_and(|start_by| start_by > self.spec.deadline)
    }

    fn price(&self) -> Option<Fri> {
        self.replicas.iter().filter_map(|replica| replica.price_fri).max()
    }

    fn json(&self) -> Result<Value> {
        let Self { spec, client, replicas, snapshot, basis } = self;
        let told = self.told()?;
        let block = basis.inputs.as_ref().map(|(_, block)| block);
        Ok(json!({
            "verdict": overall(replicas),
            "worker_id": told.worker_id,
            "start_by": told.start_by,
            "misses_deadline": self.is_late(),
            "price_fri": self.price(),
            "explanation": unnumbered(&told.explanation, serde_json::value::Serializer)?,
            "client": client.address,
            "policy_id": policy_id(&basis.policy),
            "policy_from": if block.is_some() { "latest_round" } else { "configuration" },
            "agents_known": block.is_some(),
            "agents_as_of_block": block,
            "block": snapshot.block,
            "replicas": spec.replicas,
            "replicas_now": replicas.iter().filter(|replica| replica.verdict == Verdict::Now).count(),
            "each": replicas,
        }))
    }

    fn tell(&self) -> Result<()> {
        let Self { spec, replicas, snapshot, basis, .. } = self;
        let told = self.told()?;
        print_verdict(overall(replicas), told, replicas, snapshot.now);
        if self.is_late() {
            let left = spec.deadline.saturating_sub(snapshot.now);
            println!("too late  its deadline is {left} s from now; give it a longer --deadline");
        }
        if let Some(price) = self.price() {
            let each =
                if spec.replicas > 1 { format!(" for each of {} replicas", spec.replicas) } else { String::new() };
            println!("price     {price} at most{each}, for {} s", spec.execution_timeout_s);
        }
        if spec.max_price == ANY_PRICE {
            println!("note      without --max-price no worker is too dear, and prices hardly count in the choice");
        }
        if let Some(reason) = &self.client.unknown {
            println!("client    one that has no other jobs and that no worker refuses: {reason}");
        }
        println!("queue     {} jobs wait beside it", snapshot.jobs.len());
        println!("policy    {}", policy(basis));
        print_agents(snapshot, basis);
        explain::print_findings(&told.explanation, Some(snapshot.now));
        Ok(())
    }
}

fn policy(basis: &Basis) -> &'static str {
    match basis.inputs {
        Some(_) => "the latest round's, which need not be this configuration's",
        None => "this configuration's; that of a keeper's rounds is not known here",
    }
}

/// An explanation without the number that the job has for the time of the calculation: on chain it has none.
///
/// # Errors
/// Those of the serializer.
pub(super) fn unnumbered<S: Serializer>(explanation: &Explanation, serializer: S) -> Result<S::Ok, S::Error> {
    let mut value = serde_json::to_value(explanation).map_err(S::Error::custom)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("job_id".to_owned(), Value::Null);
    }
    value.serialize(serializer)
}

fn print_verdict(verdict: Verdict, told: &Replica, replicas: &[Replica], now: u64) {
    if replicas.len() == 1 {
        println!("{}", sentence(verdict, told.worker_id, told.start_by.map(|start_by| start_by.saturating_sub(now))));
    } else {
        let placed = replicas.iter().filter(|replica| replica.verdict == Verdict::Now).count();
        println!("{}", sentence_of_replicas(verdict, placed, replicas.len()));
        for (replica, number) in replicas.iter().zip(1..) {
            println!("replica   {number}: {} ({})", replica.explanation.outcome, replica.explanation.outcome.code());
        }
        println!("          a worker gets one replica of a job at most");
    }
    println!("because   {} ({})", told.explanation.outcome, told.explanation.outcome.code());
}

fn print_agents(snapshot: &Snapshot, basis: &Basis) {
    match &basis.inputs {
        Some((_, block)) => {
            println!("agents    as the latest round had them, of block {block}; now is block {}", snapshot.block);
            println!("          who has come or gone since, whom workers refuse that had no job waiting then,");
            println!("          and whether a keeper is at work, is not known here");
        }
        None => println!("note      which agents are connected is not known here; every active worker is taken to be"),
    }
}

fn sentence_of_replicas(verdict: Verdict, placed: usize, replicas: usize) -> String {
    let (word, rest) = match verdict {
        Verdict::Now => return format!("NOW       all {replicas} replicas would be placed in a round decided now"),
        Verdict::Partly => {
            ("PARTLY", format!("{placed} of {replicas} replicas would be placed in a round decided now"))
        }
        Verdict::Later => ("LATER", format!("none of {replicas} replicas would be placed before workers have room")),
        Verdict::No => ("NO", format!("none of {replicas} replicas would be placed in a round decided now")),
    };
    format!("{word:<10}{rest}")
}

fn sentence(verdict: Verdict, worker_id: Option<WorkerId>, wait_s: Option<u64>) -> String {
    match (verdict, worker_id, wait_s) {
        (Verdict::Now, Some(worker_id), _) => {
            format!("NOW       worker {worker_id} would get it in a round decided now")
        }
        (Verdict::Later, Some(worker_id), Some(wait_s)) => {
            format!("LATER     worker {worker_id} would be kept for it and has room in {wait_s} s at the latest")
        }
        (Verdict::Later, ..) => "LATER     workers that fit are full, and others wait before it".to_owned(),
        (Verdict::Now | Verdict::Partly | Verdict::No, ..) => {
            "NO        nobody would run it as things stand".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use keeper_scheduler::{Outcome, Policy};
    use keeper_types::{BlockNumber, Felt, JobId, Queue, Requirements, Verification};

    use super::*;

    #[test]
    fn sentences_say_where_and_when() {
        assert!(sentence(Verdict::Now, Some(WorkerId(3)), Some(0)).contains("worker 3 would get it"));
        assert!(sentence(Verdict::Later, Some(WorkerId(3)), Some(70)).contains("room in 70 s at the latest"));
        assert!(sentence(Verdict::Later, None, None).contains("others wait before it"));
        assert!(sentence(Verdict::No, None, None).starts_with("NO"));
        assert!(sentence_of_replicas(Verdict::Partly, 1, 3).starts_with("PARTLY    1 of 3 replicas"));
        assert!(sentence_of_replicas(Verdict::Later, 0, 3).starts_with("LATER     none of 3"));
    }

    #[test]
    fn no_number_is_made_up_and_what_it_went_by_is_said() {
        let explanation: Explanation = serde_json::from_value(json!({
            "job_id": u64::MAX, "attempt": 1, "outcome": Outcome::NoWorkers, "workers_evaluated": 0, "rejections": {},
            "winner": null, "runner_up": null,
        }))
        .unwrap();
        assert_eq!(explanation.job_id, JobId(u64::MAX));
        let replica = Replica { verdict: Verdict::No, worker_id: None, start_by: None, price_fri: None, explanation };
        let snapshot = Snapshot {
            now: 5,
            block: BlockNumber(7),
            seed: 1,
            jobs: Vec::new(),
            workers: Vec::new(),
            running: Vec::new(),
            used_milli: BTreeMap::new(),
            turn: None,
            portion: None,
        };
        let basis = Basis { inputs: None, policy: Policy::default() };
        let spec = JobSpec {
            manifest_hash: Felt::ONE,
            model_id: Felt::ZERO,
            requirements: Requirements::default(),
            priority: 5,
            queue: Queue::Default,
            max_price: ANY_PRICE,
            deadline: 100,
            execution_timeout_s: 60,
            max_attempts: 1,
            max_latency_ms: 0,
            verification: Verification::None,
            replicas: 1,
            quorum: 1,
        };
        let client = Asker { address: None, unknown: Some("no --account is named".to_owned()) };
        let report = Report { spec: &spec, client: &client, replicas: &[replica], snapshot: &snapshot, basis: &basis };
        let told = report.json().unwrap();
        assert_eq!(
            (&told["explanation"]["job_id"], &told["each"][0]["explanation"]["job_id"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(told["explanation"]["outcome"]["code"], "no_workers");
        assert_eq!((&told["client"], &told["policy_from"]), (&Value::Null, &json!("configuration")));
        assert_eq!(told["policy_id"], json!(policy_id(&Policy::default())));
        assert!(policy(&basis).starts_with("this configuration's"));
    }
}
