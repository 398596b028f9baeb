//! Devices under a root of these tests, open enough to make bad ones: certificates, reports and OCSP responses.

use crate::support::at;
use anchorhold_rats::{Der, GpuEvidence, Nonce, Timestamp};
use anchorhold_verifier::{TrustAnchors, dangerous};
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
};
use std::sync::{Arc, LazyLock};

pub(crate) const NONCE: Nonce = Nonce::new([0x5a; 32]);
pub(crate) const ECDSA_SHA384: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03";
const EC_P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
const SHA384: &[u8] = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02";

/// The time of all forged evidence.
pub(crate) fn now() -> Timestamp {
    at("2026-07-25T00:00:00Z")
}

fn le16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap().to_le_bytes()
}

/// One DER value.
pub(crate) fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let [low, high] = le16(length);
    let mut out = match length {
        0..=0x7f => vec![tag, low],
        0x80..=0xff => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(contents);
    out
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    let pad = if bytes[0] >= 0x80 { &[0][..] } else { &[] };
    tlv(2, &[pad, bytes].concat())
}

pub(crate) fn time(at: Timestamp) -> Vec<u8> {
    let text: String = at.to_string().chars().filter(|c| !matches!(c, '-' | ':' | 'T')).collect();
    tlv(0x18, text.as_bytes())
}

pub(crate) fn new_key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap()
}

/// A key that signs certificates and, as r and s, reports.
pub(crate) struct ReportKey {
    pub(crate) asn1: EcdsaKeyPair,
    pub(crate) fixed: EcdsaKeyPair,
}

impl ReportKey {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &random).unwrap();
        let pair = |with| EcdsaKeyPair::from_pkcs8(with, pkcs8.as_ref(), &random).unwrap();
        Self { asn1: pair(&ECDSA_P384_SHA384_ASN1_SIGNING), fixed: pair(&ECDSA_P384_SHA384_FIXED_SIGNING) }
    }
}

pub(crate) fn key_info(key: &EcdsaKeyPair) -> Vec<u8> {
    sequence(&[EC_P384, &tlv(3, &[&[0], key.public_key().as_ref()].concat())])
}

/// A name with a common name, after a serial number where there is one.
pub(crate) fn name(serial: Option<&str>, common: &str) -> Vec<u8> {
    let attribute =
        |id: u8, text: &str| tlv(0x31, &sequence(&[&tlv(6, &[0x55, 0x04, id]), &tlv(0x0c, text.as_bytes())]));
    let serial = serial.map(|serial| attribute(5, serial)).unwrap_or_default();
    sequence(&[&serial, &attribute(3, common)])
}

pub(crate) type Extension = (Vec<u8>, bool, Vec<u8>);

/// What is signed in a certificate.
#[derive(Clone)]
pub(crate) struct Template {
    pub(crate) serial: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) validity: (Timestamp, Timestamp),
    pub(crate) key_info: Vec<u8>,
    pub(crate) extensions: Vec<Extension>,
}

impl Template {
    pub(crate) fn new(
        subject: Vec<u8>,
        key: &EcdsaKeyPair,
        issuer: Vec<u8>,
        extensions: Vec<Extension>,
    ) -> Self {
        let validity = (at("2022-01-01T00:00:00Z"), at("9999-12-31T23:59:59Z"));
        let serial = digest::digest(&digest::SHA256, &subject).as_ref()[..8].to_vec();
        Self {
            serial: [&[1], serial.as_slice()].concat(),
            issuer,
            subject,
            validity,
            key_info: key_info(key),
            extensions,
        }
    }

    pub(crate) fn sign(&self, signer: &EcdsaKeyPair) -> Vec<u8> {
        let extensions: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|(id, critical, value)| {
                let critical = if *critical { vec![1, 1, 0xff] } else { vec![] };
                sequence(&[&tlv(6, id), &critical, &tlv(4, value)])
            })
            .collect();
        let signed = sequence(&[
            &tlv(0xa0, &[2, 1, 2]),
            &integer(&self.serial),
            ECDSA_SHA384,
            &self.issuer,
            &sequence(&[&time(self.validity.0), &time(self.validity.1)]),
            &self.subject,
            &self.key_info,
            &tlv(0xa3, &sequence(&[&extensions])),
        ]);
        let signature = signer.sign(&SystemRandom::new(), &signed).unwrap();
        sequence(&[&signed, ECDSA_SHA384, &tlv(3, &[&[0], signature.as_ref()].concat())])
    }

    /// Takes the extension with this id away.
    pub(crate) fn without(&mut self, id: &[u8]) {
        self.extensions.retain(|(known, ..)| known != id);
    }

    /// Puts another value into the extension with this id, or adds it.
    pub(crate) fn set(&mut self, id: &[u8], value: Vec<u8>) {
        self.without(id);
        self.extensions.push((id.to_vec(), false, value));
    }
}

pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
pub(crate) const SUBJECT_KEY: &[u8] = &[0x55, 0x1d, 0x0e];
pub(crate) const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
pub(crate) const COMPOSITE: &[u8] = &[0x67, 0x81, 0x05, 0x05, 0x04, 0x01];
pub(crate) const TCB_INFO: &[u8] = &[0x67, 0x81, 0x05, 0x05, 0x04, 0x01, 0x01];

pub(crate) fn ca() -> Vec<Extension> {
    vec![
        (BASIC_CONSTRAINTS.to_vec(), true, sequence(&[&[1, 1, 0xff]])),
        (KEY_USAGE.to_vec(), true, vec![3, 2, 1, 6]),
    ]
}

pub(crate) fn signs_data() -> Extension {
    (KEY_USAGE.to_vec(), true, vec![3, 2, 7, 0x80])
}

/// What stands above every device.
pub(crate) struct Authority {
    pub(crate) root: EcdsaKeyPair,
    pub(crate) root_template: Template,
    pub(crate) root_der: Vec<u8>,
    pub(crate) identity: EcdsaKeyPair,
    pub(crate) identity_template: Template,
    pub(crate) provisioner: EcdsaKeyPair,
    brom: EcdsaKeyPair,
    pub(crate) rim_root: EcdsaKeyPair,
    pub(crate) rim_root_template: Template,
    pub(crate) rim_root_der: Vec<u8>,
    pub(crate) rim_signer: ReportKey,
}

pub(crate) static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let (root, identity) = (new_key(), new_key());
    let root_name = name(None, "Simulated NVIDIA Device Identity CA");
    let root_template = Template::new(root_name.clone(), &root, root_name.clone(), ca());
    let identity_name = name(None, "NVIDIA GH100 Identity");
    let rim_root = new_key();
    let rim_name = rim_root_name();
    let rim_root_template = Template::new(rim_name.clone(), &rim_root, rim_name, ca());
    Authority {
        root_der: root_template.sign(&root),
        root_template,
        identity_template: Template::new(identity_name, &identity, root_name, ca()),
        root,
        identity,
        provisioner: new_key(),
        brom: new_key(),
        rim_root_der: rim_root_template.sign(&rim_root),
        rim_root_template,
        rim_root,
        rim_signer: ReportKey::new(),
    }
});

pub(crate) fn rim_root_name() -> Vec<u8> {
    name(None, "Simulated NVIDIA CoRIM signing Root CA")
}

/// The forged roots for devices and manifests.
pub(crate) fn anchors() -> TrustAnchors {
    let roots = dangerous::SimulatedRoots {
        nvidia_device: Some(&AUTHORITY.root_der),
        nvidia_rim: Some(&AUTHORITY.rim_root_der),
        ..Default::default()
    };
    dangerous::simulated_anchors(&roots).unwrap()
}

/// A device before it signs. All of it may be changed.
pub(crate) struct Device {
    pub(crate) key: Arc<ReportKey>,
    /// From the attestation key to the identity certificate, as templates.
    pub(crate) chain: [Template; 4],
    pub(crate) root: Vec<u8>,
    pub(crate) request: [u8; 4],
    pub(crate) nonce: Nonce,
    pub(crate) slot: u8,
    pub(crate) response: [u8; 4],
    pub(crate) count: Option<u8>,
    pub(crate) blocks: Vec<Vec<u8>>,
    pub(crate) fields: Vec<(u16, Vec<u8>)>,
    pub(crate) opaque_tail: Vec<u8>,
    pub(crate) signature: Option<Vec<u8>>,
    pub(crate) tail: Vec<u8>,
}

pub(crate) fn block(index: u8, value: &[u8]) -> Vec<u8> {
    let [low, high] = le16(value.len());
    let [size, size_high] = le16(value.len() + 3);
    [&[index, 1, size, size_high, 1, low, high], value].concat()
}

pub(crate) fn fwid() -> [u8; 48] {
    [0xf1; 48]
}

pub(crate) fn fwid_der(digest: &[u8]) -> Vec<u8> {
    sequence(&[SHA384, &tlv(4, digest)])
}

impl Device {
    /// A Hopper GPU with this identity, in single mode.
    pub(crate) fn gpu(pdi: u64) -> Self {
        let text = |text: &str| [text.as_bytes(), &[0]].concat();
        let fields = vec![
            (6, vec![0x00, 0xa5, 0x00, 0x96, 0x01, 0, 0, 0]),
            (14, vec![1, 2, 3, 4]),
            (15, text("885")),
            (17, text("G520")),
            (18, text("0200")),
            (3, text("590.12")),
            (12, vec![0; 256]),
            (11, vec![0x55]),
            (20, fwid().to_vec()),
            (21, vec![0x55]),
            (34, vec![1, 0]),
            (36, vec![0, 0]),
        ];
        Self::new("GH100", ("GSP", "41"), pdi, fields, 64)
    }

    /// A switch with this identity, linked to these GPUs.
    pub(crate) fn switch(pdi: u64, gpus: &[u64]) -> Self {
        let mut links = [0_u8; 128];
        for (slot, gpu) in links.chunks_mut(8).zip(gpus) {
            slot.copy_from_slice(&gpu.to_be_bytes());
        }
        let fields = vec![
            (6, b"96.10.55.00.01".to_vec()),
            (22, pdi.to_be_bytes().to_vec()),
            (26, links.to_vec()),
            (23, vec![0xec, 0]),
            (24, vec![2, 0]),
            (25, vec![1, 0]),
        ];
        Self::new("LS_10", ("FSP", "50"), pdi, fields, 31)
    }

    fn new(chip: &str, engine: (&str, &str), pdi: u64, fields: Vec<(u16, Vec<u8>)>, blocks: u8) -> Self {
        let authority = &AUTHORITY;
        let (engine, prefix) = engine;
        let key = Arc::new(ReportKey::new());
        let serial = format!("{prefix}{pdi:016X}");
        let brom = name(Some(&serial), &format!("{chip} A01 {engine} BROM"));
        let provisioner = name(None, &format!("NVIDIA {chip} Provisioner ICA 1"));
        let leaf = name(Some("00"), &format!("{chip} A01 {engine} FMC LF"));
        let identity = authority.identity_template.clone();
        let composite = sequence(&[&[2, 1, 1], &key_info(&authority.brom), &fwid_der(&fwid())]);
        let extensions = vec![signs_data(), (COMPOSITE.to_vec(), false, composite)];
        Self {
            chain: [
                Template::new(leaf, &key.asn1, brom.clone(), extensions),
                Template::new(brom, &authority.brom, provisioner.clone(), ca()),
                Template::new(provisioner, &authority.provisioner, identity.subject.clone(), ca()),
                identity,
            ],
            key,
            root: authority.root_der.clone(),
            request: [0x11, 0xe0, 1, 0xff],
            nonce: NONCE,
            slot: 0,
            response: [0x11, 0x60, 0, 0],
            count: None,
            blocks: (1..=blocks).map(|index| block(index, &[index; 48])).collect(),
            fields,
            opaque_tail: vec![],
            signature: None,
            tail: vec![],
        }
    }

    /// Puts another value into a field, or adds it.
    pub(crate) fn set(mut self, field: u16, value: &[u8]) -> Self {
        self.fields.retain(|(known, _)| *known != field);
        self.fields.push((field, value.to_vec()));
        self
    }

    /// Takes a field away.
    pub(crate) fn without(mut self, field: u16) -> Self {
        self.fields.retain(|(known, _)| *known != field);
        self
    }

    /// The GPU in protected PCIe mode, linked to these switches at all its ports.
    pub(crate) fn linked(self, switches: &[u64]) -> Self {
        let links: Vec<u8> = switches.iter().cycle().take(18).flat_map(|pdi| pdi.to_le_bytes()).collect();
        self.set(21, &[0xaa]).set(36, &[2, 0]).set(22, &links)
    }

    pub(crate) fn report(&self) -> Vec<u8> {
        let blocks = self.blocks.concat();
        let length = u32::try_from(blocks.len()).unwrap().to_le_bytes();
        let opaque: Vec<u8> = self
            .fields
            .iter()
            .flat_map(|(kind, value)| [&kind.to_le_bytes()[..], &le16(value.len()), value].concat())
            .chain(self.opaque_tail.iter().copied())
            .collect();
        let count = self.count.unwrap_or(u8::try_from(self.blocks.len()).unwrap());
        let mut report = [
            &self.request[..],
            self.nonce.as_bytes(),
            &[self.slot],
            &self.response,
            &[count],
            &length[..3],
            &blocks,
            &[0x77; 32],
            &le16(opaque.len()),
            &opaque,
        ]
        .concat();
        let signature = self.key.fixed.sign(&SystemRandom::new(), &report).unwrap();
        report.extend(self.signature.as_deref().unwrap_or(signature.as_ref()));
        report.extend(&self.tail);
        report
    }

    pub(crate) fn certificates(&self) -> Vec<Der> {
        let authority = &AUTHORITY;
        let signers = [&authority.brom, &authority.provisioner, &authority.identity, &authority.root];
        let signed = self.chain.iter().zip(signers).map(|(template, signer)| Der(template.sign(signer)));
        signed.chain([Der(self.root.clone())]).collect()
    }

    pub(crate) fn evidence(&self) -> GpuEvidence {
        GpuEvidence { report: self.report(), certificates: self.certificates() }
    }
}
