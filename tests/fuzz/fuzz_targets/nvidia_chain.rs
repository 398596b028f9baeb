//! Certificates of devices and of signers of manifests with any fields, signed again by their issuers: what is accepted
//! has the names, keys, authority, times and firmware identity that make it a chain of NVIDIA's.
#![no_main]

use anchorhold_attester::software::certificate::Template;
use anchorhold_attester::software::gpu::{
    DeviceTemplates, Edition, GpuDevice, NvidiaRoot, RimSigner, RimTemplates,
};
use anchorhold_fuzz::edit::Script;
use anchorhold_fuzz::{accepted, assert_named, made, now};
use anchorhold_verifier::nvidia::{self, Input, rim};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::sync::LazyLock;

thread_local! {
    // With what their certificates say when they are good.
    static DEVICE: RefCell<(GpuDevice, DeviceTemplates)> = RefCell::new({
        let device = made::gpu();
        let good = device.templates().clone();
        (device, good)
    });
    static SIGNER: RefCell<(RimSigner, RimTemplates)> = RefCell::new({
        let signer = made::rim_signer();
        let good = signer.templates().clone();
        (signer, good)
    });
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| made::rim_document(Edition::Driver));

/// Extensions that may be critical: their contents are judged, or forbid nothing.
const KNOWN: [&[u8]; 7] = [
    &[0x55, 0x1d, 0x0e],
    &[0x55, 0x1d, 0x0f],
    &[0x55, 0x1d, 0x11],
    &[0x55, 0x1d, 0x13],
    &[0x55, 0x1d, 0x1f],
    &[0x55, 0x1d, 0x23],
    &[0x55, 0x1d, 0x25],
];
const DICE: [u8; 6] = [0x67, 0x81, 0x05, 0x05, 0x04, 0x01];

/// Changes fields of one certificate.
fn change(script: &mut Script<'_>, template: &mut Template) {
    let seconds = |script: &mut Script<'_>| i64::from(i16::from_le_bytes([script.byte(), script.byte()]));
    match script.byte() % 12 {
        0 => script.edit_once(&mut template.serial),
        1 => script.edit_once(&mut template.algorithm),
        2 => script.edit_once(&mut template.issuer),
        3 => script.edit_once(&mut template.subject),
        4 => template.not_before = now().plus_seconds(seconds(script)),
        5 => template.not_after = now().plus_seconds(seconds(script)),
        6 => script.edit_once(&mut template.public_key_info),
        kind => {
            let at = script.below(template.extensions.len());
            match (kind, template.extensions.get_mut(at)) {
                (7, Some(extension)) => extension.critical = !extension.critical,
                (8, Some(extension)) => script.edit_once(&mut extension.id),
                (9, Some(_)) => drop(template.extensions.remove(at)),
                (10, Some(extension)) => {
                    let twice = extension.clone();
                    template.extensions.push(twice);
                }
                (_, Some(extension)) => script.edit_once(&mut extension.value),
                (_, None) => {}
            }
        }
    }
}

/// What must hold of an accepted chain, leaf first and without its root, whose good form is `good`.
fn assert_chain(chain: &[&Template], good: &[&Template], root: &[u8]) {
    for (at, (template, good)) in chain.iter().zip(good).enumerate() {
        let issuer = chain.get(at + 1).map_or(root, |issuer| issuer.subject.as_slice());
        assert_eq!(template.issuer, issuer, "another issuer");
        assert_eq!(template.public_key_info, good.public_key_info, "another key");
        assert_eq!(template.algorithm, good.algorithm, "another algorithm");
        assert!(template.not_before <= now() && now() <= template.not_after, "outside its validity");
        for (index, extension) in template.extensions.iter().enumerate() {
            let known = KNOWN.contains(&extension.id.as_slice()) || extension.id.starts_with(&DICE[..5]);
            assert!(known || !extension.critical, "an unknown critical extension");
            let twice = template.extensions[..index].iter().any(|other| other.id == extension.id);
            assert!(!twice, "an extension that stands twice");
        }
        let value = |template: &Template, id: &[u8]| {
            template
                .extensions
                .iter()
                .find(|extension| extension.id == id)
                .map(|extension| extension.value.clone())
        };
        // Each certificate above the leaf says that it is a CA.
        let constraints = value(template, KNOWN[3]);
        let is_ca = constraints.is_some_and(|value| value.get(2..5) == Some(&[0x01, 0x01, 0xff]));
        assert_eq!(is_ca, at > 0, "the place of a CA");
        if at == 0 {
            assert_eq!(value(template, &DICE), value(good, &DICE), "another firmware identity");
        }
    }
}

fn device(script: &mut Script<'_>, device: &mut GpuDevice, good: &DeviceTemplates) {
    let mut templates = good.clone();
    for _ in 0..=script.byte() % 3 {
        let template = match script.byte() % 4 {
            0 => &mut templates.attestation_key,
            1 => &mut templates.brom,
            2 => &mut templates.provisioner,
            _ => &mut templates.identity,
        };
        change(script, template);
    }
    device.certify(templates.clone()).expect("signatures");
    let evidence = device.evidence(&made::NONCE).expect("evidence");
    let input = Input { devices: &[evidence], rims: &[], ocsp: &[] };
    let Some(authentic) = accepted(nvidia::authenticate(&input, &made::ANCHORS, now())) else { return };
    assert_named(authentic.checks());
    let chain = [&templates.attestation_key, &templates.brom, &templates.provisioner, &templates.identity];
    let good = [&good.attestation_key, &good.brom, &good.provisioner, &good.identity];
    assert_chain(&chain, &good, &NvidiaRoot::Device.name());
    assert!(chain.iter().all(|template| authentic.expires() <= template.not_after), "lasts too long");
    // The identity is what the BROM's name says.
    let pdi = authentic.claims()[0].pdi().to_string().to_uppercase();
    let says = |text: &str| templates.brom.subject.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(says(&pdi), "another identity than the BROM's name");
}

fn signer(script: &mut Script<'_>, signer: &mut RimSigner, good: &RimTemplates) {
    let mut templates = good.clone();
    for _ in 0..=script.byte() % 3 {
        let template = match script.byte() % 3 {
            0 => &mut templates.signer,
            1 => &mut templates.third,
            _ => &mut templates.second,
        };
        change(script, template);
    }
    signer.certify(templates.clone()).expect("signatures");
    let manifest = signer.sign(&DOCUMENT).expect("a signature");
    let Some(authentic) = accepted(rim::authenticate(&manifest, &made::ANCHORS, now())) else { return };
    assert_named(authentic.checks());
    let chain = [&templates.signer, &templates.third, &templates.second];
    assert_chain(&chain, &[&good.signer, &good.third, &good.second], &NvidiaRoot::Rim.name());
    assert!(chain.iter().all(|template| authentic.expires() <= template.not_after), "lasts too long");
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    match script.byte() % 3 {
        0 => SIGNER.with_borrow_mut(|(known, good)| signer(&mut script, known, good)),
        _ => DEVICE.with_borrow_mut(|(known, good)| device(&mut script, known, good)),
    }
});
