use crate::samples::{Bytes, children, folder, pem_certificates};
use anchorhold_attester::software::gpu::{
    Block, OpaqueField, SpdmReport, composite_device_id, device_name, dice_tcb_info, ocsp_access,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const SIGNATURE_BYTES: usize = 96;

/// Reports and PEM chains.
fn samples() -> Vec<(String, Vec<u8>, String)> {
    let Some(folder) = folder() else { return Vec::new() };
    let folder = folder.join("nvidia");
    let mut found = Vec::new();
    for name in
        ["hopper-535", "hopper-545-full", "hopper-560-badsig", "hopper-570", "blackwell-575", "switch-ls10"]
    {
        let report = std::fs::read(folder.join(name).join("report.bin")).unwrap();
        let chain = std::fs::read_to_string(folder.join(name).join("chain.pem")).unwrap();
        found.push((name.to_owned(), report, chain));
    }
    for name in ["hopper_evidence.json", "multi_gpu_hopper.json"] {
        let text = std::fs::read(folder.join("serialized").join(name)).unwrap();
        let list: serde_json::Value = serde_json::from_slice(&text).unwrap();
        for device in list.as_array().unwrap() {
            let field = |key: &str| STANDARD.decode(device[key].as_str().unwrap()).unwrap();
            let chain = String::from_utf8(field("certificate")).unwrap();
            found.push((name.to_owned(), field("evidence"), chain));
        }
    }
    assert_eq!(found.len(), 11);
    found
}

fn read_report(bytes: &mut Bytes<'_>) -> SpdmReport {
    let (request, nonce, slot) = (bytes.array(), bytes.array(), bytes.take(1)[0]);
    let response = bytes.array();
    let count = bytes.take(1)[0];
    let [low, middle, high] = bytes.array();
    let mut list = Bytes(bytes.take(u32::from_le_bytes([low, middle, high, 0]) as usize));
    let mut blocks = Vec::new();
    while !list.0.is_empty() {
        let (index, specification) = (list.take(1)[0], list.take(1)[0]);
        let length = list.u16().into();
        let mut measurement = Bytes(list.take(length));
        let kind = measurement.take(1)[0];
        let value_length = measurement.u16().into();
        let value = measurement.take(value_length).to_vec();
        assert!(measurement.0.is_empty());
        blocks.push(Block { index, specification, kind, value });
    }
    assert_eq!(blocks.len(), usize::from(count));
    let responder_nonce = bytes.array();
    let length = bytes.u16().into();
    let mut list = Bytes(bytes.take(length));
    let mut opaque = Vec::new();
    while !list.0.is_empty() {
        let kind = list.u16();
        let length = list.u16().into();
        opaque.push(OpaqueField { kind, value: list.take(length).to_vec() });
    }
    SpdmReport { request, nonce, slot, response, blocks, responder_nonce, opaque }
}

#[test]
fn real_reports_are_written_again_byte_for_byte() {
    for (name, report, _) in samples() {
        let mut bytes = Bytes(&report);
        let read = read_report(&mut bytes);
        assert!(bytes.0.len() >= SIGNATURE_BYTES, "{name}");
        assert!(read.encode() == report[..report.len() - bytes.0.len()], "{name}");
    }
}

/// The values of the extensions of a certificate, by the contents of their OID.
fn extensions(certificate: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let signed = children(children(children(certificate)[0].1)[0].1);
    let list = signed.iter().find(|(tag, _)| *tag == 0xa3).unwrap().1;
    let extension = |(_, contents): &(u8, &[u8])| {
        let parts = children(contents);
        (parts[0].1.to_vec(), parts.last().unwrap().1.to_vec())
    };
    children(children(list)[0].1).iter().map(extension).collect()
}

/// SubjectPublicKeyInfo, whole.
fn key_info(certificate: &[u8]) -> &[u8] {
    // The SEQUENCE of a P-384 key: 0x30, 0x76, and its 118 bytes, begun by the identifier of EC keys.
    const START: &[u8] = &[0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let at = certificate.windows(START.len()).position(|window| window == START).unwrap();
    &certificate[at..at + 120]
}

#[test]
fn real_extensions_are_written_again_byte_for_byte() {
    let mut forms = Vec::new();
    for (name, report, chain) in samples() {
        let chain = pem_certificates(&chain);
        let leaf = extensions(&chain[0]);
        let read = read_report(&mut Bytes(&report));
        let stated = read.opaque.iter().find(|field| field.kind == 20);
        let (id, value) = leaf.iter().find(|(id, _)| id.starts_with(&[0x67, 0x81, 0x05, 0x05])).unwrap();
        let written = if id.len() == 6 {
            composite_device_id(key_info(&chain[1]), &value[value.len() - 48..])
        } else {
            let stated = stated.unwrap();
            dice_tcb_info("NVIDIA", "GB100 A01 GSP", &stated.value)
        };
        assert_eq!((&written.id, &written.value), (id, value), "{name}");
        forms.push(id.len());

        let (_, san) = leaf.iter().find(|(id, _)| id == &[0x55, 0x1d, 0x11]).unwrap();
        let text = &san[san.len() - usize::from(san[1]) + 18..];
        assert_eq!(device_name(std::str::from_utf8(text).unwrap()).value, *san, "{name}");
        let access = ocsp_access("http://ocsp.ndis.nvidia.com");
        assert!(extensions(&chain[2]).contains(&(access.id, access.value)), "{name}");
    }
    if !forms.is_empty() {
        forms.sort_unstable();
        forms.dedup();
        assert_eq!(forms, [6, 7]);
    }
}
