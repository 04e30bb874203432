//! Curves: a line for each set.

use plotters::{
    chart::ChartBuilder,
    element::{PathElement, Text},
    series::LineSeries,
    style::{BLACK, Color as _, IntoFont as _},
};

use super::{Canvas, Drawn, FONT, colour, said};
use crate::simulation::{compare::Comparison, timeline::Point};

/// The shortest wait that the axis shows, in seconds: its scale is logarithmic.
const SHORTEST_S: f64 = 0.1;
/// Pixels above a plot, and beside it.
const HEADING_HEIGHT: u32 = 30;
const LEGEND_WIDTH: u32 = 190;

/// A plot with an axis for each direction.
struct Axes<'a> {
    heading: &'a str,
    x: (&'a str, f64, f64),
    y: (&'a str, f64),
    x_label: fn(&f64) -> String,
}

pub(super) fn waits(canvas: &Canvas<'_>, comparison: &Comparison) -> Drawn {
    let curves: Vec<(&str, Vec<(f64, f64)>)> = comparison
        .sets
        .iter()
        .map(|set| {
            let curves: Vec<&[f64]> = set.runs.iter().map(|run| run.wait_s.curve.as_slice()).collect();
            (set.name.as_str(), mean_curve(&curves))
        })
        .collect();
    let longest = curves.iter().flat_map(|(_, curve)| curve).map(|(wait, _)| *wait).fold(0.0, f64::max);
    let axes = Axes {
        heading: "Wait until a job begins (mean of each quantile over the seeds)",
        x: ("wait, s", SHORTEST_S.log10(), longest.max(0.0) + 0.1),
        y: ("jobs that waited no longer, %", 100.0),
        x_label: |power| tick(&10.0_f64.powf(*power)),
    };
    draw(canvas, comparison, &axes, &curves)
}

pub(super) fn utilisation(canvas: &Canvas<'_>, comparison: &Comparison) -> Drawn {
    over_time(canvas, comparison, "GPUs in use", ("of GPUs that are up, %", Some(100.0)), |point| {
        point.utilisation_percent
    })
}

pub(super) fn queue_length(canvas: &Canvas<'_>, comparison: &Comparison) -> Drawn {
    over_time(canvas, comparison, "Jobs that wait", ("jobs", None), |point| point.waiting)
}

fn over_time(
    canvas: &Canvas<'_>,
    comparison: &Comparison,
    heading: &str,
    (label, highest): (&str, Option<f64>),
    of: fn(&Point) -> f64,
) -> Drawn {
    let seed = comparison.seeds.first().copied().unwrap_or(0);
    let curves: Vec<(&str, Vec<(f64, f64)>)> = comparison
        .sets
        .iter()
        .map(|set| {
            let points = set.runs.first().map(|run| run.timeline.as_slice()).unwrap_or_default();
            (set.name.as_str(), points.iter().map(|point| (point.at_h, of(point))).collect())
        })
        .collect();
    let points = || curves.iter().flat_map(|(_, curve)| curve);
    let last_h = points().map(|(at_h, _)| *at_h).fold(0.0, f64::max);
    let highest = highest.unwrap_or_else(|| points().map(|(_, value)| *value).fold(1.0, f64::max) * 1.05);
    let axes = Axes {
        heading: &format!("{heading} over time (seed {seed})"),
        x: ("simulated hours", 0.0, last_h.max(0.1)),
        y: (label, highest),
        x_label: tick,
    };
    draw(canvas, comparison, &axes, &curves)
}

fn draw(canvas: &Canvas<'_>, comparison: &Comparison, axes: &Axes<'_>, curves: &[(&str, Vec<(f64, f64)>)]) -> Drawn {
    let (x_name, from, to) = axes.x;
    let (y_name, highest) = axes.y;
    let heading = format!("{}: {}", comparison.title, axes.heading);
    canvas.draw(&Text::new(heading, (12, 10), (FONT, 17).into_font())).map_err(said)?;
    let (_, below) = canvas.split_vertically(HEADING_HEIGHT);
    let mut chart = ChartBuilder::on(&below)
        .margin(12)
        .margin_right(LEGEND_WIDTH)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(from..to, 0.0..highest)
        .map_err(said)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(x_name).y_desc(y_name).x_label_formatter(&axes.x_label).y_label_formatter(&tick);
    mesh.light_line_style(BLACK.mix(0.04)).label_style((FONT, 13)).draw().map_err(said)?;
    let (width, _) = canvas.dim_in_pixel();
    let left = i32::try_from(width.saturating_sub(LEGEND_WIDTH)).unwrap_or(0) + 10;
    let mut top = 60;
    for (place, (name, curve)) in curves.iter().enumerate() {
        let style = colour(place).stroke_width(2);
        chart.draw_series(LineSeries::new(curve.iter().copied(), style)).map_err(said)?;
        canvas.draw(&PathElement::new([(left, top + 7), (left + 18, top + 7)], style)).map_err(said)?;
        canvas.draw(&Text::new((*name).to_owned(), (left + 24, top), (FONT, 13).into_font())).map_err(said)?;
        top += 22;
    }
    Ok(())
}

/// The mean of several curves' quantiles, as points of the logarithm of the wait and the part in percent.
fn mean_curve(curves: &[&[f64]]) -> Vec<(f64, f64)> {
    let steps = curves.iter().map(|curve| curve.len()).min().unwrap_or(0);
    let (parts, seeds) = (count(steps), count(curves.len()).max(1.0));
    let point = |step: usize| {
        let mean_s = curves.iter().map(|curve| curve[step]).sum::<f64>() / seeds;
        (mean_s.max(SHORTEST_S).log10(), 100.0 * count(step + 1) / parts)
    };
    (0..steps).map(point).collect()
}

#[allow(clippy::cast_precision_loss, reason = "a few hundred")]
fn count(number: usize) -> f64 {
    number as f64
}

/// A number as an axis shows it.
pub(super) fn tick(value: &f64) -> String {
    round(*value).to_string()
}

/// To three digits.
fn round(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let digits = 10.0_f64.powf(2.0 - value.abs().log10().floor());
    (value * digits).round() / digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_curve_is_the_mean_of_each_quantile() {
        let curve = mean_curve(&[&[0.0, 100.0], &[0.0, 1_900.0]]);
        assert_eq!(curve, [(-1.0, 50.0), (3.0, 100.0)]);
        assert_eq!(mean_curve(&[]), []);
    }

    #[test]
    fn labels_have_three_digits() {
        assert_eq!([0.0, 0.1, 316.2, 31_622.8, -2.0].map(|value| tick(&value)), ["0", "0.1", "316", "31600", "-2"]);
    }
}
