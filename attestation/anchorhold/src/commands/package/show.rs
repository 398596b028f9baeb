//! `anchorhold package show`.

use super::read::{Package, refused, time};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, line};
use anchorhold_rats::{Sha256Digest, Timestamp};
use anchorhold_sealed_weights::{Card, VerifiedManifest, open_card};
use serde::Serialize;
use std::fmt::Write as _;

pub(crate) const EXAMPLE: &str = "\
Examples:
  anchorhold package show ./sealed --owner-key $OWNER_KEY
  anchorhold package show ./sealed --owner-key $OWNER_KEY --weights-key key.hex --json";

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    package: Package,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Shown {
    model_id: String,
    version: u64,
    manifest_digest: Sha256Digest,
    created: Timestamp,
    not_after: Timestamp,
    previous: Option<Sha256Digest>,
    suite: &'static str,
    kid: String,
    objects: Vec<Object>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<Contents>,
}

#[derive(Serialize)]
struct Object {
    id: String,
    role: String,
    plaintext_bytes: u64,
    segments: u64,
}

/// What only a holder of the weights key sees.
#[derive(Serialize)]
struct Contents {
    padding: &'static str,
    files: Vec<File>,
    tensors: usize,
    model_signature: Option<ModelSignature>,
}

#[derive(Serialize)]
struct File {
    name: String,
    role: String,
    bytes: u64,
    sha256: Sha256Digest,
}

#[derive(Serialize)]
struct ModelSignature {
    model: String,
    signer_hint: String,
    files: usize,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let manifest = args.package.manifest()?;
    let card = match args.package.key(&manifest)? {
        None => None,
        Some(key) => {
            let files = args.package.files(&manifest)?;
            Some(open_card(&key, &files.card).map_err(|error| refused(&error))?)
        }
    };
    let shown = shown(&manifest, card.as_ref());
    if args.format.json {
        output::json(&shown)?;
    } else {
        output::text(&text(&shown))?;
    }
    Ok(Exit::Ok)
}

fn shown(manifest: &VerifiedManifest, card: Option<&Card>) -> Shown {
    let object = |object: &anchorhold_sealed_weights::ObjectEntry| Object {
        id: object.id().to_string(),
        role: object.role().to_string(),
        plaintext_bytes: object.plaintext_len(),
        segments: object.segment_count(),
    };
    Shown {
        model_id: manifest.model_id().to_owned(),
        version: manifest.version(),
        manifest_digest: Sha256Digest::new(*manifest.digest()),
        created: time(manifest.created_s()),
        not_after: time(manifest.not_after_s()),
        previous: manifest.previous().map(|digest| Sha256Digest::new(*digest)),
        suite: manifest.suite().as_str(),
        kid: manifest.kid().to_string(),
        objects: std::iter::once(manifest.card()).chain(manifest.objects()).map(object).collect(),
        card: card.map(contents),
    }
}

fn contents(card: &Card) -> Contents {
    let file = |file: &anchorhold_sealed_weights::CardFile| File {
        name: file.name().to_owned(),
        role: file.role().to_string(),
        bytes: file.len(),
        sha256: Sha256Digest::new(*file.sha256()),
    };
    Contents {
        padding: card.padding().as_str(),
        files: card.files().iter().map(file).collect(),
        tensors: card.index().len(),
        model_signature: card.model_signature().map(|signature| ModelSignature {
            model: signature.model_name().to_owned(),
            signer_hint: signature.signer().hint(),
            files: signature.resource_count(),
        }),
    }
}

fn text(shown: &Shown) -> String {
    let mut out = String::new();
    line(&mut out, "model", &format!("{} version {}", shown.model_id, shown.version));
    line(&mut out, "manifest", &shown.manifest_digest.to_string());
    line(&mut out, "valid", &format!("{} to {}", shown.created, shown.not_after));
    let previous = shown.previous.map_or("none".to_owned(), |digest| digest.to_string());
    line(&mut out, "previous", &previous);
    line(&mut out, "suite", shown.suite);
    line(&mut out, "key id", &shown.kid);
    for Object { id, role, plaintext_bytes, segments } in &shown.objects {
        line(&mut out, "object", &format!("{id} {role}, {plaintext_bytes} bytes in {segments} segments"));
    }
    if let Some(card) = &shown.card {
        line(&mut out, "padding", card.padding);
        for file in &card.files {
            line(&mut out, "file", &format!("{}, {} bytes, {}", file.name, file.bytes, file.sha256));
        }
        line(&mut out, "tensors", &card.tensors.to_string());
        let signature = card.model_signature.as_ref();
        let signature = signature.map_or("none".to_owned(), |signature| {
            let mut text = String::new();
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "of {} files of {}, key {}",
                signature.files, signature.model, signature.signer_hint
            );
            text
        });
        line(&mut out, "signature", &signature);
    }
    out
}
