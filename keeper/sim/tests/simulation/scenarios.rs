//! Parameters for tests.

use keeper_scheduler::queueing::Overflow;
use keeper_sim::simulation::{ParameterSet, Parameters};

/// Sets of [`small`].
pub(crate) const SETS: usize = 6;

/// The example that is shipped.
pub(crate) fn example() -> Parameters {
    Parameters::parse(include_str!("../../examples/market.toml")).expect("the parameters are right")
}

/// A few hours of a dozen workers that fail often, in the example's sets.
pub(crate) fn small() -> Parameters {
    let mut parameters = example();
    parameters.seeds = vec![1, 2];
    parameters.horizon.arrivals_s = None;
    parameters.horizon.jobs = Some(250);
    for kind in &mut parameters.workers {
        kind.count = kind.count.div_ceil(4);
        (kind.mtbf_s, kind.mttr_s) = (Some(10_000), 1_000);
    }
    assert_eq!(parameters.sets.len(), SETS);
    parameters
}

/// Jobs of one GPU that all run for as long, at random times, on one worker; first in first out in both engines.
pub(crate) fn one_gpu(jobs: u64, per_hour: f64, duration_s: f64) -> Parameters {
    let text = format!(
        r#"
        title = "one GPU"
        seeds = [1]
        horizon = {{ jobs = {jobs}, drain_s = 1_000_000 }}
        workers = [{{ name = "one", count = 1, gpus = 1 }}]
        tenants = [{{ name = "all" }}]
        sla_s = {{ default = 600 }}

        [workload]
        kind = "synthetic"
        arrivals = {{ kind = "poisson", per_hour = {per_hour:?} }}
        duration = {{ median_s = {duration_s:?}, sigma = 0.0, min_s = 1, max_s = 100_000 }}
        limit_factor = {{ least = 1.0, most = 1.0 }}
        shapes = [{{ gpus = 1, weight = 1 }}]

        [[sets]]
        name = "queues"
        engine = "queues"
        policy = {{ kind = "fifo", backfill = "none" }}

        [[sets]]
        name = "plan"
        engine = "plan"
        policy = {{ aging_interval_s = 0 }}
        "#
    );
    Parameters::parse(&text).expect("the parameters are right")
}

/// Every job has a deadline, between two and three times its duration after its submission.
pub(crate) fn with_deadlines(parameters: &Parameters) -> Parameters {
    let text = toml::to_string(parameters).expect("parameters can be written");
    let deadline = "kind = \"synthetic\"\ndeadline = { share_bps = 10_000, least = 2.0, most = 3.0 }";
    Parameters::parse(&text.replacen("kind = \"synthetic\"", deadline, 1)).expect("the parameters are right")
}

/// The sample of the Philly trace on machines of eight GPUs, in queues as the replay has them.
pub(crate) fn traced(machines: u32) -> Parameters {
    let set = |name: &str, policy: &str| {
        format!(
            r#"
            [[sets]]
            name = "{name}"
            engine = "queues"
            policy = {{ {policy} }}
            half_life_s = 86_400
            queues = [{{ name = "default", weight = 1, max_jobs = 1_000, max_wait_s = 7_200, overflow = "reject" }}]
            "#
        )
    };
    let text = format!(
        r#"
        title = "a trace"
        seeds = [1]
        horizon = {{ drain_s = 100_000_000 }}
        workers = [{{ name = "machine", count = {machines}, gpus = 8 }}]
        sla_s = {{ default = 3_600 }}
        workload = {{ kind = "philly", file = "philly.csv" }}
        clients = {{ expire_at_deadline = false }}
        {}{}{}{}
        "#,
        set("balanced", "kind = \"balanced\""),
        set("slurm-multifactor", "kind = \"slurm_multifactor\""),
        set("fifo+easy", "kind = \"fifo\""),
        set("edf", "kind = \"earliest_deadline\", backfill = \"none\""),
    );
    Parameters::parse(&text).expect("the parameters are right")
}

/// Half of the workers are cheap and fail every two hours, half are dear and never fail; one set looks at the price,
/// the other at the reputation.
pub(crate) fn reliable_and_cheap() -> Parameters {
    let text = r#"
        title = "cheap or reliable"
        seeds = [1]
        horizon = { jobs = 600 }
        workers = [
            { name = "cheap", count = 10, gpus = 2, rate = 100, reputation = 200, mtbf_s = 7_200 },
            { name = "dear", count = 10, gpus = 2, rate = 900, reputation = 900 },
        ]
        tenants = [{ name = "all" }]
        sla_s = { default = 600 }

        [workload]
        kind = "synthetic"
        arrivals = { kind = "poisson", per_hour = 60.0 }
        duration = { median_s = 600.0, sigma = 0.8, min_s = 10, max_s = 10_000 }
        shapes = [{ gpus = 1, weight = 1 }]
        max_rate = 1_000

        [[sets]]
        name = "price"
        engine = "plan"
        policy = { weights = { fit = 0, load = 0, reputation = 0, price = 10_000, fragmentation = 0, age = 0 } }

        [[sets]]
        name = "reputation"
        engine = "plan"
        policy = { weights = { fit = 0, load = 0, reputation = 10_000, price = 0, fragmentation = 0, age = 0 } }
    "#;
    Parameters::parse(text).expect("the parameters are right")
}

/// Queues that hold so many jobs each; the high one spills to the default one, that sheds, and the low one refuses.
pub(crate) fn limit_queues(parameters: &mut Parameters, room: u32) {
    for set in &mut parameters.sets {
        let ParameterSet::Queues(set) = set else { continue };
        for queue in &mut set.queues {
            queue.max_jobs = room;
            queue.overflow = match queue.name.as_str() {
                "high" => Overflow::Spill { to: "default".to_owned() },
                "default" => Overflow::ShedLowest,
                _ => Overflow::Reject,
            };
        }
    }
}
