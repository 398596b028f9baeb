//! What an image is made of, how it was made, and which advisories are about it.
//!
//! * [`cargo::components`] reads `cargo metadata` and `Cargo.lock`, [`debian::components`] reads `image.lock`.
//! * [`sbom::write`] and [`sbom::read`] are CycloneDX 1.6 in JSON, the same bytes for the same inputs.
//! * [`provenance::Statement`] is an in-toto statement with SLSA provenance: what was built, from what. Whoever signs it signs image,
//!   measurements and list of components at once.
//! * [`advisories::rustsec`] and [`advisories::debian`] read the databases of both as files; [`advisories::Finding`] says what a rebuild
//!   would change.
//!
//! Promised: no input is believed to be well-formed or short. This crate opens no file, asks no network and reads no clock; it is *not* a
//! judge of whether an advisory can be exploited here.

pub mod advisories;
pub mod cargo;
mod component;
pub mod debian;
mod error;
pub mod provenance;
pub mod sbom;

pub use component::{Component, Kind};
pub use error::Error;

/// The most components of an image.
pub const MAX_COMPONENTS: usize = 10_000;

/// The text within a limit.
fn limited<'a>(what: &'static str, text: &'a str, limit: usize) -> Result<&'a str, Error> {
    if text.len() <= limit { Ok(text) } else { Err(Error::TooLong { what, limit, observed: text.len() }) }
}
