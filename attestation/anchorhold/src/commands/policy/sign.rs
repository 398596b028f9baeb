//! `anchorhold policy sign` and `verify-signature`.

use super::{SignatureArgs, about, check};
use crate::commands::owner;
use crate::exit::{Exit, Failure};
use crate::output::{self, line};
use crate::{files, trust};
use anchorhold_appraisal_policy::{
    AppraisalProfile, FileKind, MACHINE_LIST_TYPE, MachineList, PROFILE_TYPE, SignedError, VerifiedDocument,
    verify_signed,
};
use anchorhold_dsse::{MAX_ENVELOPE_BYTES, SigningKey, TrustedSigners};
use anchorhold_rats::Ed25519PublicKey;
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Verified<'a> {
    #[serde(flatten)]
    file: check::CheckedFile<'a>,
    signers: Vec<Ed25519PublicKey>,
}

pub(super) fn sign(path: &Path, key: &Path, out: &Path) -> Result<Exit, Failure> {
    let owner = owner::read(key)?;
    let bytes = files::read(path, MAX_ENVELOPE_BYTES)?;
    let signed = if bytes.starts_with(b"{") {
        add(path, &bytes, owner.signing_key())?
    } else {
        let text = String::from_utf8(bytes).map_err(|_| about(path, "is not UTF-8 text"))?;
        first(path, &text, owner.signing_key())?
    };
    files::write(&files::create_public(out)?, out, &signed)?;
    output::text(&format!("{}\n", Ed25519PublicKey::new(owner.public_key())))?;
    Ok(Exit::Ok)
}

fn first(path: &Path, text: &str, key: &SigningKey) -> Result<Vec<u8>, Failure> {
    let signed = match FileKind::of(text).map_err(|e| about(path, e))? {
        FileKind::Profile => anchorhold_appraisal_policy::sign::<AppraisalProfile>(text, &[key]),
        FileKind::MachineList => anchorhold_appraisal_policy::sign::<MachineList>(text, &[key]),
        FileKind::ReleasePolicy => {
            return Err(about(path, "neither an appraisal profile nor a machine list"));
        }
    };
    signed.map_err(|e| about(path, e))
}

/// Adds a signature to what others have signed. What that is, is read as closely as what is signed first.
fn add(path: &Path, bytes: &[u8], key: &SigningKey) -> Result<Vec<u8>, Failure> {
    let (stated, payload) = anchorhold_dsse::unverified(bytes).map_err(|e| about(path, e))?;
    let text = String::from_utf8(payload).map_err(|_| about(path, SignedError::NotUtf8))?;
    let payload_type = match stated.as_str() {
        PROFILE_TYPE => AppraisalProfile::from_toml(&text).map(|_| PROFILE_TYPE),
        MACHINE_LIST_TYPE => MachineList::from_toml(&text).map(|_| MACHINE_LIST_TYPE),
        _ => return Err(about(path, "neither a signed appraisal profile nor a signed machine list")),
    };
    let payload_type = payload_type.map_err(|e| about(path, e))?;
    anchorhold_dsse::add_signature(bytes, payload_type, key).map_err(|e| about(path, e))
}

pub(super) fn verify(args: &SignatureArgs) -> Result<Exit, Failure> {
    let keys: Vec<[u8; 32]> = args.signer.iter().map(|key| *key.as_bytes()).collect();
    let trusted = TrustedSigners::of(&keys, args.threshold).map_err(Failure::usage)?;
    let bytes = files::read(&args.file, MAX_ENVELOPE_BYTES)?;
    let at = args.at.map_or_else(trust::now, Ok)?;
    let (stated, _) =
        anchorhold_dsse::unverified(&bytes).map_err(|e| refused(&args.file, &SignedError::Envelope(e)))?;
    if stated == MACHINE_LIST_TYPE {
        let verified = verify_signed::<MachineList>(&bytes, &trusted, at);
        let verified = verified.map_err(|e| refused(&args.file, &e))?;
        print(args, check::of_list(verified.document()), &verified)
    } else {
        let verified = verify_signed::<AppraisalProfile>(&bytes, &trusted, at);
        let verified = verified.map_err(|e| refused(&args.file, &e))?;
        print(args, check::of_profile(verified.document()), &verified)
    }
}

/// What is wrong with the signatures is not authentic; what is wrong with the file is a failure like any other.
fn refused(path: &Path, error: &SignedError) -> Failure {
    match error {
        SignedError::Envelope(_) => Failure::new(Exit::NotAuthentic, format!("{}: {error}", path.display())),
        _ => about(path, error),
    }
}

fn print<T>(
    args: &SignatureArgs,
    file: check::CheckedFile<'_>,
    verified: &VerifiedDocument<T>,
) -> Result<Exit, Failure> {
    let signers = verified.signers().iter().map(|key| Ed25519PublicKey::new(*key)).collect();
    let result = Verified { file, signers };
    if args.format.json {
        output::json(&result)?;
        return Ok(Exit::Ok);
    }
    let mut out = check::summary(&result.file);
    for signer in &result.signers {
        line(&mut out, "signed by", &signer.to_string());
    }
    output::text(&out)?;
    Ok(Exit::Ok)
}
