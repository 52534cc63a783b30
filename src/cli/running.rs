//! What is seen of a running search, and how it is stopped: progress bars on stderr, Ctrl-C.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use mobiedit::core::Progress;

/// Set by Ctrl-C.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for Ctrl-C (and a request to terminate) from now on; to be called once.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&flag);
        ctrlc::set_handler(move || set.store(true, Ordering::Relaxed)).context("Ctrl-C cannot be listened for")?;
        Ok(Self(flag))
    }

    /// Whether to stop.
    pub(crate) fn check(&self) -> ControlFlow<()> {
        if self.0.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// A bar on stderr while something is counted; nothing is drawn where stderr is no terminal.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar with a name.
    pub(crate) fn new(name: &'static str) -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{prefix:>12} [{bar:30}] {pos}/{len} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_prefix(name);
        Self(bar)
    }

    /// A bar for a long run of things that take similar time, with an estimate of what is left; `done` were done before.
    pub(crate) fn with_estimate(name: &'static str, done: usize, all: usize) -> Self {
        let bar = Self::new(name);
        let style = "{prefix:>12} [{bar:30}] {pos}/{len} {msg} {elapsed}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.0.set_style(style);
        }
        bar.at(done, all);
        bar.0.reset_eta();
        bar
    }

    /// What a search inside of it comes to.
    pub(crate) fn inner(&self, progress: &Progress) {
        let (step, p) = (progress.step, progress.p_target);
        self.0.set_message(format!("step {step}, P(target) {p:.3}"));
    }

    /// `done` of `all`.
    pub(crate) fn at(&self, done: usize, all: usize) {
        self.0.set_length(all as u64);
        self.0.set_position(done as u64);
    }

    /// A search's progress.
    pub(crate) fn search(&self, progress: &Progress) {
        self.at(progress.step as usize, progress.max_steps as usize);
        let (loss, p, passes) = (progress.loss, progress.p_target, progress.forward_passes);
        self.0.set_message(format!("loss {loss:.3}, P(target) {p:.3}, {passes} passes"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
