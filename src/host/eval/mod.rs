//! `mobiedit eval`: edits of a published dataset, one record at a time, measured as the field measures them.
//!
//! A [`dataset`]'s records become [`line`]s of results.
//!
//! - What a model says to a record, and how that is scored: [`measure`], [`fluency`].
//! - What many lines come to: [`summary`].

pub mod dataset;
pub mod fluency;
pub mod line;
pub mod measure;
mod reading;
pub mod summary;
