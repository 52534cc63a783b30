//! Tensors, their quantisation, parameters and operations, as QNN reads them. It checks none of their contents.
//!
//! Everything is borrowed by pointer: what a tensor or an operation points to has to live while a function has it.

use core::ffi::{c_char, c_void};
use core::fmt;

use super::table::MemHandle;

/// Declares an enumeration of C.
macro_rules! constants {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(transparent)]
        pub struct $name(pub u32);

        impl $name {
            $($(#[$value_doc])* pub const $value: Self = Self($number);)*
        }
    };
}

constants! {
    /// `Qnn_DataType_t`.
    DataType {
        /// Indices.
        INT_32 = 50,
        /// Shapes and indices.
        UINT_32 = 306,
        /// IEEE half precision.
        FLOAT_16 = 534,
        /// IEEE single precision.
        FLOAT_32 = 562,
        /// Quantised weights.
        SFIXED_8 = 776,
        /// Quantised, not for every operation.
        SFIXED_16 = 790,
        /// Quantised biases.
        SFIXED_32 = 818,
        /// Quantised.
        UFIXED_8 = 1032,
        /// Quantised activations.
        UFIXED_16 = 1046,
        /// Masks.
        BOOL_8 = 1288,
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::INT_32 => "i32",
            Self::UINT_32 => "u32",
            Self::FLOAT_16 => "f16",
            Self::FLOAT_32 => "f32",
            Self::SFIXED_8 => "S8",
            Self::SFIXED_16 => "S16",
            Self::SFIXED_32 => "S32",
            Self::UFIXED_8 => "U8",
            Self::UFIXED_16 => "U16",
            Self::BOOL_8 => "bool",
            Self(number) => return write!(f, "type {number}"),
        })
    }
}

constants! {
    /// `Qnn_TensorType_t`.
    TensorType {
        /// Written by the application before every execution.
        APP_WRITE = 0,
        /// Read by the application after every execution.
        APP_READ = 1,
        /// Between operations.
        NATIVE = 3,
        /// Constant since the graph was built.
        STATIC = 4,
    }
}

constants! {
    /// `Qnn_Definition_t`.
    Definition {
        /// There is an encoding.
        DEFINED = 1,
        /// There is none.
        UNDEFINED = 0x7fff_ffff,
    }
}

constants! {
    /// `Qnn_QuantizationEncoding_t`.
    Encoding {
        /// One scale for the tensor.
        SCALE_OFFSET = 0,
        /// One scale for each index on an axis.
        AXIS_SCALE_OFFSET = 1,
        /// None.
        UNDEFINED = 0x7fff_ffff,
    }
}

/// `Qnn_ScaleOffset_t`: a value is `scale · (stored + offset)`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct ScaleOffset {
    /// The step.
    pub scale: f32,
    /// Minus the stored number of zero.
    pub offset: i32,
}

/// `Qnn_AxisScaleOffset_t`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct AxisScaleOffset {
    /// The axis.
    pub axis: i32,
    /// As many as the axis is long.
    pub len: u32,
    /// One for each index.
    pub scale_offsets: *const ScaleOffset,
}

/// The union in `Qnn_QuantizeParams_t`, its size that of the largest member.
#[derive(Clone, Copy)]
#[repr(C)]
pub union EncodingValue {
    /// [`Encoding::SCALE_OFFSET`].
    pub scale_offset: ScaleOffset,
    /// [`Encoding::AXIS_SCALE_OFFSET`].
    pub axis: AxisScaleOffset,
    /// No encoding, or another.
    pub other: [u64; 4],
}

/// `Qnn_QuantizeParams_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct QuantizeParams {
    /// Whether there is an encoding.
    pub definition: Definition,
    /// Which member of `value` is meant.
    pub encoding: Encoding,
    /// The numbers.
    pub value: EncodingValue,
}

impl QuantizeParams {
    /// Of a tensor that is not quantised.
    pub const NONE: Self = Self {
        definition: Definition::UNDEFINED,
        encoding: Encoding::UNDEFINED,
        value: EncodingValue { other: [0; 4] },
    };

    /// One scale for the tensor.
    pub const fn per_tensor(scale_offset: ScaleOffset) -> Self {
        let value = EncodingValue { scale_offset };
        Self { definition: Definition::DEFINED, encoding: Encoding::SCALE_OFFSET, value }
    }

    /// One scale for each of the indices on `axis`. The slice has to outlive the tensor's use.
    pub const fn per_axis(axis: i32, scale_offsets: &[ScaleOffset]) -> Self {
        let (len, scale_offsets) = (scale_offsets.len() as u32, scale_offsets.as_ptr());
        let value = EncodingValue { axis: AxisScaleOffset { axis, len, scale_offsets } };
        Self { definition: Definition::DEFINED, encoding: Encoding::AXIS_SCALE_OFFSET, value }
    }
}

/// `Qnn_ClientBuffer_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ClientBuffer {
    /// The numbers.
    pub data: *mut c_void,
    /// Bytes; of an output, a library does not look at them.
    pub bytes: u32,
}

constants! {
    /// `Qnn_TensorMemType_t`.
    TensorMemory {
        /// The application's.
        RAW = 0,
        /// Registered with the context.
        HANDLE = 1,
    }
}

/// The union in `Qnn_Tensor_t` that says where the numbers are.
#[derive(Clone, Copy)]
#[repr(C)]
pub union TensorBuffer {
    /// [`TensorMemory::RAW`].
    pub raw: ClientBuffer,
    /// [`TensorMemory::HANDLE`].
    pub shared: MemHandle,
}

/// `Qnn_TensorV1_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct TensorV1 {
    /// Given by the library. Executions go by it, not by the name.
    pub id: u32,
    /// As of C, unique in its graph.
    pub name: *const c_char,
    /// Who writes it, and when.
    pub kind: TensorType,
    /// `Qnn_TensorDataFormat_t`: 0, dense.
    pub data_format: u32,
    /// Of each number.
    pub data_type: DataType,
    /// How numbers are stored.
    pub quantize: QuantizeParams,
    /// Dimensions.
    pub rank: u32,
    /// The length of each.
    pub dimensions: *const u32,
    /// Which member of `buffer` is meant.
    pub memory: TensorMemory,
    /// The numbers, if this is not a declaration only.
    pub buffer: TensorBuffer,
}

/// `Qnn_SparseParams_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SparseParams {
    /// `Qnn_SparseLayoutType_t`.
    pub layout: u32,
    /// Specified elements, then sparse dimensions.
    pub hybrid_coo: [u32; 2],
}

/// `Qnn_TensorV2_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct TensorV2 {
    /// What the first version has.
    pub v1: TensorV1,
    /// Null: no dimension is dynamic.
    pub dynamic_dimensions: *const u8,
    /// Without effect on dense tensors.
    pub sparse: SparseParams,
    /// Set by a library that wrote the tensor.
    pub produced: u8,
}

/// The union in `Qnn_Tensor_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub union TensorVersion {
    /// Version 1.
    pub v1: TensorV1,
    /// Version 2.
    pub v2: TensorV2,
}

/// `Qnn_Tensor_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Tensor {
    /// 1 or 2.
    pub version: u32,
    /// The member of that version.
    pub value: TensorVersion,
}

/// The union in `Qnn_Scalar_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub union ScalarValue {
    /// [`DataType::FLOAT_32`].
    pub float: f32,
    /// [`DataType::UINT_32`].
    pub uint: u32,
    /// [`DataType::INT_32`].
    pub int: i32,
    /// [`DataType::BOOL_8`].
    pub bool: u8,
    /// Another type.
    pub other: u64,
}

/// `Qnn_Scalar_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Scalar {
    /// Which member of `value` is meant.
    pub data_type: DataType,
    /// The number.
    pub value: ScalarValue,
}

/// The union in `Qnn_Param_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub union ParamValue {
    /// Kind 0.
    pub scalar: Scalar,
    /// Kind 1.
    pub tensor: Tensor,
}

/// `Qnn_Param_t`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Param {
    /// `Qnn_ParamType_t`: 0 a scalar, 1 a tensor.
    pub kind: u32,
    /// As of C.
    pub name: *const c_char,
    /// The member of that kind.
    pub value: ParamValue,
}

/// `Qnn_OpConfigV1_t`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct OpConfigV1 {
    /// As of C, unique in its graph.
    pub name: *const c_char,
    /// As of C: `qti.aisw`.
    pub package: *const c_char,
    /// As of C: the operation.
    pub kind: *const c_char,
    /// Parameters.
    pub params_len: u32,
    /// The first of them.
    pub params: *const Param,
    /// Inputs.
    pub inputs_len: u32,
    /// The first of them.
    pub inputs: *const Tensor,
    /// Outputs.
    pub outputs_len: u32,
    /// The first of them.
    pub outputs: *const Tensor,
}

/// `Qnn_OpConfig_t`, whose only version is 1.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct OpConfig {
    /// 1.
    pub version: u32,
    /// What it says.
    pub v1: OpConfigV1,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantisation_is_said_where_it_is_looked_for() {
        let scales = [ScaleOffset { scale: 0.5, offset: -3 }, ScaleOffset { scale: 0.25, offset: 0 }];
        let tensor = QuantizeParams::per_tensor(scales[0]);
        let axis = QuantizeParams::per_axis(1, &scales);
        assert_eq!((tensor.definition, tensor.encoding), (Definition::DEFINED, Encoding::SCALE_OFFSET));
        assert_eq!((axis.definition, axis.encoding), (Definition::DEFINED, Encoding::AXIS_SCALE_OFFSET));
        // SAFETY: each is the member that its constructor wrote.
        let (tensor, axis) = unsafe { (tensor.value.scale_offset, axis.value.axis) };
        assert_eq!(tensor, scales[0]);
        assert_eq!(axis, AxisScaleOffset { axis: 1, len: 2, scale_offsets: scales.as_ptr() });
        assert_eq!(QuantizeParams::NONE.definition, Definition::UNDEFINED);
    }
}
