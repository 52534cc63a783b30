//! `mobiedit eval`: edits of a published dataset, one record at a time, measured as the field measures them.
//!
//! A [`dataset`]'s records become [`line`]s of results.

pub mod dataset;
pub mod line;
