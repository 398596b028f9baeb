//! The measured-boot event log (CCEL) and its replay.

pub mod codes;
