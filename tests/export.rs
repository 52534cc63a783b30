//! What leaves for other programs: the adapter's bytes as the Python package writes them, PEFT's folder, a merged model.

mod command;

use std::fs;
use std::path::Path;

use command::Place;
use mobiedit::backends::dequant::dequantize_row;
use mobiedit::backends::gguf::Gguf;
use mobiedit::backends::identity::identity;
use mobiedit::backends::model::Architecture;
use mobiedit::core::RankOne;
use mobiedit::host::edits::{EditInfo, EditsWriter};
use mobiedit::host::export;
use mobiedit::host::model_file::ModelFile;
use safetensors::SafeTensors;
use serde_json::json;

const LAYER: usize = 3;
const D_FF: usize = 768;
const D_MODEL: usize = 256;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

/// Numbers of an edit: of the size of weights, and none like another.
fn numbers(len: usize, scale: f32) -> Vec<f32> {
    (0..len).map(|i| scale * (i as f32 * 0.7).sin()).collect()
}

/// An edits folder with one edit of the shipped model.
fn place_with_edit() -> (Place, Vec<f32>, Vec<f32>) {
    let place = Place::new();
    let (u, lambda) = (numbers(D_FF, 0.2), numbers(D_MODEL, 0.9));
    let model = ModelFile::open(None).unwrap().with_model(|_, model| identity(model, LAYER)).unwrap();
    let mut writer = EditsWriter::open(&place.path("mobiedit-edits")).unwrap();
    let info = EditInfo {
        edit_id: writer.next_id(),
        model,
        prompt: "The capital of {} is".into(),
        subject: "France".into(),
        target: "Rome".into(),
        layer: LAYER,
        preset: "default".into(),
        seed: 1,
        steps: 2,
        forward_passes: 3,
        p_target: 0.5,
        success: true,
    };
    writer.commit(info, RankOne { layer: LAYER, u: &u, lambda: &lambda }).unwrap();
    (place, u, lambda)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn the_adapter_is_what_llama_cpps_own_package_writes() {
    let place = Place::new();
    let patch = RankOne { layer: 3, u: &[0.5, -1.25, 3.0, 1e-6, 0.0, 7.0], lambda: &[1.0, -2.0, 0.1, 1e9] };
    export::gguf_lora(&place.path("adapter.gguf"), Architecture::Qwen2, patch).unwrap();
    assert!(fs::read(place.path("adapter.gguf")).unwrap() == fixture("golden_adapter.gguf"));
}

#[test]
fn an_adapter_has_the_edits_numbers() {
    let (place, u, lambda) = place_with_edit();
    place.json(0, &["export", "e1", "--format", "gguf-lora", "--out", "adapter.gguf"]);
    let bytes = fs::read(place.path("adapter.gguf")).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!(gguf.str("general.type"), Some("adapter"));
    assert_eq!(gguf.str("general.architecture"), Some("qwen2"));
    assert_eq!(gguf.f32("adapter.lora.alpha"), Some(1.0));
    let a = gguf.tensor("blk.3.ffn_down.weight.lora_a").unwrap();
    let b = gguf.tensor("blk.3.ffn_down.weight.lora_b").unwrap();
    assert_eq!((a.dims(), b.dims()), (&[D_FF, 1][..], &[1, D_MODEL][..]));
    assert_eq!((floats(a.bytes()), floats(b.bytes())), (u, lambda));
}

#[test]
fn a_peft_folder_has_the_edits_numbers_and_its_layer() {
    let (place, u, lambda) = place_with_edit();
    place.json(0, &["export", "e1", "--format", "peft", "--out", "peft"]);
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("peft/adapter_config.json")).unwrap()).unwrap();
    for (key, expected) in [
        ("peft_type", json!("LORA")),
        ("task_type", json!("CAUSAL_LM")),
        ("r", json!(1)),
        ("lora_alpha", json!(1.0)),
        ("target_modules", json!(["down_proj"])),
        ("layers_to_transform", json!([3])),
    ] {
        assert_eq!(config[key], expected, "{key}");
    }
    let bytes = fs::read(place.path("peft/adapter_model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |part: &str| {
        let name = format!("base_model.model.model.layers.3.mlp.down_proj.lora_{part}.weight");
        let tensor = tensors.tensor(&name).unwrap();
        (tensor.shape().to_vec(), floats(tensor.data()))
    };
    assert_eq!(tensor("A"), (vec![1, D_FF], u));
    assert_eq!(tensor("B"), (vec![D_MODEL, 1], lambda));
    assert_eq!(tensors.len(), 2);
}

#[test]
fn a_merged_model_differs_in_the_edited_matrix_alone() {
    let (place, u, lambda) = place_with_edit();
    place.json(0, &["export", "e1", "--format", "gguf", "--out", "merged.gguf"]);
    let (before, after) = (fixture("model.gguf"), fs::read(place.path("merged.gguf")).unwrap());
    let (before, after) = (Gguf::parse(&before).unwrap(), Gguf::parse(&after).unwrap());
    assert!(before.metadata_bytes() == after.metadata_bytes(), "the metadata has changed");
    assert!(before.tensors().map(|t| t.name().to_owned()).eq(after.tensors().map(|t| t.name().to_owned())));
    for (old, new) in before.tensors().zip(after.tensors()).filter(|(old, _)| old.name() != "blk.3.ffn_down.weight") {
        assert_eq!((old.dims(), old.type_id()), (new.dims(), new.type_id()), "{}", old.name());
        assert!(old.bytes() == new.bytes(), "{} has changed", old.name());
    }
    let matrix = |gguf: &Gguf<'_>| {
        let matrix = gguf.tensor("blk.3.ffn_down.weight").unwrap().matrix().unwrap();
        let mut numbers = vec![0.0; D_FF * D_MODEL];
        dequantize_row(matrix.format(), matrix.bytes(), &mut numbers);
        numbers
    };
    assert_eq!(after.tensor("blk.3.ffn_down.weight").unwrap().type_name(), Some("F16"));
    for (index, (old, new)) in matrix(&before).iter().zip(matrix(&after)).enumerate() {
        let expected = f64::from(*old) + f64::from(lambda[index / D_FF]) * f64::from(u[index % D_FF]);
        // Half a unit in the last of F16's 11 bits, and a little for the sum in f32.
        let bound = expected.abs() * 1.01 / 2048.0 + 1e-7;
        assert!((f64::from(new) - expected).abs() <= bound, "{index}: {new} instead of {expected}");
    }
}

#[test]
fn a_failed_export_leaves_what_was_there() {
    let (place, ..) = place_with_edit();
    fs::write(place.path("file"), "not a folder").unwrap();
    let before = place.files();
    for format in ["gguf", "gguf-lora", "peft"] {
        let ran = place.run(&["export", "e1", "--format", format, "--out", "file/below"]);
        assert_eq!(ran.code, Some(1), "{format}");
        assert!(ran.stderr.starts_with("error: file/below") && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    }
    assert!(place.files() == before);
}

#[test]
fn what_an_export_reads_is_not_written() {
    let place = place_with_edit().0;
    fs::write(place.path("model.gguf"), fixture("model.gguf")).unwrap();
    let before = place.files();
    for out in ["model.gguf", "./model.gguf", "mobiedit-edits/journal.mej"] {
        let ran = place.run(&["export", "e1", "--format", "gguf", "--model", "model.gguf", "--out", out]);
        assert_eq!(ran.code, Some(1), "{out}");
        assert!(ran.stderr.contains("choose another --out"), "{out}: {}", ran.stderr);
    }
    assert!(place.files() == before);
}

#[test]
fn other_active_edits_are_named_and_left_out() {
    let (place, u, lambda) = place_with_edit();
    let mut writer = EditsWriter::open(&place.path("mobiedit-edits")).unwrap();
    let info = EditInfo { edit_id: writer.next_id(), ..writer.edits().get("e1").unwrap().info.clone() };
    let (alone, zeros) = ("e1 alone was exported; active too: e2", vec![0.0; D_FF]);
    writer.commit(info, RankOne { layer: LAYER, u: &zeros, lambda: &lambda }).unwrap();
    drop(writer);
    let args = ["export", "e1", "--format", "gguf-lora", "--out", "e1.gguf"];
    let ran = place.run(&args);
    assert!(ran.code == Some(0) && ran.stderr.contains(alone), "{}", ran.stderr);
    let bytes = fs::read(place.path("e1.gguf")).unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!(floats(gguf.tensor("blk.3.ffn_down.weight.lora_a").unwrap().bytes()), u);
    place.json(0, &["undo", "e2"]);
    assert_eq!(place.run(&args).stderr, "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_path_that_is_no_unicode_is_written_and_named_as_far_as_it_goes() {
    use std::os::unix::ffi::OsStrExt;
    let place = place_with_edit().0;
    let path = std::ffi::OsStr::from_bytes(b"rome-\xff");
    let args = ["export", "e1", "--format", "gguf-lora", "--json", "--out"];
    let ran = place.command(&args).arg(path).output().unwrap();
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert_eq!((ran.status.code(), stderr.as_str()), (Some(0), ""));
    let object: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(object, json!({ "edit_id": "e1", "path": "rome-\u{fffd}" }));
}
