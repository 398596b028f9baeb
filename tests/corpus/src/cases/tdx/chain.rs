//! The chain of the PCK.

use super::{Made, REPORT_DATA, at};
use crate::writer::Suite;
use anchorhold_attester::software::tdx::{TdxAuthority, TdxGuest, intel_name};

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    presented(suite, made)?;
    leaf(suite, made)
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
