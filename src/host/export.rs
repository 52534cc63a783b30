//! An edit for other programs: a rank-one LoRA adapter (GGUF for llama.cpp, safetensors for PEFT), or a merged model.
//!
//! Writes whole files or none. The patch itself is the editor's.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mobiedit_backends::dequant::dequantize_row;
use mobiedit_backends::gguf::Gguf;
use mobiedit_backends::model::{Architecture, Model};
use mobiedit_backends::weights::{Format, Matrix};
use mobiedit_core::rank_one::RankOne;
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;

use crate::host::atomic_file;
use crate::host::gguf_file::{self, DEFAULT_ALIGNMENT, F16, F32, Metadata, Tensor, f16_bytes, f32_bytes};

/// Why an edit could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A file could not be written.
    #[error("{path} could not be written: {error}", path = path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A tensor of the model has a format that this program does not know.
    #[error("the tensor {0:?} has a format that cannot be copied")]
    Tensor(String),
    /// The edit's sizes are not the model's.
    #[error("the edit does not fit this model")]
    Shape,
}

/// An architecture's name in GGUF's metadata.
pub fn architecture_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Qwen2 => "qwen2",
        _ => "llama",
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    move |error| ExportError::Write { path: path.to_owned(), error }
}

/// Writes the patch as llama.cpp's `--lora` reads it: `lora_a` = u, `lora_b` = Λ, with α = 1 for rank 1.
///
/// # Errors
/// A path that cannot be written.
pub fn gguf_lora(path: &Path, architecture: Architecture, patch: RankOne<'_>) -> Result<(), ExportError> {
    let metadata = Metadata::default()
        .string("general.architecture", architecture_name(architecture))
        .string("general.type", "adapter")
        .string("adapter.type", "lora")
        .float("adapter.lora.alpha", 1.0);
    let matrix = format!("blk.{}.ffn_down.weight", patch.layer);
    let (name_a, name_b) = (format!("{matrix}.lora_a"), format!("{matrix}.lora_b"));
    let (a, b) = (f32_bytes(patch.u), f32_bytes(patch.lambda));
    let tensors = [
        Tensor { name: &name_a, sizes: vec![patch.u.len() as u64, 1], kind: F32, bytes: &a },
        Tensor { name: &name_b, sizes: vec![1, patch.lambda.len() as u64], kind: F32, bytes: &b },
    ];
    // For its owner alone: whoever has it and the model can find out what the edit says.
    atomic_file::write_private(path, |file| gguf_file::write(file, &metadata, &tensors, DEFAULT_ALIGNMENT))
        .map_err(at(path))
}

/// PEFT's `adapter_config.json`.
#[derive(Serialize)]
struct PeftConfig {
    peft_type: &'static str,
    task_type: &'static str,
    base_model_name_or_path: Option<String>,
    r: u32,
    lora_alpha: f32,
    lora_dropout: f32,
    bias: &'static str,
    fan_in_fan_out: bool,
    inference_mode: bool,
    target_modules: [&'static str; 1],
    layers_to_transform: [usize; 1],
}

/// Writes the patch as a folder that `peft.PeftModel.from_pretrained` reads.
///
/// # Errors
/// A folder that cannot be written.
pub fn peft(folder: &Path, patch: RankOne<'_>) -> Result<(), ExportError> {
    let config = PeftConfig {
        peft_type: "LORA",
        task_type: "CAUSAL_LM",
        base_model_name_or_path: None,
        r: 1,
        lora_alpha: 1.0,
        lora_dropout: 0.0,
        bias: "none",
        fan_in_fan_out: false,
        inference_mode: true,
        target_modules: ["down_proj"],
        layers_to_transform: [patch.layer],
    };
    let prefix = format!("base_model.model.model.layers.{}.mlp.down_proj", patch.layer);
    let (a, b) = (f32_bytes(patch.u), f32_bytes(patch.lambda));
    let view = |shape, bytes| TensorView::new(Dtype::F32, shape, bytes).map_err(io::Error::other);
    let tensors = || -> io::Result<Vec<u8>> {
        let tensors = [
            (format!("{prefix}.lora_A.weight"), view(vec![1, patch.u.len()], &a)?),
            (format!("{prefix}.lora_B.weight"), view(vec![patch.lambda.len(), 1], &b)?),
        ];
        let about = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
        safetensors::serialize(tensors, Some(about)).map_err(io::Error::other)
    };
    fs::create_dir_all(folder).map_err(at(folder))?;
    let write = |name: &str, bytes: io::Result<Vec<u8>>| {
        let path = folder.join(name);
        bytes.and_then(|b| atomic_file::write(&path, |file| file.write_all(&b))).map_err(at(&path))
    };
    write("adapter_model.safetensors", tensors())?;
    write("adapter_config.json", serde_json::to_vec_pretty(&config).map_err(io::Error::from))
}

/// Writes the model with the patch in its weights: all metadata and all other tensors keep their bytes, the edited matrix
/// is stored in F32 where the file has it in F32 or BF16 (whose range F16 lacks), else in F16.
///
/// # Errors
/// A path that cannot be written, a patch of another shape, tensors of formats that this program does not know.
pub fn merged_gguf(path: &Path, gguf: &Gguf<'_>, model: &Model<'_>, patch: RankOne<'_>) -> Result<(), ExportError> {
    let down = model.layers.get(patch.layer).ok_or(ExportError::Shape)?.down;
    if (down.rows(), down.cols()) != (patch.lambda.len(), patch.u.len()) {
        return Err(ExportError::Shape);
    }
    let merged = merged_weights(down, patch);
    let (kind, merged) = match down.format() {
        Format::F32 | Format::Bf16 => (F32, f32_bytes(&merged)),
        _ => (F16, f16_bytes(&merged)),
    };
    let edited = format!("blk.{}.ffn_down.weight", patch.layer);
    let mut tensors = Vec::new();
    for tensor in gguf.tensors() {
        let name = tensor.name();
        tensor.format().ok_or_else(|| ExportError::Tensor(name.to_owned()))?;
        let (kind, bytes) = if name == edited { (kind, &merged[..]) } else { (tensor.type_id(), tensor.bytes()) };
        let sizes = tensor.dims().iter().map(|n| *n as u64).collect();
        tensors.push(Tensor { name, sizes, kind, bytes });
    }
    let metadata = Metadata::from_bytes(gguf.metadata_len() as u64, gguf.metadata_bytes().to_vec());
    atomic_file::write(path, |file| gguf_file::write(file, &metadata, &tensors, gguf.alignment())).map_err(at(path))
}

/// `W + Λuᵀ`, `(d_model, d_ff)`.
fn merged_weights(down: Matrix<'_>, patch: RankOne<'_>) -> Vec<f32> {
    let mut weights = vec![0.0; down.rows() * down.cols()];
    for ((index, row), lambda) in weights.chunks_exact_mut(down.cols()).enumerate().zip(patch.lambda) {
        dequantize_row(down.format(), down.row(index), row);
        for (w, u) in row.iter_mut().zip(patch.u) {
            *w += lambda * u;
        }
    }
    weights
}
