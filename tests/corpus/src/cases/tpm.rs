//! A TPM of the guest's own: quotes that are wrong in one way each, in the JSON of our evidence.

use super::bytes::{flip, put};
use super::profile::Profile;
use crate::writer::{AT, Case, Suite};
use anchorhold_attester::software::SoftwareTpm;
use anchorhold_attester::software::tpm::{PcrEvent, TpmAuthority, TpmTemplates};
use anchorhold_rats::{Der, Sha256Digest, TpmEvidence, hex};

const PARSE: &str = "parse";
const IDENTITY: &str = "identity";
const SIGNATURE: &str = "signature";
const POLICY: &str = "policy";
const NONCE: [u8; 64] = [5; 64];
/// Where the nonce begins in a quote: magic, type and the name of the signer are before it.
const NONCE_AT: usize = 6 + 36;
/// Where the selection of PCRs begins after it: its length, clock and firmware version are between them.
const SELECTION_AT: usize = NONCE_AT + 2 + NONCE.len() + 17 + 8;
const SEPARATOR: u32 = 4;
const IPL: u32 = 0xd;
const APPLICATION: u32 = 0x8000_0003;

/// A boot that measures a program, a command line and a separator.
fn booted() -> anyhow::Result<SoftwareTpm> {
    Ok(SoftwareTpm::after(vec![
        PcrEvent::of_data(4, APPLICATION, b"a kernel"),
        PcrEvent::of_data(9, IPL, b"root=/dev/mapper/root"),
        PcrEvent::of_data(4, SEPARATOR, &[0; 4]),
    ])?)
}

fn case(evidence: &TpmEvidence) -> anyhow::Result<Case> {
    Ok(Case::new("tpm").file("evidence", serde_json::to_vec(evidence)?))
}

/// The evidence of a TPM, with one thing changed after it was made.
fn changed(tpm: &SoftwareTpm, change: impl FnOnce(&mut TpmEvidence)) -> anyhow::Result<Case> {
    let mut evidence = tpm.attest(&NONCE)?;
    change(&mut evidence);
    case(&evidence)
}

/// The same with another quote, which the TPM's key signed.
fn requoted(tpm: &SoftwareTpm, change: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<Case> {
    let mut evidence = tpm.attest(&NONCE)?;
    change(&mut evidence.quote);
    evidence.signature = tpm.sign(&evidence.quote)?;
    case(&evidence)
}

pub(super) fn write(suite: &mut Suite) -> anyhow::Result<()> {
    let tpm = booted()?;
    suite.add("tpm-good", changed(&tpm, |_| {})?, "unchanged")?;
    let without = changed(&tpm, |evidence| evidence.event_log = None)?;
    suite.add("tpm-good-without-log", without, "no event log, which nobody asks for")?;
    key(suite, &tpm)?;
    certificates(suite)?;
    quote(suite, &tpm)?;
    pcrs(suite, &tpm)?;
    policy(suite, &tpm)
}

fn key(suite: &mut Suite, tpm: &SoftwareTpm) -> anyhow::Result<()> {
    let malformed = "tpm_key_malformed";
    let cut = changed(tpm, |evidence| evidence.key.truncate(60))?;
    suite.add("tpm-key-cut", cut.refused(PARSE, malformed), "the public area is cut short")?;
    let long = changed(tpm, |evidence| evidence.key.push(0))?;
    suite.add("tpm-key-trailing", long.refused(PARSE, malformed), "a byte follows the public area")?;
    for (id, at, byte, why) in [
        ("rsa", 1, 0x01, "the public area of an RSA key"),
        ("derivation", 19, 0x20, "a key derivation"),
        ("policy", 9, 65, "an authorisation policy longer than a digest"),
        ("coordinate", 21, 31, "a coordinate that is cut short"),
    ] {
        let sent = changed(tpm, |evidence| put(&mut evidence.key, at, byte))?;
        suite.add(format!("tpm-key-{id}"), sent.refused(PARSE, malformed), why)?;
    }
    for (id, at, byte, why) in [
        ("name", 3, 0x0c, "named by SHA-384"),
        ("cipher", 11, 6, "a symmetric cipher"),
        ("scheme", 13, 0x1a, "ECDAA in the place of ECDSA"),
        ("hash", 15, 0x0c, "signs over SHA-384"),
        ("curve", 17, 4, "of P-384"),
    ] {
        let sent = changed(tpm, |evidence| put(&mut evidence.key, at, byte))?;
        suite.add(format!("tpm-key-{id}"), sent.refused(PARSE, "tpm_key_type"), why)?;
    }
    let good = tpm.attributes;
    for (id, attributes, why) in [
        ("unrestricted", good & !(1 << 16), "signs what its TPM did not make"),
        ("movable", good & !(1 << 1), "can be moved to another TPM"),
        ("with-its-parent", good & !(1 << 4), "can be moved with its parent"),
        ("imported", good & !(1 << 5), "was made elsewhere"),
        ("not-signing", good & !(1 << 18), "does not sign"),
        ("decrypts", good | 1 << 17, "decrypts too"),
    ] {
        let mut other = booted()?;
        other.attributes = attributes;
        let sent = changed(&other, |_| {})?.refused(IDENTITY, "tpm_key_attributes");
        suite.add(format!("tpm-key-{id}"), sent, why)?;
    }
    let other = booted()?.public_area();
    let exchanged = changed(tpm, |evidence| evidence.key = other)?;
    suite.add(
        "tpm-key-other",
        exchanged.refused(SIGNATURE, "tpm_quote_signature"),
        "the key of another TPM",
    )?;
    let below = requoted(tpm, |quote| flip(quote, 20))?.refused(IDENTITY, "tpm_signer");
    suite.add("tpm-signer", below, "signed as a key below another")
}

/// A change before certificates are signed.
type Edit = fn(&mut TpmTemplates);

/// A TPM whose certificates were changed before they were signed.
fn certified(change: impl FnOnce(&mut TpmTemplates)) -> anyhow::Result<SoftwareTpm> {
    let (mut tpm, authority) = (booted()?, TpmAuthority::new()?);
    let mut templates = authority.templates(&tpm, AT.parse()?);
    change(&mut templates);
    tpm.certificates = authority.sign(&templates)?;
    Ok(tpm)
}

fn certificates(suite: &mut Suite) -> anyhow::Result<()> {
    let tpm = certified(|_| {})?;
    let root = tpm.certificates.last().map_or_else(String::new, |root| Sha256Digest::of(&root.0).to_string());
    let by = |root: &str| {
        let profile = Profile::snp().with("tpm.roots", format!("[\"{root}\"]"));
        let quoted = tpm.pcrs.get(&4).map_or_else(String::new, |value| hex(value));
        profile.with("tpm.pcrs.4", format!("[\"sha256:{quoted}\"]")).text()
    };
    let good = changed(&tpm, |_| {})?;
    suite.add("tpm-certified-good", good.clone(), "with certificates of its key")?;
    suite.add(
        "tpm-certified-root",
        good.clone().file("profile", by(&root)),
        "below a root that the profile names",
    )?;
    let other = good.file("profile", by(&"ab".repeat(32))).refused(POLICY, "tpm_key");
    suite.add("tpm-certified-other-root", other, "the profile names another root")?;
    let cut = changed(&tpm, |sent| sent.certificates.iter_mut().take(1).for_each(|der| der.0.truncate(100)))?;
    suite.add("tpm-certified-cut", cut.refused(PARSE, "tpm_certificates"), "a certificate is cut short")?;
    let alone = changed(&tpm, |sent| sent.certificates.truncate(1))?;
    suite.add("tpm-certified-alone", alone.refused(PARSE, "tpm_certificates"), "no root")?;
    let of_authority = changed(&tpm, |sent| sent.certificates.rotate_left(1))?;
    let case = of_authority.refused(IDENTITY, "tpm_certified_key");
    suite.add("tpm-certified-key", case, "the first certificate is of another key")?;
    let any_use = changed(&certified(|all| all.leaf.extensions.truncate(2))?, |_| {})?;
    let case = any_use.refused(IDENTITY, "tpm_certified_use");
    suite.add("tpm-certified-use", case, "certified for any use")?;
    let code = "tpm_chain";
    let rootless = changed(&tpm, |sent| sent.certificates.truncate(2))?;
    suite.add(
        "tpm-certified-rootless",
        rootless.refused("chain", code),
        "the last certificate is no root",
    )?;
    let forged = changed(&tpm, |sent| {
        sent.certificates.iter_mut().take(1).for_each(|der| {
            let last = der.0.len().saturating_sub(1);
            flip(&mut der.0, last);
        });
    })?;
    suite.add("tpm-certified-signature", forged.refused("chain", code), "another signature")?;
    let edits: [(&str, Edit, &str); 3] = [
        (
            "expired",
            |all| all.issuing.not_after = all.issuing.not_before,
            "the authority's certificate is over",
        ),
        ("no-authority", |all| all.issuing.extensions.truncate(0), "issued by what is no authority"),
        ("issuer", |all| all.leaf.issuer.clone_from(&all.root.issuer), "names the root as its issuer"),
    ];
    for (id, edit, why) in edits {
        let sent = changed(&certified(edit)?, |_| {})?;
        suite.add(format!("tpm-certified-{id}"), sent.refused("chain", code), why)?;
    }
    Ok(())
}

fn quote(suite: &mut Suite, tpm: &SoftwareTpm) -> anyhow::Result<()> {
    for (id, at, byte, why) in
        [("magic", 0, 0xfe, "not made by a TPM"), ("certify", 5, 0x17, "the certification of a key")]
    {
        let sent = requoted(tpm, |quote| put(quote, at, byte))?;
        suite.add(format!("tpm-quote-{id}"), sent.refused(PARSE, "tpm_quote_type"), why)?;
    }
    let malformed = "tpm_quote_malformed";
    let long = requoted(tpm, |quote| quote.push(0))?;
    suite.add("tpm-quote-trailing", long.refused(PARSE, malformed), "a byte follows")?;
    let cut = requoted(tpm, |quote| quote.truncate(100))?;
    suite.add("tpm-quote-cut", cut.refused(PARSE, malformed), "the quote is cut short")?;
    let unsafe_clock = requoted(tpm, |quote| put(quote, NONCE_AT + 2 + NONCE.len() + 16, 2))?;
    suite.add("tpm-quote-safe", unsafe_clock.refused(PARSE, malformed), "neither safe nor unsafe")?;
    for (id, offset, value, why) in [
        ("no-bank", 3, 0, "no PCR bank"),
        ("two-banks", 3, 2, "two PCR banks"),
        ("sha1", 5, 0x04, "the SHA-1 bank"),
        ("bit-map", 6, 4, "a bit map of another length"),
    ] {
        let sent = requoted(tpm, |quote| put(quote, SELECTION_AT + offset, value))?;
        suite.add(format!("tpm-quote-{id}"), sent.refused(PARSE, "tpm_pcr_selection"), why)?;
    }
    let code = "tpm_quote_signature";
    for (id, at) in [("nonce", NONCE_AT + 2), ("clock", NONCE_AT + 66), ("selection", SELECTION_AT + 7)] {
        let sent = changed(tpm, |evidence| flip(&mut evidence.quote, at))?;
        suite.add(
            format!("tpm-quote-changed-{id}"),
            sent.refused(SIGNATURE, code),
            "changed after signing",
        )?;
    }
    let other = changed(tpm, |evidence| flip(&mut evidence.signature, 0))?;
    suite.add("tpm-signature", other.refused(SIGNATURE, code), "another signature")?;
    let none = changed(tpm, |evidence| evidence.signature.clear())?;
    suite.add("tpm-signature-empty", none.refused(SIGNATURE, code), "no signature")
}

fn pcrs(suite: &mut Suite, tpm: &SoftwareTpm) -> anyhow::Result<()> {
    let code = "tpm_pcr_count";
    let more = changed(tpm, |evidence| evidence.pcrs.push(Der(vec![0; 32])))?;
    suite.add("tpm-pcrs-more", more.refused(PARSE, code), "a value more than was quoted")?;
    let fewer = changed(tpm, |evidence| evidence.pcrs.truncate(1))?;
    suite.add("tpm-pcrs-fewer", fewer.refused(PARSE, code), "a value fewer than was quoted")?;
    let long = changed(tpm, |evidence| evidence.pcrs.iter_mut().take(1).for_each(|pcr| pcr.0.push(0)))?;
    suite.add("tpm-pcrs-long", long.refused(PARSE, code), "a value of another length")?;
    let code = "tpm_pcr_digest";
    let other =
        changed(tpm, |evidence| evidence.pcrs.iter_mut().take(1).for_each(|pcr| flip(&mut pcr.0, 0)))?;
    suite.add("tpm-pcrs-changed", other.refused(SIGNATURE, code), "another value than was quoted")?;
    let exchanged = changed(tpm, |evidence| evidence.pcrs.reverse())?;
    suite.add("tpm-pcrs-exchanged", exchanged.refused(SIGNATURE, code), "two values changed places")?;
    let no_log = changed(tpm, |evidence| evidence.event_log = Some(Der(Vec::new())))?;
    suite.add("tpm-log-empty", no_log.refused("eventlog", "eventlog_header"), "a log without a header")?;
    let good = changed(tpm, |_| {})?;
    let replayed = good.rule("tpm_nonce", hex(&[6; 64])).refused("binding", "tpm_nonce");
    suite.add("tpm-nonce", replayed, "made for another nonce, or before")
}

/// Rules of an appraisal profile.
fn policy(suite: &mut Suite, tpm: &SoftwareTpm) -> anyhow::Result<()> {
    let value = |bytes: &[u8]| format!("[\"sha256:{}\"]", hex(bytes));
    let mut profile =
        Profile::snp().with("tpm.keys", format!("[\"{}\"]", Sha256Digest::of(&tpm.public_area())));
    for (pcr, quoted) in &tpm.pcrs {
        profile = profile.with(&format!("tpm.pcrs.{pcr}"), value(quoted));
    }
    let judged =
        |profile: &Profile| Ok::<_, anyhow::Error>(changed(tpm, |_| {})?.file("profile", profile.text()));
    suite.add("tpm-profile-good", judged(&profile)?, "a profile that accepts it")?;
    let other_key = profile.clone().with("tpm.keys", format!("[\"{}\"]", Sha256Digest::of(b"another")));
    let case = judged(&other_key)?.refused(POLICY, "tpm_key");
    suite.add("tpm-profile-key", case, "the profile names another key")?;
    let none = Profile::snp()
        .with("tpm.keys", format!("[\"{}\"]", Sha256Digest::of(&tpm.public_area())))
        .with("tpm.pcrs", "{}");
    suite.add(
        "tpm-profile-no-pcrs",
        judged(&none)?.refused(POLICY, "tpm_pcrs_empty"),
        "no values are accepted",
    )?;
    let other = profile.clone().with("tpm.pcrs.4", value(&[1; 32]));
    suite.add(
        "tpm-profile-pcr-value",
        judged(&other)?.refused(POLICY, "tpm_pcr_value"),
        "another value of PCR 4",
    )?;
    let more = profile.clone().with("tpm.pcrs.11", value(&[0; 32]));
    let case = judged(&more)?.refused(POLICY, "tpm_pcr_not_quoted");
    suite.add("tpm-profile-pcr-not-quoted", case, "PCR 11 was not quoted")?;
    let without = changed(tpm, |evidence| evidence.event_log = None)?.file("profile", profile.text());
    suite.add("tpm-profile-no-log", without.refused("eventlog", "tpm_log_missing"), "no event log came")?;
    let mut forgotten = tpm.log.clone().unwrap_or_default();
    forgotten.remove(1);
    let log = anchorhold_attester::software::tpm::encode_log(&forgotten);
    let case = changed(tpm, |evidence| evidence.event_log = Some(Der(log)))?.file("profile", profile.text());
    suite.add(
        "tpm-profile-log",
        case.refused("eventlog", "tpm_log_replay"),
        "an event is missing in the log",
    )?;
    let case = judged(&profile)?.rule("tpm_nonce", "00".repeat(64));
    suite.add("tpm-profile-nonce", case.refused("binding", "tpm_nonce"), "made for another nonce")
}
