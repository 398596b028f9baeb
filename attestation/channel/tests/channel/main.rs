//! The channel as its users see it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod attested;
mod certificate;
mod document;
mod mutual;
mod named;
mod server;
mod support;
