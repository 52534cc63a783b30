//! `mobiedit eval`: edits of a published dataset, one record at a time, measured as the field measures them.
//!
//! A [`dataset`]'s records become [`line`](mod@line)s of results.
//!
//! - What a model says to a record, and how that is scored: [`measure`], [`fluency`].
//! - Which records, edited how: a [`selection`] of them, each [`run`] from the clean model or [`sequential`]ly, by a search
//!   or by [`given`] patches.
//! - What is kept: the lines in an output [`folder`]; [`merge`] joins shards.
//! - What becomes of a model under a growing [`stack`] of edits, drawn by [`stack_plot`].
//! - What many lines come to: [`summary`], and for people: [`report`]; [`drift`] shows that the prefix cache is exact.

pub mod dataset;
pub mod drift;
pub mod fluency;
pub mod folder;
pub mod given;
pub mod line;
pub mod measure;
pub mod merge;
mod reading;
pub mod report;
pub mod run;
pub mod selection;
pub mod sequential;
pub mod stack;
pub mod stack_plot;
pub mod summary;
