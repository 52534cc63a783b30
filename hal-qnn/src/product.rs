//! Products of rows with weights, in the types that an activation asks for, and weights as a graph's constants.

use alloc::vec;
use alloc::vec::Vec;

use half::f16;
use mobiedit_backends::dequant::dequantize_row;
use mobiedit_backends::op::Activation;
use mobiedit_backends::quant::quantize_row_i8;
use mobiedit_backends::weights::{Format, Matrix};

use crate::error::Reason;
use crate::sys::tensor::{DataType, ScaleOffset, TensorType};
use crate::sys::{Builder, Constant, Node, Quantize, Shape, TensorId};

/// A tensor of halves.
pub(crate) fn floats(dimensions: &[usize]) -> Shape {
    Shape {
        data_type: DataType::FLOAT_16,
        quantize: Quantize::None,
        dimensions: dimensions.iter().map(|side| *side as u32).collect(),
    }
}

/// Whether a product has levels of 16 bits around it: of which steps before and after.
pub(crate) fn steps(weight: Matrix<'_>, activation: Activation) -> Option<[f32; 2]> {
    match activation {
        Activation::A16Static { scale, product } if is_integer(weight) => Some([scale, product]),
        _ => None,
    }
}

fn is_integer(weight: Matrix<'_>) -> bool {
    !matches!(weight.format(), Format::F32 | Format::F16 | Format::Bf16)
}

/// The levels of `W x`, of this step, for x as levels.
pub(crate) fn product_of_levels(
    builder: &mut Builder,
    levels: TensorId,
    weight: Matrix<'_>,
    step: f32,
    rows: usize,
) -> Result<TensorId, Reason> {
    let weights = int8(builder, weight)?;
    let output = builder.tensor(TensorType::NATIVE, u16s(&[rows, weight.rows()], step))?;
    builder.node(&Node { kind: c"FullyConnected", params: &[], inputs: &[levels, weights], output })?;
    Ok(output)
}

/// `out = W x + bias` of halves, the weights int8 if the activation is to be 16 bits.
pub(crate) fn product_of_halves(
    builder: &mut Builder,
    x: TensorId,
    weight: Matrix<'_>,
    bias: Option<Matrix<'_>>,
    activation: Activation,
    out: TensorId,
) -> Result<(), Reason> {
    let weights = match activation {
        Activation::A16 if is_integer(weight) => int8(builder, weight)?,
        _ => builder.constant(floats(&[weight.rows(), weight.cols()]), halves(weight))?,
    };
    let mut inputs = vec![x, weights];
    if let Some(bias) = bias {
        inputs.push(builder.constant(floats(&[bias.cols()]), halves(bias))?);
    }
    Ok(builder.node(&Node { kind: c"FullyConnected", params: &[], inputs: &inputs, output: out })?)
}

/// Levels of 16 bits, symmetric about their middle.
pub(crate) fn u16s(dimensions: &[usize], scale: f32) -> Shape {
    let quantize = Quantize::Tensor(ScaleOffset { scale, offset: -32768 });
    Shape { data_type: DataType::UFIXED_16, quantize, ..floats(dimensions) }
}

/// Levels of 16 bits of numbers from 0 to 1.
pub(crate) fn fractions(dimensions: &[usize]) -> Shape {
    let quantize = Quantize::Tensor(ScaleOffset { scale: 1.0 / 65536.0, offset: 0 });
    Shape { data_type: DataType::UFIXED_16, quantize, ..floats(dimensions) }
}

/// A matrix as int8, with one scale for each output.
fn int8(builder: &mut Builder, matrix: Matrix<'_>) -> Result<TensorId, Reason> {
    let (mut levels, mut scales) = (Vec::with_capacity(matrix.rows() * matrix.cols()), Vec::new());
    each_row(matrix, |row| {
        let start = levels.len();
        levels.resize(start + row.len(), 0);
        let scale = quantize_row_i8(row, levels.get_mut(start..).unwrap_or_default());
        // A channel of zeros needs some scale.
        scales.push(ScaleOffset { scale: if scale > 0.0 { scale } else { 1.0 }, offset: 0 });
    });
    let shape = Shape {
        data_type: DataType::SFIXED_8,
        quantize: Quantize::Axis(0, scales.into()),
        ..floats(&[matrix.rows(), matrix.cols()])
    };
    Ok(builder.constant(shape, Constant::I8(levels.into()))?)
}

/// A matrix in half precision.
pub(crate) fn halves(matrix: Matrix<'_>) -> Constant {
    let mut halves = Vec::with_capacity(matrix.rows() * matrix.cols());
    each_row(matrix, |row| halves.extend(row.iter().map(|x| f16::from_f32(*x).to_bits())));
    Constant::U16(halves.into())
}

fn each_row(matrix: Matrix<'_>, mut work: impl FnMut(&[f32])) {
    let mut numbers = vec![0.0; matrix.cols()];
    for row in 0..matrix.rows() {
        dequantize_row(matrix.format(), matrix.row(row), &mut numbers);
        work(&numbers);
    }
}
