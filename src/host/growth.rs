//! How the cost of a step grows: points that were measured, and their plot. Measures nothing.

use std::path::Path;

use plotters::prelude::*;
use serde::Serialize;

use super::plot::{Plot, PlotError, PlotFileError, colour, legend, log_range, mesh, plain};

const HEIGHT: u32 = 460;

/// What one step cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// What was varied: "prompts", "directions", …
    pub varied: &'static str,
    /// Its value.
    pub value: String,
    /// Token rows of a step, each counted once if it goes through the layers above the edit.
    pub rows: f64,
    /// Multiply-accumulates of a step.
    pub multiplied: f64,
    /// Seconds of a step.
    pub seconds: f64,
}

/// Writes the points as a plot: seconds of a step against its multiply-accumulates, a line for each thing varied. `peak` is what the
/// machine multiplies in a second at most.
///
/// # Errors
/// A plot that cannot be drawn, a file that cannot be written.
pub fn write(path: &Path, points: &[Point], peak: f64) -> Result<(), PlotFileError> {
    draw(points, peak)?.write(path)
}

fn draw(points: &[Point], peak: f64) -> Result<Plot, PlotError> {
    let giga = |point: &Point| point.multiplied / 1e9;
    let across = log_range(points.iter().map(giga)).unwrap_or(0.1..1.0);
    let fastest = |products: f64| products * 1e9 / peak;
    let up = points.iter().map(|point| point.seconds).chain([fastest(across.start)]);
    let up = log_range(up).unwrap_or(0.1..1.0);
    let mut series: Vec<&str> = points.iter().map(|point| point.varied).collect();
    series.dedup();
    let names: Vec<_> = series.iter().chain([&"registers alone"]).map(|name| (*name).to_owned()).enumerate().collect();
    Plot::draw("Seconds of a step", "", HEIGHT, |area| {
        let area = legend(area, &names)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(62)
            .build_cartesian_2d(across.clone().log_scale(), up.log_scale())?;
        let axes = ["multiply-accumulates of a step (G)", "seconds of a step"];
        mesh(&mut chart, axes, &plain, &plain)?;
        for (at, varied) in series.iter().enumerate() {
            let line: Vec<_> = points
                .iter()
                .filter(|point| point.varied == *varied)
                .map(|point| (giga(point), point.seconds))
                .collect();
            chart.draw_series(LineSeries::new(line.iter().copied(), colour(at).stroke_width(2)))?;
            chart.draw_series(line.iter().map(|place| Circle::new(*place, 3, colour(at).filled())))?;
        }
        let ends = [across.start, across.end].map(|products| (products, fastest(products)));
        chart.draw_series(LineSeries::new(ends, colour(series.len()).stroke_width(1)))?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_every_point_and_names_every_series() {
        let point = |varied, multiplied, seconds| Point { varied, value: "1".into(), rows: 1.0, multiplied, seconds };
        let points = [point("prompts", 1e9, 0.1), point("prompts", 2e9, 0.2), point("layers", 3e9, 0.5)];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("growth.svg");
        write(&path, &points, 1e11).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        assert_eq!(svg.matches("<circle").count(), points.len());
        assert!(["prompts", "layers", "registers alone"].iter().all(|name| svg.contains(name)), "{svg}");
    }
}
