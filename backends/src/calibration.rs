//! What `mobiedit calibrate` measured about a model, read from the bytes of its file where they lie. Measures and writes nothing.
//!
//! ```text
//! file := "MOBICALI" version:u32 layers:u32 d_model:u32 d_ff:u32 layer:u32 samples:u32 bank:u32 tokens:u64 model:u64
//!         (most:f32 percentile:f32)[11 · layers + 2] sample:f16[samples · d_ff] value:f16[bank · d_model] crc32:u32
//! ```
//! All numbers are little-endian; the checksum is of all before it. `model` is the model's [`whole_identity`]. The ranges are in
//! the order of static scales: per layer the inputs of q, k and v, of o, of gate and up, of down, then the products of q, k, v,
//! o, gate, up and down; after the layers the head's input and the head's product. The halves start at an even offset, so that
//! a file at an even address lends them without a copy.

use core::fmt;

use half::f16;
use mobiedit_core::ModelSpec;
use mobiedit_core::checksum::crc32;
use zerocopy::FromBytes;

use crate::cursor::Cursor;
use crate::identity::whole_identity;
use crate::model::Model;
use crate::observer::Range;
use crate::quant::{MOST_I16, clipped_range};
use crate::scales::{is_product, scale_count};

/// The file's first bytes.
pub const MAGIC: [u8; 8] = *b"MOBICALI";
/// The version that is read, and that is written on a host.
pub const VERSION: u32 = 3;

/// A calibration whose bytes are whole. What it was measured on is a question of its own: [`of_model`](Self::of_model).
#[derive(Clone, Copy, Debug)]
pub struct Calibration<'b> {
    layers: usize,
    d_model: usize,
    d_ff: usize,
    model: u64,
    layer: usize,
    tokens: u64,
    ranges: &'b [[u8; 8]],
    samples: Halves<'b>,
    bank: Halves<'b>,
}

/// Half-precision floats as they lie in a file.
#[derive(Clone, Copy, Debug)]
pub struct Halves<'b>(&'b [[u8; 2]]);

/// Why bytes cannot be used as a calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Unusable {
    /// They start with something else.
    NotACalibration,
    /// They have changed since they were written, or the end is missing.
    Damaged,
    /// Another version of the program wrote them.
    Version(u32),
    /// They were measured on another model.
    OtherModel,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotACalibration => f.write_str("it is no calibration file"),
            Self::Damaged => f.write_str("it is damaged"),
            Self::Version(version) => write!(f, "it has format {version}, this program reads format {VERSION}"),
            Self::OtherModel => f.write_str("it was made for another model"),
        }
    }
}

impl core::error::Error for Unusable {}

impl<'b> Calibration<'b> {
    /// The calibration in a file's bytes. Reads all of them once, for the checksum.
    ///
    /// # Errors
    /// All of [`Unusable`] but [`OtherModel`](Unusable::OtherModel).
    pub fn parse(bytes: &'b [u8]) -> Result<Self, Unusable> {
        if !bytes.starts_with(&MAGIC) {
            return Err(Unusable::NotACalibration);
        }
        let (content, checksum) = bytes.split_last_chunk().ok_or(Unusable::Damaged)?;
        if crc32(content) != u32::from_le_bytes(*checksum) {
            return Err(Unusable::Damaged);
        }
        Self::content(&mut Cursor::new(content)).unwrap_or(Err(Unusable::Damaged))
    }

    /// What the checksum is of; `None` where its parts have not the lengths that it claims.
    fn content(rest: &mut Cursor<'b>) -> Option<Result<Self, Unusable>> {
        rest.take(MAGIC.len())?;
        let version = rest.u32()?;
        if version != VERSION {
            return Some(Err(Unusable::Version(version)));
        }
        let mut size = || rest.u32().map(|size| size as usize);
        let (layers, d_model, d_ff, layer, samples, bank) = (size()?, size()?, size()?, size()?, size()?, size()?);
        let (tokens, model) = (rest.u64()?, rest.u64()?);
        let (ranges, _) = rest.take(scale_count(layers).checked_mul(8)?)?.as_chunks();
        let mut halves = |count: usize, width: usize| {
            let (halves, _) = rest.take(count.checked_mul(width)?.checked_mul(2)?)?.as_chunks();
            Some(Halves(halves))
        };
        let (samples, bank) = (halves(samples, d_ff)?, halves(bank, d_model)?);
        let whole = layer < layers && rest.rest().is_empty();
        whole.then_some(Ok(Self { layers, d_model, d_ff, model, layer, tokens, ranges, samples, bank }))
    }

    /// Itself, if it was measured on a model of these sizes: all that can be asked where no weights are at hand.
    ///
    /// # Errors
    /// [`Unusable::OtherModel`].
    pub fn of_sizes(self, spec: &ModelSpec) -> Result<Self, Unusable> {
        let fits = (self.layers, self.d_model, self.d_ff) == (spec.layers, spec.d_model, spec.d_ff);
        if fits { Ok(self) } else { Err(Unusable::OtherModel) }
    }

    /// Itself, if it was measured on this model.
    ///
    /// # Errors
    /// [`Unusable::OtherModel`].
    pub fn of_model(self, model: &Model<'_>) -> Result<Self, Unusable> {
        if self.model != whole_identity(model) {
            return Err(Unusable::OtherModel);
        }
        self.of_sizes(&model.config.spec)
    }

    /// The model, by [`whole_identity`].
    pub fn model(&self) -> u64 {
        self.model
    }

    /// The layer that [`samples`](Self::samples) and [`bank`](Self::bank) are of.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// Tokens that were seen.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// What was seen of each input and product, in the order of [`StaticScales`](crate::scales::StaticScales).
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range> + use<'b> {
        self.ranges.iter().map(|[a, b, c, d, e, f, g, h]| Range {
            most: f32::from_le_bytes([*a, *b, *c, *d]),
            percentile: f32::from_le_bytes([*e, *f, *g, *h]),
        })
    }

    /// A static scale per range: see [`static_scales`].
    pub fn scales(&self, clip: bool) -> impl Iterator<Item = f32> + use<'b> {
        static_scales(self.ranges(), clip)
    }

    /// Keys of the layer, `(n, d_ff)`.
    pub fn samples(&self) -> Halves<'b> {
        self.samples
    }

    /// Values of the layer, `(n, d_model)`.
    pub fn bank(&self) -> Halves<'b> {
        self.bank
    }
}

/// The static scales of all a model's ranges, in their order: [`static_scale`] of inputs, [`product_scale`] of products.
pub fn static_scales(ranges: impl ExactSizeIterator<Item = Range>, clip: bool) -> impl Iterator<Item = f32> {
    let count = ranges.len();
    let scale = move |(index, range)| {
        if is_product(index, count) { product_scale(range) } else { static_scale(range, clip) }
    };
    ranges.enumerate().map(scale)
}

/// One step of int16 over what was seen of an input: over the largest magnitude, or with `clip` by the published rule over the
/// 99th percentile where the maximum is over four times that. An input that was always 0 has the range 1.
///
/// On the shipped model the rule clips the inputs of `down_proj` and nothing else, and that costs accuracy: measured in
/// `core/DESIGN.md`.
pub fn static_scale(range: Range, clip: bool) -> f32 {
    let covered = if clip { clipped_range(range.most, range.percentile) } else { range.most };
    let scale = covered / MOST_I16;
    if scale.is_normal() { scale } else { 1.0 / MOST_I16 }
}

/// One step of int16 over twice the largest magnitude that was seen of a product: an edit's activations go further than
/// calibration's, and a product that is cut off is worse than one that lacks a bit. One that was always 0 has the range 1.
pub fn product_scale(range: Range) -> f32 {
    2.0 * static_scale(range, false)
}

impl<'b> Halves<'b> {
    /// The numbers, wherever they lie.
    pub fn iter(self) -> impl Iterator<Item = f16> + use<'b> {
        self.0.iter().map(|half| f16::from_le_bytes(*half))
    }

    /// The numbers as they lie; `None` at an odd address, and where the machine is not little-endian.
    pub fn in_place(self) -> Option<&'b [f16]> {
        let halves = <[f16]>::ref_from_bytes(self.0.as_flattened()).ok();
        halves.filter(|_| cfg!(target_endian = "little"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Of a model of 1 layer, d_model 2, d_ff 3: two keys, one value.
    fn file(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for number in [VERSION, 1, 2, 3, 0, 2, 1] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([77_u64, 99].iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend((0..2 * scale_count(1)).flat_map(|i| (i as f32).to_le_bytes()));
        bytes.extend((0..8).flat_map(|i| f16::from_f32(i as f32).to_le_bytes()));
        change(&mut bytes);
        let checksum = crc32(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn what_was_written_is_read_and_lent_at_even_addresses() {
        let bytes = file(|_| ());
        let mut place = std::vec![0; bytes.len() + 2];
        let even = place.as_ptr().align_offset(2);
        for (at, is_lent) in [(even, true), (even + 1, false)] {
            let place = &mut place[at..at + bytes.len()];
            place.copy_from_slice(&bytes);
            let calibration = Calibration::parse(place).unwrap();
            assert_eq!((calibration.layer(), calibration.tokens(), calibration.model()), (0, 77, 99));
            assert_eq!(calibration.ranges().nth(3), Some(Range { most: 6.0, percentile: 7.0 }));
            for (halves, expected) in [(calibration.samples(), 0..6), (calibration.bank(), 6..8)] {
                let expected: Vec<f16> = expected.map(|i| f16::from_f32(i as f32)).collect();
                assert_eq!(halves.iter().collect::<Vec<_>>(), expected);
                assert_eq!(halves.in_place(), is_lent.then_some(&expected[..]));
            }
        }
    }

    #[test]
    fn no_damaged_file_is_read() {
        let mut bytes = file(|_| ());
        for at in 0..bytes.len() {
            bytes[at] ^= 1 << (at % 8);
            let expected = if at < 8 { Unusable::NotACalibration } else { Unusable::Damaged };
            assert_eq!(Calibration::parse(&bytes).unwrap_err(), expected, "byte {at}");
            bytes[at] ^= 1 << (at % 8);
        }
        for len in 0..bytes.len() {
            assert!(Calibration::parse(&bytes[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn what_a_right_checksum_hides_is_refused() {
        let read = |at: usize, word: u32| {
            let bytes = file(|bytes| bytes[at..at + 4].copy_from_slice(&word.to_le_bytes()));
            Calibration::parse(&bytes).map(|_| ())
        };
        assert_eq!(read(8, VERSION), Ok(()));
        assert_eq!(read(8, VERSION + 1), Err(Unusable::Version(VERSION + 1)));
        // As format 2 had it: five ranges, of inputs alone.
        let old = file(|bytes| {
            bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
            bytes.drain(52..52 + 8 * (scale_count(1) - 5));
        });
        assert_eq!(Calibration::parse(&old).unwrap_err(), Unusable::Version(2));
        // The layer, then lengths: of layers, d_model, d_ff, samples and bank.
        assert_eq!(read(24, 1), Err(Unusable::Damaged));
        for at in [12, 16, 20, 28, 32] {
            for word in [0, 5, u32::MAX] {
                assert_eq!(read(at, word), Err(Unusable::Damaged), "{word} at {at}");
            }
        }
        assert_eq!(Calibration::parse(&file(|bytes| bytes.push(0))).unwrap_err(), Unusable::Damaged);
        assert_eq!(Calibration::parse(&file(|bytes| bytes.truncate(30))).unwrap_err(), Unusable::Damaged);
    }

    #[test]
    fn sizes_tell_models_apart() {
        let bytes = file(|_| ());
        let spec = ModelSpec { d_model: 2, d_ff: 3, layers: 1, kv_dim: 9, vocab: 9, max_tokens: 9 };
        let of = |spec: ModelSpec| Calibration::parse(&bytes).unwrap().of_sizes(&spec).map(|_| ());
        assert_eq!(of(spec), Ok(()));
        for other in [ModelSpec { d_model: 3, ..spec }, ModelSpec { d_ff: 2, ..spec }, ModelSpec { layers: 2, ..spec }]
        {
            assert_eq!(of(other), Err(Unusable::OtherModel));
        }
    }

    #[test]
    fn scales_cover_what_was_seen_or_are_clipped_by_the_published_rule() {
        let scale = |percentile: f32, clip| static_scale(Range { most: 10.0, percentile }, clip) * MOST_I16;
        assert_eq!((scale(2.25, false), scale(2.5, false)), (10.0, 10.0));
        // The maximum is over 4 · 2.25, not over 4 · 2.5.
        assert_eq!((scale(2.25, true), scale(2.5, true)), (2.25, 10.0));
        for clip in [false, true] {
            assert_eq!(static_scale(Range::default(), clip), 1.0 / MOST_I16);
        }
    }

    #[test]
    fn products_have_twice_the_room_and_are_never_clipped() {
        let ranges = [Range { most: 10.0, percentile: 2.0 }; scale_count(1)].into_iter();
        let [input, product] = [2.0, 20.0].map(|covered| covered / MOST_I16);
        let [mut expected, last] = [std::vec![input; 4], std::vec![input, product]];
        expected.extend([product; 7].into_iter().chain(last));
        assert_eq!(static_scales(ranges, true).collect::<Vec<_>>(), expected);
        assert_eq!(product_scale(Range::default()), 2.0 / MOST_I16);
        assert!(product_scale(Range { most: f32::MAX, percentile: 1.0 }).is_finite());
    }
}
