//! The program as a user or a script sees it: output, remarks, exit codes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod archive;
mod audit;
mod endorse;
mod evidence;
mod families;
mod fetch;
mod help;
mod image;
mod key;
mod owner;
mod package;
mod policy;
mod proof;
mod reader;
mod receipt;
mod release;
mod seal;
mod support;
mod tail;
mod token;
mod top;
mod trust;
mod vectors;
mod verify;
