//! Reference integrity manifests: SWID XML, its signature, and the comparison with a report.

pub mod codes;
