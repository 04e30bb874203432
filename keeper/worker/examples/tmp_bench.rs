//! tmp
fn main() {
    for size in [1024, 4096] {
        let job = keeper_types::MatmulJob { size, seed: 1 };
        let t = std::time::Instant::now();
        let out = keeper_worker::matmul::product(job, &std::sync::atomic::AtomicBool::new(false)).unwrap();
        let a = t.elapsed();
        let ok = keeper_worker::matmul::check(job, &out);
        eprintln!("{size} {a:?} check {:?} {ok}", t.elapsed() - a);
    }
}
