//! Writing a dossier: the same contents and key give the same bytes.

use crate::manifest::{FIRST_MEMBER, FORMAT, Kind, Manifest, Member, PAYLOAD_TYPE, Sampled};
use anchorhold_audit_log::{Hash, tar};
use anchorhold_dsse::SigningKey;
use ring::digest::{Context, SHA256};
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};

const COPY_BYTES: usize = 256 * 1024;

/// Why a dossier was not written.
#[derive(Debug)]
pub enum MakeError {
    /// A log could not be read, or the dossier not written.
    Io(io::Error),
    /// No log, more of something than a dossier may hold, or a member over its limit.
    Limits,
    /// The list of contents could not be signed.
    Sign(anchorhold_dsse::Error),
    /// A log's bundle changed while it was read.
    Changed {
        /// Its number.
        log: usize,
    },
}

impl fmt::Display for MakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "write the dossier: {error}"),
            Self::Limits => f.write_str("no log, or more than a dossier may hold"),
            Self::Sign(error) => write!(f, "sign the dossier: {error}"),
            Self::Changed { log } => write!(f, "bundle {log} was changed while it was read"),
        }
    }
}

impl std::error::Error for MakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Sign(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for MakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What goes into a dossier.
#[derive(Debug)]
pub struct Contents<'a, L> {
    /// The auditor's page.
    pub report_html: &'a [u8],
    /// The control tables that the page was made with.
    pub controls_json: &'a [u8],
    /// Which logs and witnesses the exporter relies on, as a C2SP policy; the auditor judges by one of their own.
    pub witnesses: Option<&'a [u8]>,
    /// The release policies in force over the period, byte for byte.
    pub policies: &'a [Vec<u8>],
    /// The sealed manifests of the models that were loaded, byte for byte.
    pub models: &'a [Vec<u8>],
    /// Checkpoints that were seen elsewhere, for each log.
    pub seen: &'a [Vec<Vec<u8>>],
    /// The bundle of each log.
    pub logs: &'a mut [L],
    /// The sample of the page, if one was drawn.
    pub sample: Option<Sampled>,
    /// SHA-256 of the static verifier that belongs to this release, in hex, for the README.
    pub verifier_sha256: Option<Hash>,
}

/// Writes a dossier and gives back what was signed. Each bundle is read twice; memory does not grow with them.
///
/// # Errors
/// [`MakeError`]; what was written is then no dossier.
pub fn make<L: Read + Seek>(
    out: impl Write,
    contents: &mut Contents<'_, L>,
    key: &SigningKey,
) -> Result<Manifest, MakeError> {
    let readme = readme(contents, key);
    let small = small_members(contents, readme.as_bytes());
    let mut members: Vec<Member> = small.iter().map(|(kind, bytes)| member(*kind, bytes)).collect();
    for (at, log) in contents.logs.iter_mut().enumerate() {
        log.seek(SeekFrom::Start(0))?;
        let (bytes, sha256) = copy(log, &mut io::sink())?;
        members.push(Member { bytes, name: Kind::Log(at).name(), sha256 });
    }
    let manifest = Manifest { format: FORMAT.to_owned(), members, sample: contents.sample.clone() };
    let payload = manifest.to_bytes().ok_or(MakeError::Limits)?;
    if Manifest::from_bytes(&payload).as_ref() != Some(&manifest) {
        return Err(MakeError::Limits);
    }
    let envelope = anchorhold_dsse::sign(PAYLOAD_TYPE, &payload, &[key]).map_err(MakeError::Sign)?;
    let mut tar = tar::Writer::new(io::BufWriter::with_capacity(COPY_BYTES, out));
    tar.member(FIRST_MEMBER, &envelope)?;
    for (kind, bytes) in &small {
        tar.member(&kind.name(), bytes)?;
    }
    for ((at, log), listed) in
        contents.logs.iter_mut().enumerate().zip(manifest.members.iter().skip(small.len()))
    {
        log.seek(SeekFrom::Start(0))?;
        let sink = tar.begin(&listed.name, listed.bytes)?;
        // A bundle that grew meanwhile would break the archive's shape.
        let copied = copy(&mut log.take(listed.bytes), sink)?;
        if copied != (listed.bytes, listed.sha256) {
            return Err(MakeError::Changed { log: at });
        }
        tar.end(listed.bytes)?;
    }
    tar.finish()?;
    Ok(manifest)
}

fn small_members<'a, L>(contents: &Contents<'a, L>, readme: &'a [u8]) -> Vec<(Kind, &'a [u8])> {
    let mut members = vec![
        (Kind::Readme, readme),
        (Kind::Page, contents.report_html),
        (Kind::Controls, contents.controls_json),
    ];
    members.extend(contents.witnesses.map(|bytes| (Kind::Witnesses, bytes)));
    let policies = contents.policies.iter().enumerate();
    members.extend(policies.map(|(at, bytes)| (Kind::Policy(at), bytes.as_slice())));
    let models = contents.models.iter().enumerate();
    members.extend(models.map(|(at, bytes)| (Kind::Model(at), bytes.as_slice())));
    for (log, notes) in contents.seen.iter().enumerate() {
        let notes = notes.iter().enumerate();
        members.extend(notes.map(|(at, bytes)| (Kind::Seen(log, at), bytes.as_slice())));
    }
    members
}

fn member(kind: Kind, bytes: &[u8]) -> Member {
    Member { bytes: bytes.len() as u64, name: kind.name(), sha256: Hash::of(bytes) }
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, Hash)> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; COPY_BYTES];
    let mut total = 0_u64;
    loop {
        let count = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
        context.update(part);
        to.write_all(part)?;
        total += part.len() as u64;
    }
    Ok((total, digest(context)))
}

pub(crate) fn digest(context: Context) -> Hash {
    // SHA-256 has 32 bytes.
    Hash::try_from(context.finish().as_ref()).unwrap_or(Hash::new([0; 32]))
}

fn readme<L>(contents: &Contents<'_, L>, key: &SigningKey) -> String {
    let exporter = anchorhold_audit_log::PublicKey::new(key.public_key());
    let verifier = match contents.verifier_sha256 {
        Some(digest) => format!("SHA-256 {digest}"),
        None => "its digest is published with the release; the exporter named none".to_owned(),
    };
    format!(
        "\
Anchorhold audit dossier, format 1

How to check it
    1.  sha256sum anchorhold-audit
            {verifier}
    2.  ./anchorhold-audit DOSSIER --exporter {exporter} \\
            --measurement MEASUREMENT --log-key BROKER_LOG_KEY --at 2026-01-31T12:00:00Z
    3.  tar -xf DOSSIER && ./anchorhold-audit log-000.tar --measurement MEASUREMENT --at 2026-01-31T12:00:00Z

    Take the exporter's key, the accepted measurements, the brokers' keys and your witnesses (--witnesses FILE) from
    whom you trust, not from this file. The verifier needs no network and no clock: certificates are judged for the
    time by which your witnesses had seen the evidence, or where none says so, for that of --at. It answers each question by itself, and its exit code tells: 0 accepted, 3 not
    authentic, 4 not acceptable, 5 endorsements unavailable, 6 not proven.

What is in it
    manifest.dsse.json    every other file with its length and SHA-256, signed by the exporter (DSSE, Ed25519)
    report.html           the report, for people; no script; it says which logs it was made of
    controls.json         which kinds of entries bear on which control
    trust.tlog-policy     the exporter's own logs and witnesses (c2sp.org/tlog-policy)
    policy-NNN.toml       the release policies; decisions in the logs name them by SHA-256
    model-NNN.json        the sealed manifests of models; entries and receipts name them by SHA-256
    seen-NNN-NNN.note     checkpoints of log NNN that were seen elsewhere
    log-NNN.tar           one bundle for each log; its own README says how to check it by hand

What the exporter's signature says
    That this exporter put these files together. It proves nothing of the logs; their own keys, the evidence in
    them and the witnesses do.
"
    )
}
