use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

const NAMES: [&str; 4] = ["eu-w1", "us-e1", "ap-s1", "moon"];

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

/// Europe to the United States is 90 ms and back 95, to Asia 160 both ways; nothing is said of the United States and
/// Asia. The moon is not configured.
fn config() -> GeographyConfig {
    let latency = |from, to, latency_ms| RegionLatency { from: region(from), to: region(to), latency_ms };
    GeographyConfig {
        regions: NAMES[..3].iter().map(|name| region(name)).collect(),
        latencies: vec![
            latency("eu-w1", "us-e1", 90),
            latency("us-e1", "eu-w1", 95),
            latency("eu-w1", "ap-s1", 160),
            latency("ap-s1", "ap-s1", 20),
        ],
        ..GeographyConfig::default()
    }
}

fn located(job: &str, max_latency_ms: u16, workers: &[(u32, &str)]) -> Vec<(u32, u32)> {
    let workers: Vec<_> = workers.iter().map(|(id, name)| (WorkerId(*id), Some(region(name)))).collect();
    let optimizer = GeoOptimizer::new(config()).unwrap();
    let found = optimizer.optimize_for_latency(Some(region(job)), max_latency_ms, &workers).unwrap();
    found.into_iter().map(|worker| (worker.worker_id.0, worker.latency_ms)).collect()
}

#[test]
fn latencies_are_looked_up_there_back_and_by_default() {
    let optimizer = GeoOptimizer::new(config()).unwrap();
    for (from, to, expected) in [
        ("eu-w1", "us-e1", 90),
        ("us-e1", "eu-w1", 95),
        ("ap-s1", "eu-w1", 160),
        ("ap-s1", "ap-s1", 20),
        ("eu-w1", "eu-w1", 5),
        ("us-e1", "ap-s1", 200),
        ("us-e1", "moon", 200),
    ] {
        assert_eq!(optimizer.latency_ms(Some(region(from)), Some(region(to))), Ok(expected), "{from} to {to}");
    }
    assert_eq!(optimizer.latency_ms(None, Some(region("eu-w1"))), Ok(200));
    assert_eq!(optimizer.latency_ms(Some(region("eu-w1")), None), Ok(200));
}

#[test]
fn the_nearest_comes_first_and_the_bound_holds() {
    let workers = [(4, "ap-s1"), (3, "us-e1"), (2, "eu-w1"), (1, "us-e1")];
    assert_eq!(located("eu-w1", 0, &workers), [(2, 5), (1, 90), (3, 90), (4, 160)]);
    assert_eq!(located("eu-w1", 90, &workers), [(2, 5), (1, 90), (3, 90)]);
    assert_eq!(located("eu-w1", 4, &workers), []);
    assert_eq!(located("us-e1", 0, &[(1, "moon"), (2, "eu-w1")]), [(2, 95), (1, 200)]);
}

#[test]
fn a_job_in_an_unknown_region_is_named() {
    let optimizer = GeoOptimizer::new(config()).unwrap();
    let error = optimizer.optimize_for_latency(Some(region("moon")), 0, &[]).unwrap_err();
    assert_eq!(error.to_string(), "region moon is unknown: add it to the regions, or use one of them");
}

#[test]
fn a_configuration_that_makes_no_sense_is_named() {
    let refused = |change: &dyn Fn(&mut GeographyConfig)| {
        let mut config = config();
        change(&mut config);
        GeoOptimizer::new(config).unwrap_err().to_string()
    };
    assert_eq!(refused(&|config| config.horizon_ms = 0), "horizon_ms must be at least 1 millisecond");
    assert_eq!(
        refused(&|config| config.latencies[2].to = region("moon")),
        "region moon is unknown: add it to the regions, or use one of them"
    );
    assert_eq!(
        refused(&|config| config.latencies[1] = config.latencies[0]),
        "latencies: the pair from eu-w1 to us-e1 is given twice"
    );
}

#[test]
fn it_is_read_with_defaults_and_checked() {
    let read = |json: &str| serde_json::from_str::<GeoOptimizer>(json);
    assert_eq!(*read(r#"{ "regions": [] }"#).unwrap().config(), GeographyConfig::default());
    assert!(read(r#"{ "regions": [], "horizon": 9 }"#).is_err());
    assert!(read(r#"{ "regions": [], "horizon_ms": 0 }"#).unwrap_err().to_string().contains("at least 1"));
    let optimizer = GeoOptimizer::new(config()).unwrap();
    assert_eq!(read(&serde_json::to_string(&optimizer).unwrap()).unwrap(), optimizer);
}

fn any_region() -> impl Strategy<Value = Option<Region>> {
    option::of(select(NAMES.map(region).to_vec()))
}

fn any_optimizer() -> impl Strategy<Value = GeoOptimizer> {
    let latencies = proptest::collection::btree_map((0..3_usize, 0..3_usize), 0..500_u32, 0..9);
    (latencies, 0..50_u32, 0..500_u32, 1..600_u32).prop_map(|(latencies, within_ms, missing_pair_ms, horizon_ms)| {
        let named = |((from, to), latency_ms): ((usize, usize), u32)| RegionLatency {
            from: region(NAMES[from]),
            to: region(NAMES[to]),
            latency_ms,
        };
        let latencies = latencies.into_iter().map(named).collect();
        GeoOptimizer::new(GeographyConfig { latencies, within_ms, missing_pair_ms, horizon_ms, ..config() }).unwrap()
    })
}

proptest! {
    #[test]
    fn the_order_is_total_within_the_bound_and_independent_of_the_list(
        optimizer in any_optimizer(),
        job in option::of(select(NAMES[..3].iter().map(|name| region(name)).collect::<Vec<_>>())),
        max_latency_ms in 0..400_u16,
        (regions, order) in vec(any_region(), 0..12)
            .prop_flat_map(|regions| {
                let places: Vec<_> = (0..regions.len()).collect();
                (Just(regions), Just(places).prop_shuffle())
            }),
    ) {
        let workers: Vec<_> = (1..).map(WorkerId).zip(regions).collect();
        let shuffled: Vec<_> = order.into_iter().map(|place| workers[place]).collect();
        let found = optimizer.optimize_for_latency(job, max_latency_ms, &workers).unwrap();
        prop_assert_eq!(&optimizer.optimize_for_latency(job, max_latency_ms, &shuffled).unwrap(), &found);
        let place = |worker: &LocatedWorker| (worker.latency_ms, worker.worker_id);
        prop_assert!(found.windows(2).all(|pair| place(&pair[0]) < place(&pair[1]) && pair[0].term >= pair[1].term));
        prop_assert!(found.iter().all(|worker| worker.term <= FULL_BPS));

        // Exactly those within the bound are there.
        let bound = if max_latency_ms == 0 { u32::MAX } else { u32::from(max_latency_ms) };
        let within = workers.iter().filter(|(_, region)| optimizer.latency_ms(job, *region).unwrap() <= bound).count();
        prop_assert_eq!(found.len(), within);
    }

    #[test]
    fn the_term_falls_from_full_to_nothing(optimizer in any_optimizer(), near in 0..600_u32, far in 0..600_u32) {
        prop_assert_eq!(optimizer.term(0), FULL_BPS);
        prop_assert_eq!(optimizer.term(optimizer.config().horizon_ms), 0);
        prop_assert!(optimizer.term(near.min(far)) >= optimizer.term(near.max(far)));
    }
}
