//! The plots with bars: steps to success, and the runs as variants of an ablation. Computes no figure of the tables.

use plotters::prelude::*;

use super::curves::searches;
use super::{ReportError, Run};
use crate::host::eval::summary::Summary;
use crate::host::plot::{Area, DrawError, Plot, WIDTH, colour, faint, ink, mesh, name, percent, plain};

/// Bars of a histogram.
const BINS: usize = 30;
/// Pixels of a run's histogram.
const PANEL: u32 = 200;
/// Pixels of a variant's row.
const ROW: i32 = 34;

/// A histogram of steps to success per run, under each other.
pub(super) fn steps(runs: &[Run]) -> Result<Option<Plot>, ReportError> {
    let found = |run: &Run| searches(run).iter().filter(|cost| cost.found).map(|cost| cost.steps).collect::<Vec<_>>();
    let steps: Vec<(usize, usize, Vec<u32>)> =
        runs.iter().enumerate().map(|(at, run)| (at, searches(run).len(), found(run))).collect();
    let shown: Vec<_> = steps.into_iter().filter(|(_, _, found)| !found.is_empty()).collect();
    if shown.is_empty() {
        return Ok(None);
    }
    let caption = "How many optimiser steps the searches made that ended with success, as shares of all searches of a \
        run (the paper's figure 3 shows the same of its searches). The runs' axes differ.";
    let plot = Plot::draw("Steps to success", caption, PANEL * shown.len() as u32, |area| {
        for (panel, (at, searches, found)) in area.split_evenly((shown.len(), 1)).iter().zip(&shown) {
            let title = runs.get(*at).map(|run| name(&run.name)).unwrap_or_default();
            histogram(panel, &format!("{title}: {} of {searches} found", found.len()), *searches, found, colour(*at))?;
        }
        Ok(())
    })?;
    Ok(Some(plot))
}

/// Numbers of `steps` in bins of a whole width, from 0; and that width.
fn bins(steps: &[u32]) -> (u32, Vec<usize>) {
    let last = steps.iter().copied().max().unwrap_or(0);
    let width = (last / BINS as u32 + 1).max(1);
    let mut bins = vec![0; (last / width + 1) as usize];
    for step in steps {
        if let Some(bin) = bins.get_mut((step / width) as usize) {
            *bin += 1;
        }
    }
    (width, bins)
}

fn histogram(area: &Area<'_>, title: &str, all: usize, steps: &[u32], colour: RGBColor) -> Result<(), DrawError> {
    let (width, bins) = bins(steps);
    let share = |count: usize| count as f64 / all.max(1) as f64;
    let most = bins.iter().copied().max().map_or(1.0, share);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(title, ink(15))
        .x_label_area_size(40)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..f64::from(width) * bins.len() as f64, 0.0..most * 1.1)?;
    mesh(&mut chart, ["steps", "searches"], &plain, &percent)?;
    let bars = bins.iter().enumerate().map(|(bin, count)| {
        let (from, to) = (f64::from(width) * bin as f64, f64::from(width) * (bin + 1) as f64);
        Rectangle::new([(from, 0.0), (to, share(*count))], colour.mix(0.85).filled())
    });
    chart.draw_series(bars)?;
    Ok(())
}

/// A number of a variant: its bar's length between 0 and 1, and what stands beside it.
type Bar = Option<(f64, String)>;

/// Passes and seconds of each run relative to the first, and success beside them; for more than one run.
pub(super) fn ablation(runs: &[Run], summaries: &[Summary]) -> Result<Option<Plot>, ReportError> {
    if runs.len() < 2 {
        return Ok(None);
    }
    let passes = relative(summaries, |of| Some(of.all.cost.forward_passes?.median));
    let seconds = relative(summaries, |of| Some(of.all.cost.seconds?.median));
    let success = summaries.iter().map(|of| {
        let share = of.all.success.exact?;
        Some((share, format!("{:.1} %", share * 100.0)))
    });
    let rows: Vec<[Bar; 3]> = passes
        .into_iter()
        .zip(seconds)
        .zip(success)
        .map(|((passes, seconds), success)| [passes, seconds, success])
        .collect();
    if rows.iter().flatten().all(Option::is_none) {
        return Ok(None);
    }
    let caption = "Median forward passes and seconds of a search relative to the first run's, and edit success by free \
        generation, over all edited records (the paper's figure 6 shows such variants of its method).";
    let plot = Plot::draw("Variants", caption, (ROW * (rows.len() as i32 + 1)) as u32 + 12, |area| {
        header(area)?;
        for (at, (run, row)) in runs.iter().zip(&rows).enumerate() {
            let y = ROW * (at as i32 + 1);
            area.draw(&Text::new(name(&run.name), (8, y + 8), ink(15)))?;
            for (column, bar) in row.iter().enumerate() {
                bar_at(area, column, y, bar, colour(at))?;
            }
        }
        Ok(())
    })?;
    Ok(Some(plot))
}

/// Each summary's number in the first one's; bars as long as the largest allows.
fn relative(summaries: &[Summary], of: impl Fn(&Summary) -> Option<f64>) -> Vec<Bar> {
    let base = summaries.first().and_then(&of).filter(|base| *base > 0.0);
    let ratios: Vec<Option<f64>> = summaries.iter().map(|summary| Some(of(summary)? / base?)).collect();
    let most = ratios.iter().flatten().fold(0.0_f64, |most, ratio| most.max(*ratio));
    let label = |ratio: f64| if ratio < 0.1 { format!("1/{:.0}", 1.0 / ratio) } else { format!("{ratio:.2}") };
    let bar = |ratio: f64| (most > 0.0).then(|| (ratio / most, if ratio > 0.0 { label(ratio) } else { "0".into() }));
    ratios.into_iter().map(|ratio| bar(ratio?)).collect()
}

/// Where the bars of a column begin, and how long the longest is.
fn column(at: usize) -> (i32, i32) {
    let (first, width) = (262, (WIDTH as i32 - 262) / 3);
    (first + at as i32 * width, width - 66)
}

fn header(area: &Area<'_>) -> Result<(), DrawError> {
    for (at, title) in ["forward passes", "seconds", "edit success"].into_iter().enumerate() {
        let (x, _) = column(at);
        area.draw(&Text::new(title, (x, 8), ink(15)))?;
    }
    Ok(())
}

fn bar_at(area: &Area<'_>, at: usize, y: i32, bar: &Bar, colour: RGBColor) -> Result<(), DrawError> {
    let (x, longest) = column(at);
    let (length, label) = bar.clone().unwrap_or((0.0, String::from("-")));
    let end = x + (length.clamp(0.0, 1.0) * f64::from(longest)).round() as i32;
    area.draw(&Rectangle::new([(x, y + 5), (end.max(x + 1), y + 25)], colour.mix(0.85).filled()))?;
    area.draw(&PathElement::new([(x, y + 1), (x, y + 29)], faint(0.5)))?;
    area.draw(&Text::new(label, (end + 6, y + 8), ink(14)))
}
