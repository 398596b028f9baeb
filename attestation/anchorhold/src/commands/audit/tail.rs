//! `anchorhold audit tail`: the entries of a running guest's log as they come, each proven before it is printed.

use super::{MAX_CHECKPOINT_BYTES, proof};
use crate::commands::caller::{self, Authorization};
use crate::commands::presented;
use crate::commands::verify::needs_endorsements;
use crate::endorse::StoreArgs;
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::remark;
use crate::trust::{self, TrustArgs};
use anchorhold_audit_log::live::CHECKPOINT;
use anchorhold_audit_log::tlog::follow::{FollowError, Follower, MAX_TILE_BYTES};
use anchorhold_audit_log::tlog::policy::{Policy, PolicyRefusal};
use anchorhold_audit_log::{Entry, PublicKey, VerifierKey};
use anchorhold_audit_report::ocsf;
use anchorhold_channel::client::{Client, Connection, Error, Limits, MayCarryRequests, Target};
use anchorhold_channel::document::Document;
use anchorhold_channel::{AttestedServer, Verdict};
use anchorhold_rats::{Endorsements, Sha256Digest, Timestamp};
use http::StatusCode;
use std::fmt;
use std::io::{BufWriter, StdoutLock, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;

/// What is said of evidence and what vouches for it, which is not asked for where the log's key is given.
const OF_EVIDENCE: [&str; 13] = [
    "measurement",
    "policy",
    "profile",
    "machines",
    "profile_signer",
    "dangerous_simulated_root",
    "at",
    "cache",
    "offline",
    "pccs",
    "kds",
    "rim_service",
    "ocsp_service",
];

/// Print the entries of a running guest's log as they come, each proven before it is printed
///
/// Reads the checkpoint and the tiles that the guest serves for auditors. An entry is printed when a checkpoint that is signed by
/// the log's key covers it and continues every checkpoint seen before; a log that forked, shrank or was changed ends the
/// command with exit code 6. The key comes out of the guest's evidence, judged as by `verify`, or is given with --audit-key. Each
/// reading is an entry of the log too. A guest that boots again begins another log, under another key.
#[derive(clap::Args)]
pub(crate) struct TailArgs {
    /// The server: https://host[:port]
    #[arg(long, value_name = "URL")]
    url: Target,
    /// A file with an API key that may read the audit log
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// The log's key as a note key; no evidence is asked for, and the server is known by --certificate or --tls-key
    #[arg(long, value_name = "KEY", value_parser = note_key, conflicts_with_all = OF_EVIDENCE)]
    audit_key: Option<VerifierKey>,
    /// The server's certificate, PEM
    #[arg(long, value_name = "FILE", requires = "audit_key")]
    certificate: Option<PathBuf>,
    /// The SHA-256 of the server's SubjectPublicKeyInfo, in hex
    #[arg(long, value_name = "HEX", requires = "audit_key", conflicts_with = "certificate")]
    tls_key: Option<Sha256Digest>,
    /// Print an entry only when the witnesses of this policy (c2sp.org/tlog-policy) have cosigned a checkpoint that covers it; the
    /// logs that it names do not count
    #[arg(long, value_name = "FILE")]
    log_policy: Option<PathBuf>,
    /// Go on behind the checkpoint in this file, and keep the latest one there; made where there is none
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Where nothing is kept yet, begin behind the entries that the log has now
    #[arg(long)]
    from_now: bool,
    /// In which form
    #[arg(long = "as", value_name = "FORM", value_enum, default_value_t = Form::Jsonl)]
    form: Form,
    /// Read what there is now and end
    #[arg(long)]
    once: bool,
    /// Seconds between two readings
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=3600))]
    every: u16,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// How entries are printed, one to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// As they were hashed
    Jsonl,
    /// Events of OCSF 1.8
    Ocsf,
}

pub(super) fn note_key(text: &str) -> Result<VerifierKey, String> {
    VerifierKey::parse(text).map_err(|e| e.to_string())
}

pub(super) fn run(args: &TailArgs) -> Result<Exit, Failure> {
    let authorization = caller::authorization(&args.key_file)?;
    let limits = Limits { max_body_bytes: MAX_TILE_BYTES, ..Limits::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::other)?;
    if let Some(key) = &args.audit_key {
        let tls_key = caller::tls_key(args.tls_key.as_ref(), args.certificate.as_deref())?;
        let client = Client::pinned(args.url.clone(), tls_key, limits);
        let policy = witnesses(args, key)?;
        return Tail { args, key: key.clone(), policy, client, authorization, expires: None, runtime }.run();
    }
    let server = attest(args)?;
    let audit_key = PublicKey::new(*server.keys().audit_key.as_bytes());
    let key = VerifierKey::new(&server.state().audit.origin, audit_key).map_err(Failure::other)?;
    let client =
        Client::attested(args.url.clone(), &server, trust::now()?, limits).map_err(Failure::other)?;
    let policy = witnesses(args, &key)?;
    Tail { args, key, policy, client, authorization, expires: Some(server.expires()), runtime }.run()
}

/// Which witnesses must have cosigned this log, if any.
fn witnesses(args: &TailArgs, key: &VerifierKey) -> Result<Option<Policy>, Failure> {
    args.log_policy.as_deref().map(|path| proof::policy(Some(path), Some(key))).transpose()
}

/// The guest that the server's evidence shows it to be.
fn attest(args: &TailArgs) -> Result<Box<AttestedServer>, Failure> {
    if args.trust.is_for_another_time() {
        return Err(Failure::usage("--at is for saved evidence; a running server is judged for now"));
    }
    let trust = args.trust.read()?;
    let obtained = presented::fetch(&args.url)?;
    let endorsements = match Document::from_json(&obtained.bytes) {
        Ok(document) if needs_endorsements(document.evidence(), &trust.policies) => {
            args.store.gather(document.evidence(), trust.at)?
        }
        // A document that cannot be read is refused below.
        _ => Endorsements::default(),
    };
    obtained.judge(&endorsements, &trust).map_err(|refusal| {
        let failure = Failure::new(
            Verdict::of(refusal.checks()).into(),
            format!("the server is not accepted: {refusal}"),
        );
        failure.hint("anchorhold verify shows every rule")
    })
}

/// One log that is followed over one client.
struct Tail<'a, S> {
    args: &'a TailArgs,
    key: VerifierKey,
    policy: Option<Policy>,
    client: Client<S>,
    authorization: Authorization,
    /// The end of the evidence that the client rests on.
    expires: Option<Timestamp>,
    runtime: Runtime,
}

/// Why a file of the log did not come.
enum Trouble {
    /// It may come later: the network, or a server that is busy.
    Passing(String),
    /// Asking again would be no use.
    Lasting(Failure),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passing(text) => f.write_str(text),
            Self::Lasting(failure) => f.write_str(failure.text()),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Connect { .. } | Error::Timeout { .. } | Error::Http(_) => {
                Self::Passing(error.to_string())
            }
            _ => Self::Lasting(Failure::other(error)),
        }
    }
}

impl<S: MayCarryRequests> Tail<'_, S> {
    fn run(self) -> Result<Exit, Failure> {
        let state = self.args.state.as_deref();
        let held = state.map(files::Replaced::begin).transpose()?;
        let mut follower = self.begin(state)?;
        let mut printer = Printer::new(self.args.form, self.key.name());
        loop {
            match self.read(&mut follower, &mut printer) {
                Ok(()) => {
                    if let (Some(held), Some(follower)) = (&held, &follower)
                        && let Some(note) = follower.note()
                    {
                        held.replace(note)?;
                    }
                }
                Err(Trouble::Passing(text)) if !self.args.once => {
                    remark(&format!("anchorhold: warning: {text}; asking again in {} s", self.args.every));
                }
                Err(Trouble::Passing(text)) => return Err(Failure::other(text)),
                Err(Trouble::Lasting(failure)) => return Err(failure),
            }
            if self.args.once {
                return Ok(Exit::Ok);
            }
            std::thread::sleep(Duration::from_secs(self.args.every.into()));
        }
    }

    /// Where to begin; `None` behind whatever the first checkpoint covers.
    fn begin(&self, state: Option<&Path>) -> Result<Option<Follower>, Failure> {
        let kept = match state {
            Some(path) if path.exists() => files::read(path, MAX_CHECKPOINT_BYTES)?,
            _ if self.args.from_now => return Ok(None),
            _ => return Ok(Some(Follower::new(self.key.clone()))),
        };
        let follower = Follower::after(self.key.clone(), &kept).map_err(|error| {
            let failure = Failure::new(Exit::NotProven, format!("the checkpoint that was kept: {error}"));
            failure.hint("each boot of a guest has a log of its own; keep that of each in a file of its own")
        })?;
        Ok(Some(follower))
    }

    /// Reads and prints what is new.
    fn read(&self, follower: &mut Option<Follower>, printer: &mut Printer) -> Result<(), Trouble> {
        if let Some(expires) = self.expires.filter(|expires| trust::now().is_ok_and(|now| now >= *expires)) {
            let failure =
                Failure::new(Exit::NotAuthentic, format!("the server's evidence ended at {expires}"));
            return Err(Trouble::Lasting(failure.hint("start the command again; it asks for new evidence")));
        }
        let mut connection = self.runtime.block_on(self.client.connect())?;
        let note = self.get(&mut connection, CHECKPOINT)?;
        if note.len() > MAX_CHECKPOINT_BYTES {
            return Err(Trouble::Lasting(Failure::new(Exit::NotProven, "checkpoint is too long to be one")));
        }
        if let Some(policy) = &self.policy {
            policy.judge(&note).map_err(|refusal| match refusal {
                // They may not have come to it yet.
                PolicyRefusal::NoQuorum { .. } => Trouble::Passing(format!("checkpoint: {refusal}")),
                PolicyRefusal::Checkpoint(_) => Trouble::Lasting(Failure::new(Exit::NotProven, refusal)),
            })?;
        }
        let follower = match follower {
            Some(follower) => follower,
            None => {
                let begun = Follower::after(self.key.clone(), &note);
                follower.insert(begun.map_err(|e| Trouble::Lasting(Failure::new(Exit::NotProven, e)))?)
            }
        };
        let read =
            |tile: anchorhold_audit_log::tlog::tiles::Tile| self.get(&mut connection, &tile.to_string());
        let taken = follower.take(&note, read, |entry| printer.print(entry));
        printer.flush()?;
        taken.map_err(|error| match error {
            FollowError::Source(trouble) => trouble,
            other => Trouble::Lasting(Failure::new(Exit::NotProven, other)),
        })
    }

    /// One file of the log.
    fn get(&self, connection: &mut Connection<S>, path: &str) -> Result<Vec<u8>, Trouble> {
        let answer =
            self.runtime.block_on(connection.get(&format!("/v1/audit/{path}"), &self.authorization))?;
        match answer.status {
            StatusCode::OK => Ok(answer.body.to_vec()),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                Err(Trouble::Passing(format!("{path}: the server is busy")))
            }
            StatusCode::UNAUTHORIZED => Err(Trouble::Lasting(caller::unknown_key())),
            StatusCode::FORBIDDEN => {
                let failure = Failure::other("the key may not read the audit log");
                Err(Trouble::Lasting(failure.hint("the key's tenant needs the scope audit")))
            }
            status => Err(Trouble::Lasting(Failure::other(format!("{path}: answered with status {status}")))),
        }
    }
}

/// Prints each entry once, in order.
struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    form: Form,
    origin: String,
    /// The first index that was not printed yet. What comes again after an interruption is the same, proven entry.
    next: u64,
}

impl Printer {
    fn new(form: Form, origin: &str) -> Self {
        let out = BufWriter::new(std::io::stdout().lock());
        Self { out, form, origin: origin.to_owned(), next: 0 }
    }

    fn print(&mut self, entry: &Entry) -> Result<(), Trouble> {
        if entry.seq < self.next {
            return Ok(());
        }
        let mut line = match self.form {
            Form::Jsonl => entry.to_bytes().map_err(|e| Trouble::Lasting(Failure::other(e)))?,
            Form::Ocsf => ocsf::event(entry, &self.origin).to_string().into_bytes(),
        };
        line.push(b'\n');
        self.out.write_all(&line).map_err(unwritten)?;
        self.next = entry.seq + 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Trouble> {
        self.out.flush().map_err(unwritten)
    }
}

fn unwritten(error: std::io::Error) -> Trouble {
    Trouble::Lasting(Failure::other(format!("cannot write to stdout: {error}")))
}
