//! OCSP responses about a device's intermediates.

use super::policy::profile;
use super::{Edit, Made, at};
use crate::writer::{Case, Suite};
use anchorhold_attester::software::certificate::Template;
use anchorhold_attester::software::gpu::{
    CertificateStatus, OcspEntry, OcspHash, OcspTemplate, Responder, nvidia_name, responder_template,
};
use anchorhold_attester::software::{Curve, SigningKey};
use anyhow::Context as _;

const DAY: i64 = 86_400;
/// 2.5.29.37.
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const STAGE: &str = "collateral";

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    controls(suite, made)?;
    shape(suite, made)?;
    responders(suite, made)?;
    answers(suite, made)?;
    policy(suite, made)
}

/// The answer about the provisioner's certificate, and the key of its issuer.
fn answer(made: &Made) -> anyhow::Result<(OcspTemplate, SigningKey)> {
    let [_, provisioner, _] = made.device.ocsp_templates(at()?)?;
    Ok(provisioner)
}

/// The good device with one response by a delegate of the issuer, changed before it is signed.
fn with(made: &Made, edit: impl FnOnce(&mut OcspTemplate)) -> anyhow::Result<Case> {
    let (answer, issuer_key) = answer(made)?;
    let (mut answer, key) = answer.delegate(&issuer_key)?;
    edit(&mut answer);
    Ok(made.case().file("ocsp-1", answer.sign(&key)?))
}

/// The same, with its one answer changed.
fn entry(made: &Made, edit: impl FnOnce(&mut OcspEntry)) -> anyhow::Result<Case> {
    with(made, |answer| {
        if let Some(entry) = answer.entries.first_mut() {
            edit(entry);
        }
    })
}

fn controls(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    suite.add("nvidia-ocsp-good-delegate", with(made, |_| ())?, "an answer by a delegate of the issuer")?;
    let (answer, issuer_key) = answer(made)?;
    let case = made.case().file("ocsp-1", answer.sign(&issuer_key)?);
    suite.add("nvidia-ocsp-good-issuer", case, "an answer by the issuer")?;
    for (id, hash) in [("sha1", OcspHash::Sha1), ("sha256", OcspHash::Sha256)] {
        let case = entry(made, |entry| entry.hash = hash)?;
        suite.add(format!("nvidia-ocsp-good-{id}"), case, "the issuer is named by another hash")?;
    }
    let case = with(made, |answer| answer.nonce = Some(vec![1; 32]))?;
    suite.add("nvidia-ocsp-good-nonce", case, "with the nonce of whoever asked")
}

fn shape(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let code = "nvidia_ocsp_malformed";
    let case = with(made, |answer| answer.response_status = 3)?.refused(STAGE, code);
    suite.add("nvidia-ocsp-try-later", case, "the responder gave no answer")?;
    let case = with(made, |answer| answer.responder = Responder::Name(vec![0x31, 0]))?.refused(STAGE, code);
    suite.add("nvidia-ocsp-name", case, "the responder's name is none")?;
    let (answer, issuer_key) = answer(made)?;
    let good = answer.sign(&issuer_key)?;
    let cut = good.split_last().context("an empty response")?.1.to_vec();
    let case = made.case().file("ocsp-1", cut).refused(STAGE, code);
    suite.add("nvidia-ocsp-cut", case, "the last byte is not there")?;
    let case = made.case().file("ocsp-1", [good.as_slice(), &[0]].concat()).refused(STAGE, code);
    suite.add("nvidia-ocsp-trailing", case, "a byte follows")?;
    let case = with(made, |answer| {
        let one = answer.entries.clone();
        (0..4).for_each(|_| answer.entries.extend_from_slice(&one));
    })?;
    suite.add(
        "nvidia-ocsp-count",
        case.refused(STAGE, "nvidia_ocsp_count"),
        "five answers about one certificate",
    )
}

fn responders(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let code = "nvidia_ocsp_responder";
    let case = with(made, |answer| answer.certificates.clear())?.refused(STAGE, code);
    suite.add("nvidia-ocsp-no-delegate", case, "the delegate's certificate did not come")?;
    let case = with(made, |answer| answer.responder = Responder::KeyHash(vec![7; 20]))?.refused(STAGE, code);
    suite.add("nvidia-ocsp-key-hash", case, "a responder with a key that is nobody's")?;
    let edits: [(&str, Edit<Template>, &str); 5] = [
        (
            "purpose",
            |t| t.extensions.retain(|extension| extension.id != EXTENDED_KEY_USAGE),
            "the delegate may not sign answers",
        ),
        ("expired", |t| t.not_after = t.not_before.plus_seconds(DAY), "the delegate's time is over"),
        (
            "usage",
            |t| t.extensions.retain(|extension| extension.id != [0x55, 0x1d, 0x0f]),
            "the delegate may not sign data",
        ),
        ("issuer", |t| t.issuer = nvidia_name("NVIDIA GB100 Identity"), "a delegate of another issuer"),
        (
            "algorithm",
            |t| t.algorithm = Curve::P256.signature_algorithm(),
            "the delegation is not signed well",
        ),
    ];
    for (id, edit, why) in edits {
        let case = delegated(made, edit, None)?.refused(STAGE, code);
        suite.add(format!("nvidia-ocsp-delegate-{id}"), case, why)?;
    }
    let stranger = SigningKey::generate(Curve::P384)?;
    let case = delegated(made, |_| (), Some(&stranger))?.refused(STAGE, code);
    suite.add("nvidia-ocsp-delegate-forged", case, "the issuer did not sign the delegation")?;
    let (answer, _) = answer(made)?;
    let case = made.case().file("ocsp-1", answer.sign(&stranger)?);
    suite.add(
        "nvidia-ocsp-signature",
        case.refused(STAGE, "nvidia_ocsp_signature"),
        "another key signed in the issuer's name",
    )
}

/// The good device with an answer by a delegate of whom `edit` says more, certified by the issuer or by `signer`.
fn delegated(
    made: &Made,
    edit: impl FnOnce(&mut Template),
    signer: Option<&SigningKey>,
) -> anyhow::Result<Case> {
    let (mut answer, issuer_key) = answer(made)?;
    let key = SigningKey::generate(Curve::P384)?;
    let issuer = answer.entries.first().context("an answer about nothing")?.issuer.clone();
    let mut template = responder_template(&issuer, &issuer_key, &key, answer.produced);
    edit(&mut template);
    answer.certificates = vec![template.sign_ecdsa(signer.unwrap_or(&issuer_key))?];
    answer.responder = Responder::Name(template.subject);
    Ok(made.case().file("ocsp-1", answer.sign(&key)?))
}

fn answers(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let now = at()?;
    let fresh = "nvidia_ocsp_freshness";
    let case = entry(made, |entry| entry.this_update = now.plus_seconds(1))?.refused(STAGE, fresh);
    suite.add("nvidia-ocsp-early", case, "an answer of a second later")?;
    let case = entry(made, |entry| entry.next_update = Some(now.plus_seconds(-1)))?.refused(STAGE, fresh);
    suite.add("nvidia-ocsp-over", case, "an answer of which there was a newer one a second ago")?;
    let case = with(made, |answer| answer.produced = now.plus_seconds(1))?.refused(STAGE, fresh);
    suite.add("nvidia-ocsp-made-later", case, "a response that is made a second later")?;
    let case = entry(made, |entry| {
        entry.this_update = now.plus_seconds(-DAY - 1);
        entry.next_update = None;
    })?;
    suite.add(
        "nvidia-ocsp-no-next",
        case.refused(STAGE, fresh),
        "an answer without an end, of over a day",
    )?;
    let case = entry(made, |entry| entry.status = CertificateStatus::Unknown)?;
    suite.add(
        "nvidia-ocsp-unknown",
        case.refused(STAGE, "nvidia_ocsp_unknown"),
        "the responder does not know the certificate",
    )?;
    let since = now.plus_seconds(-DAY);
    for (id, reason) in [("no-reason", None), ("key-compromise", Some(1)), ("remove", Some(8))] {
        let status = CertificateStatus::Revoked { at: since, reason };
        let case = entry(made, |entry| entry.status = status)?.refused(STAGE, "nvidia_ocsp_revoked");
        suite.add(format!("nvidia-ocsp-revoked-{id}"), case, "the provisioner's certificate is revoked")?;
    }
    let case = with(made, |answer| {
        let mut revoked = answer.entries.clone();
        for entry in &mut revoked {
            entry.status = CertificateStatus::Revoked { at: since, reason: Some(1) };
        }
        answer.entries.extend(revoked);
    })?;
    suite.add(
        "nvidia-ocsp-good-and-revoked",
        case.refused(STAGE, "nvidia_ocsp_revoked"),
        "of two answers the worse one counts",
    )
}

/// Rules that the relying party sets.
fn policy(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let now = at()?;
    let all = |changes: &[(&str, &str)]| -> anyhow::Result<Case> {
        let [brom, provisioner, identity] = made.device.ocsp_templates(now)?;
        let sign = |(answer, key): (OcspTemplate, SigningKey)| answer.sign(&key);
        let changes = [&[("ocsp.require", "true")], changes].concat();
        Ok(made
            .case()
            .file("ocsp-1", sign(brom)?)
            .file("ocsp-2", sign(provisioner)?)
            .file("ocsp-3", sign(identity)?)
            .file("profile", profile(&changes)))
    };
    suite.add("nvidia-ocsp-good-all", all(&[])?, "an answer about each intermediate, as was asked")?;
    for (id, role) in [("brom", "ocsp-1"), ("provisioner", "ocsp-2"), ("identity", "ocsp-3")] {
        let case = all(&[])?.without(role).refused(STAGE, "nvidia_ocsp_missing");
        suite.add(format!("nvidia-ocsp-no-{id}"), case, "one intermediate has no answer")?;
    }
    let case = entry(made, |entry| entry.serial = vec![0x41; 20])?;
    let asked = profile(&[("ocsp.require", "true")]);
    suite.add(
        "nvidia-ocsp-other-serial",
        case.file("profile", asked).refused(STAGE, "nvidia_ocsp_missing"),
        "an answer about another certificate of the issuer",
    )?;
    let case = all(&[("ocsp.max_age_seconds", "3_599")])?.refused(STAGE, "nvidia_ocsp_age");
    suite.add("nvidia-ocsp-age", case, "answers of an hour, where less was asked")?;
    suite.add("nvidia-ocsp-good-age", all(&[("ocsp.max_age_seconds", "3_600")])?, "answers of an hour")?;
    let hold = CertificateStatus::Revoked { at: now.plus_seconds(-DAY), reason: Some(6) };
    let case = entry(made, |entry| entry.status = hold)?;
    let held = |allowed| profile(&[("ocsp.allow_hold", allowed)]);
    suite.add(
        "nvidia-ocsp-good-hold",
        case.clone().file("profile", held("true")),
        "on hold, which was allowed",
    )?;
    let case = case.file("profile", held("false")).refused(STAGE, "nvidia_ocsp_hold");
    suite.add("nvidia-ocsp-hold", case, "the provisioner's certificate is on hold")
}
