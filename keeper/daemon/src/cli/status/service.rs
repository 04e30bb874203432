//! How well the market serves: waits, misses, failures, utilisation, regions.

use comfy_table::Table;
use keeper_scheduler::metrics::{MarketSummary, QueueSummary, TargetedShare, WaitSummary};

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
    if let Some(line) = held(&summary.assignments, "that ended succeeded", "more than") {
        println!("assignments  {line}");
    }
    if let Some(line) = held(&summary.overflow, "jobs found their queue full", "less than") {
        println!("overflow     {line}");
    }
    if let Some(utilisation) = summary.utilisation_bps {
        println!("utilisation  {} of the workers' slots, since they registered", percent(utilisation));
    }
    let spread = &summary.allocation_s;
    println!("allocation   {} s in the mean after an attempt was queued, {} s at most", spread.mean, spread.max);
    for (name, waits) in [("urgent", &summary.urgent), ("ordinary", &summary.ordinary)] {
        if let Some(line) = promptness(waits) {
            println!("{name:<13}{line}");
        }
    }
    let kinds: Vec<String> = summary.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!("verified     {}", kinds.join(", "));
    for place in &summary.regions {
        let region = place.region.map_or_else(|| "none".to_owned(), |region| region.to_string());
        println!("region       {region}: {} of the allocations", percent(place.share_bps));
    }
    println!("\n{}", table(&queues));
}

fn table(queues: &[(&str, &QueueSummary)]) -> Table {
    let headings =
        ["QUEUE", "SUBMITTED", "WAITING", "WAIT P50", "P95", "MAX", "TOO LONG", "FULL", "GIVEN UP", "RETRIED"];
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
            queue.overflowed.to_string(),
            percent(queue.abandonment_rate_bps),
            queue.retried.to_string(),
        ]);
    }
    table
}

/// How long jobs waited, and how many of them no longer than is aimed at; nothing where there were none.
fn promptness(waits: &WaitSummary) -> Option<String> {
    let WaitSummary { target_s, wait_s, late, in_time_bps, met } = waits;
    (wait_s.count > 0 || *late > 0).then(|| {
        format!(
            "{} jobs started, half within {} s, all within {} s; {} in {target_s} s: {}",
            wait_s.count,
            wait_s.p50,
            wait_s.max,
            percent(*in_time_bps),
            verdict(*met)
        )
    })
}

/// A share beside what is aimed at; nothing where there was nothing to count.
fn held(share: &TargetedShare, what: &str, bound: &str) -> Option<String> {
    let TargetedShare { count, of, share_bps, target_bps, met } = share;
    met.is_some().then(|| {
        let (share, target) = (percent(*share_bps), percent(*target_bps));
        format!("{count} of {of} {what}, {share}; {bound} {target} is aimed at: {}", verdict(*met))
    })
}

fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "nothing yet",
    }
}

/// Basis points as a percentage with one decimal.
fn percent(bps: u16) -> String {
    format!("{}.{} %", bps / 100, bps / 10 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_told_where_there_were_any() {
        let mut waits = WaitSummary { target_s: 5, in_time_bps: 10_000, ..WaitSummary::default() };
        assert_eq!(promptness(&waits), None);
        (waits.wait_s.count, waits.wait_s.p50, waits.wait_s.max) = (4, 2, 9);
        (waits.late, waits.in_time_bps, waits.met) = (1, 7_500, Some(false));
        let told = promptness(&waits).unwrap();
        assert_eq!(told, "4 jobs started, half within 2 s, all within 9 s; 75.0 % in 5 s: missed");
    }

    #[test]
    fn what_is_aimed_at_is_met_or_missed() {
        let told = |share| held(&share, "that ended succeeded", "more than");
        assert_eq!(told(TargetedShare::above(0, 0, 9_900)), None);
        assert_eq!(
            told(TargetedShare::above(1_000, 1_005, 9_900)).unwrap(),
            "1000 of 1005 that ended succeeded, 99.5 %; more than 99.0 % is aimed at: met"
        );
        let overflow = held(&TargetedShare::below(3, 7, 10), "jobs found their queue full", "less than");
        assert_eq!(
            overflow.unwrap(),
            "3 of 7 jobs found their queue full, 42.8 %; less than 0.1 % is aimed at: missed"
        );
    }

    #[test]
    fn basis_points_read_as_percentages() {
        assert_eq!([0, 5, 10, 9_995, 10_000].map(percent), ["0.0 %", "0.0 %", "0.1 %", "99.9 %", "100.0 %"]);
    }
}
