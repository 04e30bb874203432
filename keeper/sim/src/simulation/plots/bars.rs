//! Bars: a small panel for each metric, a bar for each set.

use plotters::{
    chart::ChartBuilder,
    element::{PathElement, Rectangle, Text},
    style::{BLACK, Color as _, IntoFont as _},
};

use super::{Canvas, Drawn, FONT, colour, lines::tick, said};
use crate::simulation::{
    compare::{Comparison, Summary},
    figures::{METRICS, Metric},
};

const PANELS_IN_A_ROW: usize = 4;
const PANEL_HEIGHT: u32 = 190;
const HEADING_HEIGHT: u32 = 36;
const LINE_HEIGHT: u32 = 20;

/// The metrics that some set has, and not all of them as zero.
fn shown(comparison: &Comparison) -> Vec<&'static Metric> {
    let is_positive = |summary: &Summary| summary.mean > 0.0;
    let has = |metric: &&Metric| comparison.sets.iter().any(|set| set.summary.get(metric.key).is_some_and(is_positive));
    METRICS.iter().filter(has).collect()
}

/// Pixels that the panels and the names of the sets take.
pub(super) fn height(comparison: &Comparison) -> u32 {
    let rows = shown(comparison).len().div_ceil(PANELS_IN_A_ROW);
    pixels(rows) * PANEL_HEIGHT + HEADING_HEIGHT + pixels(comparison.sets.len()) * LINE_HEIGHT
}

pub(super) fn metrics(canvas: &Canvas<'_>, comparison: &Comparison) -> Drawn {
    let heading = format!("{}: means and sample deviations over {} seeds", comparison.title, comparison.seeds.len());
    canvas.draw(&Text::new(heading, (12, 10), (FONT, 17).into_font())).map_err(said)?;
    let legend_height = pixels(comparison.sets.len()) * LINE_HEIGHT;
    let (head, panels) = canvas.split_vertically(HEADING_HEIGHT + legend_height);
    let mut top = 36;
    for (place, set) in comparison.sets.iter().enumerate() {
        head.draw(&Rectangle::new([(14, top), (28, top + 12)], colour(place).filled())).map_err(said)?;
        head.draw(&Text::new(set.name.clone(), (36, top), (FONT, 13).into_font())).map_err(said)?;
        top += 20;
    }
    let shown = shown(comparison);
    let rows = shown.len().div_ceil(PANELS_IN_A_ROW).max(1);
    for (area, metric) in panels.split_evenly((rows, PANELS_IN_A_ROW)).iter().zip(shown) {
        panel(area, comparison, metric)?;
    }
    Ok(())
}

fn panel(area: &Canvas<'_>, comparison: &Comparison, metric: &Metric) -> Drawn {
    let bars: Vec<Option<&Summary>> = comparison.sets.iter().map(|set| set.summary.get(metric.key)).collect();
    let highest = bars.iter().flatten().map(|bar| bar.mean + bar.deviation).fold(0.0, f64::max);
    let top = if highest > 0.0 { highest * 1.1 } else { 1.0 };
    let mut chart = ChartBuilder::on(area)
        .caption(metric.label, (FONT, 13).into_font())
        .margin(8)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..f64::from(pixels(bars.len())), 0.0..top)
        .map_err(said)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().disable_x_axis().y_labels(6).y_label_formatter(&tick).light_line_style(BLACK.mix(0.0));
    mesh.label_style((FONT, 11)).draw().map_err(said)?;
    for (place, bar) in bars.into_iter().enumerate() {
        let Some(Summary { mean, deviation, .. }) = bar else { continue };
        let left = f64::from(pixels(place));
        let corners = [(left + 0.15, 0.0), (left + 0.85, *mean)];
        chart.draw_series([Rectangle::new(corners, colour(place).filled())]).map_err(said)?;
        let whisker = [(left + 0.5, (mean - deviation).max(0.0)), (left + 0.5, mean + deviation)];
        chart.draw_series([PathElement::new(whisker, BLACK.stroke_width(1))]).map_err(said)?;
    }
    Ok(())
}

fn pixels(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
