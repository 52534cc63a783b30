//! A causal trace as a picture: two heat maps in one SVG, tokens as rows and layers as columns. Measures nothing.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::host::trace::CausalTrace;

/// Width and height of a cell.
const CELL: (i32, i32) = (34, 22);
/// Room above a map, below it, and to the right of it.
const MARGINS: (i32, i32, i32) = (58, 62, 24);
/// Room for a token of so many characters, and its width per character.
const LONGEST: usize = 24;
const CHARACTER: i32 = 8;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Why a picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the picture could not be drawn: {0}")]
pub struct HeatMapError(String);

/// The picture of a trace. Colours go from white (nothing came back, or less than nothing) to full at the largest effect of a
/// map; the subject's tokens have a star.
///
/// # Errors
/// Those of the drawing library.
pub fn svg(trace: &CausalTrace, prompt: &str) -> Result<String, HeatMapError> {
    let (layers, tokens) = (trace.hidden.len() as i32, trace.tokens.len() as i32);
    let labels = trace.tokens.iter().map(|token| token.chars().count().min(LONGEST)).max().unwrap_or(0) as i32 + 2;
    let panel = labels * CHARACTER + layers * CELL.0 + MARGINS.2;
    let size = ((2 * panel) as u32, (MARGINS.0 + tokens * CELL.1 + MARGINS.1) as u32);
    let mut out = String::new();
    {
        let root = SVGBackend::with_string(&mut out, size).into_drawing_area();
        let of_windows = format!("MLP outputs, {} layers at a time", trace.window);
        let mlp = if trace.window == 1 { "MLP output of a layer" } else { &of_windows };
        let maps = [
            ("hidden state after a layer", &trace.hidden, RGBColor(76, 38, 139)),
            (mlp, &trace.mlp, RGBColor(10, 96, 48)),
        ];
        root.fill(&WHITE).map_err(failed)?;
        write(&root, &format!("{prompt:?}: P({:?})", trace.answer), (8, 16), 15, HPos::Left)?;
        for ((title, effects, colour), left) in maps.into_iter().zip([0, panel]) {
            map(&root, trace, (left, left + labels * CHARACTER), title, effects, colour)?;
        }
        root.present().map_err(failed)?;
    }
    Ok(out)
}

fn failed(error: impl std::fmt::Display) -> HeatMapError {
    HeatMapError(error.to_string())
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, side: HPos) -> Result<(), HeatMapError> {
    let style = ("sans-serif", size).into_font().into_text_style(area).pos(Pos::new(side, VPos::Center));
    area.draw_text(text, &style, at).map_err(failed)
}

/// One map from `outer` on, its cells from `left` on.
fn map(
    area: &Area<'_>,
    trace: &CausalTrace,
    (outer, left): (i32, i32),
    title: &str,
    effects: &[Vec<f64>],
    colour: RGBColor,
) -> Result<(), HeatMapError> {
    let most = effects.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    let below = MARGINS.0 + trace.tokens.len() as i32 * CELL.1;
    write(area, title, (left, MARGINS.0 - 16), 13, HPos::Left)?;
    for (row, token) in trace.tokens.iter().enumerate() {
        let top = MARGINS.0 + row as i32 * CELL.1;
        let star = if trace.subject.contains(&row) { "*" } else { "" };
        let shown: String = token.chars().take(LONGEST).collect();
        write(area, &format!("{}{star}", shown.trim()), (left - 6, top + CELL.1 / 2), 13, HPos::Right)?;
        for (layer, effect) in effects.iter().enumerate().filter_map(|(l, of_layer)| Some((l, of_layer.get(row)?))) {
            let corner = (left + layer as i32 * CELL.0, top);
            let cell = [corner, (corner.0 + CELL.0, corner.1 + CELL.1)];
            let fill = shade(colour, effect / most);
            area.draw(&Rectangle::new(cell, fill.filled())).map_err(failed)?;
            area.draw(&Rectangle::new(cell, RGBColor(221, 221, 221))).map_err(failed)?;
        }
    }
    for layer in 0..effects.len() as i32 {
        write(area, &layer.to_string(), (left + layer * CELL.0 + CELL.0 / 2, below + 12), 12, HPos::Center)?;
    }
    write(area, &format!("layer; full colour: +{most:.3}"), (left, below + 32), 12, HPos::Left)?;
    let noisy = format!("P clean {:.3}, with noise {:.3}", trace.p_clean, trace.p_corrupted);
    write(area, &noisy, (outer.max(left), below + 50), 12, HPos::Left)
}

/// Between white at 0 and `colour` at 1.
fn shade(colour: RGBColor, share: f64) -> RGBColor {
    let share = share.clamp(0.0, 1.0);
    let mix = |full: u8| (255.0 + (f64::from(full) - 255.0) * share).round() as u8;
    RGBColor(mix(colour.0), mix(colour.1), mix(colour.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_has_a_cell_per_state_and_names_every_token() {
        let trace = CausalTrace {
            tokens: ["The", " <b>&", " is"].map(str::to_owned).to_vec(),
            subject: 1..2,
            answer: " Paris".to_owned(),
            p_clean: 0.9,
            p_corrupted: 0.1,
            noise: 3.0,
            window: 1,
            hidden: vec![vec![0.0, 0.8, -0.1], vec![0.0, 0.4, 0.2]],
            mlp: vec![vec![0.0; 3]; 2],
            memory_bytes: 0,
        };
        let picture = svg(&trace, "The <b>& is").unwrap();
        let filled = |colour: &str| picture.matches(&format!("fill=\"{colour}\"")).count();
        assert_eq!(filled("#4C268B"), 1, "the largest effect has the full colour, once");
        // The background, and all cells but the three hidden states with a positive effect.
        assert_eq!(filled("#FFFFFF"), 1 + 2 * 6 - 3);
        for word in ["The", "&lt;b&gt;&amp;*", "is", "P clean 0.900, with noise 0.100"] {
            assert!(picture.contains(word), "{word} is missing");
        }
        assert!(!picture.contains("<b>"));
    }
}
