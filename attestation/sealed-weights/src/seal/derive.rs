//! Where ids, IVs and nonces come from: the weights key and a digest of everything that decides a package's bytes.
//! `FORMAT.md`, "Deterministic packing", says why no AES key meets a nonce twice.

use ring::digest::{Context, SHA256};
use ring::hmac;

use super::SealOptions;
use crate::floe::IV_LEN;
use crate::merkle::{self, Hash};
use crate::object::ObjectId;
use crate::source::SourceFile;

const CONTENT_LABEL: &[u8] = b"anchorhold/sealed-weights/v2/content";
const SEED_LABEL: &[u8] = b"anchorhold/sealed-weights/v2/seed";

/// Everything that decides the bytes of a package but the keys.
pub(super) struct Content<'a> {
    pub(super) options: &'a SealOptions<'a>,
    pub(super) files: &'a [SourceFile],
    /// SHA-256 of each file.
    pub(super) digests: &'a [Hash],
}

impl Content<'_> {
    /// `D` of the specification. Texts carry their lengths, all else has a fixed one, so no two contents are encoded alike.
    fn digest(&self) -> Hash {
        let Self { options, files, digests } = self;
        let mut out = Context::new(&SHA256);
        out.update(CONTENT_LABEL);
        text(&mut out, options.model_id.as_bytes());
        for number in [options.version, options.created_s, options.not_after_s] {
            out.update(&number.to_be_bytes());
        }
        text(&mut out, options.previous.map_or(&[], |previous| previous.digest()));
        text(&mut out, options.suite.as_str().as_bytes());
        out.update(&u64::from(options.segment.payload_len()).to_be_bytes());
        text(&mut out, options.padding.as_str().as_bytes());
        text(&mut out, options.model_signature.map_or(&[], |signature| signature.bundle()));
        text(&mut out, options.model_signature.map_or(&[], |signature| signature.signer().der()));
        out.update(&(files.len() as u64).to_be_bytes());
        for (file, digest) in files.iter().zip(*digests) {
            text(&mut out, file.role.as_str().as_bytes());
            text(&mut out, file.name.as_bytes());
            out.update(&file.len.to_be_bytes());
            out.update(digest);
        }
        merkle::finish(out)
    }
}

fn text(out: &mut Context, bytes: &[u8]) {
    out.update(&(bytes.len() as u64).to_be_bytes());
    out.update(bytes);
}

/// The key of every derivation of one package.
pub(super) struct Seed(hmac::Key);

impl Seed {
    pub(super) fn of(weights_key: &[u8; 32], content: &Content<'_>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA384, weights_key);
        let mut context = hmac::Context::with_key(&key);
        context.update(SEED_LABEL);
        context.update(&content.digest());
        Self(hmac::Key::new(hmac::HMAC_SHA384, context.sign().as_ref()))
    }

    /// The id of the object at this position of the manifest; the card is at 0.
    pub(super) fn id(&self, position: u64) -> ObjectId {
        ObjectId::new(self.derive(&[b"id", &position.to_be_bytes()]))
    }

    pub(super) fn iv(&self, position: u64) -> [u8; IV_LEN] {
        self.derive(&[b"iv", &position.to_be_bytes()])
    }

    /// The nonce of a segment whose plaintext has this digest.
    pub(super) fn nonce(&self, position: u64, segment: u64, digest: &Hash) -> [u8; 12] {
        self.derive(&[b"nonce", &position.to_be_bytes(), &segment.to_be_bytes(), digest])
    }

    fn derive<const N: usize>(&self, purpose: &[&[u8]]) -> [u8; N] {
        let mut context = hmac::Context::with_key(&self.0);
        purpose.iter().for_each(|part| context.update(part));
        let mut out = [0; N];
        out.iter_mut().zip(context.sign().as_ref()).for_each(|(out, byte)| *out = *byte);
        out
    }
}
