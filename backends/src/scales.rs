//! Static scales of a model's activations: one per input of its linear layers, as an NPU wants them. Measures nothing:
//! `observer` does.

use core::fmt;

use crate::op::Activation;

/// Inputs of a layer's linear operations that have a scale: of q, k and v; of o; of gate and up; of `down_proj`.
pub const INPUTS: usize = 4;

/// One scale per input, checked.
///
/// The edited `down_proj`, and one with a patch, stays in float whatever its scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StaticScales<'a> {
    layers: &'a [[f32; INPUTS]],
    head: f32,
}

/// Why numbers are no static scales.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ScalesError {
    /// Too many or too few for the model.
    Count {
        /// Needed.
        need: usize,
        /// Given.
        given: usize,
    },
    /// One is zero, negative, infinite or no number.
    Scale {
        /// Its index.
        index: usize,
        /// What it is.
        scale: f32,
    },
}

impl fmt::Display for ScalesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { need, given } => write!(f, "{given} static scales were given, the model needs {need}"),
            Self::Scale { index, scale } => write!(f, "static scale {index} is {scale}, not a positive number"),
        }
    }
}

impl core::error::Error for ScalesError {}

/// Number of scales of a model: [`INPUTS`] per layer, then one for the head.
pub const fn scale_count(layers: usize) -> usize {
    layers.saturating_mul(INPUTS).saturating_add(1)
}

impl<'a> StaticScales<'a> {
    /// The scales of a model with so many layers, laid out `(layers, INPUTS)`, then the head's.
    ///
    /// # Errors
    /// Another number of scales than [`scale_count`], and scales that are not positive and finite.
    pub fn new(layers: usize, scales: &'a [f32]) -> Result<Self, ScalesError> {
        let (need, given) = (scale_count(layers), scales.len());
        let (of_layers, [head]) = scales.as_chunks() else { return Err(ScalesError::Count { need, given }) };
        if given != need {
            return Err(ScalesError::Count { need, given });
        }
        match scales.iter().enumerate().find(|(_, scale)| !(scale.is_finite() && **scale > 0.0)) {
            Some((index, &scale)) => Err(ScalesError::Scale { index, scale }),
            None => Ok(Self { layers: of_layers, head: *head }),
        }
    }

    /// Layers of the model that these are for.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Treatment of a layer's inputs; `None` for a layer outside the model.
    pub(crate) fn of_layer(&self, layer: usize) -> Option<[Activation; INPUTS]> {
        self.layers.get(layer).map(|scales| scales.map(|scale| Activation::A16Static { scale }))
    }

    /// Treatment of the head's input.
    pub(crate) fn of_head(&self) -> Activation {
        Activation::A16Static { scale: self.head }
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for StaticScales<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "of {} layers", self.layers.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_are_no_scales_is_refused() {
        let nine = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let scales = StaticScales::new(2, &nine).unwrap();
        assert_eq!(scales.of_layer(1).unwrap()[2], Activation::A16Static { scale: 7.0 });
        assert_eq!((scales.of_head(), scales.of_layer(2)), (Activation::A16Static { scale: 9.0 }, None));
        for (layers, given) in [(1, &nine[..]), (2, &nine[..8]), (2, &nine[..5]), (2, &[]), (usize::MAX, &nine)] {
            let need = scale_count(layers);
            assert_eq!(StaticScales::new(layers, given), Err(ScalesError::Count { need, given: given.len() }));
        }
        for bad in [0.0, -0.0, -1.0, f32::INFINITY, f32::NAN] {
            for index in [0, 5, 8] {
                let mut scales = nine;
                scales[index] = bad;
                let refused = StaticScales::new(2, &scales);
                assert!(matches!(refused, Err(ScalesError::Scale { index: at, .. }) if at == index), "{bad}");
            }
        }
    }
}
