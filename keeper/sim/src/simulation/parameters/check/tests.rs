use super::*;

/// A file that is right.
const EXAMPLE: &str = include_str!("../../../../examples/market.toml");

/// What is said about the example after `from` has become `to`.
fn error(from: &str, to: &str) -> String {
    assert!(EXAMPLE.contains(from), "the example has no `{from}`");
    Parameters::parse(&EXAMPLE.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn the_example_is_read_and_written_back() {
    let parameters = Parameters::parse(EXAMPLE).unwrap();
    assert_eq!(parameters.sets.len(), 6);
    let text = toml::to_string(&parameters).unwrap();
    assert_eq!(Parameters::parse(&text).unwrap(), parameters);
    Parameters::parse(include_str!("../../../../examples/long_run.toml")).unwrap();
}

#[test]
fn unknown_and_missing_fields_are_named() {
    for (from, to, named) in [
        ("title = ", "titel = ", "unknown field `titel`"),
        ("drain_s = ", "drain = ", "unknown field `drain`"),
        ("loss_bps = 20", "loss_bps = 20\nloss_pct = 1", "unknown field `loss_pct`"),
        ("mttr_s = 1_800", "mttr = 1_800", "unknown field `mttr`"),
        ("factor = 5.0", "faktor = 5.0", "unknown field `faktor`"),
        ("sigma = 1.2", "sigmas = 1.2", "unknown field `sigmas`"),
        ("demand = 6", "demands = 6", "unknown field `demands`"),
        ("hang_bps", "hangs_bps", "unknown field `hangs_bps`"),
        ("patience_s", "patience", "unknown field `patience`"),
        ("fairness = 6", "fair = 6", "unknown field `fair`"),
        ("half_life_s = 86_400", "halflife_s = 86_400", "unknown field `halflife_s`"),
        ("silence_timeout_s = 30", "silence_s = 30", "unknown field `silence_s`"),
        ("backfill = \"none\"", "backfill = \"some\"", "unknown variant `some`"),
        ("kind = \"fifo\"", "kind = \"lifo\"", "unknown variant `lifo`"),
        ("engine = \"plan\"", "engine = \"slurm\"", "unknown variant `slurm`"),
        ("kind = \"synthetic\"", "kind = \"drawn\"", "unknown variant `drawn`"),
        ("seeds = [1, 2, 3]", "", "missing field `seeds`"),
        ("count = 8", "", "missing field `count`"),
    ] {
        let said = error(from, to);
        assert!(said.contains(named), "{from} -> {to}: {said}");
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    for (from, to, said) in [
        ("seeds = [1, 2, 3]", "seeds = []", "seeds: there must be one at least"),
        ("seeds = [1, 2, 3]", "seeds = [1, 1]", "seeds: one is given twice"),
        ("arrivals_s = 172_800", "", "horizon: drawn jobs come for ever: set `jobs` or `arrivals_s`"),
        ("loss_bps = 20", "loss_bps = 10_000", "network.loss_bps: must be below 10000, or nothing ever arrives"),
        ("client_bps = 100", "client_bps = 9_990", "faults: they add up to 10110 of 10000"),
        ("patience_s = 86_400", "patience_s = 0", "clients.patience_s: must be at least 1 second"),
        ("count = 8", "count = 0", "workers[0].count: must be at least 1"),
        ("name = \"medium\"", "name = \"large\"", "workers[1].name: `large` is given twice"),
        ("reputation = 850", "reputation = 1_001", "workers[0].reputation: must be at most 1000"),
        ("mtbf_s = 500_000", "mtbf_s = 0", "workers[1].mtbf_s: must be at least 1 second"),
        ("per_hour = 110.0", "per_hour = 0.0", "workload.arrivals.per_hour: must be above 0, not 0"),
        ("per_hour = 110.0", "per_hour = nan", "workload.arrivals.per_hour: must be above 0, not NaN"),
        ("burst_s = 1_800.0", "burst_s = -1.0", "workload.arrivals.burst_s: must be above 0, not -1"),
        ("sigma = 1.2", "sigma = -0.1", "workload.duration.sigma: must be 0 to 10"),
        ("max_s = 43_200", "max_s = 29", "workload.duration.max_s: must not be below min_s"),
        ("most = 4.0", "most = 0.5", "workload.limit_factor.most: must not be below least"),
        ("share_bps = 3_000", "share_bps = 10_001", "workload.deadline.share_bps: must be at most 10000"),
        ("gpus = 1, weight = 60", "gpus = 0, weight = 60", "workload.shapes[0].gpus: must be at least 1"),
        (
            "gpus = 8, weight = 5",
            "gpus = 9, weight = 5",
            "workload.shapes[3].gpus: 9 are more than the widest worker, and the engine `plan` has no gangs (sets[4])",
        ),
        (
            "gpus = 8, weight = 5",
            "gpus = 129, weight = 5",
            "workload.shapes[3].gpus: 129 are more than all workers together (sets[0])",
        ),
        ("most_priority = 5", "most_priority = 11", "tenants[2].most_priority: must be least_priority to 10"),
        ("queue = \"low\"", "queue = \"slow\"", "tenants[2].queue: `slow` has no longest wait in sla_s"),
        ("name = \"steady\"", "name = \"heavy\"", "tenants[1].name: `heavy` is given twice"),
        ("low = 86_400", "low = 86_400\nslow = 1", "sets[0].queues: sla_s names `slow`, which is not among them"),
        ("name = \"FIFO\"", "name = \"balanced\"", "sets[3].name: `balanced` is given twice"),
        ("half_life_s = 86_400", "half_life_s = 0", "sets[2].half_life_s: must be at least 1 second"),
        ("fit = 1_000", "fit = 1_001", "sets[5].policy: the policy's weights add up to 10001 basis points, not 10000"),
        ("max_attempts = 5", "max_attempts = 0", "sets[5].retry.max_attempts: must be at least 1"),
        (
            "half_life_s = 86_400",
            "queues = [{ name = \"default\", weight = 0, max_jobs = 1, max_wait_s = 1, overflow = \"reject\" }]",
            "sets[2].queues: queue `default`: weight and max_jobs must be at least 1",
        ),
    ] {
        assert_eq!(error(from, to), said, "{from} -> {to}");
    }
}

#[test]
fn a_trace_brings_its_own_tenants() {
    let workload = EXAMPLE.find("[workload]").unwrap();
    let (tenants, faults) = (EXAMPLE.find("[[tenants]]").unwrap(), EXAMPLE.find("[faults]").unwrap());
    let with = |middle: &str| format!("{}{middle}\n{}", &EXAMPLE[..workload], &EXAMPLE[faults..]);
    let trace = "[workload]\nkind = \"philly\"\nfile = \"philly.csv\"";
    Parameters::parse(&with(trace)).unwrap();
    let both = with(&format!("{trace}\n{}", &EXAMPLE[tenants..faults]));
    let said = Parameters::parse(&both).unwrap_err().to_string();
    assert_eq!(said, "tenants: a trace brings its own: leave them out");
    let stretched = with(&format!("{trace}\nstretch_percent = 0"));
    let said = Parameters::parse(&stretched).unwrap_err().to_string();
    assert_eq!(said, "workload.stretch_percent: must be at least 1 percent");
}
