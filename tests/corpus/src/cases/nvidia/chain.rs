//! The list of a device's certificates.

use super::Made;
use crate::writer::Suite;
use anchorhold_attester::software::certificate::Template;
use anchorhold_attester::software::gpu::{NvidiaRoot, simulated_nvidia_rim_root_der};
use anchorhold_attester::software::{Curve, SigningKey};

/// A change of the list.
type Change = fn(&mut Vec<Vec<u8>>);

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let case = made.case().real_root().refused("chain", "nvidia_no_trust_anchor");
    suite.add("nvidia-other-root", case, "a whole good chain below a root that is not NVIDIA's")?;
    let changes: [(&str, Change, &str, &str); 11] = [
        ("leaf-only", |chain| chain.truncate(1), "parse", "nvidia_chain_length"),
        ("no-root", |chain| chain.truncate(4), "parse", "nvidia_chain_length"),
        ("six", |chain| chain.extend(chain.last().cloned()), "parse", "nvidia_chain_length"),
        ("leaf-cut", |chain| cut(chain, 0), "parse", "nvidia_certificate_malformed"),
        ("brom-cut", |chain| cut(chain, 1), "parse", "nvidia_certificate_malformed"),
        ("identity-cut", |chain| cut(chain, 3), "parse", "nvidia_certificate_malformed"),
        ("reversed", |chain| chain.reverse(), "chain", "nvidia_no_trust_anchor"),
        ("root-changed", |chain| cut(chain, 4), "chain", "nvidia_no_trust_anchor"),
        (
            "rim-root",
            |chain| {
                chain.pop();
                chain.push(simulated_nvidia_rim_root_der().to_vec());
            },
            "chain",
            "nvidia_no_trust_anchor",
        ),
        ("swapped", |chain| chain.swap(2, 3), "chain", "nvidia_certificate_issuer"),
        ("no-brom", |chain| *chain = without_brom(chain), "chain", "nvidia_certificate_issuer"),
    ];
    for (id, change, stage, code) in changes {
        let case = made.chain(change).refused(stage, code);
        suite.add(format!("nvidia-chain-{id}"), case, "another list of certificates")?;
    }
    let case = made.case().file("chain", "-----BEGIN CERTIFICATE-----\n");
    suite.add("nvidia-chain-pem", case.refused("parse", "vectors_device_chain"), "no whole PEM")?;
    forged(suite, made)
}

/// Takes the last byte of one certificate away.
fn cut(chain: &mut [Vec<u8>], index: usize) {
    if let Some(certificate) = chain.get_mut(index) {
        certificate.pop();
    }
}

/// Five certificates, of which the provisioner's stands twice and the BROM's not at all.
fn without_brom(chain: &[Vec<u8>]) -> Vec<Vec<u8>> {
    [0, 2, 2, 3, 4].iter().filter_map(|place| chain.get(*place).cloned()).collect()
}

/// Certificates with the right words, signed by a key that is not the issuer's.
fn forged(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let templates = made.device.templates();
    let stranger = SigningKey::generate(Curve::P384)?;
    let all: [(&str, usize, &Template, &SigningKey); 4] = [
        ("leaf", 0, &templates.attestation_key, &stranger),
        ("brom", 1, &templates.brom, &stranger),
        ("provisioner", 2, &templates.provisioner, &NvidiaRoot::Rim.key()?),
        ("identity", 3, &templates.identity, &NvidiaRoot::Rim.key()?),
    ];
    for (id, place, template, key) in all {
        let forged = template.sign_ecdsa(key)?;
        let case = made.chain(|chain| chain.splice(place..=place, [forged]).for_each(drop));
        suite.add(
            format!("nvidia-{id}-forged"),
            case.refused("chain", "nvidia_certificate_signature"),
            "its issuer did not sign it",
        )?;
    }
    Ok(())
}
