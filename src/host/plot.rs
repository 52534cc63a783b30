//! What the plots share: size, ink, colours, legend, axes. Draws no data.
//!
//! Ink takes the colour of the text around it, so that a plot can be read on a light and on a dark page.

use std::error::Error;
use std::io;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;

use super::atomic_file;

/// Why a plot cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("a plot cannot be drawn: {0}")]
pub struct PlotError(String);

/// Why a plot is not in its file.
#[derive(Debug, thiserror::Error)]
pub enum PlotFileError {
    /// It cannot be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Pixels of a plot's width.
pub(crate) const WIDTH: u32 = 860;
/// Pixels of a legend's line.
const LEGEND_LINE: i32 = 20;
/// About the width of a letter of a label.
const LETTER: i32 = 8;
/// Longest name in a plot, in characters.
const LONGEST_NAME: usize = 32;
/// What becomes `currentColor`: a colour that nothing else has.
const INK: RGBColor = RGBColor(1, 2, 3);
/// Told apart on white and on black, by colour-blind readers too (after Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0x21, 0x8c, 0xd6),
    RGBColor(0xd9, 0x7a, 0x0b),
    RGBColor(0x0f, 0x9d, 0x76),
    RGBColor(0xc8, 0x5a, 0x9b),
    RGBColor(0x8a, 0x6f, 0xe0),
    RGBColor(0xd3, 0x4f, 0x3f),
    RGBColor(0x8a, 0x8f, 0x1e),
    RGBColor(0x6f, 0x80, 0x90),
];
/// The frame of a plot that is a file of its own.
const STYLE: &str = "<style>svg{color:#1f2328;background:#fff}\
    @media (prefers-color-scheme:dark){svg{color:#dfe3e8;background:#16191d}}</style>";

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type DrawError = DrawingAreaErrorKind<std::io::Error>;

impl<E: Error + Send + Sync> From<DrawingAreaErrorKind<E>> for PlotError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

/// A finished plot.
#[derive(Debug)]
pub(crate) struct Plot {
    /// What it shows, in few words.
    pub(crate) title: &'static str,
    /// How to read it.
    pub(crate) caption: String,
    svg: String,
}

impl Plot {
    /// Draws on an area of [`WIDTH`] by `height`.
    pub(crate) fn draw(
        title: &'static str,
        caption: impl Into<String>,
        height: u32,
        paint: impl FnOnce(&Area<'_>) -> Result<(), DrawError>,
    ) -> Result<Self, PlotError> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
            paint(&area)?;
            area.present()?;
        }
        let svg = svg.replace("\"#010203\"", "\"currentColor\"");
        Ok(Self { title, caption: caption.into(), svg })
    }

    /// For inside a page, which gives the colours.
    pub(crate) fn inline(&self) -> String {
        self.svg.replace(" xmlns=\"http://www.w3.org/2000/svg\"", "")
    }

    /// Writes it to a file of its own.
    pub(crate) fn write(&self, path: &Path) -> Result<(), PlotFileError> {
        let text = self.standalone();
        Ok(atomic_file::write(path, |file| io::Write::write_all(file, text.as_bytes()))?)
    }

    /// For a file of its own.
    pub(crate) fn standalone(&self) -> String {
        match self.svg.split_once(">\n") {
            Some((open, rest)) => format!("{open}>\n{STYLE}\n{rest}"),
            None => self.svg.clone(),
        }
    }
}

/// The colour of the run with this place in the list.
pub(crate) fn colour(run: usize) -> RGBColor {
    COLOURS.get(run % COLOURS.len()).copied().unwrap_or(INK)
}

/// Text in ink.
pub(crate) fn ink(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// The same, faint: for lines and frames.
pub(crate) fn faint(opacity: f64) -> ShapeStyle {
    INK.mix(opacity).stroke_width(1)
}

/// A name as a plot shows it: short, and without characters that no XML file may have.
pub(crate) fn name(name: &str) -> String {
    let shown = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    let mut short: String = name.chars().filter(shown).take(LONGEST_NAME).collect();
    if name.chars().filter(shown).nth(LONGEST_NAME).is_some() {
        short.pop();
        short.push('…');
    }
    short
}

/// Draws a legend at the top of an area, over as many lines as it takes; hands back what is left below.
pub(crate) fn legend<'a>(area: &Area<'a>, names: &[(usize, String)]) -> Result<Area<'a>, DrawError> {
    let (width, _) = area.dim_in_pixel();
    let (mut x, mut y) = (56, 8);
    for (run, text) in names {
        let long = 30 + LETTER * text.chars().count() as i32;
        if x > 56 && x + long > width as i32 {
            (x, y) = (56, y + LEGEND_LINE);
        }
        area.draw(&Rectangle::new([(x, y + 2), (x + 12, y + 12)], colour(*run).filled()))?;
        area.draw(&Text::new(text.clone(), (x + 18, y), ink(15)))?;
        x += long;
    }
    let (_, below) = area.split_vertically(y + LEGEND_LINE);
    Ok(below)
}

/// Axes with labels, grid lines in faint ink, and the axes' names.
pub(crate) fn mesh<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'_>, Cartesian2d<X, Y>>,
    names: [&str; 2],
    x_label: &dyn Fn(&X::ValueType) -> String,
    y_label: &dyn Fn(&Y::ValueType) -> String,
) -> Result<(), DrawError>
where
    X: Ranged + ValueFormatter<X::ValueType>,
    Y: Ranged + ValueFormatter<Y::ValueType>,
{
    let [x_name, y_name] = names;
    let (_, height) = chart.plotting_area().dim_in_pixel();
    chart
        .configure_mesh()
        .axis_style(faint(0.6))
        .bold_line_style(faint(0.16))
        .light_line_style(TRANSPARENT)
        .label_style(ink(14))
        .axis_desc_style(ink(15))
        .x_desc(x_name)
        .y_desc(y_name)
        .x_labels(10)
        .y_labels((height as usize / 28).clamp(2, 10))
        .x_label_formatter(x_label)
        .y_label_formatter(y_label)
        .draw()
}

/// A share as a percentage.
pub(crate) fn percent(share: &f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A count, or a number of the order of a loss.
pub(crate) fn plain(number: &f64) -> String {
    match number.abs() {
        n if n >= 1.0 || n == 0.0 => format!("{number:.0}"),
        n if n >= 0.1 => format!("{number:.1}"),
        n if n >= 0.01 => format!("{number:.2}"),
        _ => format!("{number:.0e}"),
    }
}

/// From the smallest to the largest of `numbers`, with room for a logarithmic axis; `None` without numbers.
pub(crate) fn log_range(numbers: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let (low, high) = numbers.fold((f64::INFINITY, 0.0_f64), |(low, high), n| (low.min(n), high.max(n)));
    (low > 0.0 && high > 0.0).then(|| low * 0.9..high.max(low * 2.0) * 1.1)
}
