mod abi; mod actors; mod calls; mod campaign; mod chain; mod dice; mod generator; mod market; mod model; mod rules; mod run; mod sight; mod tally; mod views;
use std::time::Instant;
fn main() -> anyhow::Result<()> {
    let a: Vec<u64> = std::env::args().skip(1).map(|x| x.parse().unwrap()).collect();
    let classes = market::Classes::load(std::path::Path::new("contracts/artifacts"))?;
    let t=Instant::now();
    let plan = campaign::Plan{sequences:a[0], calls:a[1], seed:a[2], threads:2};
    let f = campaign::run(&classes, &plan)?;
    println!("{}", f.tally.table());
    if let Some(x) = f.failure { println!("FAIL {} {:?}", x.index, x.terms); for s in &x.steps { println!("  {s}"); } println!("{}", x.violation); }
    println!("calls {} in {:?} = {}/s {:?}", f.calls, t.elapsed(), f.calls as f64 / t.elapsed().as_secs_f64(), f.tally.met());
    Ok(())
}
