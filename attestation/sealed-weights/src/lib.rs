//! Sealed weights: a model as a signed, encrypted package that any store may hold.
//!
//! The owner calls [`seal()`] on a model folder and keeps the weights key. A reader goes through three values, each the
//! proof of a check, and can skip none:
//!
//! 1. [`Manifest::verify`] checks the owner's signature and every rule of the manifest: [`VerifiedManifest`].
//!    [`VerifiedManifest::require`] then demands the manifest that the key release named.
//! 2. [`WeightsKey::open`] checks the released key against the manifest's commitment: [`WeightsKey`].
//! 3. [`SealedModel::open`] checks the card, trees and headers. [`SealedModel::file`] decrypts small files,
//!    [`load_tensors`] and [`SealedModel::load_f32`] the weights, in parallel.
//!
//! ```no_run
//! use anchorhold_sealed_weights::{Error, Manifest, PackageFiles, Role, SealedModel, WeightsKey, read_manifest};
//! # use std::{num::NonZeroUsize, path::Path};
//! # fn load(dir: &Path, owner: &[u8; 32], released: (&[u8; 32], u64), key: &[u8; 32]) -> Result<(), Error> {
//! let manifest = Manifest::verify(&read_manifest(dir)?, owner)?;
//! manifest.require(released.0, released.1)?;
//! let key = WeightsKey::open(&manifest, key)?;
//! let model = SealedModel::open(&key, PackageFiles::open(dir, &manifest)?)?;
//! let config = model.file(Role::Config)?;
//! let tensors = model.load_f32(NonZeroUsize::MIN)?;
//! # drop((config, tensors));
//! # Ok(())
//! # }
//! ```
//!
//! Promised: no plaintext byte is seen before its segment was found under the owner's signed root *and* its
//! authentication tag verified, both over private memory. So neither a host without the key nor another holder of the
//! key can alter, shorten, reorder or mix a model. `FORMAT.md` describes every byte.
//!
//! Not here: where the owner's public key and the weights key come from, whether a version may be served, and hiding
//! the number, roles and sizes of objects. There is no clock and no network; sources are open files.

mod card;
mod ciphertext;
mod convert;
mod dsse;
mod error;
mod floe;
mod hex;
mod key;
mod layout;
mod load;
mod manifest;
mod merkle;
mod object;
mod package;
mod reader;
mod role;
mod seal;
mod source;
mod tensors;

pub use card::{Card, CardFile};
pub use ciphertext::Leaves;
pub use error::Error;
pub use key::{OwnerKey, WeightsKey, key_id};
pub use layout::SegmentSize;
pub use load::{Destination, MAX_THREADS, load_f32, load_tensors, reads_as_f32};
pub use manifest::{MAX_MANIFEST_LEN, MAX_MODEL_ID_LEN, MAX_SEGMENTS, Manifest, VerifiedManifest};
pub use object::{KeyId, ObjectEntry, ObjectId};
pub use package::{MANIFEST_NAME, ObjectFiles, PackageFiles, SealedModel, read_manifest};
pub use reader::{ObjectReader, Scratch, open_card};
pub use role::Role;
pub use seal::{SealOptions, SealSummary, seal};
pub use tensors::{
    Dtype, MAX_HEADER_LEN, MAX_METADATA, MAX_NAME_LEN, MAX_RANK, MAX_TENSORS, Tensor, TensorIndex,
};
