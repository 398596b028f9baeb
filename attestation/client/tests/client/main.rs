//! A verified upstream, its connector and its proxy, against a software guest behind real TLS.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests stop at a surprise")]

mod proxied;
mod support;
mod watched;
