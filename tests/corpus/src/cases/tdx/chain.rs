//! The chain of the PCK.

use super::{Made, REPORT_DATA, at, certificate};
use crate::writer::{Case, Suite};
use anchorhold_attester::software::certificate::{Extension, Template};
use anchorhold_attester::software::tdx::{TdxAuthority, TdxGuest, intel_name};
use anchorhold_attester::software::{Curve, SigningKey};

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    presented(suite, made)?;
    authority(suite, made)?;
    leaf(suite, made)
}

/// Evidence whose PCK CA the root certified with a changed template, and below it the PCK.
fn below(made: &Made, key: &SigningKey, edit: impl FnOnce(&mut Template)) -> anyhow::Result<Case> {
    let mut ca =
        certificate(TdxAuthority::PckCa, 0x51, Extension::key_usage(0x06), Extension::authority(Some(0)))?;
    edit(&mut ca);
    let mut guest = TdxGuest::launch(made.config.clone(), at()?)?;
    guest.certify(Template { issuer: ca.subject.clone(), ..guest.template().clone() })?;
    let mut chain = guest.pck_chain().to_vec();
    if let Some(place) = chain.get_mut(1) {
        *place = ca.sign_ecdsa(key)?;
    }
    guest.set_pck_chain(chain);
    Ok(made.case().file("quote", guest.quote(&REPORT_DATA)?))
}

fn authority(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let root = TdxAuthority::Root.key()?;
    suite.add("tdx-good-other-ca", below(made, &root, |_| {})?, "another certificate of the same PCK CA")?;
    let stranger = SigningKey::generate(Curve::P256)?;
    let case = below(made, &stranger, |_| {})?.refused("chain", "tdx_ca_signature");
    suite.add("tdx-ca-signature", case, "the root did not sign the PCK CA")?;
    let case = below(made, &root, |ca| ca.issuer = intel_name("Intel SGX Root CA"))?;
    suite.add(
        "tdx-ca-issuer",
        case.refused("chain", "tdx_ca_signature"),
        "the PCK CA names another issuer",
    )?;
    let case = below(made, &root, |ca| ca.subject = intel_name("Intel SGX TCB Signing"))?;
    suite.add("tdx-ca-name", case.refused("chain", "tdx_ca_name"), "the PCK CA has another name")?;
    for (id, usage, constraints) in [
        ("no-lists", 0x04, Extension::authority(Some(0))),
        ("no-certificates", 0x02, Extension::authority(Some(0))),
        ("path-length-1", 0x06, Extension::authority(Some(1))),
        ("no-path-length", 0x06, Extension::authority(None)),
        ("no-ca", 0x06, Extension::end_entity()),
    ] {
        let extensions = vec![Extension::key_usage(usage), constraints];
        let case = below(made, &root, |ca| ca.extensions = extensions)?.refused("chain", "tdx_ca_authority");
        suite.add(format!("tdx-ca-{id}"), case, "the PCK CA may do too little or too much")?;
    }
    let usages = [("lists", 0x82), ("no-signatures", 0x40), ("certificates", 0x84)];
    for (id, usage) in usages {
        let case = made.leaf(|leaf| {
            for extension in &mut leaf.extensions {
                if extension.id == Extension::key_usage(usage).id {
                    *extension = Extension::key_usage(usage);
                }
            }
        })?;
        suite.add(
            format!("tdx-leaf-usage-{id}"),
            case.refused("chain", "tdx_leaf_authority"),
            "the PCK may do too little or too much",
        )?;
    }
    Ok(())
}

fn presented(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let case = made.case().real_root().refused("chain", "tdx_no_trust_anchor");
    suite.add("tdx-other-root", case, "a whole good chain below a root that is not Intel's")?;
    let chain = made.guest.pck_chain().to_vec();
    for (id, edit, stage, code) in [
        (
            "leaf-only",
            &(|chain: &mut Vec<Vec<u8>>| chain.truncate(1)) as &dyn Fn(&mut Vec<Vec<u8>>),
            "parse",
            "tdx_certificate_count",
        ),
        ("no-root", &|chain| chain.truncate(2), "parse", "tdx_certificate_count"),
        ("four", &|chain| chain.extend(chain.first().cloned()), "parse", "tdx_certificate_count"),
        ("leaf-cut", &|chain| cut(chain, 0), "parse", "tdx_certificate_malformed"),
        ("ca-cut", &|chain| cut(chain, 1), "parse", "tdx_certificate_malformed"),
        ("reversed", &|chain| chain.reverse(), "chain", "tdx_no_trust_anchor"),
    ] {
        let mut other = chain.clone();
        edit(&mut other);
        let mut guest = TdxGuest::launch(made.config.clone(), at()?)?;
        guest.set_pck_chain(other);
        let case = made.case().file("quote", guest.quote(&REPORT_DATA)?);
        suite.add(format!("tdx-chain-{id}"), case.refused(stage, code), "another list of certificates")?;
    }
    Ok(())
}

/// Takes the last byte of one certificate away.
fn cut(chain: &mut [Vec<u8>], index: usize) {
    if let Some(certificate) = chain.get_mut(index) {
        certificate.pop();
    }
}

fn leaf(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let case = made.leaf(|leaf| leaf.issuer = intel_name("Intel SGX PCK Processor CA"))?;
    suite.add(
        "tdx-leaf-issuer",
        case.refused("chain", "tdx_leaf_signature"),
        "the PCK names another issuer",
    )?;
    let case = made.leaf(|leaf| leaf.subject = intel_name("Intel SGX Certificate"))?;
    suite.add("tdx-leaf-name", case.refused("chain", "tdx_leaf_name"), "the PCK has another name")?;
    let mut guest = TdxGuest::launch(made.config.clone(), at()?)?;
    let forged = guest.template().sign_ecdsa(&TdxAuthority::TcbSigner.key()?)?;
    let mut chain = guest.pck_chain().to_vec();
    if let Some(first) = chain.first_mut() {
        *first = forged;
    }
    guest.set_pck_chain(chain);
    let case = made.case().file("quote", guest.quote(&REPORT_DATA)?);
    suite.add(
        "tdx-leaf-signature",
        case.refused("chain", "tdx_leaf_signature"),
        "the CA did not sign the PCK",
    )?;
    let case = made.leaf(|leaf| leaf.extensions.clear())?;
    suite.add("tdx-leaf-no-extension", case.refused("chain", "tdx_leaf_extension"), "no SGX extension")?;
    let (before, after) = (made.guest.template().not_before, made.guest.template().not_after);
    for (id, moment) in [("before", before.plus_seconds(-1)), ("after", after.plus_seconds(1))] {
        let case = made.case().at(moment).refused("chain", "tdx_certificate_validity");
        suite.add(format!("tdx-leaf-{id}-validity"), case, "the PCK is not valid at that time")?;
    }
    Ok(())
}
