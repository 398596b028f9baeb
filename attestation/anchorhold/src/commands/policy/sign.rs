//! `anchorhold policy sign`, `approve`, `assemble` and `verify-signature`.

use super::{SignatureArgs, Trust, about, check, document};
use crate::commands::owner;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, line};
use crate::{files, trust};
use anchorhold_appraisal_policy::{
    AppraisalProfile, FileKind, MachineList, ReferenceValues, SignedError, verify_signed,
};
use anchorhold_dsse::{
    Approval, MAX_APPROVAL_BYTES, MAX_ENVELOPE_BYTES, SigningKey, TrustedSigners, assemble,
};
use anchorhold_key_release::{MAX_POLICY_BYTES, ReleasePolicy, SignerSet};
use anchorhold_rats::{Ed25519PublicKey, Sha256Digest};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Verified {
    #[serde(flatten)]
    file: check::CheckedFile,
    signers: Vec<Ed25519PublicKey>,
}

pub(super) fn sign(path: &Path, key: &Path, out: &Path, format: Format) -> Result<Exit, Failure> {
    let owner = owner::read(key)?;
    let bytes = files::read(path, MAX_ENVELOPE_BYTES)?;
    let (kind, digest, signed) = if bytes.starts_with(b"{") {
        add(path, &bytes, owner.signing_key())?
    } else {
        let text = String::from_utf8(bytes).map_err(|_| about(path, "is not UTF-8 text"))?;
        let kind = document::read(path, &text)?;
        let keys = [owner.signing_key()];
        let signed = anchorhold_dsse::sign(document::payload_type(kind), text.as_bytes(), &keys);
        (kind, Sha256Digest::of(text.as_bytes()), signed.map_err(|e| about(path, e))?)
    };
    files::write(&files::create_public(out)?, out, &signed)?;
    let signer = Ed25519PublicKey::new(owner.public_key());
    if format.json {
        output::json(&Approved { kind: document::name(kind), digest, signer })?;
    } else {
        output::text(&format!("{signer}\n"))?;
    }
    Ok(Exit::Ok)
}

/// Adds a signature to what others have signed. What that is, is read as closely as what is signed first.
fn add(path: &Path, bytes: &[u8], key: &SigningKey) -> Result<(FileKind, Sha256Digest, Vec<u8>), Failure> {
    let (stated, payload) = anchorhold_dsse::unverified(bytes).map_err(|e| about(path, e))?;
    let text = String::from_utf8(payload).map_err(|_| about(path, SignedError::NotUtf8))?;
    let kind =
        document::of_payload_type(&stated).ok_or_else(|| about(path, "a signed file of another kind"))?;
    document::require(kind, &text).map_err(|e| about(path, e))?;
    let signed = anchorhold_dsse::add_signature(bytes, document::payload_type(kind), key);
    Ok((kind, Sha256Digest::of(text.as_bytes()), signed.map_err(|e| about(path, e))?))
}

/// What was signed, and by whom.
#[derive(Serialize)]
struct Approved {
    kind: &'static str,
    digest: Sha256Digest,
    signer: Ed25519PublicKey,
}

pub(super) fn approve(path: &Path, key: &Path, out: &Path, format: Format) -> Result<Exit, Failure> {
    let owner = owner::read(key)?;
    let text = super::read_text(path)?;
    let kind = document::read(path, &text)?;
    let approval = Approval::sign(document::payload_type(kind), text.as_bytes(), owner.signing_key());
    files::write(&files::create_public(out)?, out, &approval.to_json())?;
    let approved = Approved {
        kind: document::name(kind),
        digest: Sha256Digest::of(text.as_bytes()),
        signer: Ed25519PublicKey::new(owner.public_key()),
    };
    if format.json {
        output::json(&approved)?;
    } else {
        let mut out = String::new();
        line(&mut out, "kind", approved.kind);
        line(&mut out, "digest", &approved.digest.to_string());
        line(&mut out, "signer", &approved.signer.to_string());
        output::text(&out)?;
    }
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct Assembled {
    kind: &'static str,
    digest: Sha256Digest,
    signers: Vec<Ed25519PublicKey>,
}

pub(super) fn put_together(
    path: &Path,
    approvals: &[PathBuf],
    out: &Path,
    format: Format,
) -> Result<Exit, Failure> {
    let text = super::read_text(path)?;
    let kind = document::read(path, &text)?;
    let read = |path: &PathBuf| {
        let bytes = files::read(path, MAX_APPROVAL_BYTES)?;
        Approval::from_json(&bytes).map_err(|e| about(path, e))
    };
    let read: Vec<Approval> = approvals.iter().map(read).collect::<Result<_, _>>()?;
    // Each for itself first, so that the file which is to blame is named.
    for (index, (path, approval)) in approvals.iter().zip(&read).enumerate() {
        approval.verify(index, document::payload_type(kind), text.as_bytes()).map_err(|e| about(path, e))?;
    }
    let envelope =
        assemble(document::payload_type(kind), text.as_bytes(), &read).map_err(|e| about(path, e))?;
    files::write(&files::create_public(out)?, out, &envelope)?;
    let assembled = Assembled {
        kind: document::name(kind),
        digest: Sha256Digest::of(text.as_bytes()),
        signers: read.iter().map(|approval| Ed25519PublicKey::new(approval.key())).collect(),
    };
    if format.json {
        output::json(&assembled)?;
    } else {
        let mut out = String::new();
        line(&mut out, "kind", assembled.kind);
        line(&mut out, "digest", &assembled.digest.to_string());
        for signer in &assembled.signers {
            line(&mut out, "signer", &signer.to_string());
        }
        output::text(&out)?;
    }
    Ok(Exit::Ok)
}

pub(super) fn verify(args: &SignatureArgs) -> Result<Exit, Failure> {
    let trusted = args.trust.signers()?;
    let at = args.at.map_or_else(trust::now, Ok)?;
    let path = &args.file;
    let bytes = files::read(path, MAX_ENVELOPE_BYTES)?;
    let not_authentic = |error| refused(path, &SignedError::Envelope(error));
    let (stated, payload) = anchorhold_dsse::unverified(&bytes).map_err(not_authentic)?;
    let kind = document::of_payload_type(&stated).ok_or_else(|| {
        Failure::new(Exit::NotAuthentic, format!("{}: a signed file of another kind", path.display()))
    })?;
    let (file, signers) = match kind {
        FileKind::Profile => {
            let verified = verify_signed::<AppraisalProfile>(&bytes, &trusted, at);
            let verified = verified.map_err(|e| refused(path, &e))?;
            (check::of_profile(verified.document()), verified.signers().to_vec())
        }
        FileKind::MachineList => {
            let verified = verify_signed::<MachineList>(&bytes, &trusted, at);
            let verified = verified.map_err(|e| refused(path, &e))?;
            (check::of_list(verified.document()), verified.signers().to_vec())
        }
        FileKind::ReferenceValues => {
            let verified = verify_signed::<ReferenceValues>(&bytes, &trusted, at);
            let verified = verified.map_err(|e| refused(path, &e))?;
            (check::of_references(verified.document(), &payload), verified.signers().to_vec())
        }
        FileKind::ReleasePolicy | FileKind::SignerSet => {
            let verified = anchorhold_dsse::verify(&bytes, document::payload_type(kind), &trusted);
            let verified = verified.map_err(not_authentic)?;
            let text =
                std::str::from_utf8(verified.payload()).map_err(|_| about(path, SignedError::NotUtf8))?;
            let file = if kind == FileKind::SignerSet {
                check::of_signers(&SignerSet::from_toml(text).map_err(|e| about(path, e))?)
            } else {
                let policy = ReleasePolicy::from_toml(text).map_err(|e| about(path, e))?;
                check::unexpired(path, &policy, at)?;
                check::of_release(&policy)
            };
            (file, verified.signers().to_vec())
        }
    };
    let signers = signers.into_iter().map(Ed25519PublicKey::new).collect();
    print(&Verified { file, signers }, args.format)
}

impl Trust {
    /// Whose signatures count: those of a signer set, or the keys that were named.
    pub(crate) fn signers(&self) -> Result<TrustedSigners, Failure> {
        if let Some(path) = &self.signers {
            let text = files::read_text(path, MAX_POLICY_BYTES)?;
            return Ok(SignerSet::from_toml(&text).map_err(|e| about(path, e))?.trusted());
        }
        let keys: Vec<[u8; 32]> = self.signer.iter().map(|key| *key.as_bytes()).collect();
        TrustedSigners::of(&keys, self.threshold).map_err(Failure::usage)
    }
}

/// What is wrong with the signatures is not authentic; what is wrong with the file is a failure like any other.
fn refused(path: &Path, error: &SignedError) -> Failure {
    match error {
        SignedError::Envelope(_) => Failure::new(Exit::NotAuthentic, format!("{}: {error}", path.display())),
        _ => about(path, error),
    }
}

fn print(verified: &Verified, format: Format) -> Result<Exit, Failure> {
    if format.json {
        output::json(verified)?;
        return Ok(Exit::Ok);
    }
    let mut out = check::summary(&verified.file);
    for signer in &verified.signers {
        line(&mut out, "signed by", &signer.to_string());
    }
    output::text(&out)?;
    Ok(Exit::Ok)
}
