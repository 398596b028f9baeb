//! `anchorhold audit erase`: the keys of a subject are destroyed, and with them what is sealed under them.

use super::archive::{Changed, failure};
use super::personal::{Keys, recipient_key};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, line};
use anchorhold_audit_log::{Code, SubjectKeyId};
use anchorhold_audit_personal::{Keyring, Subject};
use serde::Serialize;
use std::path::PathBuf;

/// Destroy the keys of a subject: what is sealed under them is unreadable from then on, in every copy of a log
///
/// Nothing else of an entry changes, and every proof still verifies. What a hold covers is not erased. Keys of logs that are not in the archive yet are
/// where their guest put them: name that keyring with --keyring. A guest that still runs forgets a key once its file is gone.
#[derive(clap::Args)]
pub(crate) struct EraseArgs {
    #[command(flatten)]
    changed: Changed,
    /// A key, by its name; may be repeated
    #[arg(long, value_name = "KID", required_unless_present = "subject")]
    kid: Vec<SubjectKeyId>,
    /// All keys of this subject: TENANT for all of its callers, or TENANT/KEY
    #[arg(long, value_name = "SUBJECT", conflicts_with = "kid", requires = "recipient_key")]
    subject: Option<Subject>,
    /// The privacy recipient's key, which alone says whose keys are
    #[arg(long, value_name = "FILE")]
    recipient_key: Option<PathBuf>,
    /// Why, as a code: lower-case letters, digits, `_` and `.`
    #[arg(long, value_name = "CODE")]
    reason: Code,
    /// A keyring beside the archive's; may be repeated
    #[arg(long, value_name = "DIR")]
    keyring: Vec<PathBuf>,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize)]
struct Erased {
    kids: Vec<SubjectKeyId>,
    act: Option<u64>,
}

pub(super) fn run(args: &EraseArgs) -> Result<Exit, Failure> {
    let at_ns = args.changed.at_ns()?;
    let others = args.keyring.iter().map(|path| Keyring::open(path)).collect::<Result<Vec<_>, _>>();
    let others = others.map_err(Failure::other)?;
    let mut archivist = args.changed.open()?;
    let kids = match (&args.subject, &args.recipient_key) {
        (Some(subject), Some(file)) => {
            let recipient = recipient_key(file)?;
            let mut kids = Vec::new();
            for keyring in others.iter().chain([&archivist.archive().keyring().map_err(failure)?]) {
                kids.extend(Keys::read(keyring, &recipient)?.of(subject));
            }
            kids.sort_unstable();
            kids.dedup();
            kids
        }
        _ => args.kid.clone(),
    };
    if kids.is_empty() {
        return Err(Failure::other("no keyring has a key of this subject"));
    }
    let erasure = archivist.erase(&kids, &others, &args.reason, at_ns).map_err(failure)?;
    let erased = Erased { kids: erasure.kids, act: erasure.act };
    if args.format.json {
        output::json(&erased)?;
        return Ok(Exit::Ok);
    }
    let mut out = String::new();
    for kid in &erased.kids {
        line(&mut out, "destroyed", &kid.to_string());
    }
    let act = erased.act.map_or_else(|| "none: destroyed before".to_owned(), |act| act.to_string());
    line(&mut out, "act", &act);
    output::text(&out)?;
    Ok(Exit::Ok)
}
