use keeper_scheduler::queueing::*;
use keeper_sim::philly::*;
fn main() {
    let text = std::fs::read_to_string("/work/shared/data/philly/philly.csv").unwrap();
    let trace = Trace::parse(&text).unwrap();
    let workload = Workload::new(&trace, 1);
    let args: Vec<String> = std::env::args().skip(1).collect();
    let loads: Vec<u64> = args[0].split(',').map(|x| x.parse().unwrap()).collect();
    for load in loads {
        let machines = machines_for_load(&trace, load);
        for spec in &args[1..] {
            let e = Backfill::Easy; let n = Backfill::None;
            let mut s = ReplaySettings { machines, load_percent: load, half_life_s: 7 * 86400, max_wait_s: 86400*3, starvation_s: 86400 * 3, starvation_limits: 3 };
            let policy: Box<dyn OrderingPolicy> = match spec.as_str() {
                "fifo" => Box::new(Fifo { backfill: n }), "fifo+e" => Box::new(Fifo { backfill: e }),
                "edf" => Box::new(EarliestDeadline { backfill: n }), "edf+e" => Box::new(EarliestDeadline { backfill: e }),
                "fs" => Box::new(FairShare { backfill: n }), "fs+e" => Box::new(FairShare { backfill: e }),
                "slurm" => Box::new(SlurmMultifactor),
                other => {
                    let v: Vec<u32> = other.split(',').map(|x| x.parse().unwrap()).collect();
                    s.half_life_s = v[6] * 3600; s.max_wait_s = v[7] * 3600;
                    Box::new(Balanced { size: v[0], gpus: v[1], held: v[2], used: v[3], slack: v[4], age: v[5], floor: v[8] })
                }
            };
            let o = replay(&workload, s, policy.as_ref());
            println!("{load:>3} m{machines:<3} {spec:<24} jct {:>8.0} p50 {:>6} p95 {:>7} p99 {:>7} max {:>8} jain {:.4} h{} jsl {:.3} miss {:>6} starved {:>6} bf {:>6} mk {:>9} {:.1}s", o.mean_completion_s, o.p50_wait_s, o.p95_wait_s, o.p99_wait_s, o.max_wait_s, o.jain, o.contended_hours, o.jain_slowdown, o.deadline_misses, o.starved, o.backfilled, o.makespan_s, o.replay_s);
        }
    }
}
