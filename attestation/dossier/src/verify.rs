//! Reading a dossier, which is hostile: its shape is fixed, every size is bounded, nothing is written anywhere.

use crate::attestation::{self, Attestation};
use crate::chain;
use crate::collect::Names;
use crate::judge::{Facts, Gathered, judge};
use crate::make::digest;
use crate::manifest::{FIRST_MEMBER, Kind, MAX_LOGS, Manifest, Member, PAYLOAD_TYPE};
use crate::report::{LogReport, Report};
use anchorhold_audit_log::cosignature::WitnessKey;
use anchorhold_audit_log::tar::{Reader, TarError};
use anchorhold_audit_log::tlog::policy::Policy;
use anchorhold_audit_log::{Expectations, Hash, Report as Bundle, VerifierKey, verify_each};
use anchorhold_audit_report::Sample;
use anchorhold_dsse::{MAX_ENVELOPE_BYTES, TrustedSigners};
use anchorhold_rats::Timestamp;
use anchorhold_verifier::{AppraisalPolicy, TrustAnchors};
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};

/// By which roots and policies evidence is judged, and for which time.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// The roots.
    pub anchors: TrustAnchors,
    /// What is accepted; any one may accept.
    pub policies: Vec<AppraisalPolicy>,
    /// The time for which certificates are judged, where no believed witness says when the evidence was there.
    pub at: Timestamp,
}

/// What the auditor knows from elsewhere. What is left out is not asked, and its verdict says so.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Who may have put the dossier together.
    pub exporters: Option<TrustedSigners>,
    /// The keys of logs without evidence: key brokers'.
    pub log_keys: Vec<VerifierKey>,
    /// How evidence is judged.
    pub trusted: Option<Trusted>,
    /// Which witnesses must have cosigned. Its logs are not looked at: those of the dossier are.
    pub witnesses: Option<Policy>,
}

/// Why reading stopped.
enum Stop {
    Io(io::Error),
    Broken(String),
}

fn stop(name: &str) -> impl FnOnce(TarError) -> Stop + '_ {
    move |error| match error {
        TarError::Io(error) => Stop::Io(error),
        TarError::Shape => Stop::Broken(format!("{name} is missing, misplaced or cut off")),
        TarError::TooLong => Stop::Broken(format!("{name} is over its limit")),
    }
}

/// Checks a dossier, which `open` opens: once, and where its logs name one another once more, to compare them.
///
/// Establishes, for each question that the report answers with yes, what [`Check`](crate::Check) says of it. Presumes that `expected` is the
/// auditor's own knowledge and nothing of the dossier.
///
/// # Errors
/// Only when the dossier cannot be opened or read; whatever is wrong with its content is in the report.
pub fn verify<R: Read>(mut open: impl FnMut() -> io::Result<R>, expected: &Expected) -> io::Result<Report> {
    let report = read_through(open()?, expected, &[])?;
    match sizes_named(&report) {
        Some(sizes) => read_through(open()?, expected, &sizes),
        None => Ok(report),
    }
}

/// At which sizes the logs of a report name one another; `None` where none names one that is here.
fn sizes_named(report: &Report) -> Option<Vec<Vec<u64>>> {
    let sizes = chain::sizes(&report.logs.iter().map(LogReport::boot).collect::<Vec<_>>());
    sizes.iter().any(|sizes| !sizes.is_empty()).then_some(sizes)
}

/// Reads a dossier from end to end, with the roots of its logs at these sizes.
fn read_through(source: impl Read, expected: &Expected, sizes: &[Vec<u64>]) -> io::Result<Report> {
    let mut tar = Reader::new(BufReader::with_capacity(256 * 1024, source));
    let mut facts = Facts::default();
    let read = read_envelope(&mut tar, expected, &mut facts)
        .and_then(|manifest| {
            read_members(&mut tar, &manifest, (expected, sizes), &mut facts).map(|()| manifest)
        })
        .and_then(|manifest| tar.finish().map_err(stop("the end")).map(|()| manifest));
    match read {
        Ok(manifest) => Ok(judge(facts, Ok(Some(&manifest)), expected)),
        Err(Stop::Broken(detail)) => Ok(judge(facts, Err(detail), expected)),
        Err(Stop::Io(error)) => Err(error),
    }
}

/// Checks the bundles of one or several logs, at most [`MAX_LOGS`], and answers the same questions, as far as they arise. `open` opens the
/// bundle of this number: once, and where another log names it once more.
///
/// # Errors
/// Only when there are too many, or a bundle cannot be opened or read.
pub fn verify_bundles<R: Read>(
    names: &[&str],
    mut open: impl FnMut(usize) -> io::Result<R>,
    expected: &Expected,
) -> io::Result<Report> {
    if names.len() > MAX_LOGS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("more than {MAX_LOGS} bundles")));
    }
    let mut facts = Facts::default();
    for (at, name) in names.iter().enumerate() {
        facts.logs.push(read_bundle(name, open(at)?, expected, Vec::new())?);
    }
    let sizes = chain::sizes(&facts.logs.iter().map(|gathered| gathered.log.boot()).collect::<Vec<_>>());
    for ((at, gathered), sizes) in facts.logs.iter_mut().enumerate().zip(sizes) {
        if !sizes.is_empty() {
            let name = gathered.log.name.clone();
            *gathered = read_bundle(&name, open(at)?, expected, sizes)?;
        }
    }
    Ok(judge(facts, Ok(None), expected))
}

fn read_bundle(name: &str, source: impl Read, expected: &Expected, sizes: Vec<u64>) -> io::Result<Gathered> {
    let mut names = Names::default();
    let expectations = Expectations { sizes, clocks: clocks(expected), ..Expectations::default() };
    let bundle = verify_each(source, &expectations, |entry| names.take(entry))?;
    let attestation = attested(&bundle, expected);
    Ok(Gathered::new(name, without_anchors(bundle), attestation, names))
}

/// What is found of many logs is held at once, and their anchors have been judged.
fn without_anchors(bundle: Bundle) -> Bundle {
    Bundle { anchors: Vec::new(), ..bundle }
}

/// Whose times are believed: those whose cosignatures are asked for.
fn clocks(expected: &Expected) -> Vec<WitnessKey> {
    expected.witnesses.as_ref().map_or_else(Vec::new, |policy| policy.witnesses().to_vec())
}

fn attested(bundle: &Bundle, expected: &Expected) -> Option<Attestation> {
    let trusted = expected.trusted.as_ref().filter(|_| bundle.is_accepted() && bundle.evidence.is_some())?;
    Some(attestation::judge(bundle, &trusted.anchors, &trusted.policies, trusted.at))
}

fn read_envelope<R: Read>(
    tar: &mut Reader<R>,
    expected: &Expected,
    facts: &mut Facts,
) -> Result<Manifest, Stop> {
    let envelope = tar.member(FIRST_MEMBER, MAX_ENVELOPE_BYTES as u64).map_err(stop(FIRST_MEMBER))?;
    let (payload_type, payload) = anchorhold_dsse::unverified(&envelope)
        .map_err(|error| Stop::Broken(format!("{FIRST_MEMBER}: {error}")))?;
    if payload_type != PAYLOAD_TYPE {
        return Err(Stop::Broken(format!("{FIRST_MEMBER} is not the list of a dossier")));
    }
    facts.exporter = expected.exporters.as_ref().map(|signers| {
        let verified = anchorhold_dsse::verify(&envelope, PAYLOAD_TYPE, signers);
        let verified = verified.map_err(|error| error.to_string())?;
        let keys: Vec<String> = verified.signers().iter().map(|key| Hash::new(*key).to_string()).collect();
        Ok(keys.join(", "))
    });
    Manifest::from_bytes(&payload)
        .ok_or_else(|| Stop::Broken(format!("the list in {FIRST_MEMBER} is malformed or over a limit")))
}

fn read_members<R: Read>(
    tar: &mut Reader<R>,
    manifest: &Manifest,
    (expected, sizes): (&Expected, &[Vec<u64>]),
    facts: &mut Facts,
) -> Result<(), Stop> {
    let mut seen: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
    for member in &manifest.members {
        let kind = Kind::of(&member.name).ok_or_else(|| Stop::Broken("unknown member".to_owned()))?;
        if let Kind::Log(at) = kind {
            let earlier = seen.remove(&at).unwrap_or_default();
            let drawn = manifest.sample.as_ref().map(|sample| (sample.word.as_str(), sample.wanted));
            let sizes = sizes.get(at).cloned().unwrap_or_default();
            let clocks = clocks(expected);
            let expectations = Expectations { earlier, sizes, clocks, ..Expectations::default() };
            let read = read_log(tar, member, &expectations, expected, drawn, &mut facts.changed)?;
            facts.logs.push(read);
            continue;
        }
        let bytes = tar.member(&member.name, kind.limit()).map_err(stop(&member.name))?;
        facts.compare(member, bytes.len() as u64, Hash::of(&bytes));
        match kind {
            Kind::Policy(_) => {
                facts.policies.insert(Hash::of(&bytes));
            }
            Kind::Model(_) => {
                facts.models.insert(Hash::of(&bytes));
            }
            Kind::Seen(log, _) => seen.entry(log).or_default().push(bytes),
            _ => {}
        }
    }
    Ok(())
}

/// Hashes what passes, up to the member's end.
struct Passing<'a, R> {
    source: io::Take<&'a mut R>,
    context: Context,
    count: u64,
}

impl<R: Read> Read for Passing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        if let Some(part) = buffer.get(..count) {
            self.context.update(part);
        }
        self.count += count as u64;
        Ok(count)
    }
}

fn read_log<R: Read>(
    tar: &mut Reader<R>,
    member: &Member,
    expectations: &Expectations,
    expected: &Expected,
    sample: Option<(&str, usize)>,
    changed: &mut Option<String>,
) -> Result<Gathered, Stop> {
    let name = member.name.as_str();
    let size = tar.begin(name, member.bytes).map_err(stop(name))?;
    let mut passing = Passing { source: tar.content().take(size), context: Context::new(&SHA256), count: 0 };
    let mut names = Names::default();
    let bundle = verify_each(&mut passing, expectations, |entry| names.take(entry)).map_err(Stop::Io)?;
    // A broken bundle stops early; its digest still has to be known.
    io::copy(&mut passing, &mut io::sink()).map_err(Stop::Io)?;
    let (count, sha256) = (passing.count, digest(passing.context));
    if count != size {
        return Err(Stop::Broken(format!("{name} is cut off")));
    }
    tar.end(size).map_err(stop(name))?;
    if (count, sha256) != (member.bytes, member.sha256) {
        changed.get_or_insert_with(|| member.name.clone());
    }
    let attestation = attested(&bundle, expected);
    let proven = bundle.checkpoint.as_ref().zip(bundle.manifest.as_ref()).filter(|_| bundle.is_accepted());
    let drawn = sample.zip(proven).map(|((word, wanted), (checkpoint, manifest))| {
        let mut sample = Sample::new(checkpoint.head.root, word, wanted);
        // Every one of them was read, so the file's length bounds this; a number that is only announced would not.
        (manifest.first..manifest.first + manifest.count).for_each(|index| sample.offer(index));
        sample.drawn()
    });
    Ok(Gathered { drawn, ..Gathered::new(name, without_anchors(bundle), attestation, names) })
}
