//! The declarations' sizes and offsets, compared with QNN's own when the crate is compiled. It has nothing to run.
//!
//! The numbers are those of core API 2.32 for 64 bits; of 32 bits none are known here. Two arrays are of one type only if
//! they are equally long, so a wrong number is a type error that names both.

use core::mem::{align_of, offset_of, size_of};

use super::config::{BackendConfig, ContextConfig, DeviceConfig, GraphConfig, HtpDeviceConfig, HtpGraphConfig};
use super::power::{Clocks, Infrastructure, PowerConfig};
use super::profile::EventData;
use super::shared::{MemDescriptor, MemShape};
use super::table::{ApiVersion, InterfaceV2, Provider, Table, Version};
use super::tensor::{
    AxisScaleOffset, ClientBuffer, OpConfig, OpConfigV1, Param, QuantizeParams, Scalar, ScaleOffset, SparseParams,
    Tensor, TensorBuffer, TensorV1, TensorV2,
};

/// A type with its size and alignment in bytes, then fields with their offsets.
macro_rules! layout {
    ($($name:ident $size:literal $align:literal { $($field:tt $offset:literal),* })*) => {$(
        const _: [(); $size] = [(); size_of::<$name>()];
        const _: [(); $align] = [(); align_of::<$name>()];
        $(const _: [(); $offset] = [(); offset_of!($name, $field)];)*
    )*};
}

layout! {
    Version 12 4 { major 0, minor 4, patch 8 }
    ApiVersion 24 4 { core 0, backend 12 }
    Provider 40 8 { backend_id 0, name 8, api_version 16 }
    InterfaceV2 392 8 { provider 0, table 40 }
    Table 352 8 {
        unused_0 0, backend_create 8, unused_2 16, backend_get_api_version 24, backend_get_build_id 32, unused_5 40,
        backend_validate_op_config 56, backend_free 64, context_create 72, unused_10 80, context_get_binary_size 88,
        context_get_binary 96, context_create_from_binary 104, context_free 112, graph_create 120, unused_16 128,
        graph_add_node 144, graph_finalize 152, graph_retrieve 160, graph_execute 168, unused_22 176,
        tensor_create_graph_tensor 192, log_create 200, unused_26 208, log_free 216, profile_create 224, unused_29 232,
        profile_get_events 240, profile_get_sub_events 248, profile_get_event_data 256, unused_33 264, profile_free 272,
        mem_register 280, mem_de_register 288, unused_37 296, device_get_infrastructure 312, device_create 320,
        unused_41 328, device_free 344
    }

    MemShape 24 8 { rank 0, dimensions 8, config 16 }
    MemDescriptor 48 8 { shape 0, data_type 24, kind 28, fd 32 }
    EventData 24 8 { kind 0, unit 4, value 8, identifier 16 }
    Clocks 32 8 { create 0, destroy 8, set 16, unused 24 }
    Infrastructure 40 8 { kind 0, clocks 8 }
    PowerConfig 68 4 { option 0, vote 4 }

    BackendConfig 16 8 { option 0, value 8 }
    ContextConfig 16 8 { option 0, value 8 }
    DeviceConfig 16 8 { option 0, custom 8 }
    GraphConfig 16 8 { option 0, custom 8 }
    // 12 bytes in core API 2.32: room for every version.
    HtpDeviceConfig 64 8 {}
    HtpGraphConfig 56 8 { option 0, value 8 }

    ScaleOffset 8 4 { scale 0, offset 4 }
    AxisScaleOffset 16 8 { axis 0, len 4, scale_offsets 8 }
    QuantizeParams 40 8 { definition 0, encoding 4, value 8 }
    ClientBuffer 16 8 { data 0, bytes 8 }
    TensorBuffer 16 8 { raw 0, shared 0 }
    TensorV1 112 8 {
        id 0, name 8, kind 16, data_format 20, data_type 24, quantize 32, rank 72, dimensions 80, memory 88, buffer 96
    }
    SparseParams 12 4 { layout 0, hybrid_coo 4 }
    TensorV2 136 8 { v1 0, dynamic_dimensions 112, sparse 120, produced 132 }
    Tensor 144 8 { version 0, value 8 }
    Scalar 16 8 { data_type 0, value 8 }
    Param 160 8 { kind 0, name 8, value 16 }
    OpConfigV1 72 8 {
        name 0, package 8, kind 16, params_len 24, params 32, inputs_len 40, inputs 48, outputs_len 56, outputs 64
    }
    OpConfig 80 8 { version 0, v1 8 }
}
