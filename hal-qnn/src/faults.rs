//! What becomes of the device when the library fails: every function, at every call, and then the same run again.

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{boxed::Box, rc::Rc, vec};

use core::cell::RefCell;

use mobiedit_backends::device::{Device, Memory};
use mobiedit_backends::op::{Activation, Op, Pool, Slot};
use mobiedit_backends::weights::{Format, Matrix};
use mobiedit_core::backend::{BackendError, BackendErrorKind};

use crate::sys::fake::{self, Fake};
use crate::sys::table::Table;
use crate::sys::{ProfileLevel, Session, SessionConfig};
use crate::{Counters, DeviceError, Qnn, QnnConfig, QnnError, Reason, Status};

/// A linear operation of 2 rows, its sum added to a third slot: two nodes, one input, two outputs.
fn run(device: &mut Qnn) -> Result<Vec<f32>, DeviceError> {
    let slot = |start, len| Slot { pool: Pool::Work, start, len };
    let weight = Matrix::new(Format::F32, 1, 2, &[0; 8]).unwrap();
    let linear =
        Op::Linear { x: slot(0, 4), weight, bias: None, side: &[], activation: Activation::A16, out: slot(4, 2) };
    let mut work = vec![5.0; 8];
    let ops = [linear, Op::Add { x: slot(6, 2), y: slot(4, 2) }];
    device.run(&mut Memory { work: &mut work, cache: &mut [] }, &ops)?;
    Ok(work)
}

/// Takes something out of a table.
type Change = fn(&mut Table);

fn config() -> QnnConfig {
    QnnConfig { rows: [4].into(), cached: 4, patches: 1 }
}

fn device(change: Change) -> Qnn {
    Qnn::new(Session::open(fake::interface(change), &SessionConfig::default()).unwrap(), config())
}

/// Whatever the fake computes is 1.
const COMPUTED: [f32; 8] = [5.0, 5.0, 5.0, 5.0, 1.0, 1.0, 6.0, 6.0];

/// The functions of a run, and how often each is called in five of them.
const CALLS: [(&str, usize); 7] = [
    ("contextCreate", 1),
    ("graphCreate", 1),
    ("tensorCreateGraphTensor", 4),
    ("backendValidateOpConfig", 2),
    ("graphAddNode", 2),
    ("graphFinalize", 1),
    ("graphExecute", 5),
];

#[test]
fn a_list_is_one_graph_that_is_finalised_once_and_freed_before_its_device() {
    Fake::default().install();
    let mut device = device(|_| {});
    for executed in 1..=3 {
        assert_eq!(run(&mut device).unwrap(), COMPUTED);
        assert_eq!(device.counters(), Counters { finalized: 1, executed, ..Counters::default() });
    }
    let nodes: Vec<_> = Fake::installed().nodes.iter().map(|(kind, _)| kind.to_str().unwrap().to_string()).collect();
    assert_eq!(nodes, ["FullyConnected", "Reshape"]);
    drop(device);
    let calls = Fake::installed().calls;
    let last: Vec<_> = calls[calls.len() - 4..].iter().map(|(call, _)| *call).collect();
    assert_eq!(last, ["contextFree", "deviceFree", "backendFree", "logFree"]);
}

#[test]
fn whichever_call_fails_is_named_and_the_next_run_is_whole() {
    for (call, times) in CALLS {
        for after in 0..times {
            Fake::failing_after(after, call, 6031).install();
            let mut device = device(|_| {});
            let error = (0..5).find_map(|_| run(&mut device).err()).unwrap();
            let text = error.to_string();
            assert!(text.contains("lost"), "{text}");
            if call != "backendValidateOpConfig" {
                assert_eq!(error.reason, Reason::Library(fake::refused(call, 6031)));
            }
            assert_eq!(error.kind(), BackendErrorKind::Device);
            Fake { fails: None, ..Fake::installed() }.install();
            assert_eq!(run(&mut device).unwrap(), COMPUTED, "{call} after {after}");
            drop(device);
            let calls = Fake::installed().calls;
            let made = |name| calls.iter().filter(|(call, handle)| *call == name && *handle > 0).count();
            assert_eq!(made("contextCreate"), made("contextFree"), "{call} after {after}");
        }
        Fake::failing_after(times, call, 6031).install();
        let mut device = device(|_| {});
        assert!((0..5).all(|_| run(&mut device).is_ok()), "{call} is called more often");
    }
}

#[test]
fn an_operation_that_the_backend_refuses_is_named() {
    Fake::failing_after(1, "backendValidateOpConfig", 3110).install();
    let error = run(&mut device(|_| {})).unwrap_err();
    let text = "operation 1 (Add) on the NPU: the backend has no Reshape(f16[4, 1]) -> f16[4, 1]: \
        3110 (not an operation of this NPU with these types)";
    assert_eq!((error.op, error.to_string().as_str()), (1, text));
}

#[test]
fn a_missing_function_is_named() {
    let cases: [(&str, Change); 8] = [
        ("contextCreate", |table| table.context_create = None),
        ("contextFree", |table| table.context_free = None),
        ("graphCreate", |table| table.graph_create = None),
        ("tensorCreateGraphTensor", |table| table.tensor_create_graph_tensor = None),
        ("backendValidateOpConfig", |table| table.backend_validate_op_config = None),
        ("graphAddNode", |table| table.graph_add_node = None),
        ("graphFinalize", |table| table.graph_finalize = None),
        ("graphExecute", |table| table.graph_execute = None),
    ];
    for (name, change) in cases {
        Fake::default().install();
        assert_eq!(run(&mut device(change)).unwrap_err().reason, Reason::Library(QnnError::Missing(name)));
    }
    for call in ["contextCreate", "graphCreate"] {
        Fake::giving_nothing(call).install();
        assert_eq!(run(&mut device(|_| {})).unwrap_err().reason, Reason::Library(QnnError::Nothing(call)));
    }
}

/// The nodes of an MLP with static scales, and these operations after it.
fn nodes_of_mlp(after: &[Op<'_>]) -> Vec<String> {
    Fake::default().install();
    let mut device = device(|_| {});
    let bytes = [0; 4 * 34 * 32];
    let weight = Matrix::new(Format::Q8_0, 32, 32, &bytes[..34 * 32]).unwrap();
    let activation = Activation::A16Static { scale: 0.5, product: 0.25 };
    let [x, gate, up, out] = [0, 32, 64, 96].map(|start| Slot { pool: Pool::Work, start, len: 32 });
    let linear = |x, out| Op::Linear { x, weight, bias: None, side: &[], activation, out };
    let mut ops = vec![linear(x, gate), linear(x, up), Op::SwiGlu { gate, up }, linear(gate, out)];
    ops.extend(after);
    device.run(&mut Memory { work: &mut [1.0; 128], cache: &mut [] }, &ops).unwrap();
    Fake::installed().nodes.iter().map(|(kind, _)| kind.to_str().unwrap().to_string()).collect()
}

#[test]
fn levels_stay_levels_where_nothing_else_reads_them() {
    let [gate, up] = [32, 64].map(|start| Slot { pool: Pool::Work, start, len: 32 });
    let discard = |x| Op::Discard { x };
    let product = "FullyConnected";
    let in_levels = ["Quantize", product, product, "Sigmoid", "ElementWiseMultiply", "ElementWiseMultiply", product];
    let expected = [&in_levels[..], &["Dequantize"]].concat();
    assert_eq!(nodes_of_mlp(&[discard(gate), discard(up)]), expected);
    // One slot over both is as good.
    assert_eq!(nodes_of_mlp(&[discard(Slot { len: 64, ..gate })]), expected);
    // Gate's product, up's and the output's are halves where SwiGLU's result or up's product may be read.
    let in_halves = |after: &[Op<'_>]| nodes_of_mlp(after).iter().filter(|node| *node == "Dequantize").count();
    let copy = Op::Copy { x: gate, out: up };
    for after in [&[][..], &[discard(up)], &[discard(gate)], &[copy, discard(gate), discard(up)]] {
        assert_eq!(in_halves(after), 3, "{after:?}");
    }
}

#[test]
fn more_rows_than_a_graph_has_are_refused_before_anything_is_made() {
    Fake::default().install();
    let mut device = device(|_| {});
    let slot = |start, len| Slot { pool: Pool::Work, start, len };
    let weight = Matrix::new(Format::F32, 1, 2, &[0; 8]).unwrap();
    let op =
        Op::Linear { x: slot(0, 10), weight, bias: None, side: &[], activation: Activation::A16, out: slot(10, 5) };
    let error = device.run(&mut Memory { work: &mut [0.0; 15], cache: &mut [] }, &[op]).unwrap_err();
    assert_eq!((error.reason, error.kind()), (Reason::Rows { need: 5, most: 4 }, BackendErrorKind::TooSmall));
    assert_eq!(device.counters(), Counters::default());
}

#[test]
fn a_vote_for_the_clocks_is_taken_back_and_refusals_are_told() {
    Fake { clocks: Some(fake::clocks()), ..Fake::default() }.install();
    let npu = device(|_| {});
    drop(npu.burst().unwrap());
    let calls = Fake::installed().calls;
    assert_eq!(calls[3..], [("createPowerConfigId", 77), ("setPowerConfig", 77), ("destroyPowerConfigId", 77)]);
    for call in ["deviceGetInfrastructure", "createPowerConfigId", "setPowerConfig"] {
        Fake { clocks: Some(fake::clocks()), ..Fake::failing(call, 13004) }.install();
        assert_eq!(npu.burst().map(|_| ()), Err(fake::refused(call, 13004)));
    }
    Fake::default().install();
    assert_eq!(npu.burst().map(|_| ()), Err(QnnError::Nothing("deviceGetInfrastructure")));
}

#[test]
fn what_the_library_measures_is_told_of_its_operation_and_a_failure_stops_nothing() {
    Fake::default().install();
    let mut device = device(|_| {});
    device.profile(ProfileLevel::DETAILED).unwrap();
    for _ in 0..2 {
        assert_eq!(run(&mut device).unwrap(), COMPUTED);
    }
    let costs = device.costs();
    let cycles: Vec<_> = costs[0].operations.iter().map(|op| (op.name, op.cycles)).collect();
    // The fake's node of operation 1 and 300 cycles stands twice in its list, the second within itself without an end.
    assert_eq!((costs.len(), costs[0].accelerator_us, costs[0].executed), (1, 100, 2));
    assert_eq!(cycles[0], ("Linear", 0));
    assert!(cycles[1].0 == "Add" && cycles[1].1 >= 1200 && cycles[1].1 % 600 == 0, "{cycles:?}");
    drop(device);
    assert!(Fake::installed().calls.contains(&("profileFree", 6)));

    for call in ["profileGetEvents", "profileGetEventData", "profileGetSubEvents"] {
        Fake::failing(call, 12000).install();
        let mut device = self::device(|_| {});
        device.profile(ProfileLevel::BASIC).unwrap();
        assert_eq!(run(&mut device).unwrap(), COMPUTED);
        assert_eq!(device.costs()[0].accelerator_us, 0);
    }
    Fake::failing("profileCreate", 1000).install();
    let mut device = self::device(|_| {});
    assert_eq!(device.profile(ProfileLevel::BASIC), Err(fake::refused("profileCreate", 1000)));
    assert_eq!(run(&mut device).unwrap(), COMPUTED);
}

#[test]
fn ends_in_shared_memory_are_registered_before_and_given_back_after_or_lie_in_plain_memory() {
    Fake::default().install();
    let mut device = device(|_| {}).with_shared(fake::shared_buffers());
    for _ in 0..2 {
        assert_eq!(run(&mut device).unwrap(), COMPUTED);
    }
    assert_eq!(device.counters().shared, 1);
    drop(device);
    let calls = Fake::installed().calls;
    let order = |wanted: &str| calls.iter().filter(|(call, _)| *call == wanted).count();
    // One input, two outputs.
    assert_eq!(["memRegister", "memDeRegister", "rpcmem_alloc", "rpcmem_free"].map(order), [3; 4]);
    let at = |wanted: &str| calls.iter().position(|(call, _)| *call == wanted).unwrap();
    assert!(at("memDeRegister") < at("contextFree"));
    assert!(calls.iter().rposition(|(call, _)| *call == "memDeRegister") < Some(at("rpcmem_free")));

    for call in ["rpcmem_alloc", "rpcmem_to_fd", "memRegister"] {
        for after in 0..3 {
            Fake::failing_after(after, call, 8003).install();
            let mut device = self::device(|_| {}).with_shared(fake::shared_buffers());
            assert_eq!(run(&mut device).unwrap(), COMPUTED, "{call} after {after}");
            assert_eq!(device.counters().shared, 0);
            drop(device);
            let calls = Fake::installed().calls;
            let count = |wanted: &str| calls.iter().filter(|(call, handle)| *call == wanted && *handle > 0).count();
            assert_eq!(count("memRegister"), count("memDeRegister"), "{call} after {after}");
            assert_eq!(count("rpcmem_free"), Fake::installed().shared.len(), "{call} after {after}");
        }
    }
    Fake::default().install();
    let mut device = self::device(|table| table.mem_register = None).with_shared(fake::shared_buffers());
    assert_eq!((run(&mut device).unwrap(), device.counters().shared), (COMPUTED.to_vec(), 0));
}

/// Files in memory.
type Files = Rc<RefCell<BTreeMap<u64, Vec<u8>>>>;

#[test]
fn a_kept_graph_is_read_and_a_damaged_or_refused_one_is_built_anew() {
    let files = Files::default();
    let counters = |fake: Fake| {
        fake.install();
        let mut device = device(|_| {}).with_store(Box::new(files.clone()));
        assert_eq!(run(&mut device).unwrap(), COMPUTED);
        let Counters { finalized, restored, rejected, .. } = device.counters();
        (finalized, restored, rejected)
    };
    assert_eq!(counters(Fake::default()), (1, 0, 0));
    assert_eq!(counters(Fake::default()), (0, 1, 0));
    assert_eq!(files.borrow().len(), 1);
    for file in files.borrow_mut().values_mut() {
        let middle = file.len() / 2;
        file[middle] ^= 4;
    }
    assert_eq!(counters(Fake::default()), (1, 0, 1));
    assert_eq!(counters(Fake::failing("contextCreateFromBinary", 5005)), (1, 0, 1));
    assert_eq!(counters(Fake::failing("graphRetrieve", 6002)).0, 1);
    assert_eq!(counters(Fake::default()), (0, 1, 0));
}

#[test]
fn graphs_of_other_weights_are_other_files() {
    let files = Files::default();
    for (index, byte) in [0_u8, 1, 0].into_iter().enumerate() {
        Fake::default().install();
        let mut device = device(|_| {}).with_store(Box::new(files.clone()));
        let slot = |start, len| Slot { pool: Pool::Work, start, len };
        let bytes = [byte; 8];
        let weight = Matrix::new(Format::F32, 1, 2, &bytes).unwrap();
        let op =
            Op::Linear { x: slot(0, 2), weight, bias: None, side: &[], activation: Activation::A16, out: slot(2, 1) };
        device.run(&mut Memory { work: &mut [0.0; 3], cache: &mut [] }, &[op]).unwrap();
        assert_eq!((files.borrow().len(), device.counters().restored), ([1, 2, 2][index], [0, 0, 1][index]));
    }
}

#[test]
fn codes_are_told_in_words() {
    for (code, words) in [(3110, "types"), (5005, "binary"), (6022, "finalis"), (6031, "aborted"), (7004, "tensor")] {
        assert!(Status(code).to_string().contains(words), "{}", Status(code));
    }
}
