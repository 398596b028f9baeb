use crate::samples::{Bytes, children, folder, pem_certificates};
use anchorhold_attester::software::tdx::{
    EnclaveReport, Event, EventDigest, EventLog, PlatformConfig, PlatformFlags, QeIdentity, QuoteFields,
    QuoteHeader, SgxExtension, SignatureData, TcbInfo, Td15, Td15Ex, TdBody, assemble, replay,
};
use std::path::PathBuf;

fn quotes() -> Vec<(PathBuf, Vec<u8>)> {
    let Some(folder) = folder() else { return Vec::new() };
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder.join("tdx"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("quote.bin"))
        .filter(|path| path.exists())
        .collect();
    found.push(folder.join("azure/tdx-vtpm/td-quote.bin"));
    assert!(found.len() >= 11, "{found:?}");
    found.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn read_header(bytes: &mut Bytes<'_>) -> QuoteHeader {
    QuoteHeader {
        version: bytes.u16(),
        attestation_key_type: bytes.u16(),
        tee_type: bytes.u32(),
        reserved: bytes.array(),
        qe_vendor: bytes.array(),
        user_data: bytes.array(),
    }
}

fn read_body(mut bytes: Bytes<'_>) -> TdBody {
    let mut body = TdBody {
        tee_tcb_svn: bytes.array(),
        mr_seam: bytes.array(),
        mr_signer_seam: bytes.array(),
        seam_attributes: bytes.u64(),
        attributes: bytes.u64(),
        xfam: bytes.u64(),
        mr_td: bytes.array(),
        mr_config_id: bytes.array(),
        mr_owner: bytes.array(),
        mr_owner_config: bytes.array(),
        rtmrs: [bytes.array(), bytes.array(), bytes.array(), bytes.array()],
        report_data: bytes.array(),
        td15: None,
        td15_ex: None,
    };
    if !bytes.0.is_empty() {
        body.td15 = Some(Td15 { tee_tcb_svn2: bytes.array(), mr_service_td: bytes.array() });
    }
    if !bytes.0.is_empty() {
        body.td15_ex = Some(Td15Ex {
            vm_id: bytes.take(1)[0],
            td_id: bytes.array(),
            device_info: bytes.array(),
            initial_service_td: (bytes.array(), bytes.u64()),
            initial_cpu_svn: bytes.array(),
            initial_tee_tcb_svn: bytes.array(),
            initial_fmspc: bytes.array(),
            current_service_td: (bytes.array(), bytes.u64()),
        });
    }
    assert!(bytes.0.is_empty());
    body
}

fn read_fields(bytes: &mut Bytes<'_>) -> QuoteFields {
    let header = read_header(bytes);
    let (body_type, length) = match header.version {
        4 => (None, 584),
        _ => (Some(bytes.u16()), bytes.u32() as usize),
    };
    QuoteFields { header, body_type, body: read_body(Bytes(bytes.take(length))) }
}

fn read_signature_data(mut bytes: Bytes<'_>) -> SignatureData {
    let signature = bytes.take(64).to_vec();
    let attestation_key = bytes.take(64).to_vec();
    let certification_type = bytes.u16();
    let mut inner = Bytes(bytes.sized());
    assert!(bytes.0.is_empty());
    let qe_report = inner.take(384).to_vec();
    let qe_report_signature = inner.take(64).to_vec();
    let auth_length = inner.u16().into();
    let auth_data = inner.take(auth_length).to_vec();
    let pck_type = inner.u16();
    let pck_data = inner.sized().to_vec();
    assert!(inner.0.is_empty());
    SignatureData {
        signature,
        attestation_key,
        certification_type,
        qe_report,
        qe_report_signature,
        auth_data,
        pck_type,
        pck_data,
    }
}

fn read_enclave(bytes: &[u8]) -> EnclaveReport {
    let mut bytes = Bytes(bytes);
    EnclaveReport {
        cpu_svn: bytes.array(),
        misc_select: bytes.array(),
        reserved1: bytes.array(),
        attributes: bytes.array(),
        mr_enclave: bytes.array(),
        reserved2: bytes.array(),
        mr_signer: bytes.array(),
        reserved3: bytes.array(),
        product_id: bytes.u16(),
        svn: bytes.u16(),
        reserved4: bytes.array(),
        report_data: bytes.array(),
    }
}

#[test]
fn real_quotes_are_written_again_byte_for_byte() {
    for (path, quote) in quotes() {
        let mut bytes = Bytes(&quote);
        let fields = read_fields(&mut bytes);
        let data = read_signature_data(Bytes(bytes.sized()));
        let padding = bytes.0;
        assert!(padding.iter().all(|byte| *byte == 0), "{}", path.display());
        let written = [assemble(&fields.encode(), &data), padding.to_vec()].concat();
        assert!(written == quote, "{}", path.display());
        assert!(read_enclave(&data.qe_report).encode() == data.qe_report, "{}", path.display());
    }
}

/// The value of the extension in the leaf of a real quote.
fn sgx_extension(quote: &[u8]) -> Vec<u8> {
    const ID: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01, 0x04];
    let der = &pem_certificates(&String::from_utf8_lossy(quote))[0];
    let at = der.windows(ID.len()).position(|window| window == ID).unwrap() + ID.len() - 1;
    // The OCTET STRING, and the certificate's remains after it.
    let mut bytes = Bytes(&der[at..]);
    assert_eq!(bytes.array(), [0x04, 0x82]);
    let length = u16::from_be_bytes(bytes.array());
    bytes.take(length.into()).to_vec()
}

#[test]
fn real_pck_extensions_are_written_again_byte_for_byte() {
    for (path, quote) in quotes() {
        let extension = sgx_extension(&quote);
        let list = children(children(&extension)[0].1);
        let value = |index: usize| children(list[index].1)[1].1;
        let components = children(value(1));
        let component = |index: usize| children(components[index].1)[1].1;
        let pce_svn = component(16).iter().fold(0, |sum: u16, byte| sum << 8 | u16::from(*byte));
        assert_eq!(list.len(), 7, "{}", path.display());
        let flags: Vec<bool> =
            children(value(6)).iter().map(|flag| children(flag.1)[1].1 == [0xff]).collect();
        let platform = PlatformConfig {
            fmspc: value(3).try_into().unwrap(),
            pce_id: value(2).try_into().unwrap(),
            ppid: value(0).try_into().unwrap(),
            components: std::array::from_fn(|index| *component(index).last().unwrap()),
            pce_svn,
            sgx_type: value(4)[0],
            platform_instance_id: Some(value(5).try_into().unwrap()),
            flags: Some(PlatformFlags {
                dynamic_platform: flags[0],
                cached_keys: flags[1],
                smt_enabled: flags[2],
            }),
        };
        assert_eq!(SgxExtension::of(&platform).extension().value, extension, "{}", path.display());
    }
}

#[test]
fn real_collateral_texts_are_written_again_byte_for_byte() {
    let Some(folder) = folder() else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.join("tdx")).unwrap() {
        for name in ["collateral.json", "collateral-2025.json"] {
            let path = entry.as_ref().unwrap().path().join(name);
            let Ok(text) = std::fs::read(&path) else { continue };
            let collateral: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let signed = |key: &str| collateral[key].as_str().unwrap().to_owned();
            let tcb_info: TcbInfo = serde_json::from_str(&signed("tcb_info")).unwrap();
            assert_eq!(tcb_info.text().unwrap(), signed("tcb_info"), "{}", path.display());
            let identity: QeIdentity = serde_json::from_str(&signed("qe_identity")).unwrap();
            assert_eq!(identity.text().unwrap(), signed("qe_identity"), "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen}");
}

fn read_log(log: &[u8]) -> EventLog {
    let mut bytes = Bytes(log);
    let mut header = bytes.take(28).to_vec();
    let identity = bytes.sized();
    header.extend(u32::try_from(identity.len()).unwrap().to_le_bytes());
    header.extend(identity);
    let mut events = Vec::new();
    while ![&[0xff; 8], &[0; 8]].iter().any(|padding| bytes.0.starts_with(*padding)) {
        let (register, kind) = (bytes.u32(), bytes.u32());
        let digests = (0..bytes.u32())
            .map(|_| {
                let algorithm = bytes.u16();
                assert_eq!(algorithm, 0x0c);
                EventDigest { algorithm, bytes: bytes.take(48).to_vec() }
            })
            .collect();
        events.push(Event { register, kind, digests, data: bytes.sized().to_vec() });
    }
    EventLog { header, events, padding: bytes.0.to_vec() }
}

#[test]
fn real_event_logs_are_written_again_byte_for_byte_and_replay() {
    let Some(folder) = folder() else { return };
    for (name, quote) in [
        ("tdx/v4-gcp-cos113/ccel-data.dat", Some(("tdx/v4-gcp-cos113/quote.bin", 4))),
        // The run time of this guest extended RTMR2 again.
        ("tdx/v4-preprod-root/ccel_data.bin", Some(("tdx/v4-preprod-root/quote.bin", 2))),
        ("ccel/CCEL_AAEL_alibabacloud", None),
        ("ccel/CCEL_data_grub", None),
        ("ccel/CCEL_data_ovmf", None),
    ] {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let log = read_log(&bytes);
        assert!(log.events.len() > 10 && log.encode() == bytes, "{name}");
        assert_eq!(log.header, EventLog::new(Vec::new()).header, "{name}");
        if let Some((quote, registers)) = quote {
            let quote = std::fs::read(folder.join(quote)).unwrap();
            let fields = read_fields(&mut Bytes(&quote));
            assert_eq!(replay(&log.events)[..registers], fields.body.rtmrs[..registers], "{name}");
        }
    }
}

#[test]
fn events_of_real_logs_digest_what_the_builders_digest() {
    let Some(folder) = folder() else { return };
    let bytes = std::fs::read(folder.join("tdx/v4-gcp-cos113/ccel-data.dat")).unwrap();
    let real = read_log(&bytes).events;
    let global = real[2].data[..16].try_into().unwrap();
    for built in [
        Event::separator(1),
        Event::separator(2),
        Event::action(2, "Calling EFI Application from Boot Option"),
        Event::action(2, "Exit Boot Services Returned with Success"),
        Event::variable(0x8000_0001, global, "SecureBoot", &[0]),
        Event::loader_text("grub_cmd: ", "set timeout=0"),
    ] {
        assert!(real.contains(&built), "{built:?}");
    }
}
