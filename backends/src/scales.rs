//! Static scales of a model's activations: one per input and one per product of its linear layers, as an NPU wants them.
//! Measures nothing: `observer` does.

use core::fmt;

use crate::op::Activation;

/// Inputs of a layer's linear operations that have a scale: of q, k and v; of o; of gate and up; of `down_proj`.
pub const INPUTS: usize = 4;
/// Products of a layer's linear operations, W x without bias and patches, that have a scale: of q, k, v, o, gate, up and
/// `down_proj`.
pub const PRODUCTS: usize = 7;
/// Scales of a layer: its [`INPUTS`], then its [`PRODUCTS`].
pub const OF_LAYER: usize = INPUTS + PRODUCTS;

/// One scale per input and per product, checked.
///
/// The edited `down_proj`, and one with a patch, stays in float whatever its scales.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StaticScales<'a> {
    layers: &'a [[f32; OF_LAYER]],
    head: Activation,
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

/// Number of scales of a model: [`OF_LAYER`] per layer, then the head's input and the head's product.
pub const fn scale_count(layers: usize) -> usize {
    layers.saturating_mul(OF_LAYER).saturating_add(2)
}

/// Whether the scale with this index, out of `count` of a model, is a product's, not an input's.
pub const fn is_product(index: usize, count: usize) -> bool {
    match count.saturating_sub(index) {
        1 => true,
        0 | 2 => false,
        _ => index % OF_LAYER >= INPUTS,
    }
}

impl<'a> StaticScales<'a> {
    /// The scales of a model with so many layers, laid out `(layers, OF_LAYER)`, then the head's two.
    ///
    /// # Errors
    /// Another number of scales than [`scale_count`], and scales that are not positive and finite.
    pub fn new(layers: usize, scales: &'a [f32]) -> Result<Self, ScalesError> {
        let (need, given) = (scale_count(layers), scales.len());
        let (of_layers, &[scale, product]) = scales.as_chunks() else { return Err(ScalesError::Count { need, given }) };
        if given != need {
            return Err(ScalesError::Count { need, given });
        }
        match scales.iter().enumerate().find(|(_, scale)| !(scale.is_finite() && **scale > 0.0)) {
            Some((index, &scale)) => Err(ScalesError::Scale { index, scale }),
            None => Ok(Self { layers: of_layers, head: Activation::A16Static { scale, product } }),
        }
    }

    /// Layers of the model that these are for.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Treatment of a layer's linear operations, in the order of [`PRODUCTS`]; `None` for a layer outside the model.
    pub(crate) fn of_layer(&self, layer: usize) -> Option<[Activation; PRODUCTS]> {
        let [qkv, attended, mlp, inner, q, k, v, o, gate, up, down] = *self.layers.get(layer)?;
        let pairs = [(qkv, q), (qkv, k), (qkv, v), (attended, o), (mlp, gate), (mlp, up), (inner, down)];
        Some(pairs.map(|(scale, product)| Activation::A16Static { scale, product }))
    }

    /// Treatment of the head.
    pub(crate) fn of_head(&self) -> Activation {
        self.head
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
    use std::vec::Vec;

    /// Of two layers: 1, 2, 3 …
    fn counted() -> [f32; 24] {
        core::array::from_fn(|index| index as f32 + 1.0)
    }

    #[test]
    fn each_linear_operation_has_its_inputs_scale_and_its_products() {
        let counted = counted();
        let scales = StaticScales::new(2, &counted).unwrap();
        let pair = |(scale, product)| Activation::A16Static { scale, product };
        for (layer, start) in [(0, 0.0), (1, 11.0)] {
            let pairs = [(1.0, 5.0), (1.0, 6.0), (1.0, 7.0), (2.0, 8.0), (3.0, 9.0), (3.0, 10.0), (4.0, 11.0)];
            let pairs = pairs.map(|(scale, product)| pair((start + scale, start + product)));
            assert_eq!(scales.of_layer(layer), Some(pairs), "layer {layer}");
        }
        assert_eq!((scales.of_head(), scales.of_layer(2)), (pair((23.0, 24.0)), None));
        let products: Vec<usize> = (0..26).filter(|index| is_product(*index, 24)).collect();
        assert_eq!(products, [4, 5, 6, 7, 8, 9, 10, 15, 16, 17, 18, 19, 20, 21, 23]);
    }

    #[test]
    fn what_are_no_scales_is_refused() {
        let counted = counted();
        for (layers, given) in [(1, 24), (2, 23), (2, 13), (2, 0), (3, 24), (usize::MAX, 24)] {
            let need = scale_count(layers);
            assert_eq!(StaticScales::new(layers, &counted[..given]), Err(ScalesError::Count { need, given }));
        }
        for bad in [0.0, -0.0, -1.0, f32::INFINITY, f32::NAN] {
            for index in [0, 5, 22, 23] {
                let mut scales = counted;
                scales[index] = bad;
                let refused = StaticScales::new(2, &scales);
                assert!(matches!(refused, Err(ScalesError::Scale { index: at, .. }) if at == index), "{bad}");
            }
        }
    }
}
