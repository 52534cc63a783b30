//! Graphs: built tensor by tensor and node by node, finalised once, executed with buffers whose sizes were checked. It knows no
//! operation by its name.

use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{CStr, c_void};
use core::ptr::{null, null_mut};

use super::config::{GraphConfig, HtpGraphConfig, Precision};
use super::context::Context;
use super::interface::required;
use super::profile::Profile;
use super::shared::{Registered, SharedBuffers, SharedEnds};
use super::table::{GraphHandle, ProfileHandle, SignalHandle};
use super::tensor::{
    ClientBuffer, DataType, OpConfig, OpConfigV1, Param, ParamValue, QuantizeParams, Scalar, ScalarValue, ScaleOffset,
    Tensor, TensorBuffer, TensorMemory, TensorType, TensorV1, TensorVersion,
};
use crate::error::{QnnError, Status, Text};

/// The operations of the library itself.
const PACKAGE: &CStr = c"qti.aisw";

/// A tensor of the graph that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorId(usize);

/// How a tensor's numbers are stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Quantize {
    /// As they are.
    None,
    /// One scale.
    Tensor(ScaleOffset),
    /// One scale for each index on the axis.
    Axis(i32, Box<[ScaleOffset]>),
}

impl Quantize {
    /// What it points to has to live as long as `self`.
    fn params(&self) -> QuantizeParams {
        match self {
            Self::None => QuantizeParams::NONE,
            Self::Tensor(scale_offset) => QuantizeParams::per_tensor(*scale_offset),
            Self::Axis(axis, scale_offsets) => QuantizeParams::per_axis(*axis, scale_offsets),
        }
    }
}

/// A constant tensor's numbers.
#[derive(Clone, Debug)]
pub enum Constant {
    /// [`DataType::SFIXED_8`].
    I8(Box<[i8]>),
    /// [`DataType::FLOAT_16`], or unsigned levels.
    U16(Box<[u16]>),
    /// [`DataType::INT_32`] or [`DataType::SFIXED_32`].
    I32(Box<[i32]>),
    /// [`DataType::UINT_32`].
    U32(Box<[u32]>),
}

impl Constant {
    fn buffer(&self) -> ClientBuffer {
        fn of<T>(numbers: &[T]) -> ClientBuffer {
            ClientBuffer { data: numbers.as_ptr().cast::<c_void>().cast_mut(), bytes: size_of_val(numbers) as u32 }
        }
        match self {
            Self::I8(numbers) => of(numbers),
            Self::U16(numbers) => of(numbers),
            Self::I32(numbers) => of(numbers),
            Self::U32(numbers) => of(numbers),
        }
    }
}

/// What a tensor is, before a library knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Of each number.
    pub data_type: DataType,
    /// How numbers are stored.
    pub quantize: Quantize,
    /// The length of each dimension.
    pub dimensions: Box<[u32]>,
}

impl Shape {
    /// Numbers of the tensor, if they can be counted.
    pub fn numbers(&self) -> Option<usize> {
        self.dimensions.iter().try_fold(1_usize, |len, side| len.checked_mul(*side as usize))
    }
}

/// A tensor that a graph has: everything that the library's declaration points to.
#[derive(Debug)]
struct Declared {
    name: CString,
    kind: TensorType,
    shape: Shape,
    constant: Option<Constant>,
    id: u32,
}

impl Declared {
    fn tensor(&self, buffer: ClientBuffer) -> Tensor {
        self.tensor_in(TensorMemory::RAW, TensorBuffer { raw: buffer })
    }

    fn tensor_in(&self, memory: TensorMemory, buffer: TensorBuffer) -> Tensor {
        let v1 = TensorV1 {
            id: self.id,
            name: self.name.as_ptr(),
            kind: self.kind,
            data_format: 0,
            data_type: self.shape.data_type,
            quantize: self.shape.quantize.params(),
            rank: self.shape.dimensions.len() as u32,
            dimensions: self.shape.dimensions.as_ptr(),
            memory,
            buffer,
        };
        Tensor { version: 1, value: TensorVersion { v1 } }
    }

    /// As operations and executions without a buffer see it.
    fn reference(&self) -> Tensor {
        self.tensor(self.constant.as_ref().map_or(NO_BUFFER, Constant::buffer))
    }
}

const NO_BUFFER: ClientBuffer = ClientBuffer { data: null_mut(), bytes: 0 };

/// A parameter of an operation.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A truth.
    Bool(bool),
    /// A number.
    U32(u32),
    /// A number.
    F32(f32),
    /// A constant.
    Tensor(TensorId),
}

/// An operation on tensors of a graph.
#[derive(Clone, Copy, Debug)]
pub struct Node<'n> {
    /// Its name in the library.
    pub kind: &'static CStr,
    /// Parameters by their names.
    pub params: &'n [(&'static CStr, Value)],
    /// Inputs.
    pub inputs: &'n [TensorId],
    /// The output.
    pub output: TensorId,
}

/// A graph that is being built.
#[derive(Debug)]
pub struct Builder {
    graph: GraphHandle,
    name: CString,
    tensors: Vec<Declared>,
    nodes: usize,
    group: usize,
    context: Rc<Context>,
}

impl Builder {
    /// An empty graph of this name, which is the first of the context. Float tensors are computed in half precision.
    pub fn new(context: &Rc<Context>, name: &CStr) -> Result<Self, QnnError> {
        let create = required(context.table().graph_create, "graphCreate")?;
        let custom = HtpGraphConfig::precision(Precision::FLOAT16);
        let config = GraphConfig::custom(&custom);
        let list = [&raw const config, null()];
        let mut graph = GraphHandle::NULL;
        // SAFETY: a function of a checked table; the context is alive, the name ends with zero, the list ends with null and
        // points to configurations that outlive the call.
        unsafe { create(context.handle(), name.as_ptr(), list.as_ptr(), &raw mut graph) }.check("graphCreate")?;
        if graph == GraphHandle::NULL {
            return Err(QnnError::Nothing("graphCreate"));
        }
        Ok(Self { graph, name: name.into(), tensors: Vec::new(), nodes: 0, group: 0, context: Rc::clone(context) })
    }

    /// A tensor between operations, or an end of the graph: those keep the order in which they were made.
    pub fn tensor(&mut self, kind: TensorType, shape: Shape) -> Result<TensorId, QnnError> {
        self.declare(kind, shape, None)
    }

    /// A constant.
    pub fn constant(&mut self, shape: Shape, numbers: Constant) -> Result<TensorId, QnnError> {
        self.declare(TensorType::STATIC, shape, Some(numbers))
    }

    fn declare(&mut self, kind: TensorType, shape: Shape, constant: Option<Constant>) -> Result<TensorId, QnnError> {
        let create = required(self.context.table().tensor_create_graph_tensor, "tensorCreateGraphTensor")?;
        let name = CString::new(format!("t{}", self.tensors.len())).unwrap_or_default();
        let mut declared = Declared { name, kind, shape, constant, id: 0 };
        let mut tensor = declared.reference();
        // SAFETY: a function of a checked table; the graph is alive, and so is all that the tensor points to: until the graph
        // is finalised, `self` keeps it.
        unsafe { create(self.graph, &raw mut tensor) }.check("tensorCreateGraphTensor")?;
        // SAFETY: `reference` made version 1, and the library writes the id alone.
        declared.id = unsafe { tensor.value.v1 }.id;
        self.tensors.push(declared);
        Ok(TensorId(self.tensors.len() - 1))
    }

    /// The shape of a tensor that this builder gave.
    pub fn shape(&self, tensor: TensorId) -> Option<&Shape> {
        self.tensors.get(tensor.0).map(|declared| &declared.shape)
    }

    /// Nodes that are added from now on belong to this group: an [`Event`](super::Event) of one tells it.
    pub fn group(&mut self, group: usize) {
        self.group = group;
    }

    /// Adds an operation, if the backend has it for these types and shapes.
    pub fn node(&mut self, node: &Node<'_>) -> Result<(), QnnError> {
        let table = self.context.table();
        let validate = required(table.backend_validate_op_config, "backendValidateOpConfig")?;
        let add = required(table.graph_add_node, "graphAddNode")?;
        let reference =
            |id: TensorId| self.tensors.get(id.0).map(Declared::reference).ok_or(QnnError::Nothing("a tensor"));
        let params = node.params.iter().map(|(name, value)| param(name, *value, reference));
        let params = params.collect::<Result<Vec<_>, _>>()?;
        let inputs = node.inputs.iter().map(|id| reference(*id)).collect::<Result<Vec<_>, _>>()?;
        let output = reference(node.output)?;
        let name = CString::new(format!("g{}_n{}", self.group, self.nodes)).unwrap_or_default();
        let v1 = OpConfigV1 {
            name: name.as_ptr(),
            package: PACKAGE.as_ptr(),
            kind: node.kind.as_ptr(),
            params_len: params.len() as u32,
            params: params.as_ptr(),
            inputs_len: inputs.len() as u32,
            inputs: inputs.as_ptr(),
            outputs_len: 1,
            outputs: &raw const output,
        };
        let operation = OpConfig { version: 1, v1 };
        // SAFETY: functions of a checked table; backend and graph are alive, and so is all that the operation points to.
        unsafe {
            let status = validate(self.context.session().backend(), operation);
            if status != Status::SUCCESS {
                return Err(QnnError::Operation { types: self.types(node), status });
            }
            add(self.graph, operation).check("graphAddNode")?;
        }
        self.nodes += 1;
        Ok(())
    }

    /// A node's name, its inputs' types, and its output's.
    fn types(&self, node: &Node<'_>) -> Text {
        let of = |id: &TensorId| {
            let shape = self.tensors.get(id.0).map(|declared| &declared.shape);
            shape.map_or_else(String::new, |shape| format!("{}{:?}", shape.data_type, shape.dimensions))
        };
        let inputs: Vec<_> = node.inputs.iter().map(of).collect();
        Text::new(&format!("{}({}) -> {}", node.kind.to_string_lossy(), inputs.join(", "), of(&node.output)))
    }

    /// Compiles the graph.
    pub fn finalize(self) -> Result<Graph, QnnError> {
        let finalize = required(self.context.table().graph_finalize, "graphFinalize")?;
        // SAFETY: a function of a checked table; the graph is alive, and so are the numbers of its constants.
        unsafe { finalize(self.graph, ProfileHandle::NULL, SignalHandle::NULL) }.check("graphFinalize")?;
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for tensor in self.tensors {
            match tensor.kind {
                TensorType::APP_WRITE => inputs.push(tensor),
                TensorType::APP_READ => outputs.push(tensor),
                _ => {}
            }
        }
        Ok(Graph { graph: self.graph, name: self.name, inputs, outputs, shared: None, context: self.context })
    }
}

fn param(
    name: &'static CStr,
    value: Value,
    reference: impl Fn(TensorId) -> Result<Tensor, QnnError>,
) -> Result<Param, QnnError> {
    let scalar = |data_type, value| (0, ParamValue { scalar: Scalar { data_type, value } });
    let (kind, value) = match value {
        Value::Bool(truth) => scalar(DataType::BOOL_8, ScalarValue { bool: truth.into() }),
        Value::U32(number) => scalar(DataType::UINT_32, ScalarValue { uint: number }),
        Value::F32(number) => scalar(DataType::FLOAT_32, ScalarValue { float: number }),
        Value::Tensor(id) => (1, ParamValue { tensor: reference(id)? }),
    };
    Ok(Param { kind, name: name.as_ptr(), value })
}

/// A finalised graph. Its ends are of 16-bit numbers. It keeps its context alive.
#[derive(Debug)]
pub struct Graph {
    graph: GraphHandle,
    name: CString,
    inputs: Vec<Declared>,
    outputs: Vec<Declared>,
    shared: Option<SharedEnds>,
    context: Rc<Context>,
}

/// An end of a graph, as it is kept beside a context's binary.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// The library's number of the tensor: it goes by that, not by the name.
    pub id: u32,
    /// What it is.
    pub shape: Shape,
}

impl Graph {
    /// A graph of a context that was read, with the ends that [`inputs`](Self::inputs) and [`outputs`](Self::outputs) gave when it
    /// was saved.
    pub fn retrieve(context: &Rc<Context>, name: &CStr, inputs: Vec<End>, outputs: Vec<End>) -> Result<Self, QnnError> {
        let retrieve = required(context.table().graph_retrieve, "graphRetrieve")?;
        let mut graph = GraphHandle::NULL;
        // SAFETY: a function of a checked table; the context is alive, the name ends with zero, a place for the result.
        unsafe { retrieve(context.handle(), name.as_ptr(), &raw mut graph) }.check("graphRetrieve")?;
        if graph == GraphHandle::NULL {
            return Err(QnnError::Nothing("graphRetrieve"));
        }
        let declared = |ends: Vec<End>, kind| {
            let named = |End { id, shape }| {
                let name = CString::new(format!("t{id}")).unwrap_or_default();
                Declared { name, kind, shape, constant: None, id }
            };
            ends.into_iter().map(named).collect()
        };
        Ok(Self {
            graph,
            name: name.into(),
            inputs: declared(inputs, TensorType::APP_WRITE),
            outputs: declared(outputs, TensorType::APP_READ),
            shared: None,
            context: Rc::clone(context),
        })
    }

    /// The graph's name in its context.
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// What is written before an execution.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = End> {
        self.inputs.iter().map(|tensor| End { id: tensor.id, shape: tensor.shape.clone() })
    }

    /// What is read after it.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = End> {
        self.outputs.iter().map(|tensor| End { id: tensor.id, shape: tensor.shape.clone() })
    }

    /// Has the graph's ends in shared memory from now on. After an error they are where they were.
    pub fn share(&mut self, buffers: &SharedBuffers) -> Result<(), QnnError> {
        let register = |(place, tensor): (usize, &Declared)| {
            buffers.register(&self.context, place, tensor.shape.data_type, &tensor.shape.dimensions)
        };
        let inputs = self.inputs.iter().enumerate().map(register).collect::<Result<Vec<_>, _>>()?;
        let outputs = (self.inputs.len()..).zip(&self.outputs).map(register).collect::<Result<Vec<_>, _>>()?;
        self.shared = Some(SharedEnds { inputs, outputs });
        Ok(())
    }

    /// Runs the graph. Every buffer has to have as many numbers as its tensor: a library writes past the end of a shorter one.
    /// What the library measures goes into `profile`.
    pub fn execute(
        &mut self,
        inputs: &[&[u16]],
        outputs: &mut [&mut [u16]],
        profile: Option<&Profile>,
    ) -> Result<(), QnnError> {
        let execute = required(self.context.table().graph_execute, "graphExecute")?;
        let fits = |tensors: &[Declared], lens: &mut dyn ExactSizeIterator<Item = usize>| {
            let same = tensors.len() == lens.len();
            let odd = tensors.iter().zip(lens).find(|(tensor, len)| tensor.shape.numbers() != Some(*len));
            match odd {
                Some((tensor, given)) => Err(QnnError::Buffer {
                    tensor: tensor.id,
                    need: tensor.shape.numbers().unwrap_or(usize::MAX),
                    given,
                }),
                None if same => Ok(()),
                None => Err(QnnError::Nothing("a buffer for every end")),
            }
        };
        fits(&self.inputs, &mut inputs.iter().map(|numbers| numbers.len()))?;
        fits(&self.outputs, &mut outputs.iter().map(|numbers| numbers.len()))?;
        let buffer = |data: *mut u16, len: usize| ClientBuffer { data: data.cast(), bytes: (2 * len) as u32 };
        let in_handle = |(tensor, shared): (&Declared, &Registered)| {
            tensor.tensor_in(TensorMemory::HANDLE, TensorBuffer { shared: shared.handle() })
        };
        let (given, mut made): (Vec<_>, Vec<_>) = match &self.shared {
            Some(shared) => {
                shared.inputs.iter().zip(inputs).for_each(|(buffer, numbers)| buffer.fill(numbers));
                (
                    self.inputs.iter().zip(&shared.inputs).map(in_handle).collect(),
                    self.outputs.iter().zip(&shared.outputs).map(in_handle).collect(),
                )
            }
            None => {
                let given = self.inputs.iter().zip(inputs);
                let given = given.map(|(tensor, x)| tensor.tensor(buffer(x.as_ptr().cast_mut(), x.len())));
                let made = self.outputs.iter().zip(outputs.iter_mut());
                (given.collect(), made.map(|(tensor, x)| tensor.tensor(buffer(x.as_mut_ptr(), x.len()))).collect())
            }
        };
        let (given_len, made_len) = (given.len() as u32, made.len() as u32);
        // SAFETY: a function of a checked table; the graph is alive and finalised, and every buffer, shared or not, has the numbers
        // that its tensor says, of 16 bits each: `Builder` makes no other ends, and what was saved was one of its graphs.
        unsafe {
            execute(
                self.graph,
                given.as_ptr(),
                given_len,
                made.as_mut_ptr(),
                made_len,
                profile.map_or(ProfileHandle::NULL, Profile::handle),
                SignalHandle::NULL,
            )
        }
        .check("graphExecute")?;
        if let Some(shared) = &self.shared {
            shared.outputs.iter().zip(outputs).for_each(|(buffer, numbers)| buffer.take(numbers));
        }
        Ok(())
    }
}
