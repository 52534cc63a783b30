//! The plots with lines: success against forward passes, losses, drift. Computes no figure of the tables.

use std::collections::BTreeMap;

use plotters::prelude::*;

use super::{ReportError, Run};
use crate::host::eval::line::Cost;
use crate::host::eval::summary::quantile;
use crate::host::plot::{DrawError, Plot, colour, legend, log_range, mesh, name, percent, plain};

const HEIGHT: u32 = 400;
/// Places along the passes where losses are compared.
const GRID: usize = 80;
/// A logarithmic axis has no 0: smaller losses are drawn here.
const LEAST_LOSS: f64 = 1e-3;

/// The searches of a run.
pub(super) fn searches(run: &Run) -> Vec<&Cost> {
    run.lines.iter().filter(|line| line.refused.is_none()).filter_map(|line| line.cost.as_ref()).collect()
}

/// A line per run: points, and the numbers of a run that they are of.
type Lines = Vec<(usize, Vec<(f64, f64)>)>;

fn names(runs: &[Run], lines: &Lines) -> Vec<(usize, String)> {
    lines.iter().filter_map(|(at, _)| Some((*at, name(&runs.get(*at)?.name)))).collect()
}

/// Share of the searches that had ended with success within so many passes.
pub(super) fn success(runs: &[Run]) -> Result<Option<Plot>, ReportError> {
    let costs: Vec<Vec<&Cost>> = runs.iter().map(searches).collect();
    let passes = costs.iter().flatten().map(|cost| (cost.forward_passes as f64).max(1.0));
    let Some(range) = log_range(passes) else { return Ok(None) };
    let lines: Lines = costs
        .iter()
        .enumerate()
        .filter(|(_, costs)| !costs.is_empty())
        .map(|(at, costs)| (at, stairs(costs, &range)))
        .collect();
    let caption = "Share of the searches that had ended with the editor's success rule met within so many forward \
        passes; those that aim above it end later than they met it. Searches that never met it count in the whole: a line that ends below 100 % is one with failures.";
    let plot = Plot::draw("Success against forward passes", caption, HEIGHT, |area| {
        let area = legend(area, &names(runs, &lines))?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(62)
            .build_cartesian_2d(range.clone().log_scale(), 0.0..1.02)?;
        mesh(&mut chart, ["forward passes", "searches that succeeded"], &plain, &percent)?;
        for (at, points) in &lines {
            chart.draw_series(LineSeries::new(points.iter().copied(), colour(*at).stroke_width(2)))?;
        }
        Ok(())
    })?;
    Ok(Some(plot))
}

fn stairs(costs: &[&Cost], range: &std::ops::Range<f64>) -> Vec<(f64, f64)> {
    let mut passes: Vec<u64> = costs.iter().filter(|cost| cost.found).map(|cost| cost.forward_passes.max(1)).collect();
    passes.sort_unstable();
    let mut points = vec![(range.start, 0.0)];
    let mut share = 0.0;
    for (found, passes) in passes.iter().enumerate() {
        points.push((*passes as f64, share));
        share = (found + 1) as f64 / costs.len() as f64;
        points.push((*passes as f64, share));
    }
    points.push((range.end, share));
    points
}

/// The loss at a place of the grid over the records of a run: quartiles and median.
struct Band {
    passes: f64,
    low: f64,
    median: f64,
    high: f64,
}

/// Median and quartiles of the loss over forward passes.
pub(super) fn losses(runs: &[Run]) -> Result<Option<Plot>, ReportError> {
    let costs: Vec<Vec<&Cost>> = runs.iter().map(searches).collect();
    let points = || costs.iter().flatten().flat_map(|cost| &cost.curve).filter(|point| point.loss.is_finite());
    let Some(x) = log_range(points().map(|point| (point.forward_passes as f64).max(1.0))) else { return Ok(None) };
    let Some(y) = log_range(points().map(|point| f64::from(point.loss).max(LEAST_LOSS))) else { return Ok(None) };
    let bands: Vec<(usize, Vec<Band>)> =
        costs.iter().enumerate().map(|(at, costs)| (at, bands(costs, &x))).filter(|(_, of)| !of.is_empty()).collect();
    let shown = bands.iter().filter_map(|(at, _)| Some((*at, name(&runs.get(*at)?.name)))).collect::<Vec<_>>();
    let caption = "The loss of equation (3) over the search: median of the records, and between the quartiles. \
        A search that has ended keeps its last loss.";
    let plot = Plot::draw("Loss curves", caption, HEIGHT, |area| {
        let area = legend(area, &shown)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(62)
            .build_cartesian_2d(x.clone().log_scale(), y.log_scale())?;
        mesh(&mut chart, ["forward passes", "loss"], &plain, &plain)?;
        for (at, bands) in &bands {
            let low = bands.iter().map(|band| (band.passes, band.low));
            let around: Vec<_> = low.chain(bands.iter().rev().map(|band| (band.passes, band.high))).collect();
            chart.draw_series([Polygon::new(around, colour(*at).mix(0.18))])?;
            let median = bands.iter().map(|band| (band.passes, band.median));
            chart.draw_series(LineSeries::new(median, colour(*at).stroke_width(2)))?;
        }
        Ok(())
    })?;
    Ok(Some(plot))
}

/// Places evenly spaced on a logarithmic axis; none where no search of the run has begun or the longest has ended.
fn bands(costs: &[&Cost], x: &std::ops::Range<f64>) -> Vec<Band> {
    let longest = costs.iter().flat_map(|cost| &cost.curve).map(|point| point.forward_passes).max().unwrap_or(0) as f64;
    let ratio = (x.end / x.start).powf(1.0 / (GRID - 1) as f64);
    let places = (0..GRID).map(|at| x.start * ratio.powi(at as i32)).filter(|passes| *passes <= longest * ratio);
    places.filter_map(|passes| band(costs, passes)).collect()
}

fn band(costs: &[&Cost], passes: f64) -> Option<Band> {
    let last = |cost: &&Cost| {
        let reached = cost.curve.iter().rev().find(|p| (p.forward_passes as f64) <= passes && p.loss.is_finite());
        reached.map(|point| f64::from(point.loss).max(LEAST_LOSS))
    };
    let mut losses: Vec<f64> = costs.iter().filter_map(last).collect();
    losses.sort_by(f64::total_cmp);
    Some(Band {
        passes,
        low: quantile(&losses, 0.25)?,
        median: quantile(&losses, 0.5)?,
        high: quantile(&losses, 0.75)?,
    })
}

/// Drift of the cached and of the recomputed keys and values over the steps.
pub(super) fn drift(runs: &[Run]) -> Result<Option<Plot>, ReportError> {
    let all = || runs.iter().flat_map(|run| &run.drift);
    let Some(last) = all().map(|drift| drift.step).max() else { return Ok(None) };
    let most = all().map(|drift| drift.cached.max(drift.recomputed)).fold(1e-6, f64::max);
    let worst = all().map(|drift| drift.cached).fold(0.0, f64::max);
    let worst = if worst == 0.0 { String::from("exactly 0") } else { format!("at most {worst:.1e}") };
    let caption = format!(
        "1 − cosine between keys and values during a search and the clean model's, mean over prompts and layers above the \
         edit layer. Whole line: the positions that the prefix cache keeps ({worst}); dotted: the positions \
         that every pass computes anew. The paper (figure 4) finds that what it reuses goes stale from step to step; here \
         attention is causal, and nothing before the subject sees the change."
    );
    let plot = Plot::draw("Drift of cached activations", caption, HEIGHT, |area| {
        let with: Vec<_> = runs.iter().enumerate().filter(|(_, run)| !run.drift.is_empty()).collect();
        let area = legend(area, &with.iter().map(|(at, run)| (*at, name(&run.name))).collect::<Vec<_>>())?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(72)
            .build_cartesian_2d(0.0..f64::from(last.max(1)), -most * 0.04..most * 1.08)?;
        mesh(&mut chart, ["steps", "1 − cosine"], &plain, &|drift| format!("{drift:.3}"))?;
        for (at, run) in with {
            drift_lines(&mut chart, run, colour(at))?;
        }
        Ok(())
    })?;
    Ok(Some(plot))
}

type Flat<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn drift_lines(chart: &mut Flat<'_, '_>, run: &Run, colour: RGBColor) -> Result<(), DrawError> {
    let mut steps: BTreeMap<u32, Vec<[f64; 2]>> = BTreeMap::new();
    for drift in &run.drift {
        steps.entry(drift.step).or_default().push([drift.cached, drift.recomputed]);
    }
    let mean = |kind: usize| {
        let mean = |of: &Vec<[f64; 2]>| of.iter().filter_map(|of| of.get(kind)).sum::<f64>() / of.len() as f64;
        steps.iter().map(|(step, of)| (f64::from(*step), mean(of))).collect::<Vec<_>>()
    };
    chart.draw_series(LineSeries::new(mean(0), colour.stroke_width(2)))?;
    chart.draw_series(mean(1).into_iter().map(|at| Circle::new(at, 2, colour.filled())))?;
    Ok(())
}
