//! What people and their tools read of an audit log.
//!
//! [`ocsf::event`] gives an entry as an event of the Open Cybersecurity Schema Framework 1.8, [`csv`] as a row for a spreadsheet,
//! [`parquet`] all of them as a file of typed columns.
//! [`Filter`] and [`Sample`] choose entries; a sample is drawn by the log's own root and a word of the auditor's, so that nobody can pick
//! it. [`Summary`] counts what a log tells while it streams by, and [`html::page`] makes the report of one or several logs of it, with the
//! tables of [`controls`]. [`Stats`] counts names, tokens and the longest silence, for a quick look.
//!
//! Nothing here verifies: an entry is taken as it comes. Who exports from a bundle verifies the bundle in the same pass, with
//! [`anchorhold_audit_log::verify_each`], and shows the verdicts beside. No clock, no files.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at a surprise"))]

pub mod controls;
pub mod csv;
mod filter;
pub mod html;
pub mod ocsf;
pub mod parquet;
mod sample;
mod stats;
mod summary;
mod time;

pub use filter::Filter;
pub use sample::{MAX_SAMPLE, Sample};
pub use stats::{MAX_NAMES, Silence, Stats, Tally};
pub use summary::{MAX_REASONS, Reason, SAMPLES_KEPT, Summary, Told};
pub use time::utc;
