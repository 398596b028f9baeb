//! Grants judge every family of evidence, by the software attester's machines.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod backtest;
mod exchange;
mod grants;
mod machine;
mod replay;
mod rules;
