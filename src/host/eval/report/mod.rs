//! `report.html` and its plots: what runs came to, for people. Measures nothing, and needs no network to be looked at.
//!
//! The page is one file: style and plots are inside it, it asks for nothing else and runs no script. Each plot lies beside
//! it as an `.svg` file too. Both follow the reader's choice of light or dark.

mod bars;
mod curves;
mod html;
mod paper;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::line::Line;
use super::summary::Summary;
use crate::host::atomic_file;
use crate::host::plot::PlotError;

/// One run over a dataset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// What tells it from the others: a preset, a variant of an ablation.
    pub name: String,
    /// Its settings, in the order to show them.
    pub settings: Vec<(String, String)>,
    /// Its records.
    pub lines: Vec<Line>,
    /// How far activations drifted in some of its searches; may be empty.
    pub drift: Vec<Drift>,
}

/// How far keys and values above the edit layer are from the clean ones, at one step of a search: 1 − cosine, mean over
/// prompts and layers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// Optimiser steps so far.
    pub step: u32,
    /// At the positions that the prefix cache keeps, those before the subject's last token: 0 if the cache is exact.
    pub cached: f64,
    /// At the positions that every pass computes anew.
    pub recomputed: f64,
}

/// Why a report cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A plot cannot be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// A file cannot be written.
    #[error("{} cannot be written: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes `report.html` and its plots into `folder`, which is made if it is not there. The first run is the baseline of
/// the others. A plot with nothing to show is left out, and its file of an earlier report removed.
///
/// # Errors
/// Files that cannot be written.
pub fn write(folder: &Path, runs: &[Run]) -> Result<(), ReportError> {
    let summaries: Vec<Summary> = runs.iter().map(|run| Summary::of(&run.lines)).collect();
    let plots = [
        curves::success(runs)?,
        bars::steps(runs)?,
        curves::losses(runs)?,
        bars::ablation(runs, &summaries)?,
        curves::drift(runs)?,
    ];
    fs::create_dir_all(folder).map_err(|source| ReportError::File { path: folder.to_owned(), source })?;
    for (file, plot) in FILES.iter().zip(&plots) {
        let path = folder.join(file);
        match plot {
            Some(plot) => save(&path, &plot.standalone())?,
            None if path.exists() => fs::remove_file(&path).map_err(|source| ReportError::File { path, source })?,
            None => {}
        }
    }
    let plots: Vec<_> = FILES.iter().zip(&plots).filter_map(|(file, plot)| Some((*file, plot.as_ref()?))).collect();
    save(&folder.join("report.html"), &html::page(runs, &summaries, &plots))
}

/// The plots' files, in the page's order.
const FILES: [&str; 5] = ["success.svg", "steps.svg", "loss.svg", "ablation.svg", "drift.svg"];

fn save(path: &Path, text: &str) -> Result<(), ReportError> {
    let written = atomic_file::write(path, |file| file.write_all(text.as_bytes()));
    written.map_err(|source| ReportError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
