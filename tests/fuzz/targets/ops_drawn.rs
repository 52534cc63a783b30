//! Operations made of bytes, with all that they borrow. Most fit the memory and each other; some do not. Runs none.

use mobiedit::backends::op::{Activation, Op, Pool, READOUT_WIDTH, Read, RopePairs, Rows, Segment, Slot};
use mobiedit::backends::weights::{Format, Matrix};
use mobiedit::core::RankOne;

use super::input::{Input, Stream};
use super::tiny::tame;

/// f32s of the work memory.
pub const WORK: usize = 1 << 14;
/// f32s of the cache.
pub const CACHE: usize = 1 << 11;
/// Widest input of a product.
pub const WIDEST: usize = 1024;

const FORMATS: [Format; 8] =
    [Format::F32, Format::F16, Format::Bf16, Format::Q8_0, Format::Q4_0, Format::Q4K, Format::Q5K, Format::Q6K];

/// Weights that an operation borrows.
#[derive(Debug)]
struct Weights {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
}

impl Weights {
    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(self.format, self.rows, self.cols, &self.bytes).unwrap_or(Matrix::EMPTY)
    }
}

/// An operation with what it borrows: of the fields, those that its kind has.
#[derive(Debug)]
pub struct Drawn {
    kind: usize,
    slots: [Slot; 4],
    weights: Weights,
    bias: Option<Weights>,
    side: Vec<(Vec<f32>, Vec<f32>)>,
    ids: Vec<u32>,
    delta: Vec<f32>,
    reads: Vec<Read>,
    segments: Vec<Segment>,
    numbers: [usize; 5],
    activation: Activation,
    pairs: RopePairs,
    eps: f32,
}

/// Draws operations from bytes, each on slots behind those of the one before, from the front again where the pool ends.
pub struct Drawer<'i> {
    input: Input<'i>,
    stream: Stream,
    next: usize,
    wild: bool,
}

impl<'i> Drawer<'i> {
    /// The first bytes say whether numbers are wild.
    pub fn new(bytes: &'i [u8]) -> Self {
        let mut input = Input::new(bytes);
        let wild = input.rarely(4);
        let stream = Stream::new(u64::from(input.word()));
        Self { input, stream, next: 0, wild }
    }

    /// Whether bytes are left to draw from.
    pub fn has_more(&self) -> bool {
        !self.input.is_empty()
    }

    /// Fills memory with numbers; wild ones have any bits.
    pub fn fill(&mut self, memory: &mut [f32]) {
        for x in memory {
            *x = self.number();
        }
    }

    fn number(&mut self) -> f32 {
        if self.wild && self.stream.below(16) == 0 {
            return f32::from_bits(self.stream.word());
        }
        4.0 * self.stream.unit()
    }

    /// How many threads share the work.
    pub fn threads(&mut self) -> usize {
        1 + self.input.below(3)
    }

    /// Rows of a tile of the scalar device.
    pub fn tile_rows(&mut self) -> usize {
        1 + self.input.below(17)
    }

    /// A slot behind the last one, seldom of another length, or anywhere.
    fn slot(&mut self, len: usize) -> Slot {
        if self.input.rarely(64) {
            let pool = self.input.one_of(&[Pool::Work, Pool::Cache]);
            return Slot { pool, start: self.input.size(), len: self.input.size() };
        }
        if self.next.saturating_add(len) > WORK {
            self.next = 0;
        }
        let start = self.next;
        self.next += len.min(WORK);
        let len = if self.input.rarely(64) { self.input.below(64) } else { len };
        Slot { pool: Pool::Work, start, len }
    }

    fn weights(&mut self, format: Format, rows: usize, cols: usize) -> Weights {
        let mut bytes = Vec::new();
        if matches!(format, Format::F32 | Format::F16 | Format::Bf16) {
            for _ in 0..rows * cols {
                let x = self.number();
                match format {
                    Format::F32 => bytes.extend(x.to_le_bytes()),
                    Format::F16 => bytes.extend(half::f16::from_f32(x).to_le_bytes()),
                    _ => bytes.extend(half::bf16::from_f32(x).to_le_bytes()),
                }
            }
        } else {
            let len = format.row_bytes(cols).unwrap_or(0) * rows;
            bytes.extend((0..len).map(|_| self.stream.word() as u8));
            if !self.wild {
                tame(&mut bytes, format.block_bytes());
            }
        }
        Weights { format, rows, cols, bytes }
    }

    fn vector(&mut self, len: usize) -> Weights {
        let format = if self.input.rarely(64) { Format::F16 } else { Format::F32 };
        self.weights(format, 1, len)
    }

    fn activation(&mut self) -> Activation {
        match self.input.below(8) {
            0..=2 => Activation::A16,
            3..=4 => Activation::F32,
            5..=6 => Activation::A16Static { scale: 1e-4 * (1 + self.input.below(9)) as f32, product: 1e-3 },
            _ => Activation::A16Static { scale: f32::from_bits(self.input.word()), product: 1.0 },
        }
    }

    /// Indices below `end`, seldom outside.
    fn indices(&mut self, count: usize, end: usize) -> Vec<u32> {
        let strange = self.input.rarely(48);
        let index = |_| if strange { self.stream.word() } else { self.stream.below(end) as u32 };
        (0..count).map(index).collect()
    }

    /// The next operation.
    pub fn draw(&mut self) -> Drawn {
        let kind = self.input.below(12);
        let format = self.input.one_of(&FORMATS);
        let rows = 1 + self.input.below(9);
        let empty = Slot { pool: Pool::Work, start: 0, len: 0 };
        let mut drawn = Drawn {
            kind,
            slots: [empty; 4],
            weights: Weights { format, rows: 0, cols: 0, bytes: Vec::new() },
            bias: None,
            side: Vec::new(),
            ids: Vec::new(),
            delta: Vec::new(),
            reads: Vec::new(),
            segments: Vec::new(),
            numbers: [0; 5],
            activation: Activation::F32,
            pairs: self.input.one_of(&[RopePairs::Halves, RopePairs::Neighbours]),
            eps: 1e-6,
        };
        let block = format.block_len();
        let cols = block * (1 + self.input.below(if block == 256 { 4 } else { 12 }));
        match kind {
            0 => {
                drawn.weights = self.weights(format, 1 + self.input.clone().below(20), cols);
                drawn.ids = self.indices(rows, drawn.weights.rows);
                drawn.slots[0] = self.slot(rows * cols);
            }
            1 => {
                drawn.weights = self.vector(cols);
                drawn.eps = if self.wild { f32::from_bits(self.input.word()) } else { 1e-5 };
                drawn.slots[0] = self.slot(rows * cols);
                drawn.slots[1] = self.slot(rows * cols);
            }
            2 | 3 => self.linear(&mut drawn, format, rows, cols),
            4 => {
                let (heads, head_dim) = (1 + self.input.below(4), 2 * (1 + self.input.below(9)));
                drawn.numbers[0] = head_dim;
                drawn.slots[0] = self.slot(rows * heads * head_dim);
                drawn.slots[1] = self.slot(rows * head_dim);
            }
            5 => self.attention(&mut drawn),
            6..=8 => {
                drawn.slots[0] = self.slot(rows * cols);
                drawn.slots[1] = self.slot(rows * cols);
            }
            9 | 10 => self.rows(&mut drawn, rows),
            _ => self.readout(&mut drawn, format, rows, cols),
        }
        if self.input.rarely(64) {
            let at = self.input.below(drawn.numbers.len());
            drawn.numbers[at] = self.input.size();
        }
        drawn
    }

    fn linear(&mut self, drawn: &mut Drawn, format: Format, rows: usize, cols: usize) {
        let outputs = 1 + self.input.below(40);
        drawn.weights = self.weights(format, outputs, cols);
        drawn.bias = self.input.rarely(3).then(|| self.vector(outputs));
        for _ in 0..self.input.below(3) {
            let mut vector = |len: usize| (0..len).map(|_| self.number()).collect();
            drawn.side.push((vector(cols), vector(outputs)));
        }
        drawn.activation = self.activation();
        let rows = if self.input.rarely(16) { 0 } else { rows };
        drawn.slots[0] = self.slot(rows * cols);
        drawn.slots[1] = self.slot(rows * outputs);
    }

    fn attention(&mut self, drawn: &mut Drawn) {
        let (kv_heads, head_dim) = (1 + self.input.below(2), 1 + self.input.below(20));
        let heads = kv_heads * (1 + self.input.below(3));
        let (layer, copies) = (self.input.below(3), self.input.below(4));
        let mut next = 0;
        for _ in 0..self.input.below(4) {
            let (rows, cached) = (1 + self.input.below(4), self.input.below(9));
            let start = 16 * self.input.below(12);
            let segment = Segment { row: next, rows, cached, keys: start, values: start + 200, stride: 320 };
            next += rows;
            drawn.segments.push(segment);
        }
        if self.input.rarely(32)
            && let Some(segment) = drawn.segments.last_mut()
        {
            let Segment { row, rows, cached, keys, values, stride } = segment;
            let (field, size) = (self.input.below(6), self.input.size());
            *[row, rows, cached, keys, values, stride][field] = size;
        }
        let rows = copies * next;
        drawn.numbers = [layer, heads, kv_heads, head_dim, copies];
        let lens = [heads, kv_heads, kv_heads, heads].map(|heads| rows * heads * head_dim);
        drawn.slots = lens.map(|len| self.slot(len));
    }

    fn rows(&mut self, drawn: &mut Drawn, per_copy: usize) {
        let (copies, width, count) = (1 + self.input.below(3), 1 + self.input.below(40), self.input.below(5));
        drawn.numbers = [per_copy, copies, 0, 0, 0];
        drawn.ids = self.indices(count, per_copy);
        drawn.delta = (0..copies * width).map(|_| self.number()).collect();
        drawn.slots[0] = self.slot(copies * per_copy * width);
        drawn.slots[1] = self.slot(copies * count * width);
    }

    fn readout(&mut self, drawn: &mut Drawn, format: Format, rows: usize, cols: usize) {
        let vocab = 1 + 7 * self.input.below(60);
        let vocab = if format.block_len() == 256 { vocab.min(70) } else { vocab };
        drawn.weights = self.weights(format, vocab, cols);
        let clean = 1 + self.input.below(2);
        let of = self.indices(rows, vocab.min(clean));
        drawn.reads = of.iter().map(|&at| if at % 2 == 0 { Read::Divergence(at) } else { Read::Target(at) }).collect();
        drawn.activation = self.activation();
        drawn.slots[0] = self.slot(rows * cols);
        drawn.slots[1] = self.slot(clean * vocab);
        drawn.slots[2] = self.slot(rows * READOUT_WIDTH);
    }
}

impl Drawn {
    /// Its side terms.
    pub fn side(&self) -> Vec<RankOne<'_>> {
        self.side.iter().map(|(u, lambda)| RankOne { layer: 0, u, lambda }).collect()
    }

    /// The operation itself.
    pub fn op<'a>(&'a self, side: &'a [RankOne<'a>]) -> Op<'a> {
        let [a, b, c, d] = self.slots;
        let weight = self.weights.matrix();
        let [first, second, third, fourth, fifth] = self.numbers;
        match self.kind {
            0 => Op::Embed { table: weight, ids: &self.ids, out: a },
            1 => Op::RmsNorm { x: a, weight, eps: self.eps, out: b },
            2 | 3 => {
                let bias = self.bias.as_ref().map(Weights::matrix);
                Op::Linear { x: a, weight, bias, side, activation: self.activation, out: b }
            }
            4 => Op::Rope { x: a, table: b, head_dim: first, pairs: self.pairs },
            5 => Op::Attention {
                q: a,
                k: b,
                v: c,
                rows: Rows { copies: fifth, segments: &self.segments },
                cache_layer: first,
                heads: second,
                kv_heads: third,
                head_dim: fourth,
                out: d,
            },
            6 => Op::SwiGlu { gate: a, up: b },
            7 => Op::Add { x: a, y: b },
            8 if self.pairs == RopePairs::Halves => Op::Copy { x: a, out: b },
            8 => Op::Discard { x: a },
            9 => Op::Inject { x: a, per_copy: first, copies: second, rows: &self.ids, delta: &self.delta },
            10 => Op::Gather { x: a, per_copy: first, rows: &self.ids, copies: second, out: b },
            _ => Op::Readout { x: a, head: weight, activation: self.activation, reads: &self.reads, clean: b, out: c },
        }
    }
}
