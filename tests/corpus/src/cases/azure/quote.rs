//! The virtual TPM's quote, its signature and the PCR values.

use super::{Made, NONCE, Sent};
use crate::cases::bytes::{flip, put};
use crate::writer::Suite;
use anchorhold_attester::software::SoftwareParavisor;
use anchorhold_rats::Der;

const PARSE: &str = "parse";
const SIGNATURE: &str = "signature";
/// Where the quote has its lengths and its selection, with a nonce of 64 bytes.
const NONCE_AT: usize = 42;
const SAFE_AT: usize = 124;
const SELECTION_AT: usize = 133;
const DIGEST_AT: usize = 143;

/// A name, a change of the PCR values, and what is wrong then.
type Edit = (&'static str, fn(&mut Vec<Der>), &'static str);

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    shape(suite, made)?;
    signature(suite, made)?;
    pcrs(suite, made)
}

/// Evidence with a changed quote, signed again.
fn with_quote(made: &Made, edit: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<Sent> {
    let mut sent = made.snp()?;
    edit(&mut sent.paravisor.quote);
    sent.paravisor.signature = made.paravisor.sign(&sent.paravisor.quote)?;
    Ok(sent)
}

fn shape(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    for (id, offset, value, why) in [
        ("magic", 0, 0xfe, "not made by a TPM"),
        ("certify", 5, 0x17, "the TPM certified a key"),
        ("creation", 5, 0x1a, "the TPM certified how a key came to be"),
    ] {
        let sent = with_quote(made, |quote| put(quote, offset, value))?;
        suite.add(format!("azure-quote-{id}"), sent.refused(PARSE, "azure_quote_type")?, why)?;
    }
    for (id, offset, value, why) in [
        ("nonce-length", NONCE_AT + 1, 65, "a nonce over its length"),
        ("safe", SAFE_AT, 2, "neither yes nor no"),
        ("digest-length", DIGEST_AT + 1, 33, "a digest of another length"),
    ] {
        let sent = with_quote(made, |quote| put(quote, offset, value))?;
        suite.add(format!("azure-quote-{id}"), sent.refused(PARSE, "azure_quote_malformed")?, why)?;
    }
    let sent = with_quote(made, |quote| quote.push(0))?;
    suite.add("azure-quote-trailing", sent.refused(PARSE, "azure_quote_malformed")?, "a byte follows")?;
    let sent = with_quote(made, |quote| quote.truncate(100))?;
    suite.add("azure-quote-cut", sent.refused(PARSE, "azure_quote_malformed")?, "the quote is cut short")?;
    for (id, offset, value, why) in [
        ("no-bank", 3, 0, "no PCR bank"),
        ("two-banks", 3, 2, "two PCR banks"),
        ("sha1", 5, 0x04, "the SHA-1 bank"),
        ("bit-map", 6, 4, "a bit map of another length"),
    ] {
        let sent = with_quote(made, |quote| put(quote, SELECTION_AT + offset, value))?;
        suite.add(format!("azure-quote-{id}"), sent.refused(PARSE, "azure_pcr_selection")?, why)?;
    }
    Ok(())
}

fn signature(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let code = "azure_quote_signature";
    for (id, offset) in [("nonce", NONCE_AT + 2), ("clock", NONCE_AT + 66), ("digest", DIGEST_AT + 2)] {
        let sent = made.snp()?.with(|parts| flip(&mut parts.quote, offset));
        let case = sent.refused(SIGNATURE, code)?;
        suite.add(format!("azure-quote-changed-{id}"), case, "changed after signing")?;
    }
    let sent = made.snp()?.with(|parts| flip(&mut parts.signature, 0));
    suite.add("azure-signature", sent.refused(SIGNATURE, code)?, "another signature")?;
    let sent = made.snp()?.with(|parts| parts.signature.clear());
    suite.add("azure-signature-empty", sent.refused(SIGNATURE, code)?, "no signature")?;
    let mut other = SoftwareParavisor::new()?;
    if let Some(at) = other.claims.find("\"n\":\"") {
        let place = at + 105;
        let letter = if other.claims.get(place..=place) == Some("A") { "B" } else { "A" };
        other.claims.replace_range(place..=place, letter);
    }
    let case = made.snp_below(&other)?.refused(SIGNATURE, code)?;
    suite.add("azure-signature-other-key", case, "the claims name another key than the one that signed")
}

fn pcrs(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let mut paravisor = SoftwareParavisor::new()?;
    paravisor.pcrs = (0..24).map(|pcr| (pcr, [pcr; 32])).collect();
    let whole = made.snp_below(&paravisor)?;
    let counts: [Edit; 4] = [
        ("more", |pcrs| pcrs.push(Der(vec![0; 32])), "a value more than was quoted"),
        ("fewer", |pcrs| pcrs.truncate(23), "a value fewer than was quoted"),
        ("none", Vec::clear, "no values"),
        ("long", |pcrs| pcrs.iter_mut().take(1).for_each(|pcr| pcr.0.push(0)), "a value of another length"),
    ];
    for (id, edit, why) in counts {
        let sent = whole.clone().with(|parts| edit(&mut parts.pcrs));
        suite.add(format!("azure-pcrs-{id}"), sent.refused(PARSE, "azure_pcr_count")?, why)?;
    }
    let sent = whole.clone().with(|parts| parts.pcrs.iter_mut().take(1).for_each(|pcr| flip(&mut pcr.0, 0)));
    let case = sent.refused(SIGNATURE, "azure_pcr_digest")?;
    suite.add("azure-pcrs-changed", case, "another value than was quoted")?;
    let sent = whole.with(|parts| parts.pcrs.swap(4, 7));
    let case = sent.refused(SIGNATURE, "azure_pcr_digest")?;
    suite.add("azure-pcrs-exchanged", case, "two values changed places")?;
    let replayed = made.snp()?.case()?.rule("tpm_nonce", format!("{}06", "05".repeat(NONCE.len() - 1)));
    suite.add("azure-nonce", replayed.refused("binding", "azure_nonce"), "made for another nonce, or before")
}
