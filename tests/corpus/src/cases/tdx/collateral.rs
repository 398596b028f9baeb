//! Intel's collateral.

use super::{Made, at, certificate};
use crate::cases::bytes::flip;
use crate::writer::{Case, Suite};
use anchorhold_attester::software::certificate::{Extension, Template};
use anchorhold_attester::software::tdx::{
    CollateralTemplate, TdxAuthority, intel_name, sign_collateral_text, simulated_intel_root_der,
};
use anchorhold_attester::software::{Curve, SigningKey};
use anchorhold_rats::TdxCollateral;
use base64::{Engine as _, engine::general_purpose::STANDARD};

const STAGE: &str = "collateral";

/// A name, a change of something that is signed, and the code that must find it.
type Edit<T> = (&'static str, fn(&mut T), &'static str);

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let case = made.case().without("collateral").refused(STAGE, "tdx_collateral_missing");
    suite.add("tdx-no-collateral", case, "there is no collateral")?;
    signatures(suite, made)?;
    signers(suite, made)?;
    lists(suite, made)?;
    texts(suite, made)?;
    dates(suite, made)
}

fn signatures(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let edits: [Edit<TdxCollateral>; 6] = [
        ("tcb-info-signature", |all| flip(&mut all.tcb_info_signature.0, 0), "tdx_tcb_info_signature"),
        ("tcb-info-text", |all| all.tcb_info.push(' '), "tdx_tcb_info_signature"),
        (
            "qe-identity-signature",
            |all| flip(&mut all.qe_identity_signature.0, 0),
            "tdx_qe_identity_signature",
        ),
        ("qe-identity-text", |all| all.qe_identity.push(' '), "tdx_qe_identity_signature"),
        (
            "tcb-info-signer",
            |all| all.tcb_info_issuer_chain = all.pck_crl_issuer_chain.clone(),
            "tdx_signer_name",
        ),
        (
            "qe-identity-signer",
            |all| all.qe_identity_issuer_chain = all.pck_crl_issuer_chain.clone(),
            "tdx_signer_name",
        ),
    ];
    for (id, edit, code) in edits {
        let case = made.unsigned(edit)?.refused(STAGE, code);
        suite.add(format!("tdx-{id}"), case, "signed by another, or changed after signing")?;
    }
    Ok(())
}

/// Evidence whose TCB info comes with another certificate of its signer.
fn signer(made: &Made, key: &SigningKey, edit: impl FnOnce(&mut Template)) -> anyhow::Result<Case> {
    let (usage, constraints) = (Extension::key_usage(0xc0), Extension::end_entity());
    let mut template = certificate(TdxAuthority::TcbSigner, 0x52, usage, constraints)?;
    edit(&mut template);
    let chain = [template.sign_ecdsa(key)?, simulated_intel_root_der().to_vec()];
    let pem: String = chain
        .iter()
        .map(|der| STANDARD.encode(der))
        .map(|text| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"))
        .collect();
    made.unsigned(|all| all.tcb_info_issuer_chain = pem)
}

fn signers(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let root = TdxAuthority::Root.key()?;
    suite.add(
        "tdx-good-other-signer",
        signer(made, &root, |_| {})?,
        "another certificate of the same signer",
    )?;
    let case = signer(made, &SigningKey::generate(Curve::P256)?, |_| {})?;
    suite.add(
        "tdx-signer-signature",
        case.refused(STAGE, "tdx_signer_signature"),
        "the root did not sign the signer's certificate",
    )?;
    let case = signer(made, &root, |signer| signer.issuer = intel_name("Intel SGX Root CA"))?;
    suite.add(
        "tdx-signer-issuer",
        case.refused(STAGE, "tdx_signer_signature"),
        "the signer names another issuer",
    )?;
    for (id, usage, constraints) in [
        ("ca", Extension::key_usage(0xc0), Extension::authority(Some(0))),
        ("no-signatures", Extension::key_usage(0x40), Extension::end_entity()),
    ] {
        let case = signer(made, &root, |signer| signer.extensions = vec![usage, constraints])?;
        suite.add(
            format!("tdx-signer-{id}"),
            case.refused(STAGE, "tdx_signer_authority"),
            "the signer may do too little or too much",
        )?;
    }
    let (past, future) = (at()?.plus_seconds(-1), at()?.plus_seconds(1));
    let case = signer(made, &root, |signer| signer.not_after = past)?;
    suite.add("tdx-signer-expired", case.refused(STAGE, "tdx_signer_validity"), "the signer has expired")?;
    let case = signer(made, &root, |signer| signer.not_before = future)?;
    suite.add("tdx-signer-early", case.refused(STAGE, "tdx_signer_validity"), "the signer is not valid yet")
}

fn lists(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let case = made
        .unsigned(|all| {
            all.pck_crl.0.pop();
        })?
        .refused(STAGE, "tdx_crl_malformed");
    suite.add("tdx-pck-crl-cut", case, "the list's last byte is missing")?;
    let case = made.unsigned(|all| all.root_ca_crl.0.clear())?.refused(STAGE, "tdx_crl_malformed");
    suite.add("tdx-root-crl-empty", case, "an empty list")?;
    let case =
        made.unsigned(|all| all.pck_crl = all.root_ca_crl.clone())?.refused(STAGE, "tdx_crl_signature");
    suite.add("tdx-pck-crl-of-root", case, "the root's list in the place of the PCK CA's")?;
    let case = made.unsigned(|all| flip_last(&mut all.pck_crl.0))?.refused(STAGE, "tdx_crl_signature");
    suite.add("tdx-pck-crl-signature", case, "the PCK CA did not sign the list")?;
    let case = made.unsigned(|all| flip_last(&mut all.root_ca_crl.0))?.refused(STAGE, "tdx_crl_signature");
    suite.add("tdx-root-crl-signature", case, "the root did not sign the list")?;
    let case = made.unsigned(|all| all.pck_crl_issuer_chain.clone_from(&all.tcb_info_issuer_chain))?;
    suite.add("tdx-pck-crl-chain", case.refused(STAGE, "tdx_crl_issuer"), "another issuer of the list")?;
    let now = at()?;
    for (id, from, to) in [("stale", -7200, -1), ("future", 1, 7200)] {
        let case = made.signed(|all| {
            all.pck_crl.this_update = now.plus_seconds(from);
            all.pck_crl.next_update = now.plus_seconds(to);
        })?;
        suite.add(
            format!("tdx-pck-crl-{id}"),
            case.refused(STAGE, "tdx_crl_freshness"),
            "not the current list",
        )?;
        let case = made.signed(|all| {
            all.root_crl.this_update = now.plus_seconds(from);
            all.root_crl.next_update = now.plus_seconds(to);
        })?;
        suite.add(
            format!("tdx-root-crl-{id}"),
            case.refused(STAGE, "tdx_crl_freshness"),
            "not the current list",
        )?;
    }
    let serial = made.guest.template().serial.clone();
    let case = made.signed(|all| all.pck_crl.revoked = vec![serial])?;
    suite.add("tdx-pck-revoked", case.refused(STAGE, "tdx_certificate_revoked"), "the PCK is revoked")?;
    for (id, serial) in [("ca", [0x53, 0x47, 0x58, 0, 2]), ("signer", [0x53, 0x47, 0x58, 0, 3])] {
        let case = made.signed(|all| all.root_crl.revoked = vec![serial.to_vec()])?;
        suite.add(
            format!("tdx-{id}-revoked"),
            case.refused(STAGE, "tdx_certificate_revoked"),
            "the root revoked what it issued",
        )?;
    }
    let case = made.signed(|all| all.pck_crl.issuer = intel_name("Intel SGX PCK Processor CA"))?;
    suite.add("tdx-pck-crl-issuer", case.refused(STAGE, "tdx_crl_signature"), "the list names another issuer")
}

fn flip_last(bytes: &mut [u8]) {
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
}

fn texts(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let edits: [Edit<CollateralTemplate>; 7] = [
        ("tcb-info-id-sgx", |all| all.tcb_info.id = "SGX".into(), "tdx_tcb_info_kind"),
        ("tcb-info-version", |all| all.tcb_info.version = 2, "tdx_tcb_info_kind"),
        ("tcb-info-type", |all| all.tcb_info.tcb_type = 1, "tdx_tcb_info_kind"),
        ("qe-identity-id-sgx", |all| all.qe_identity.id = "QE".into(), "tdx_qe_identity_kind"),
        ("qe-identity-version", |all| all.qe_identity.version = 3, "tdx_qe_identity_kind"),
        ("tcb-info-no-levels", |all| all.tcb_info.tcb_levels.clear(), "tdx_platform_level"),
        ("qe-identity-no-levels", |all| all.qe_identity.tcb_levels.clear(), "tdx_qe_level"),
    ];
    for (id, edit, code) in edits {
        let stage = if code.ends_with("_level") { "tcb" } else { STAGE };
        suite.add(
            format!("tdx-{id}"),
            made.signed(edit)?.refused(stage, code),
            "another statement, well signed",
        )?;
    }
    let case = made.signed(|all| {
        if let Some(level) = all.tcb_info.tcb_levels.first_mut() {
            level.tcb_status = "Perfect".into();
        }
    })?;
    suite.add(
        "tdx-status-unknown",
        case.refused(STAGE, "tdx_tcb_info_malformed"),
        "a status word that does not exist",
    )?;
    for (id, text) in
        [("cut", "{\"id\":\"TDX\""), ("twice", "{\"id\":\"TDX\",\"id\":\"TDX\"}"), ("list", "[]")]
    {
        let signature = sign_collateral_text(text)?;
        let case = made.unsigned(|all| {
            all.tcb_info = text.into();
            all.tcb_info_signature = signature.clone();
        })?;
        suite.add(
            format!("tdx-tcb-info-{id}"),
            case.refused(STAGE, "tdx_tcb_info_malformed"),
            "no TCB info",
        )?;
        let case = made.unsigned(|all| {
            all.qe_identity = text.into();
            all.qe_identity_signature = signature;
        })?;
        suite.add(
            format!("tdx-qe-identity-{id}"),
            case.refused(STAGE, "tdx_qe_identity_malformed"),
            "no QE identity",
        )?;
    }
    Ok(())
}

fn dates(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let now = at()?;
    for (id, from, to) in [("stale", -7200, -1), ("future", 1, 7200)] {
        let (from, to) = (now.plus_seconds(from).to_string(), now.plus_seconds(to).to_string());
        let case = made.signed(|all| {
            all.tcb_info.issue_date.clone_from(&from);
            all.tcb_info.next_update.clone_from(&to);
        })?;
        suite.add(
            format!("tdx-tcb-info-{id}"),
            case.refused(STAGE, "tdx_tcb_info_dates"),
            "not the current one",
        )?;
        let case = made.signed(|all| {
            all.qe_identity.issue_date = from;
            all.qe_identity.next_update = to;
        })?;
        suite.add(
            format!("tdx-qe-identity-{id}"),
            case.refused(STAGE, "tdx_qe_identity_dates"),
            "not the current one",
        )?;
    }
    Ok(())
}
