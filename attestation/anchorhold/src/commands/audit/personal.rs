//! `anchorhold audit personal`, and the privacy recipient's key.

use super::AuditKey;
use super::archive::time;
use super::entries::{Bundle, Which, not_proven};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{self, Format, remark};
use anchorhold_audit_log::{Entry, SubjectKeyId};
use anchorhold_audit_personal::{
    Keyring, MAX_RECIPIENT_BYTES, OpenedKey, PersonalPart, RecipientKey, Subject,
};
use anchorhold_rats::Kem;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Make the privacy recipient's key (mode 600) and print its public half, for `[audit.personal]` of the keeper's settings
///
/// Whoever holds it reads whom audit entries are about, as long as their keys are in a keyring. Keep it away from guests and from the archive.
#[derive(clap::Args)]
pub(crate) struct RecipientArgs {
    /// The file to make
    file: PathBuf,
    /// The KEM of the key: x-wing or x25519
    #[arg(long, value_name = "KEM", default_value = "x-wing", value_parser = kem)]
    kem: Kem,
    /// Print the public half of a key that is there
    #[arg(long, conflicts_with = "kem")]
    show: bool,
}

/// Show whom the entries of a bundle are about, as far as their keys are still there (GDPR, article 15)
///
/// The log is verified first, and nothing is said of one that is not proven. Each entry with a personal part is a line: `opened` with what it says, or `erased` when
/// its key is not in the keyring.
#[derive(clap::Args)]
pub(crate) struct PersonalArgs {
    /// The bundle
    file: PathBuf,
    /// The keyring: the guest's, or that of an archive
    #[arg(long, value_name = "DIR")]
    keyring: PathBuf,
    /// The privacy recipient's key
    #[arg(long, value_name = "FILE")]
    recipient_key: PathBuf,
    /// Only entries of this subject: TENANT for all of its callers, TENANT/KEY, or the name of a key
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<About>,
    #[command(flatten)]
    which: Which,
    /// The key that must have signed the log: in hex, or as a note key
    #[arg(long, value_name = "KEY")]
    audit_key: Option<AuditKey>,
    #[command(flatten)]
    format: Format,
}

/// Whom it is asked about.
#[derive(Debug, Clone)]
enum About {
    Kid(SubjectKeyId),
    Subject(Subject),
}

impl std::str::FromStr for About {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<SubjectKeyId>() {
            Ok(kid) => Ok(Self::Kid(kid)),
            Err(_) => text.parse().map(Self::Subject).map_err(|e| format!("{e}, or the name of a key")),
        }
    }
}

fn kem(text: &str) -> Result<Kem, String> {
    Kem::named(text).ok_or_else(|| "expected x-wing or x25519".to_owned())
}

pub(super) fn recipient_key(path: &Path) -> Result<RecipientKey, Failure> {
    let text = files::read_private(path, MAX_RECIPIENT_BYTES)?;
    RecipientKey::parse(&text).map_err(|e| Failure::other(format!("{}: {e}", path.display())))
}

pub(super) fn run_recipient(args: &RecipientArgs) -> Result<Exit, Failure> {
    let key = if args.show {
        recipient_key(&args.file)?
    } else {
        let key = RecipientKey::generate(args.kem).map_err(Failure::other)?;
        files::write(&files::create_private(&args.file)?, &args.file, key.to_text().as_bytes())?;
        key
    };
    output::text(&format!("{}\n", key.public_key()))?;
    Ok(Exit::Ok)
}

/// The keys of a keyring that this recipient opens.
pub(super) struct Keys(BTreeMap<SubjectKeyId, OpenedKey>);

impl Keys {
    /// Opens what is there; a key that was sealed to another recipient is said, and left out.
    pub(super) fn read(keyring: &Keyring, recipient: &RecipientKey) -> Result<Self, Failure> {
        let mut keys = BTreeMap::new();
        for kid in keyring.kids().map_err(Failure::other)? {
            let Some(file) = keyring.get(kid).map_err(Failure::other)? else { continue };
            match OpenedKey::open(&file, recipient) {
                Ok(key) => {
                    keys.insert(kid, key);
                }
                Err(_) => remark(&format!("key {kid} was not made for this recipient")),
            }
        }
        Ok(Self(keys))
    }

    /// The keys of this subject: of a tenant without a key, those of all of its callers.
    pub(super) fn of(&self, subject: &Subject) -> Vec<SubjectKeyId> {
        let is_of = |key: &&OpenedKey| {
            let own = key.subject();
            own.tenant == subject.tenant && (subject.key.is_none() || own.key == subject.key)
        };
        self.0.values().filter(is_of).map(OpenedKey::kid).collect()
    }
}

#[derive(Serialize)]
struct Line {
    index: u64,
    time: String,
    #[serde(rename = "type")]
    kind: &'static str,
    request: Option<String>,
    tenant: Option<String>,
    kid: SubjectKeyId,
    /// `opened`, `erased`, or `refused` when the key is there and does not open this entry.
    sealed: &'static str,
    address: Option<String>,
    key: Option<String>,
    label: Option<String>,
}

impl Line {
    fn of(entry: &Entry, keys: &Keys) -> Option<Self> {
        let kid = entry.sealed.as_ref()?.kid;
        let key = keys.0.get(&kid);
        let part = key.and_then(|key| key.open_part(entry));
        let sealed = match (key, &part) {
            (None, _) => "erased",
            (Some(_), None) => "refused",
            (Some(_), Some(_)) => "opened",
        };
        let PersonalPart { address, key } = part.unwrap_or_default();
        let tenant = entry.actor.as_ref().and_then(|actor| actor.tenant.as_ref());
        Some(Self {
            index: entry.seq,
            time: time(entry.t),
            kind: entry.kind.name(),
            request: entry.req.as_ref().map(|request| request.rid.to_string()),
            tenant: tenant.map(ToString::to_string),
            kid,
            sealed,
            address: address.map(|address| address.to_string()),
            key: key.as_ref().map(|key| key.id.to_string()),
            label: key.and_then(|key| key.label).map(|label| label.to_string()),
        })
    }

    fn text(&self) -> String {
        let none = || "-".to_owned();
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:>8} {} {:16} {} {:7} {} {} {}",
            self.index,
            self.time,
            self.kind,
            self.kid,
            self.sealed,
            self.address.clone().unwrap_or_else(none),
            self.key.clone().unwrap_or_else(none),
            self.label.clone().unwrap_or_else(none)
        );
        text
    }
}

pub(super) fn run(args: &PersonalArgs) -> Result<Exit, Failure> {
    let filter = args.which.filter()?;
    let keyring = Keyring::open(&args.keyring).map_err(Failure::other)?;
    let keys = Keys::read(&keyring, &recipient_key(&args.recipient_key)?)?;
    let kids = args.subject.as_ref().map(|about| match about {
        About::Kid(kid) => vec![*kid],
        About::Subject(subject) => keys.of(subject),
    });
    let expectations = args.audit_key.clone().map(AuditKey::expectations).unwrap_or_default();
    let bundle = Bundle { path: &args.file, expectations: &expectations };
    let report = bundle.verify_each(|_| ())?;
    if !report.is_accepted() {
        return Ok(not_proven(&report));
    }
    let mut failed = None;
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let again = bundle.verify_each(|entry| {
        let Some(line) = Line::of(entry, &keys).filter(|_| filter.takes(entry)) else { return };
        if failed.is_some() || kids.as_ref().is_some_and(|kids| !kids.contains(&line.kid)) {
            return;
        }
        *counts.entry(line.sealed).or_default() += 1;
        let said = if args.format.json { output::json_line(&line) } else { output::text(&line.text()) };
        failed = said.err();
    })?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    if again.checkpoint != report.checkpoint || !again.is_accepted() {
        return Err(Failure::other("the bundle was changed while it was read"));
    }
    let count = |state| counts.get(state).copied().unwrap_or_default();
    remark(&format!(
        "{} opened, {} erased, {} refused by their keys",
        count("opened"),
        count("erased"),
        count("refused")
    ));
    Ok(Exit::Ok)
}
