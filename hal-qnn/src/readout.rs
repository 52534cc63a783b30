//! Softmax statistics of one row's logits, in f64. It multiplies nothing.

use mobiedit_backends::op::{READOUT_WIDTH, Read};

/// What [`Op::Readout`](mobiedit_backends::op::Op::Readout) gives of a row; `clean` are the row's clean logits.
pub(crate) fn readout(logits: &[f32], read: Read, clean: &[f32]) -> [f32; READOUT_WIDTH] {
    let (best, most) = logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |(best, most), (index, logit)| {
        if *logit > most { (index, *logit) } else { (best, most) }
    });
    let log_sum = log_sum_exp(logits, most);
    let (target, divergence) = match read {
        Read::Target(token) => (logits.get(token as usize).copied().unwrap_or(f32::NAN), 0.0),
        Read::Divergence(_) => {
            let clean_log_sum = log_sum_exp(clean, clean.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let terms = logits.iter().zip(clean).map(|(logit, clean)| {
                let (logit, clean) = (f64::from(*logit) - log_sum, f64::from(*clean) - clean_log_sum);
                libm::exp(logit) * (logit - clean)
            });
            (0.0, terms.sum::<f64>())
        }
    };
    [log_sum as f32, target, most, best as f32, divergence as f32]
}

/// log Σ exp(x); NaN where a number is one.
fn log_sum_exp(x: &[f32], most: f32) -> f64 {
    let most = f64::from(most);
    most + libm::log(x.iter().map(|x| libm::exp(f64::from(*x) - most)).sum())
}
