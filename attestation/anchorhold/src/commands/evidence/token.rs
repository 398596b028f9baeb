//! `anchorhold evidence token verify`: attestation results that a verifier signed.

use crate::exit::{Exit, Failure};
use crate::output::{self, Format, line};
use crate::{files, trust};
use anchorhold_evaluation::ear::{Error, Jwks, MAX_JWKS_BYTES, MAX_TOKEN_BYTES, Status, verify_with_set};
use anchorhold_kbs::{TokenError, TokenRules, dangerous};
use anchorhold_rats::Timestamp;
use serde::Serialize;
use std::path::PathBuf;

const EXAMPLE: &str = "\
Examples:
  anchorhold evidence token verify token.jwt --key jwks.json
  anchorhold evidence token verify result.jwt --key jwks.json --profile ear --json";

/// What to do with an attestation result in a file.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Judge a signed attestation result (EAR): who signed it, whether it may be relied on, and whether it affirms every part
    #[command(after_help = EXAMPLE)]
    Verify(Args),
}

/// The claims of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Profile {
    /// Those of Trustee's attestation service, and of the key broker's KBS role
    Trustee,
    /// Those of draft-ietf-rats-ear-04, as `evidence verify --ear` writes them
    Ear,
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The token, a JSON web token in compact form
    file: PathBuf,
    /// The JSON web key set of the verifier that you trust; a key that the token brings counts for nothing
    #[arg(long, value_name = "JWKS")]
    key: PathBuf,
    /// Which claims are read
    #[arg(long, value_enum, default_value = "trustee")]
    profile: Profile,
    /// Judge for this time instead of now, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    #[command(flatten)]
    format: Format,
}

/// What is shown of a token, whatever its profile.
#[derive(Serialize)]
struct Shown {
    affirming: bool,
    issued: Timestamp,
    expires: Option<Timestamp>,
    verifier: String,
    parts: Vec<(String, Status)>,
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    let Command::Verify(args) = command;
    let token = files::read_text(&args.file, MAX_TOKEN_BYTES)?;
    let keys = files::read(&args.key, MAX_JWKS_BYTES)?;
    let keys =
        Jwks::from_json(&keys).map_err(|error| Failure::usage(format!("{}: {error}", args.key.display())))?;
    let at = args.at.map_or_else(trust::now, Ok)?;
    let shown = match args.profile {
        Profile::Trustee => trustee(token.trim_end(), keys, at).map_err(refused),
        Profile::Ear => ear(token.trim_end(), &keys, at).map_err(refused),
    }?;
    if args.format.json {
        output::json(&shown)?;
    } else {
        output::text(&shown.text())?;
    }
    Ok(if shown.affirming { Exit::Ok } else { Exit::NotAcceptable })
}

fn refused(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::NotAuthentic, why)
}

fn trustee(token: &str, keys: Jwks, at: Timestamp) -> Result<Shown, TokenError> {
    // Whatever it affirms is shown, and the exit code says whether it is everything.
    let token = dangerous::any_status(TokenRules::new(keys)).accept(token, at)?;
    let claims = token.claims();
    Ok(Shown {
        affirming: claims.is_affirming(),
        issued: Timestamp::from_unix_seconds(claims.iat),
        expires: Some(Timestamp::from_unix_seconds(claims.exp)),
        verifier: format!("{}, {}", claims.verifier_id.developer, claims.verifier_id.build),
        parts: claims.submods.iter().map(|(name, part)| (name.clone(), part.status)).collect(),
    })
}

fn ear(token: &str, keys: &Jwks, at: Timestamp) -> Result<Shown, Error> {
    let claims = verify_with_set(token, keys, at.unix_seconds())?;
    Ok(Shown {
        affirming: claims.is_affirming(),
        issued: Timestamp::from_unix_seconds(claims.iat),
        expires: claims.exp.map(Timestamp::from_unix_seconds),
        verifier: format!("{}, {}", claims.verifier_id.developer, claims.verifier_id.build),
        parts: claims.submods.iter().map(|(name, part)| (name.clone(), part.status)).collect(),
    })
}

impl Shown {
    fn text(&self) -> String {
        let mut out = String::new();
        line(&mut out, "result", if self.affirming { "affirming" } else { "NOT AFFIRMING" });
        line(&mut out, "verifier", &self.verifier);
        line(&mut out, "issued", &self.issued.to_string());
        line(&mut out, "good until", &self.expires.map_or("not said".to_owned(), |at| at.to_string()));
        for (name, status) in &self.parts {
            line(&mut out, name, &format!("{status:?}").to_lowercase());
        }
        out
    }
}
