//! Plots as SVG files: waits, use and queue over time, and every metric as bars.

mod bars;
mod lines;

use std::fmt;

use plotters::{
    prelude::{DrawingArea, IntoDrawingArea as _, SVGBackend},
    style::{RGBColor, WHITE},
};

use super::compare::Comparison;

/// Colours that people with any kind of sight can tell apart (Okabe and Ito, 2008), without the yellow, which is
/// too light for a line.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
];

const FONT: &str = "sans-serif";

/// A plot cannot be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} cannot be drawn: {reason}")]
pub struct PlotError {
    /// Which.
    pub file: &'static str,
    reason: String,
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), String>;

/// The plots by their files' names, as the text of SVG files:
///
/// - `wait_cdf.svg`: which part of the jobs that began had waited no longer than this. A set's curve is the mean over
///   the seeds of each quantile.
/// - `utilisation.svg` and `queue_length.svg`: over time, for the first seed.
/// - `metrics.svg`: means over the seeds as bars, with the sample standard deviation as whiskers.
///
/// # Errors
/// When there is nothing to draw, or a figure is no number.
pub fn plots(comparison: &Comparison) -> Result<Vec<(&'static str, String)>, PlotError> {
    let bars = (1_100, bars::height(comparison));
    Ok(vec![
        svg("wait_cdf.svg", (1_000, 520), |canvas| lines::waits(canvas, comparison))?,
        svg("utilisation.svg", (1_000, 440), |canvas| lines::utilisation(canvas, comparison))?,
        svg("queue_length.svg", (1_000, 440), |canvas| lines::queue_length(canvas, comparison))?,
        svg("metrics.svg", bars, |canvas| bars::metrics(canvas, comparison))?,
    ])
}

/// A file's name and text.
fn svg(
    file: &'static str,
    pixels: (u32, u32),
    draw: impl Fn(&Canvas<'_>) -> Drawn,
) -> Result<(&'static str, String), PlotError> {
    let mut text = String::new();
    let canvas: Canvas<'_> = SVGBackend::with_string(&mut text, pixels).into_drawing_area();
    let drawn = canvas.fill(&WHITE).map_err(said).and_then(|()| draw(&canvas));
    drawn.and_then(|()| canvas.present().map_err(said)).map_err(|reason| PlotError { file, reason })?;
    drop(canvas);
    Ok((file, text))
}

/// The colour of a set, by its place; the first seven differ.
fn colour(place: usize) -> RGBColor {
    COLOURS[place % COLOURS.len()]
}

fn said(error: impl fmt::Display) -> String {
    error.to_string()
}
