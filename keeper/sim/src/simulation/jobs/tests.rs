use super::*;
use crate::simulation::parameters::Parameters;

fn parameters(change: impl Fn(&mut Parameters)) -> Parameters {
    let mut parameters = Parameters::parse(include_str!("../../../examples/market.toml")).unwrap();
    parameters.horizon.arrivals_s = None;
    parameters.horizon.jobs = Some(20_000);
    change(&mut parameters);
    parameters
}

fn jobs(parameters: &Parameters, seed: u64) -> Vec<Job> {
    Jobs::new(parameters, None, seed).collect()
}

fn share(jobs: &[Job], of: impl Fn(&Job) -> bool) -> f64 {
    exact(jobs.iter().filter(|job| of(job)).count() as u64) / exact(jobs.len() as u64)
}

#[test]
fn jobs_come_in_order_and_the_same_seed_gives_the_same() {
    let parameters = parameters(|_| {});
    let drawn = jobs(&parameters, 1);
    assert_eq!(drawn.len(), 20_000);
    assert!(drawn.windows(2).all(|pair| pair[0].submitted_ms <= pair[1].submitted_ms));
    assert!((0..).zip(&drawn).all(|(number, job)| job.job_id == JobId(number)));
    assert_eq!(drawn, jobs(&parameters, 1));
    assert_ne!(drawn, jobs(&parameters, 2));
}

#[test]
fn jobs_are_as_the_parameters_say() {
    let drawn = jobs(&parameters(|_| {}), 3);
    let close = |share: f64, expected: f64| (share - expected).abs() < 0.015;
    assert!(close(share(&drawn, |job| job.gpus == 1), 0.60) && close(share(&drawn, |job| job.gpus == 8), 0.05));
    assert!(close(share(&drawn, |job| job.tenant == 0), 0.6) && close(share(&drawn, |job| job.tenant == 3), 0.1));
    assert!(close(share(&drawn, |job| job.deadline_s.is_some()), 0.3));
    assert!(close(share(&drawn, |job| job.duration_ms < 900_000), 0.5), "the median");
    for job in &drawn {
        let duration_s = job.duration_ms.div_ceil(SECOND_MS);
        assert!((30_000..=43_200_000).contains(&job.duration_ms));
        assert!(u64::from(job.limit_s) >= duration_s && u64::from(job.limit_s) <= 4 * duration_s);
        let (submitted_s, window) = (job.submitted_ms / SECOND_MS, 3 * job.duration_ms / SECOND_MS);
        assert!(job.deadline_s.is_none_or(|deadline_s| u64::from(deadline_s) + 1 >= submitted_s + window));
        let of_tenant = [(5..=5, "default"), (5..=5, "default"), (1..=5, "low"), (6..=10, "high")];
        let (priorities, queue) = &of_tenant[job.tenant as usize];
        assert!(priorities.contains(&job.priority) && &*job.queue == *queue);
    }
}

#[test]
fn arrivals_have_the_rate_that_is_asked_for() {
    let per_hour = |arrivals: Arrivals| {
        let drawn = jobs(
            &parameters(|parameters| {
                let WorkloadKind::Synthetic(workload) = &mut parameters.workload else { return };
                workload.arrivals = arrivals;
            }),
            5,
        );
        exact(drawn.len() as u64) / (exact(drawn.last().unwrap().submitted_ms) / HOUR_MS)
    };
    let poisson = per_hour(Arrivals::Poisson { per_hour: 100.0 });
    assert!((poisson - 100.0).abs() < 3.0, "{poisson}");
    // A tenth of the time is a burst: (0.9 + 0.1 * 11) * 100.
    let bursty = per_hour(Arrivals::Bursty { per_hour: 100.0, factor: 11.0, burst_s: 60.0, calm_s: 540.0 });
    assert!((bursty - 200.0).abs() < 10.0, "{bursty}");
}

#[test]
fn bursts_are_bursts() {
    let spread = |factor: f64| {
        let drawn = jobs(
            &parameters(|parameters| {
                let WorkloadKind::Synthetic(workload) = &mut parameters.workload else { return };
                workload.arrivals = Arrivals::Bursty { per_hour: 100.0, factor, burst_s: 600.0, calm_s: 5_400.0 };
            }),
            5,
        );
        let gaps: Vec<f64> = drawn.windows(2).map(|pair| exact(pair[1].submitted_ms - pair[0].submitted_ms)).collect();
        let mean = gaps.iter().sum::<f64>() / exact(gaps.len() as u64);
        let squares: f64 = gaps.iter().map(|gap| (gap - mean) * (gap - mean)).sum();
        (squares / exact(gaps.len() as u64)).sqrt() / mean
    };
    let (even, bursty) = (spread(1.0), spread(10.0));
    assert!((even - 1.0).abs() < 0.05, "a factor of 1 is a Poisson process: {even}");
    assert!(bursty > 1.2, "{bursty}");
}

#[test]
fn arrivals_end_when_they_are_told_to() {
    let by_time = parameters(|parameters| {
        parameters.horizon.jobs = None;
        parameters.horizon.arrivals_s = Some(3_600);
    });
    let drawn = jobs(&by_time, 1);
    assert!(!drawn.is_empty() && drawn.iter().all(|job| job.submitted_ms <= 3_600 * SECOND_MS));
    let by_both =
        Parameters { horizon: super::super::parameters::Horizon { jobs: Some(5), ..by_time.horizon }, ..by_time };
    assert_eq!(jobs(&by_both, 1), drawn[..5]);
}
