//! How well the market serves: waits, misses, failures, utilisation, regions.

use comfy_table::Table;
use keeper_scheduler::metrics::{MarketSummary, QueueSummary};

use crate::output;

/// Prints the figures, where anything was submitted.
pub(super) fn print(summary: &MarketSummary) {
    let queues = [("default", &summary.default), ("high", &summary.high), ("low", &summary.low)];
    if queues.iter().all(|(_, queue)| queue.submitted == 0) {
        return;
    }
    println!(
        "success      {} of jobs that ended; {} attempts failed",
        percent(summary.success_rate_bps),
        summary.failed_attempts
    );
    if let Some(utilisation) = summary.utilisation_bps {
        println!("utilisation  {} of the workers' slots, since they registered", percent(utilisation));
    }
    let spread = &summary.allocation_s;
    println!("allocation   {} s in the mean after an attempt was queued, {} s at most", spread.mean, spread.max);
    for place in &summary.regions {
        let region = place.region.map_or_else(|| "none".to_owned(), |region| region.to_string());
        println!("region       {region}: {} of the allocations", percent(place.share_bps));
    }
    println!("\n{}", table(&queues));
}

fn table(queues: &[(&str, &QueueSummary)]) -> Table {
    let headings = ["QUEUE", "SUBMITTED", "WAITING", "WAIT P50", "P95", "MAX", "TOO LONG", "GIVEN UP", "RETRIED"];
    let mut table = output::table(&headings);
    for (name, queue) in queues.iter().filter(|(_, queue)| queue.submitted > 0) {
        let wait = queue.wait_s;
        table.add_row([
            (*name).to_owned(),
            queue.submitted.to_string(),
            queue.length.to_string(),
            format!("{} s", wait.p50),
            format!("{} s", wait.p95),
            format!("{} s", wait.max),
            queue.sla_misses.to_string(),
            percent(queue.abandonment_rate_bps),
            queue.retried.to_string(),
        ]);
    }
    table
}

/// Basis points as a percentage with one decimal.
fn percent(bps: u16) -> String {
    format!("{}.{} %", bps / 100, bps / 10 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basis_points_read_as_percentages() {
        assert_eq!([0, 5, 10, 9_995, 10_000].map(percent), ["0.0 %", "0.0 %", "0.1 %", "99.9 %", "100.0 %"]);
    }
}
