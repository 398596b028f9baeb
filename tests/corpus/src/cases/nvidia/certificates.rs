//! What the certificates of a device say, signed by whoever should sign them.

use super::{Edit, Made, at};
use crate::writer::Suite;
use anchorhold_attester::software::certificate::{
    COMMON_NAME, COUNTRY, Extension, ORGANIZATION, SERIAL_NUMBER, Template, name_of,
};
use anchorhold_attester::software::gpu::{DeviceTemplates, composite_device_id, dice_tcb_info, nvidia_name};
use anchorhold_attester::software::{Curve, SigningKey};
use anchorhold_rats::Timestamp;

/// Last arcs of extensions below 2.5.29.
const SUBJECT_KEY: u8 = 0x0e;
/// 2.23.133.5.4.1, as Hopper certifies its firmware.
const DICE: &[u8] = &[0x67, 0x81, 0x05, 0x05, 0x04, 0x01];

pub(super) fn write(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    links(suite, made)?;
    authority(suite, made)?;
    names(suite, made)?;
    validity(suite, made)?;
    firmware(suite, made)
}

fn add(
    suite: &mut Suite,
    made: &Made,
    (stage, code): (&'static str, &'static str),
    edits: &[(&str, Edit<DeviceTemplates>, &str)],
) -> anyhow::Result<()> {
    for (id, edit, why) in edits {
        let case = made.certified(edit)?.refused(stage, code);
        suite.add(format!("nvidia-{id}"), case, *why)?;
    }
    Ok(())
}

fn links(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let other = || nvidia_name("NVIDIA GH100 Provisioner ICA 2");
    let edits: [(&str, Edit<DeviceTemplates>, &str); 2] = [
        (
            "leaf-issuer",
            |t| t.attestation_key.issuer = nvidia_name("GH100 A01 GSP BROM"),
            "it names another issuer",
        ),
        (
            "identity-issuer",
            |t| t.identity.issuer = nvidia_name("NVIDIA Device Identity CA"),
            "it names another root",
        ),
    ];
    add(suite, made, ("chain", "nvidia_certificate_issuer"), &edits)?;
    let case = made.certified(|t| t.brom.issuer = other())?;
    suite.add(
        "nvidia-brom-issuer",
        case.refused("chain", "nvidia_certificate_issuer"),
        "it names another provisioner",
    )?;
    let edits: [(&str, Edit<DeviceTemplates>, &str); 3] = [
        (
            "leaf-key-identifier",
            |t| put(&mut t.attestation_key, Extension::authority_key(&[7; 20])),
            "it names another key of its issuer",
        ),
        (
            "identity-key-identifier",
            |t| put(&mut t.identity, Extension::authority_key(&[7; 20])),
            "it names another key of the root",
        ),
        (
            "brom-no-key-identifier",
            |t| t.brom.extensions.retain(|extension| extension.id != [0x55, 0x1d, SUBJECT_KEY]),
            "the key that the leaf names is nobody's",
        ),
    ];
    add(suite, made, ("chain", "nvidia_key_identifier"), &edits)?;
    let edits: [(&str, Edit<DeviceTemplates>, &str); 1] = [(
        "brom-algorithm",
        |t| t.brom.algorithm = Curve::P256.signature_algorithm(),
        "it claims SHA-256 for a signature with SHA-384",
    )];
    add(suite, made, ("chain", "nvidia_certificate_signature"), &edits)?;
    let key = SigningKey::generate(Curve::P256)?;
    let case = made.certified(|t| t.attestation_key.public_key_info = key.key_info())?;
    suite.add("nvidia-leaf-p256", case.refused("chain", "nvidia_certificate_key"), "its key is on P-256")
}

fn authority(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let edits: [(&str, Edit<DeviceTemplates>, &str); 7] = [
        ("leaf-ca", |t| put(&mut t.attestation_key, Extension::authority(None)), "it is a CA"),
        ("leaf-usage", |t| put(&mut t.attestation_key, Extension::key_usage(0x40)), "it may not sign data"),
        (
            "leaf-signs-certificates",
            |t| put(&mut t.attestation_key, Extension::key_usage(0x84)),
            "it may sign certificates",
        ),
        ("brom-no-ca", |t| put(&mut t.brom, Extension::end_entity()), "it is no CA"),
        (
            "identity-usage",
            |t| put(&mut t.identity, Extension::key_usage(0x02)),
            "it may sign revocation lists only",
        ),
        (
            "provisioner-path",
            |t| put(&mut t.provisioner, Extension::authority(Some(0))),
            "it allows no CA below it, and the BROM is one",
        ),
        (
            "identity-path",
            |t| put(&mut t.identity, Extension::authority(Some(1))),
            "it allows one CA below it, and there are two",
        ),
    ];
    add(suite, made, ("chain", "nvidia_certificate_authority"), &edits)
}

fn names(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let edits: [(&str, Edit<DeviceTemplates>, &str); 4] = [
        (
            "role-leaf-chip",
            |t| t.attestation_key.subject = name_of(&[(COMMON_NAME, "GB100 A01 GSP FMC LF")]),
            "the attestation key is of another chip",
        ),
        (
            "role-leaf-engine",
            |t| t.attestation_key.subject = name_of(&[(COMMON_NAME, "GH100 A01 FSP FMC LF")]),
            "the attestation key is of another engine",
        ),
        (
            "role-provisioner",
            |t| {
                t.provisioner.subject = nvidia_name("NVIDIA GB100 Provisioner ICA 1");
                t.brom.issuer = t.provisioner.subject.clone();
            },
            "the provisioner is of another chip",
        ),
        (
            "role-identity",
            |t| {
                t.identity.subject = nvidia_name("NVIDIA GH100 Provisioner ICA 1");
                t.provisioner.issuer = t.identity.subject.clone();
            },
            "a provisioner stands in the place of the identity CA",
        ),
    ];
    add(suite, made, ("chain", "nvidia_certificate_role"), &edits)?;
    let edits: [(&str, Edit<DeviceTemplates>, &str); 1] = [(
        "architecture-unknown",
        |t| {
            brom(t, "415A01020304050607", "GR100 A01 GSP BROM");
            t.attestation_key.subject = name_of(&[(COMMON_NAME, "GR100 A01 GSP FMC LF")]);
            t.provisioner.subject = nvidia_name("NVIDIA GR100 Provisioner ICA 1");
            t.brom.issuer = t.provisioner.subject.clone();
        },
        "a whole good chain of a chip that is not known",
    )];
    add(suite, made, ("identity", "nvidia_architecture_unknown"), &edits)?;
    let name = "GH100 A01 GSP BROM";
    for (id, serial) in [
        ("switch", "505A01020304050607"),
        ("lower-case", "415a01020304050607"),
        ("short", "415A010203040506"),
        ("not-hex", "415A0102030405060G"),
    ] {
        let case = made.certified(|t| brom(t, serial, name))?.refused("identity", "nvidia_device_identity");
        suite.add(format!("nvidia-serial-{id}"), case, "no serial number of a GPU")?;
    }
    Ok(())
}

fn validity(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let code = "nvidia_certificate_validity";
    let moment = at()?;
    let case = made.certified(|t| t.attestation_key.not_after = moment.plus_seconds(-1))?;
    suite.add("nvidia-leaf-expired", case.refused("chain", code), "it was valid until a second before")?;
    let case = made.certified(|t| t.identity.not_before = moment.plus_seconds(1))?;
    suite.add("nvidia-identity-early", case.refused("chain", code), "it is valid from a second after")?;
    let case = made.certified(|t| t.brom.not_after = moment)?;
    suite.add("nvidia-good-last-second", case, "the last second of a certificate")?;
    let early = Timestamp::from_unix_seconds(1_602_892_799);
    let case = made.case().at(early).refused("chain", code);
    suite.add("nvidia-before-validity", case, "judged for a time before all certificates")
}

fn firmware(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    let edits: [(&str, Edit<DeviceTemplates>, &str); 4] = [
        (
            "fwid-none",
            |t| t.attestation_key.extensions.retain(|extension| extension.id != DICE),
            "no firmware identity is certified",
        ),
        ("fwid-zero", |t| firmware_of(t, &[0; 48]), "the certified firmware identity is zero"),
        ("fwid-sha256", |t| firmware_of(t, &[1; 32]), "the certified firmware identity has 32 bytes"),
        (
            "fwid-both",
            |t| t.attestation_key.extensions.push(dice_tcb_info("SIMULATED", "GH100 A01 GSP", &[1; 48])),
            "two firmware identities in two forms",
        ),
    ];
    add(suite, made, ("identity", "nvidia_fwid_certified"), &edits)
}

/// Certifies other firmware.
fn firmware_of(templates: &mut DeviceTemplates, digest: &[u8]) {
    let key = templates.brom.public_key_info.clone();
    put(&mut templates.attestation_key, composite_device_id(&key, digest));
}

/// Renames the BROM, as whom the leaf names its issuer.
fn brom(templates: &mut DeviceTemplates, serial: &str, common_name: &str) {
    let name = name_of(&[
        (SERIAL_NUMBER, serial),
        (COUNTRY, "XX"),
        (ORGANIZATION, "Anchorhold SIMULATED"),
        (COMMON_NAME, common_name),
    ]);
    templates.brom.subject.clone_from(&name);
    templates.attestation_key.issuer = name;
}

/// Puts an extension into the place of the one of its kind, or behind the others.
fn put(template: &mut Template, extension: Extension) {
    match template.extensions.iter_mut().find(|known| known.id == extension.id) {
        Some(known) => *known = extension,
        None => template.extensions.push(extension),
    }
}
