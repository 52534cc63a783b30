//! What MobiEdit's authors measured, for a look side by side. Other models, other machines: nothing of it was measured here.
//!
//! [`V1`] is the appendix of arXiv 2506.13772v1, read there. [`ICLR`] is the version of ICLR 2026 (its table 2 and figure 5)
//! at second hand, from accounts of it: the tables themselves were not at hand when this was written. Numbers that were in
//! neither are left out.

/// A method's numbers; `None` where they are not known to us.
#[derive(Debug)]
pub(super) struct Published {
    /// The method.
    pub(super) method: &'static str,
    /// What it edited, and on what.
    pub(super) on: &'static str,
    /// Edit success, in percent.
    pub(super) success: Option<f64>,
    /// Locality, in percent.
    pub(super) locality: Option<f64>,
    /// Portability, in percent.
    pub(super) portability: Option<f64>,
    /// Seconds of an edit, from the fastest phone to the slowest.
    pub(super) seconds: Option<(f64, f64)>,
    /// Memory, in GB.
    pub(super) memory: Option<f64>,
    /// Where the numbers stand.
    pub(super) source: &'static str,
}

const V1: &str = "arXiv v1, appendix";
const ICLR: &str = "ICLR 2026, at second hand";
const QWEN: &str = "Qwen2.5-3B-Instruct";
const LLAMA: &str = "Llama-3.2-3B-Instruct, ZsRE";

/// The rows, methods of one model together.
pub(super) const PUBLISHED: [Published; 7] = [
    Published {
        success: Some(80.1),
        locality: Some(72.6),
        portability: Some(51.4),
        seconds: Some((1_212.0, 1_903.0)),
        memory: Some(6.2),
        ..row("MobiEdit (NPU)", QWEN, ICLR)
    },
    Published {
        success: Some(92.6),
        seconds: Some((3_253.0, 4_544.0)),
        memory: Some(46.1),
        ..row("ROME (CPU, backpropagation)", QWEN, ICLR)
    },
    Published { success: Some(88.3), memory: Some(5.06), ..row("MobiEdit (NPU)", LLAMA, V1) },
    on_cpus("ROME (CPU)", (3_551.82, 4_834.78), 34.14),
    on_cpus("MEMIT (CPU)", (3_551.82, 4_834.78), 34.14),
    on_cpus("AlphaEdit (CPU)", (3_551.82, 4_834.78), 34.14),
    on_cpus("WISE (CPU)", (6_505.63, 9_668.86), 35.05),
];

const fn on_cpus(method: &'static str, seconds: (f64, f64), memory: f64) -> Published {
    Published { seconds: Some(seconds), memory: Some(memory), ..row(method, LLAMA, V1) }
}

const fn row(method: &'static str, on: &'static str, source: &'static str) -> Published {
    Published { method, on, success: None, locality: None, portability: None, seconds: None, memory: None, source }
}
