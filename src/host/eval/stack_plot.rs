//! The rows of a growing [`stack`](super::stack) as a plot. Measures nothing.

use std::path::Path;

use plotters::prelude::*;

use super::stack::Row;
use crate::host::plot::{Area, Plot, PlotError, PlotFileError, colour, legend, log_range, mesh, percent, plain};

const HEIGHT: u32 = 640;
/// Pixels of the shares' part.
const SHARES_HEIGHT: u32 = 360;

/// A line of the plot: its name, and its height at a row.
type Series = (&'static str, fn(&Row) -> Option<f64>);

const SHARES: [Series; 4] = [
    ("edits that hold", |row| row.hold),
    ("rephrasings", |row| row.rephrase),
    ("facts never edited", |row| Some(row.others)),
    ("drift", |row| Some(row.health.drift)),
];

const RATIOS: [Series; 2] = [
    ("perplexity / clean", |row| Some(row.health.perplexity / row.health.perplexity_clean)),
    ("patches / matrix", |row| Some(row.health.patch_norm)),
];

/// The places of a line.
type Places = Vec<(f64, f64)>;

/// Writes the rows as a plot over the number of edits.
///
/// # Errors
/// A plot that cannot be drawn, a file that cannot be written.
pub fn write(path: &Path, rows: &[Row]) -> Result<(), PlotFileError> {
    draw(rows)?.write(path)
}

/// Shares above, ratios below.
fn draw(rows: &[Row]) -> Result<Plot, PlotError> {
    let names: Vec<_> = SHARES.iter().chain(&RATIOS).map(|(name, _)| (*name).to_owned()).enumerate().collect();
    let last = rows.iter().map(|row| row.edits).max().unwrap_or(0).max(1) as f64;
    let shares = SHARES.map(|series| places(rows, series));
    let ratios = RATIOS.map(|series| places(rows, series)).map(|line| {
        // A logarithmic axis has no 0.
        line.into_iter().filter(|(_, ratio)| *ratio > 0.0).collect::<Places>()
    });
    let range = log_range(ratios.iter().flatten().map(|(_, ratio)| *ratio)).unwrap_or(0.1..1.0);
    Plot::draw("Stacked edits", "", HEIGHT, |area| {
        let (upper, lower) = legend(area, &names)?.split_vertically(SHARES_HEIGHT);
        let mut chart = frame(&upper).build_cartesian_2d(0.0..last, 0.0..1.02)?;
        mesh(&mut chart, ["", "share"], &plain, &percent)?;
        for (at, line) in shares.iter().enumerate() {
            chart.draw_series(LineSeries::new(line.iter().copied(), colour(at).stroke_width(2)))?;
            chart.draw_series(dots(line, colour(at)))?;
        }
        let mut chart = frame(&lower).build_cartesian_2d(0.0..last, range.log_scale())?;
        mesh(&mut chart, ["stacked edits", "ratio"], &plain, &plain)?;
        for (line, at) in ratios.iter().zip(SHARES.len()..) {
            chart.draw_series(LineSeries::new(line.iter().copied(), colour(at).stroke_width(2)))?;
            chart.draw_series(dots(line, colour(at)))?;
        }
        Ok(())
    })
}

fn frame<'a, 'b>(area: &'a Area<'b>) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut frame = ChartBuilder::on(area);
    frame.margin(12).x_label_area_size(46).y_label_area_size(62);
    frame
}

/// Those that are known.
fn places(rows: &[Row], (_, height): Series) -> Places {
    let place = |row: &Row| Some((row.edits as f64, height(row).filter(|height| height.is_finite())?));
    rows.iter().filter_map(place).collect()
}

fn dots(line: &Places, colour: RGBColor) -> impl Iterator<Item = Circle<(f64, f64), i32>> {
    line.iter().map(move |place| Circle::new(*place, 3, colour.filled()))
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
            success: None,
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
        assert!(SHARES.iter().chain(&RATIOS).all(|(name, _)| svg.contains(name)), "{svg}");
    }
}
