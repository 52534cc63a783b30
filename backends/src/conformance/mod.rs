//! The conformance suite of [`Device`]s: what every hardware abstraction layer runs in its own tests.
//!
//! Cases are data (`cases`); each has a naive oracle in f64 with a stated bound (`rowwise`, `linear`, `attention`, `readout`),
//! computed from weights that are encoded here (`tensor`), not decoded by the code under test. `contract` holds what must be
//! true between runs; `forward` what must be true of whole models, on those of `decoder`. Test support: it allocates and
//! panics, unlike the rest of the crate. Runs no device by itself.
//!
//! ```
//! use mobiedit_backends::conformance::{self, Profile};
//! use mobiedit_backends::device::Device;
//!
//! fn my_device_conforms(device: &mut impl Device) {
//!     let profile = Profile { name: "my device", slack: 1.0, rounding: 0.0, floor: 0.0, unsupported: &[], most_products: usize::MAX };
//!     let report = conformance::check(device, &profile, std::env::var("MOBIEDIT_CASE").ok().as_deref());
//!     assert!(report.is_clean(), "{report}");
//! }
//! ```

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use core::fmt;

use crate::device::Device;

mod attention;
mod cases;
mod contract;
mod decoder;
mod forward;
mod linear;
mod random;
mod readout;
mod rowwise;
mod tensor;
mod trial;

pub use attention::Attention;
pub use cases::{Case, FORMATS, Fill, REQUIRED, Treatment, cases};
pub use linear::Linear;
pub use readout::Readout;

use trial::{Expected, Trial};

/// What a device claims.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'p> {
    /// The device's name, for messages.
    pub name: &'p str,
    /// Factor on every bound; 1 for f32 arithmetic.
    pub slack: f64,
    /// Relative error allowed on top; 0 for f32 arithmetic.
    pub rounding: f64,
    /// Absolute error allowed on top: what is lost below a device's smallest normal number; 0 for f32 arithmetic.
    pub floor: f64,
    /// Beginnings of the ids of cases that the device does not support.
    pub unsupported: &'p [&'p str],
    /// Cases of more products ([`Case::products`]) are left out: `usize::MAX`, or what an emulator does in a minute.
    pub most_products: usize,
}

/// What came of a check.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Ids of what ran.
    pub ran: Vec<String>,
    /// Ids of what the device does not support.
    pub unsupported: Vec<String>,
    /// Ids of what has too many products for where the device runs.
    pub left_out: Vec<String>,
    /// What failed: id, and how.
    pub failures: Vec<(String, String)>,
}

impl Report {
    /// Nothing failed, and something ran.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty() && !self.ran.is_empty()
    }

    fn add(&mut self, id: String, result: Result<(), String>) {
        if let Err(how) = result {
            self.failures.push((id.clone(), how));
        }
        self.ran.push(id);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ran, {} failed", self.ran.len(), self.failures.len())?;
        self.unsupported.iter().try_for_each(|id| writeln!(f, "not run: {id} (unsupported)"))?;
        self.left_out.iter().try_for_each(|id| writeln!(f, "not run: {id} (too long here)"))?;
        self.failures.iter().try_for_each(|(id, how)| writeln!(f, "{id}: {how}"))
    }
}

/// Runs everything whose id contains `filter` (everything, without one) on a device.
pub fn check<D: Device>(device: &mut D, profile: &Profile<'_>, filter: Option<&str>) -> Report {
    let mut report = Report::default();
    let wanted = |id: &str| filter.is_none_or(|filter| id.contains(filter));
    for case in cases() {
        let id = case.id();
        if profile.unsupported.iter().any(|start| id.starts_with(start)) {
            report.unsupported.push(id);
            continue;
        }
        if case.products() > profile.most_products {
            report.left_out.push(id);
            continue;
        }
        if wanted(&id) {
            report.add(id.clone(), check_case(&case, device, profile));
        }
        let id = format!("batch-independence/{id}");
        if device.capabilities().exact_batching
            && wanted(&id)
            && let Some(result) = contract::batch_independence(&case, device)
        {
            report.add(id, result);
        }
    }
    for (cached, rows) in [(1, 1), (5, 3), (40, 7)] {
        let id = format!("cache-exactness/{cached}+{rows}");
        if device.capabilities().exact_batching && wanted(&id) {
            report.add(id, contract::cache_exactness(cached, rows, device));
        }
    }
    if wanted("discarding") {
        report.add("discarding".to_string(), contract::discarding(device));
    }
    if wanted("refusals") {
        let wrong = contract::wrong_refusals(device);
        report.ran.push("refusals".to_string());
        report.failures.extend(wrong.into_iter().map(|(name, how)| (format!("refusals/{name}"), how)));
    }
    decoder::check(device, profile, &mut report, wanted);
    if filter.is_none() {
        let never = REQUIRED.iter().filter(|op| !report.ran.iter().any(|id| id.starts_with(*op)));
        let never: Vec<_> = never.map(|op| (op.to_string(), "required, and no case of it ran".to_string())).collect();
        report.failures.extend(never);
    }
    report
}

/// Runs one case and compares with its oracle.
pub fn check_case<D: Device>(case: &Case, device: &mut D, profile: &Profile<'_>) -> Result<(), String> {
    let mut trial = case.trial();
    let before = (trial.pools.work.clone(), trial.pools.cache.clone());
    run(&mut trial, device)?;
    let out = trial.pools.slice(trial.out);
    for (i, (&x, &Expected { value, bound })) in out.iter().zip(&trial.expected).enumerate() {
        let allowed = bound * profile.slack + profile.rounding * value.abs() + profile.floor;
        let off = (f64::from(x) - value).abs();
        if off.is_nan() || off > allowed {
            return Err(format!("number {i} is {x}, {value} ± {allowed:e} was expected"));
        }
    }
    let (work, cache) = before;
    let untouched = |pool, before: &[f32], after: &[f32]| {
        let inside =
            |i: usize| pool == trial.out.pool && (trial.out.start..trial.out.start + trial.out.len).contains(&i);
        (0..before.len()).all(|i| inside(i) || before[i].to_bits() == after[i].to_bits())
    };
    let same = untouched(crate::op::Pool::Work, &work, &trial.pools.work)
        && untouched(crate::op::Pool::Cache, &cache, &trial.pools.cache);
    if same { Ok(()) } else { Err("something outside the result was written".to_string()) }
}

/// What a device makes of a case, as bits: for comparing one device with another.
pub fn bits<D: Device>(case: &Case, device: &mut D) -> Result<Vec<u32>, String> {
    let mut trial = case.trial();
    run(&mut trial, device)?;
    Ok(trial.pools.slice(trial.out).iter().map(|x| x.to_bits()).collect())
}

fn run<D: Device>(trial: &mut Trial, device: &mut D) -> Result<(), String> {
    let Trial { op, pools, out, expected } = trial;
    assert_eq!(out.len, expected.len(), "the oracle covers the result");
    op.with(|op| device.run(&mut pools.memory(), &[op])).map_err(|error| format!("refused: {error}"))
}
