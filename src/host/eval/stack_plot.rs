//! The rows of a growing [`stack`](super::stack) as a plot. Measures nothing.

use std::io;
use std::path::Path;

use plotters::prelude::*;

use super::stack::Row;
use crate::host::atomic_file;
use crate::host::plot::{Plot, PlotError, colour, legend, mesh, percent, plain};

const HEIGHT: u32 = 460;

/// A line of the plot: its name, and its height at a row.
type Series = (&'static str, fn(&Row) -> Option<f64>);

/// What is drawn. All of them are shares but the perplexity, drawn as the part of it that the clean model has.
const SERIES: [Series; 6] = [
    ("edits that hold", |row| row.hold),
    ("rephrasings", |row| row.rephrase),
    ("facts never edited", |row| Some(row.others)),
    ("drift", |row| Some(row.health.drift)),
    ("norm of the patches", |row| Some(row.health.patch_norm)),
    ("clean perplexity / perplexity", |row| Some(row.health.perplexity_clean / row.health.perplexity)),
];

/// Why rows cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum StackPlotError {
    /// The plot.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes the rows as a plot over the number of edits.
///
/// # Errors
/// A plot that cannot be drawn, a file that cannot be written.
pub fn write(path: &Path, rows: &[Row]) -> Result<(), StackPlotError> {
    let plot = draw(rows)?;
    atomic_file::write(path, |file| io::Write::write_all(file, plot.standalone().as_bytes()))?;
    Ok(())
}

fn draw(rows: &[Row]) -> Result<Plot, PlotError> {
    let names: Vec<_> = SERIES.iter().map(|(name, _)| (*name).to_owned()).enumerate().collect();
    let last = rows.iter().map(|row| row.edits).max().unwrap_or(0).max(1) as f64;
    Plot::draw("Stacked edits", "", HEIGHT, |area| {
        let area = legend(area, &names)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(62)
            .build_cartesian_2d(0.0..last, 0.0..1.02)?;
        mesh(&mut chart, ["stacked edits", "share"], &plain, &percent)?;
        for (at, (_, height)) in SERIES.iter().enumerate() {
            let line: Vec<_> = rows
                .iter()
                .filter_map(|row| Some((row.edits as f64, height(row).filter(|height| height.is_finite())?.min(1.0))))
                .collect();
            chart.draw_series(LineSeries::new(line.iter().copied(), colour(at).stroke_width(2)))?;
            chart.draw_series(line.iter().map(|place| Circle::new(*place, 3, colour(at).filled())))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::health::Health;

    #[test]
    fn a_plot_has_every_number_and_names_every_line() {
        let row = |edits: usize| Row {
            tried: edits,
            edits,
            success: 1.0,
            hold: (edits > 0).then_some(0.9),
            rephrase: None,
            others: 0.8,
            health: Health { edits, perplexity_clean: 2.0, perplexity: 4.0, drift: 0.1, patch_norm: f64::NAN },
            warnings: Vec::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stack.svg");
        write(&path, &[row(0), row(5), row(10)]).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        assert_eq!(svg.matches("<circle").count(), 2 + 3 * 3, "what is not known, or no number, has no place");
        assert!(SERIES.iter().all(|(name, _)| svg.contains(name)), "{svg}");
    }
}
