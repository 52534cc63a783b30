//! The declarations tried on a real library: one matrix product, built, executed, saved and read again. No backend is
//! made of it: how a list of operations becomes a graph is not settled here.
//!
//! It runs where `MOBIEDIT_QNN_LIB` names a library, and shows that functions take what they are declared to take.

use core::ffi::{CStr, c_void};
use core::ptr::null;
use std::path::Path;
use std::vec::Vec;
use std::{env, println, vec};

use super::config::{GraphConfig, HtpGraphConfig, Precision};
use super::library::LIBRARY;
use super::stdout::captured;
use super::table::{ContextHandle, GraphHandle, ProfileHandle, SignalHandle, Table};
use super::tensor::*;
use super::{Interface, LogConfig, Session, SessionConfig};
use crate::error::Status;

const ROWS: usize = 16;
const INNER: usize = 32;
const COLUMNS: usize = 48;
const NAME: &CStr = c"trial";
const INPUT: ScaleOffset = ScaleOffset { scale: 1.0 / 4096.0, offset: -32768 };
const OUTPUT: ScaleOffset = ScaleOffset { scale: 1.0 / 512.0, offset: -32768 };

#[test]
fn a_product_is_that_of_its_integers_and_survives_saving() {
    let Some(path) = env::var_os(LIBRARY) else {
        return println!("not run: QNN library ({LIBRARY} is not set)");
    };
    let mut worst = 0.0;
    let printed = captured(|| {
        let interface = Interface::open(Path::new(&path)).unwrap();
        let session = Session::open(interface, &SessionConfig { log: LogConfig::SILENT, soc: Some(57) }).unwrap();
        let input: Vec<u16> = (0..ROWS * INNER).map(|i| (32768 - 4096 + i * 37 % 8192) as u16).collect();
        let weights: Vec<i8> = (0..INNER * COLUMNS).map(|i| (i * 91 % 255) as i8).collect();
        let scales: Vec<_> =
            (0..COLUMNS).map(|j| ScaleOffset { scale: 0.01 * (1 + j % 3) as f32, offset: 0 }).collect();
        // SAFETY: each function gets what the next one asks for: handles of this session, and buffers as long as they say.
        unsafe {
            let context = created(&session);
            let mut ends = [(); 2].map(|()| tensor(c"", TensorType::NATIVE, &[0; 2]));
            let graph = build(&session, context, &mut ends, &weights, &scales);
            let built = execute(interface.table(), graph, ends, &input);
            let binary = saved(interface.table(), context);
            freed(interface.table(), context);
            let (context, graph) = read(&session, &binary);
            assert_eq!(execute(interface.table(), graph, ends, &input), built);
            freed(interface.table(), context);
            worst = error(&built, &input, &weights, &scales);
        }
    });
    println!("[{ROWS}x{INNER}]x[{INNER}x{COLUMNS}], W8A16 per channel: at most {worst:.3} steps off");
    assert_eq!(printed, "");
    // Measured on the x86-64 emulator of core API 2.40: 1.34. A weight taken for its neighbour's is off by thousands.
    assert!(worst <= 2.0, "{worst} steps");
}

/// The largest distance to the product of the integers, in steps of the output.
fn error(output: &[u16], input: &[u16], weights: &[i8], scales: &[ScaleOffset]) -> f64 {
    let real = |stored: u16, by: ScaleOffset| (f64::from(stored) + f64::from(by.offset)) * f64::from(by.scale);
    let at = |index: usize| {
        let (row, column) = (index / COLUMNS, index % COLUMNS);
        let products =
            (0..INNER).map(|k| real(input[row * INNER + k], INPUT) * f64::from(weights[k * COLUMNS + column]));
        let exact = products.sum::<f64>() * f64::from(scales[column].scale);
        (real(output[index], OUTPUT) - exact).abs() / f64::from(OUTPUT.scale)
    };
    (0..ROWS * COLUMNS).map(at).fold(0.0, f64::max)
}

fn ok(status: Status) {
    assert_eq!(status, Status::SUCCESS);
}

fn tensor(name: &'static CStr, kind: TensorType, dimensions: &'static [u32; 2]) -> TensorV1 {
    TensorV1 {
        id: 0,
        name: name.as_ptr(),
        kind,
        data_format: 0,
        data_type: DataType::UFIXED_16,
        quantize: QuantizeParams::NONE,
        rank: 2,
        dimensions: dimensions.as_ptr(),
        memory: TensorMemory::RAW,
        buffer: buffer::<u8>(&mut []),
    }
}

fn buffer<T>(numbers: &mut [T]) -> TensorBuffer {
    let bytes = size_of_val(numbers) as u32;
    let data = if bytes == 0 { core::ptr::null_mut() } else { numbers.as_mut_ptr().cast() };
    TensorBuffer { raw: ClientBuffer { data, bytes } }
}

fn first(v1: TensorV1) -> Tensor {
    Tensor { version: 1, value: TensorVersion { v1 } }
}

fn second(v1: TensorV1) -> Tensor {
    let sparse = SparseParams { layout: 0x7fff_ffff, hybrid_coo: [0; 2] };
    let v2 = TensorV2 { v1, dynamic_dimensions: null(), sparse, produced: 0 };
    Tensor { version: 2, value: TensorVersion { v2 } }
}

/// # Safety
/// None is needed but a whole table.
unsafe fn created(session: &Session) -> ContextHandle {
    let mut context = ContextHandle::NULL;
    let create = session.interface().table().context_create.unwrap();
    // SAFETY: the session's own handles, no list, a place for the result.
    ok(unsafe { create(session.backend(), session.device(), null(), &raw mut context) });
    context
}

/// Builds the graph, and leaves its input and output in `ends`.
///
/// # Safety
/// The context is the session's.
unsafe fn build(
    session: &Session,
    context: ContextHandle,
    ends: &mut [TensorV1; 2],
    weights: &[i8],
    scales: &[ScaleOffset],
) -> GraphHandle {
    let table = session.interface().table();
    let custom = HtpGraphConfig::precision(Precision::FLOAT16);
    let config = GraphConfig::custom(&custom);
    let mut graph = GraphHandle::NULL;
    let mut weights = weights.to_vec();
    let input = tensor(c"input", TensorType::APP_WRITE, &[ROWS as u32, INNER as u32]);
    let output = tensor(c"output", TensorType::APP_READ, &[ROWS as u32, COLUMNS as u32]);
    let constant = tensor(c"weights", TensorType::STATIC, &[INNER as u32, COLUMNS as u32]);
    let quantize = QuantizeParams::per_axis(1, scales);
    let mut inputs = [
        second(TensorV1 { quantize: QuantizeParams::per_tensor(INPUT), ..input }),
        first(TensorV1 { quantize, data_type: DataType::SFIXED_8, buffer: buffer(&mut weights), ..constant }),
    ];
    let mut output = first(TensorV1 { quantize: QuantizeParams::per_tensor(OUTPUT), ..output });
    let params = [c"transpose_in0", c"transpose_in1"].map(|name| {
        let scalar = Scalar { data_type: DataType::BOOL_8, value: ScalarValue { bool: 0 } };
        Param { kind: 0, name: name.as_ptr(), value: ParamValue { scalar } }
    });
    // SAFETY: everything pointed to outlives the calls; versions name the members that were written.
    unsafe {
        ok(table.graph_create.unwrap()(context, NAME.as_ptr(), [&raw const config, null()].as_ptr(), &raw mut graph));
        for tensor in inputs.iter_mut().chain([&mut output]) {
            ok(table.tensor_create_graph_tensor.unwrap()(graph, tensor));
        }
        let operation = product(&params, &inputs, &output);
        ok(table.backend_validate_op_config.unwrap()(session.backend(), operation));
        ok(table.graph_add_node.unwrap()(graph, operation));
        ok(table.graph_finalize.unwrap()(graph, ProfileHandle::NULL, SignalHandle::NULL));
        *ends = [inputs[0].value.v2.v1, output.value.v1];
    }
    graph
}

fn product(params: &[Param; 2], inputs: &[Tensor; 2], output: &Tensor) -> OpConfig {
    let v1 = OpConfigV1 {
        name: c"product".as_ptr(),
        package: c"qti.aisw".as_ptr(),
        kind: c"MatMul".as_ptr(),
        params_len: 2,
        params: params.as_ptr(),
        inputs_len: 2,
        inputs: inputs.as_ptr(),
        outputs_len: 1,
        outputs: output,
    };
    OpConfig { version: 1, v1 }
}

/// # Safety
/// The graph is finalised, and `ends` are its input and output.
unsafe fn execute(table: &Table, graph: GraphHandle, ends: [TensorV1; 2], input: &[u16]) -> Vec<u16> {
    let (mut input, mut output) = (input.to_vec(), vec![0_u16; ROWS * COLUMNS]);
    let given = second(TensorV1 { buffer: buffer(&mut input), ..ends[0] });
    let mut made = first(TensorV1 { buffer: buffer(&mut output), ..ends[1] });
    let execute = table.graph_execute.unwrap();
    // SAFETY: one tensor each way, with as many bytes as its dimensions say.
    ok(unsafe { execute(graph, &given, 1, &raw mut made, 1, ProfileHandle::NULL, SignalHandle::NULL) });
    output
}

/// # Safety
/// The context's graphs are finalised.
unsafe fn saved(table: &Table, context: ContextHandle) -> Vec<u8> {
    let (mut bytes, mut written) = (0, 0);
    // SAFETY: places for the results, and a buffer of as many bytes as asked for.
    unsafe {
        ok(table.context_get_binary_size.unwrap()(context, &raw mut bytes));
        let mut binary = vec![0_u8; bytes as usize];
        ok(table.context_get_binary.unwrap()(context, binary.as_mut_ptr().cast(), bytes, &raw mut written));
        assert!(written > 0 && written <= bytes);
        binary.truncate(written as usize);
        binary
    }
}

/// # Safety
/// The library wrote the binary.
unsafe fn read(session: &Session, binary: &[u8]) -> (ContextHandle, GraphHandle) {
    let table = session.interface().table();
    let (mut context, mut graph) = (ContextHandle::NULL, GraphHandle::NULL);
    let bytes = binary.as_ptr().cast::<c_void>();
    let read = table.context_create_from_binary.unwrap();
    let (backend, device, len, profile) =
        (session.backend(), session.device(), binary.len() as u64, ProfileHandle::NULL);
    // SAFETY: the session's handles, as many bytes as said, places for the results.
    unsafe {
        ok(read(backend, device, null(), bytes, len, &raw mut context, profile));
        ok(table.graph_retrieve.unwrap()(context, NAME.as_ptr(), &raw mut graph));
    }
    (context, graph)
}

/// # Safety
/// Nothing uses the context any more.
unsafe fn freed(table: &Table, context: ContextHandle) {
    // SAFETY: the caller's promise.
    ok(unsafe { table.context_free.unwrap()(context, ProfileHandle::NULL) });
}
