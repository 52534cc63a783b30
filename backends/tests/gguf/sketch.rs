//! A GGUF file to be written with any flaw: what the reader refuses, gguf-py would not write.

pub(crate) const U8: u32 = 0;
pub(crate) const U32: u32 = 4;
pub(crate) const F32: u32 = 6;
pub(crate) const BOOL: u32 = 7;
pub(crate) const STR: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dims: Vec<u64>,
    pub(crate) type_id: u32,
    /// Where the last one ended, if `None`.
    pub(crate) offset: Option<u64>,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Sketch {
    pub(crate) version: u32,
    /// Key, type, value.
    pub(crate) pairs: Vec<(String, u32, Vec<u8>)>,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) alignment: usize,
}

impl Sketch {
    pub(crate) fn empty() -> Self {
        Self { version: 3, pairs: Vec::new(), tensors: Vec::new(), alignment: 32 }
    }

    /// A Llama of one layer, all F32, with tied embeddings: d_model 8, d_ff 16, 2 heads of 4, 1 KV head, 5 tokens.
    pub(crate) fn llama() -> Self {
        let mut sketch = Self::empty();
        sketch.text("general.architecture", "llama");
        for (key, value) in [
            ("block_count", 1),
            ("context_length", 32),
            ("embedding_length", 8),
            ("feed_forward_length", 16),
            ("attention.head_count", 2),
            ("attention.head_count_kv", 1),
        ] {
            sketch.number(&format!("llama.{key}"), value);
        }
        sketch.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
        for (name, cols, rows) in [
            ("token_embd.weight", 8, 5),
            ("output_norm.weight", 8, 1),
            ("blk.0.attn_norm.weight", 8, 1),
            ("blk.0.attn_q.weight", 8, 8),
            ("blk.0.attn_k.weight", 8, 4),
            ("blk.0.attn_v.weight", 8, 4),
            ("blk.0.attn_output.weight", 8, 8),
            ("blk.0.ffn_norm.weight", 8, 1),
            ("blk.0.ffn_gate.weight", 8, 16),
            ("blk.0.ffn_up.weight", 8, 16),
            ("blk.0.ffn_down.weight", 16, 8),
        ] {
            sketch.tensor(name, cols, rows);
        }
        sketch
    }

    pub(crate) fn pair(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.pairs.push((key.to_owned(), kind, value.to_vec()));
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.pair(key, STR, &text(value.as_bytes()));
    }

    pub(crate) fn number(&mut self, key: &str, value: u32) {
        self.pair(key, U32, &value.to_le_bytes());
    }

    pub(crate) fn float(&mut self, key: &str, value: f32) {
        self.pair(key, F32, &value.to_le_bytes());
    }

    /// A tensor of zeros in F32; one row makes a vector.
    pub(crate) fn tensor(&mut self, name: &str, cols: u64, rows: u64) {
        let dims = if rows == 1 { vec![cols] } else { vec![cols, rows] };
        let bytes = vec![0; (cols * rows * 4) as usize];
        self.tensors.push(Tensor { name: name.to_owned(), dims, type_id: 0, offset: None, bytes });
    }

    /// The tensor with this name, for spoiling.
    pub(crate) fn at(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|t| t.name == name).unwrap()
    }

    pub(crate) fn without(&mut self, name: &str) {
        self.pairs.retain(|(key, ..)| key != name);
        self.tensors.retain(|t| t.name != name);
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.pairs.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.pairs {
            file.extend(text(key.as_bytes()));
            file.extend(kind.to_le_bytes());
            file.extend(value);
        }
        let mut end = 0;
        for tensor in &self.tensors {
            file.extend(text(tensor.name.as_bytes()));
            file.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| file.extend(dim.to_le_bytes()));
            file.extend(tensor.type_id.to_le_bytes());
            file.extend(tensor.offset.unwrap_or(end).to_le_bytes());
            end = (end + tensor.bytes.len() as u64).next_multiple_of(self.alignment as u64);
        }
        for tensor in &self.tensors {
            file.resize(file.len().next_multiple_of(self.alignment), 0);
            file.extend(&tensor.bytes);
        }
        file
    }
}

/// A text as the format has it.
pub(crate) fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u64).to_le_bytes().to_vec();
    out.extend(bytes);
    out
}

/// An array's value: element type, length, elements.
pub(crate) fn array(kind: u32, len: u64, elements: &[u8]) -> Vec<u8> {
    let mut out = kind.to_le_bytes().to_vec();
    out.extend(len.to_le_bytes());
    out.extend(elements);
    out
}
