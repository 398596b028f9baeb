//! `anchorhold key`: the API keys of a gateway, in the file that its settings name as `keys_file`.

use crate::exit::{Exit, Failure};
use crate::output::Format;
use crate::trust::now;
use crate::{files, output};
use anchorhold_api_keys::{Key, KeyFile, Label, MAX_FILE_BYTES, Scope, Scopes, Secret, TenantName};
use anchorhold_rats::Timestamp;
use serde::Serialize;
use std::path::{Path, PathBuf};

const DEFAULT_FILE: &str = "keys.toml";
const SECONDS_PER_DAY: i64 = 86_400;

/// What to do with API keys.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    #[command(after_help = "Examples:\n  \
        anchorhold key create --tenant acme --label ci --expires 90d\n  \
        anchorhold key create --tenant acme --scopes embed,models --file /etc/anchorhold/keys.toml")]
    Create(Create),
    #[command(after_help = "Example:\n  anchorhold key list --file /etc/anchorhold/keys.toml")]
    List(List),
    #[command(after_help = "Example:\n  anchorhold key revoke 2c26b46b68ff")]
    Revoke(Revoke),
}

/// Where the keys are.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// The file of keys
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// Make a key and print it, once; only its digest is kept
///
/// The file is made if there is none. A gateway that runs knows the key after its keeper got SIGHUP.
#[derive(clap::Args)]
pub(crate) struct Create {
    /// Whose key it is, a `[[tenant]]` of the gateway's settings
    #[arg(long, value_name = "NAME")]
    tenant: TenantName,
    /// What to call it, such as where it is used
    #[arg(long, value_name = "TEXT")]
    label: Option<Label>,
    /// What it may be used for, out of what its tenant may do; without it, all of that: generate, embed, rerank, models,
    /// tokenize, metrics, audit
    #[arg(long, value_name = "SCOPE,...", value_delimiter = ',')]
    scopes: Vec<Scope>,
    /// From when on it may be used: a time such as 2026-01-31T12:00:00Z, or days from now such as 7d
    #[arg(long, value_name = "TIME", value_parser = moment)]
    not_before: Option<Moment>,
    /// From when on it may be used no longer, in the same forms; without it, it may be used until it is revoked
    #[arg(long, value_name = "TIME", value_parser = moment)]
    expires: Option<Moment>,
    #[command(flatten)]
    place: Place,
}

/// Show the keys: ids, tenants, labels, scopes and times; the keys themselves are nowhere
#[derive(clap::Args)]
pub(crate) struct List {
    /// Of this tenant alone
    #[arg(long, value_name = "NAME")]
    tenant: Option<TenantName>,
    #[command(flatten)]
    place: Place,
}

/// Take a key out of the file
///
/// A gateway that runs refuses it after its keeper got SIGHUP. Requests that run then are finished.
#[derive(clap::Args)]
pub(crate) struct Revoke {
    /// Its id, or as many digits of it as no other key begins with
    id: String,
    #[command(flatten)]
    place: Place,
}

/// A time on the command line.
#[derive(Debug, Clone, Copy)]
enum Moment {
    At(Timestamp),
    InDays(u16),
}

impl Moment {
    fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(moment) => moment,
            Self::InDays(days) => now.plus_seconds(i64::from(days) * SECONDS_PER_DAY),
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    match (days, text.parse()) {
        (Some(days), _) => Ok(Moment::InDays(days)),
        (None, Ok(moment)) => Ok(Moment::At(moment)),
        (None, Err(_)) => Err("not a time such as 2026-01-31T12:00:00Z, nor days such as 7d".to_owned()),
    }
}

/// A key as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    state: &'static str,
    #[serde(flatten)]
    entry: &'a Key,
    /// The key itself, when it was made just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn of(entry: &'a Key, now: Timestamp) -> Self {
        let state = match (entry.not_before, entry.expires) {
            (_, Some(expires)) if now >= expires => "expired",
            (Some(not_before), _) if now < not_before => "not yet valid",
            _ => "valid",
        };
        Self { id: entry.id(), state, entry, key: None }
    }

    fn line(&self) -> String {
        let Key { tenant, label, not_before, expires, scopes, .. } = self.entry;
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let until = format!(
            "{}..{}",
            not_before.map(|t| t.to_string()).unwrap_or_default(),
            expires.map(|t| t.to_string()).unwrap_or_default()
        );
        let scopes = scopes.map_or_else(|| "all of the tenant's".to_owned(), |scopes| scopes.to_string());
        let label = output::plain(&or_dash(label.as_ref().map(ToString::to_string)));
        format!("{}  {:13}  {tenant}  {scopes}  {until}  {label}\n", self.id, self.state)
    }
}

pub(crate) fn run(command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Create(args) => create(args),
        Command::List(args) => list(args),
        Command::Revoke(args) => revoke(args),
    }
}

fn create(args: &Create) -> Result<Exit, Failure> {
    let now = now()?;
    let secret = Secret::generate().map_err(Failure::other)?;
    let scopes: Scopes = args.scopes.iter().copied().collect();
    let entry = Key {
        tenant: args.tenant.clone(),
        sha256: secret.digest(),
        label: args.label.clone(),
        not_before: args.not_before.map(|moment| moment.from(now)),
        expires: args.expires.map(|moment| moment.from(now)),
        scopes: (!scopes.is_empty()).then_some(scopes),
    };
    let path = &args.place.file;
    let held = files::Replaced::begin(path)?;
    let file = read(path, Missing::IsEmpty)?;
    let file = file.with(entry.clone()).map_err(|e| refused(path, &e))?;
    held.replace(file.to_toml().as_bytes())?;
    if args.place.format.json {
        output::json(&Shown { key: Some(secret.expose()), ..Shown::of(&entry, now) })?;
    } else {
        output::text(&format!("{}\n", secret.expose()))?;
        output::remark(&format!(
            "key {} of {}, shown this once; send SIGHUP to the keeper",
            entry.id(),
            entry.tenant
        ));
    }
    Ok(Exit::Ok)
}

fn list(args: &List) -> Result<Exit, Failure> {
    let now = now()?;
    let file = read(&args.place.file, Missing::IsWrong)?;
    let wanted = |key: &&Key| args.tenant.as_ref().is_none_or(|tenant| key.tenant == *tenant);
    let shown: Vec<_> = file.keys().iter().filter(wanted).map(|key| Shown::of(key, now)).collect();
    if args.place.format.json {
        output::json(&shown)?;
    } else {
        output::text(&shown.iter().map(Shown::line).collect::<String>())?;
    }
    Ok(Exit::Ok)
}

fn revoke(args: &Revoke) -> Result<Exit, Failure> {
    let path = &args.place.file;
    let held = files::Replaced::begin(path)?;
    let (file, gone) = read(path, Missing::IsWrong)?.without(&args.id).map_err(|e| refused(path, &e))?;
    held.replace(file.to_toml().as_bytes())?;
    if args.place.format.json {
        output::json(&Shown::of(&gone, now()?))?;
    } else {
        output::text(&format!("{}\n", gone.id()))?;
        output::remark(&format!(
            "key {} of {} is revoked; send SIGHUP to the keeper",
            gone.id(),
            gone.tenant
        ));
    }
    Ok(Exit::Ok)
}

/// What a file that is not there means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    IsEmpty,
    IsWrong,
}

fn read(path: &Path, missing: Missing) -> Result<KeyFile, Failure> {
    if missing == Missing::IsEmpty && !path.exists() {
        return Ok(KeyFile::default());
    }
    let text = files::read_text(path, MAX_FILE_BYTES)?;
    KeyFile::parse(&text).map_err(|e| refused(path, &e))
}

fn refused(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::other(format!("{}: {error}", path.display()))
}
