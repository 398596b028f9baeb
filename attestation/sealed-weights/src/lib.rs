//! Sealed weights: a model as a signed, encrypted package that any store may hold.
//!
//! The owner calls [`seal()`] on a model folder and keeps the weights key. A reader goes through three values, each the
//! proof of a check, and can skip none:
//!
//! 1. [`Manifest::verify`] checks the owner's signature and every rule of the manifest: [`VerifiedManifest`].
//!    [`VerifiedManifest::require`] then demands the manifest that the key release named.
//! 2. [`WeightsKey::open`] checks the released key against the manifest's commitment: [`WeightsKey`].
//! 3. [`SealedModel::open`] checks the card, trees and headers. [`SealedModel::file`] decrypts small files;
//!    [`SealedModel::load`], [`SealedModel::load_tensors`] and [`SealedModel::load_f32`] the weights, in parallel;
//!    [`SealedModel::tensor_reader`] reads them a part at a time, [`SealedModel::stage`] hands them to a device block by block.
//!
//! ```no_run
//! use anchorhold_sealed_weights::{Error, Manifest, PackageFiles, Role, SealedModel, WeightsKey, Effort, read_manifest};
//! # use std::path::Path;
//! # fn load(dir: &Path, owner: &[u8; 32], released: (&[u8; 32], u64), key: &[u8; 32]) -> Result<(), Error> {
//! let manifest = Manifest::verify(&read_manifest(dir)?, owner)?;
//! manifest.require(released.0, released.1)?;
//! let key = WeightsKey::open(&manifest, key)?;
//! let model = SealedModel::open(&key, PackageFiles::open(dir, &manifest)?)?;
//! let config = model.file(Role::Config)?;
//! let tensors = model.load(&Effort::default())?;
//! # drop((config, tensors));
//! # Ok(())
//! # }
//! ```
//!
//! Promised: no plaintext byte is seen before its segment was found under the owner's signed root *and* its
//! authentication tag verified, both over private memory. So neither a host without the key nor another holder of the
//! key can alter, shorten, reorder or mix a model. `FORMAT.md` describes every byte.
//!
//! Not here: where the owner's public key and the weights key come from, and whether a version may be served. What a
//! model's files mean is the engine's to judge; here their form is. There is no clock and no network; sources are open
//! files.

mod card;
mod ciphertext;
mod convert;
mod dsse;
mod dtype;
mod effort;
mod error;
mod floe;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gguf;
mod hex;
mod json;
mod key;
mod layout;
mod load;
mod manifest;
mod memory;
mod merkle;
mod model;
mod model_signature;
mod names;
mod object;
mod package;
mod padding;
mod plan;
mod reader;
mod role;
mod rules;
mod safetensors;
mod seal;
mod source;
mod stage;
mod statement;
mod strict;
mod suite;
mod tensor_reader;
mod tensors;
mod weights_index;

pub use card::{Card, CardFile};
pub use ciphertext::Leaves;
pub use dtype::{Container, Dtype};
pub use effort::{Effort, MAX_THREADS, OnProgress, Progress};
pub use error::Error;
pub use gguf::{
    Gguf, GgufValue, MAX_GGUF_ARRAY_LEN, MAX_GGUF_HEADER_LEN, MAX_GGUF_KEY_LEN, MAX_GGUF_KEYS, MAX_GGUF_RANK,
    MAX_GGUF_TEXT_LEN,
};
pub use json::MAX_JSON_DEPTH;
pub use key::{OwnerKey, WeightsKey, key_id};
pub use layout::SegmentSize;
pub use load::{Arrangement, Destination, TensorMemory, reads_as_f32};
pub use manifest::{
    MAX_MANIFEST_LEN, MAX_MODEL_ID_LEN, MAX_SEGMENTS, MAX_WEIGHTS, Manifest, VerifiedManifest,
};
pub use model::SealedModel;
pub use model_signature::{MAX_MODEL_SIGNATURE_LEN, MAX_RESOURCES, ModelSignature, SignerKey};
pub use object::{KeyId, ObjectEntry, ObjectId};
pub use package::{MANIFEST_NAME, ObjectFiles, PackageFiles, read_manifest};
pub use padding::Padding;
pub use reader::{ObjectReader, Scratch, open_card};
pub use role::Role;
pub use rules::{
    CardRule, DestinationRule, GgufRule, HeaderRule, IndexRule, JsonRule, KeyRule, ManifestRule, MixedRule,
    ModelSignatureRule, OptionRule, SegmentRule, SignatureRule, SourceRule, TensorRule,
};
pub use safetensors::{MAX_METADATA, MAX_SAFETENSORS_HEADER_LEN, parse_safetensors};
pub use seal::{SealOptions, SealSummary, seal};
pub use stage::{DEFAULT_BLOCK_LEN, MAX_BLOCK_LEN, StagedBlock, StagedRange};
pub use suite::Suite;
pub use tensor_reader::TensorReader;
pub use tensors::{FileTable, MAX_MODEL_TENSORS, MAX_NAME_LEN, MAX_RANK, MAX_TENSORS, Tensor, TensorIndex};
pub use weights_index::WeightsIndex;
