//! The chain of the signing key.

use super::{LaunchConfig, MEASUREMENT, Made, REPORT_DATA, at, launch, of};
use crate::writer::Suite;
use anchorhold_attester::software::certificate::{Extension, name, pss_sha384, rsa_key_info};
use anchorhold_attester::software::{Authority, Signer};

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    presented(suite, made)?;
    intermediate(suite, made)?;
    leaf(suite, made)?;
    extensions(suite, made)?;
    validity(suite, made)
}

fn presented(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let case = made.case()?.without("vek").refused("chain", "snp_leaf_missing");
    suite.add("snp-no-vek", case, "the signer's certificate is missing")?;
    let case = made.case()?.without("ask").refused("chain", "snp_intermediate_missing");
    suite.add("snp-no-ask", case, "the intermediate is missing")?;
    let case = made.case()?.real_root().refused("chain", "snp_no_trust_anchor");
    suite.add("snp-other-root", case, "a whole good chain below a root that is not AMD's")?;
    let another = made.ask(|ask| ask.issuer = name("ARK-SIMULATED (another)"))?;
    suite.add(
        "snp-ask-other-issuer",
        another.refused("chain", "snp_no_trust_anchor"),
        "the ASK names another root",
    )?;
    for role in ["vek", "ask"] {
        let mut bytes = if role == "vek" {
            made.guest.template().sign(&Authority::Ask.key()?)?
        } else {
            Authority::Ask.certificate_der().to_vec()
        };
        bytes.push(0);
        let case = made.case()?.file(role, bytes).refused("parse", "snp_certificate_malformed");
        suite.add(format!("snp-{role}-trailing"), case, "a byte follows the certificate")?;
        let case = made.case()?.file(role, vec![]).refused("parse", "snp_certificate_malformed");
        suite.add(format!("snp-{role}-empty"), case, "an empty certificate")?;
    }
    let twice = made.leaf(|leaf| leaf.extensions.extend(leaf.extensions.first().cloned()))?;
    suite.add(
        "snp-vek-extension-twice",
        twice.refused("parse", "snp_certificate_malformed"),
        "an extension is there twice",
    )?;
    let unknown = Extension { id: vec![0x55, 0x1d, 0x36], critical: true, value: vec![5, 0] };
    let case = made.leaf(|leaf| leaf.extensions.push(unknown))?;
    suite.add(
        "snp-vek-critical",
        case.refused("parse", "snp_certificate_malformed"),
        "an unknown critical extension",
    )
}

fn intermediate(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let forged = super::ask_template()?.sign(&Authority::Asvk.key()?)?;
    let case = made.case()?.file("ask", forged).refused("chain", "snp_intermediate_signature");
    suite.add("snp-ask-signature", case, "the root did not sign the ASK")?;
    for salt in [0, 32, 49] {
        let case = made.ask(|ask| ask.algorithm = pss_sha384(salt))?;
        suite.add(
            format!("snp-ask-salt-{salt}"),
            case.refused("chain", "snp_intermediate_signature"),
            "PSS parameters with another salt length",
        )?;
    }
    let case = made.ask(|ask| {
        if let Some(constraints) = ask.extensions.first_mut() {
            constraints.value = b"\x30\x00".to_vec();
        }
    })?;
    suite.add("snp-ask-no-ca", case.refused("chain", "snp_intermediate_authority"), "the ASK is no CA")?;
    let case = made.ask(|ask| {
        if let Some(usage) = ask.extensions.get_mut(1) {
            usage.value = b"\x03\x02\x01\x02".to_vec();
        }
    })?;
    suite.add(
        "snp-ask-key-usage",
        case.refused("chain", "snp_intermediate_authority"),
        "the ASK may sign revocation lists, not certificates",
    )?;
    for (signer, wrong, subject) in
        [(Signer::Vcek, Authority::Asvk, "SEV-VCEK"), (Signer::Vlek, Authority::Ask, "SEV-VLEK")]
    {
        let guest = launch(LaunchConfig { signer, ..LaunchConfig::new(MEASUREMENT) })?;
        let mut template = guest.template().clone();
        template.issuer = name(wrong.common_name());
        template.subject = name(subject);
        let case = of(&guest.attest(&REPORT_DATA)?)?
            .file("vek", template.sign(&wrong.key()?)?)
            .file("ask", wrong.certificate_der())
            .refused("chain", "snp_intermediate_kind");
        suite.add(
            format!("snp-{}-below-the-other", subject.to_lowercase()),
            case,
            "ASK and ASVK exchanged",
        )?;
    }
    statements(suite, made)
}

/// What an ASK says of its product. Simulated ones may leave it out, but not name another.
fn statements(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    for (id, product) in [("good-ask-genoa", "Genoa"), ("ask-milan", "Milan")] {
        let subject = name(&format!("SEV-{product}"));
        let mut leaf = made.guest.template().clone();
        leaf.issuer.clone_from(&subject);
        let case = made.ask(|ask| ask.subject = subject)?.file("vek", leaf.sign(&Authority::Ask.key()?)?);
        let case = match product {
            "Genoa" => case,
            _ => case.refused("chain", "snp_intermediate_product"),
        };
        suite.add(format!("snp-{id}"), case, format!("the ASK is named for {product}"))?;
    }
    for (id, address) in [
        ("good-ask-crl-link", "https://kdsintf.amd.com/vcek/v1/Genoa/crl"),
        ("ask-crl-link-product", "https://kdsintf.amd.com/vcek/v1/Milan/crl"),
        ("ask-crl-link-kind", "https://kdsintf.amd.com/vlek/v1/Genoa/crl"),
        ("ask-crl-link-host", "https://kds.invalid/vcek/v1/Genoa/crl"),
    ] {
        let case = made.ask(|ask| ask.extensions.push(Extension::crl_distribution_point(address)))?;
        let case = match id {
            "good-ask-crl-link" => case,
            _ => case.refused("chain", "snp_intermediate_crl_link"),
        };
        suite.add(format!("snp-{id}"), case, "the ASK points to a revocation list")?;
    }
    Ok(())
}

fn leaf(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let case = made.leaf(|leaf| leaf.issuer = name("SEV-SIMULATED (another)"))?;
    suite.add("snp-vek-issuer", case.refused("chain", "snp_leaf_issuer"), "the VCEK names another issuer")?;
    let forged = made.guest.template().sign(&Authority::Asvk.key()?)?;
    let case = made.case()?.file("vek", forged).refused("chain", "snp_leaf_signature");
    suite.add("snp-vek-signature", case, "the ASK did not sign the VCEK")?;
    let case = made.leaf(|leaf| leaf.algorithm = pss_sha384(20))?.refused("chain", "snp_leaf_signature");
    suite.add("snp-vek-salt", case, "PSS parameters with another salt length")?;
    let pkcs1 = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c\x05\x00".to_vec();
    let case = made.leaf(|leaf| leaf.algorithm = pkcs1)?.refused("chain", "snp_leaf_signature");
    suite.add("snp-vek-pkcs1", case, "the certificate says PKCS #1 version 1.5")?;
    for (id, subject) in [("vlek", "SEV-VLEK"), ("other", "SEV-VCEK2")] {
        let case = made.leaf(|leaf| leaf.subject = name(subject))?.refused("chain", "snp_leaf_kind");
        suite.add(format!("snp-vek-named-{id}"), case, "the leaf has another kind's name")?;
    }
    let case = made.leaf(|leaf| drop(leaf.extensions.pop()))?.refused("chain", "snp_leaf_kind");
    suite.add("snp-vek-no-hwid", case, "a VCEK without a HWID")?;
    let rsa = rsa_key_info(&Authority::Ask.key()?);
    let case = made.leaf(|leaf| leaf.public_key_info = rsa)?.refused("chain", "snp_leaf_key");
    suite.add("snp-vek-rsa", case, "the VCEK holds an RSA key")?;
    let case = made.leaf(|leaf| leaf.extensions.extend(Extension::intermediate()))?;
    suite.add("snp-vek-ca", case.refused("chain", "snp_leaf_key"), "the VCEK is a CA")
}

fn extensions(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    for (index, missing) in
        [(0, "struct-version"), (1, "product"), (2, "bootloader"), (3, "tee"), (8, "snp"), (9, "microcode")]
    {
        let case = made.leaf(|leaf| drop(leaf.extensions.remove(index)))?;
        suite.add(
            format!("snp-vek-without-{missing}"),
            case.refused("chain", "snp_leaf_extensions"),
            "an extension of AMD's is missing",
        )?;
    }
    for (id, index, extension) in [
        ("product-rome", 1, Extension::amd_text(&[2], "Rome")),
        ("hwid-short", 10, Extension::amd(&[4], vec![4; 63])),
        ("tcb-two-bytes", 2, Extension::amd(&[3, 1], vec![2, 2, 1, 0])),
    ] {
        let case = made.leaf(|leaf| {
            if let Some(place) = leaf.extensions.get_mut(index) {
                *place = extension;
            }
        })?;
        suite.add(
            format!("snp-vek-{id}"),
            case.refused("chain", "snp_leaf_extensions"),
            "an extension of AMD's is out of range",
        )?;
    }
    let case = made.leaf(|leaf| leaf.extensions.push(Extension::amd_byte(&[3, 9], 0)))?;
    suite.add("snp-vek-fmc", case.refused("chain", "snp_leaf_extensions"), "Turin's FMC on a Genoa")
}

fn validity(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let template = made.guest.template();
    for (id, moment) in
        [("before", template.not_before.plus_seconds(-1)), ("after", template.not_after.plus_seconds(1))]
    {
        let case = made.case()?.at(moment).refused("chain", "snp_certificate_validity");
        suite.add(format!("snp-vek-{id}-validity"), case, "the VCEK is not valid at that time")?;
    }
    let end = at()?.plus_seconds(-1);
    let case = made.ask(|ask| ask.not_after = end)?.refused("chain", "snp_certificate_validity");
    suite.add("snp-ask-expired", case, "the ASK has expired")
}
