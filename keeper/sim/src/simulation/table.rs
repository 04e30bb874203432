//! The comparison for people: a line for each metric, a column for each set.

use super::{
    compare::{Comparison, Summary},
    figures::METRICS,
};

/// What the best of a line is marked by.
const BEST: char = '*';

/// A table of means over the seeds, with `±` and the sample standard deviation where there are several seeds. The best
/// mean of a line has a star, where the sets differ and there is a better and a worse. Metrics that no set has are left
/// out.
pub fn table(comparison: &Comparison) -> String {
    let mut lines = vec![vec![String::new()]];
    lines[0].extend(comparison.sets.iter().map(|set| set.name.clone()));
    for metric in &METRICS {
        let cells: Vec<Option<String>> = comparison
            .sets
            .iter()
            .map(|set| Some(cell(set.summary.get(metric.key)?, metric.digits, comparison.seeds.len() > 1)))
            .collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "- ".to_owned()));
            lines.push(std::iter::once(metric.label.to_owned()).chain(cells).collect());
        }
    }
    let seeds: Vec<String> = comparison.seeds.iter().map(ToString::to_string).collect();
    let jobs: u64 = comparison.sets.iter().flat_map(|set| &set.runs).map(|run| run.counts.submitted).sum();
    let runs: usize = comparison.sets.iter().map(|set| set.runs.len()).sum();
    let heading = format!("{}\n{runs} runs, {jobs} jobs; seeds {}\n\n", comparison.title, seeds.join(", "));
    heading + &aligned(&lines)
}

fn cell(summary: &Summary, digits: usize, has_deviation: bool) -> String {
    let Summary { mean, deviation, is_best } = summary;
    let deviation = if has_deviation { format!(" ±{deviation:.digits$}") } else { String::new() };
    format!("{mean:.digits$}{deviation}{}", if *is_best { BEST } else { ' ' })
}

/// Columns as wide as their widest cell: the first to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::simulation::SetFigures;

    #[test]
    fn means_have_deviations_and_the_best_a_star() {
        let set = |name: &str, mean, is_best| SetFigures {
            name: name.to_owned(),
            summary: BTreeMap::from([("p95_wait_s", Summary { mean, deviation: 0.25, is_best })]),
            runs: Vec::new(),
        };
        let sets = vec![set("fifo", 120.0, false), set("ours", 9.5, true)];
        let comparison = Comparison { title: "a day".to_owned(), seeds: vec![1, 2], sets };
        let text = table(&comparison);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["a day", "0 runs, 0 jobs; seeds 1, 2"]);
        assert_eq!(lines[3], "                   fifo       ours");
        assert_eq!(lines[4], "p95 wait s  120.0 ±0.2   9.5 ±0.2*");
        assert_eq!(lines.len(), 5, "what no set has is left out");
    }
}
