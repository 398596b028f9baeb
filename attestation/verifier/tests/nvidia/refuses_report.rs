//! Refusals of the stages parse, signature and identity. Each report passes unchanged except for one value, and is signed
//! after the change.

use crate::forge::*;
use crate::support::*;
use anchorhold_rats::GpuEvidence;
use anchorhold_verifier::nvidia::Report;

/// The codes with which this device is refused.
fn refusal(device: &Device) -> Vec<String> {
    failed(judge(&[device.evidence()], &anchors(), now()))
}

fn gpu() -> Device {
    Device::gpu(0x0102_0304_0506_0708)
}

#[test]
fn accepts_the_controls() {
    assert_eq!(refusal(&gpu()), [""; 0]);
    assert_eq!(refusal(&Device::switch(9, &[1, 2])), [""; 0]);
}

#[test]
fn writing_what_was_read_from_a_real_report_gives_its_bytes() {
    for folder in ["hopper-535", "hopper-570", "hopper-560-badsig", "blackwell-575", "switch-ls10"] {
        let Some(GpuEvidence { report: bytes, .. }) = device(folder) else { return };
        let report = Report::parse(&bytes).unwrap();
        let mut writer = gpu();
        writer.nonce = report.nonce;
        writer.blocks = report.measurements.iter().map(|(index, value)| block(*index, value)).collect();
        writer.fields.clear();
        writer.opaque_tail = report.opaque.clone();
        writer.signature = Some(report.signature.to_vec());
        let mut written = writer.report();
        let nonce = report.opaque_offset - 2 - 32;
        written[nonce..nonce + 32].copy_from_slice(&report.responder_nonce);
        assert_eq!(written, bytes, "{folder}");
    }
}

#[test]
fn case_09_refuses_cut_reports_and_trailing_bytes() {
    let (whole, anchors) = (gpu().evidence(), anchors());
    for length in 0..whole.report.len() {
        let cut = GpuEvidence { report: whole.report[..length].to_vec(), ..whole.clone() };
        assert_eq!(failed(judge(&[cut], &anchors, now())), ["nvidia_report_length"], "{length}");
    }
    for tail in [vec![0], vec![0; 4096], vec![1]] {
        let padded = GpuEvidence { report: [whole.report.clone(), tail].concat(), ..whole.clone() };
        assert_eq!(failed(judge(&[padded], &anchors, now())), ["nvidia_report_length"]);
    }
}

#[test]
fn refuses_other_requests() {
    for (request, slot, code) in [
        ([0x10, 0xe0, 1, 0xff], 0, "nvidia_request_code"),
        ([0x11, 0xe1, 1, 0xff], 0, "nvidia_request_code"),
        ([0x11, 0xe0, 0, 0xff], 0, "nvidia_request_parameters"),
        ([0x11, 0xe0, 1, 0x01], 0, "nvidia_request_parameters"),
        ([0x11, 0xe0, 1, 0xff], 1, "nvidia_request_parameters"),
    ] {
        assert_eq!(refusal(&Device { request, slot, ..gpu() }), [code]);
    }
}

#[test]
fn refuses_other_responses() {
    for (response, code) in [
        ([0x12, 0x60, 0, 0], "nvidia_response_code"),
        ([0x11, 0x7f, 0, 0], "nvidia_response_code"),
        ([0x11, 0x60, 1, 0], "nvidia_response_parameters"),
        ([0x11, 0x60, 0, 1], "nvidia_response_parameters"),
    ] {
        assert_eq!(refusal(&Device { response, ..gpu() }), [code]);
    }
}

#[test]
fn refuses_blocks_that_are_not_as_many_as_stated_or_repeat_an_index() {
    assert_eq!(refusal(&Device { count: Some(63), ..gpu() }), ["nvidia_block_count"]);
    assert_eq!(refusal(&Device { blocks: vec![], ..gpu() }), ["nvidia_block_count"]);
    let mut device = gpu();
    device.blocks[5] = block(5, &[9; 48]);
    assert_eq!(refusal(&device), ["nvidia_block_index"]);
    device.blocks[5] = block(0, &[9; 48]);
    assert_eq!(refusal(&device), ["nvidia_block_index"]);
}

#[test]
fn refuses_blocks_of_another_shape() {
    let good = block(6, &[6; 48]);
    let change = |place: usize, value: u8| {
        let mut block = good.clone();
        block[place] = value;
        block
    };
    let shapes = [
        change(1, 2),
        change(2, 52),
        change(3, 1),
        change(4, 0x81),
        change(5, 47),
        change(6, 1),
        block(6, &[6; 32]),
        block(6, &[6; 64]),
        vec![],
    ];
    for shape in shapes {
        let mut device = gpu();
        let dropped = shape.is_empty();
        device.blocks[5] = shape;
        let code = if dropped { [""; 0].to_vec() } else { vec!["nvidia_block_format"] };
        device.count = dropped.then_some(63);
        assert_eq!(refusal(&device), code);
    }
}

#[test]
fn refuses_opaque_data_that_is_no_list() {
    for opaque_tail in [vec![1], vec![1, 0, 1, 0], vec![1, 0, 0xff, 0xff, 0]] {
        assert_eq!(refusal(&Device { opaque_tail, ..gpu() }), ["nvidia_opaque_format"]);
    }
    let mut device = gpu();
    device.fields.extend((100..152).map(|kind| (kind, vec![])));
    assert_eq!(refusal(&device), [""; 0]);
    device.fields.push((200, vec![]));
    assert_eq!(refusal(&device), ["nvidia_opaque_format"]);
}

#[test]
fn counts_fields_without_a_meaning() {
    let device = gpu().set(200, &[1, 2, 3]).set(33, &[7, 7]);
    let result = judge(&[device.evidence()], &anchors(), now()).unwrap();
    assert_eq!(result.claims()[0].fields().gpu().unwrap().unknown, 1);
}

#[test]
fn refuses_fields_that_occur_twice() {
    let mut device = gpu();
    device.fields.push((11, vec![0xaa]));
    assert_eq!(refusal(&device), ["nvidia_opaque_duplicate"]);
}

#[test]
fn refuses_reports_without_the_fields_that_all_have() {
    for field in [3, 6, 11, 15, 17, 18] {
        assert_eq!(refusal(&gpu().without(field)), ["nvidia_opaque_missing"], "{field}");
    }
    for field in [6, 22, 26] {
        assert_eq!(refusal(&Device::switch(9, &[1]).without(field)), ["nvidia_opaque_missing"], "{field}");
    }
    for field in [12, 14, 20, 21, 36] {
        assert_eq!(refusal(&gpu().without(field)), [""; 0], "{field}");
    }
}

#[test]
fn refuses_fields_of_another_length_or_range() {
    let fields: &[(u16, &[u8])] = &[
        (3, b"590.12\0x"),
        (3, b"\x00590.12"),
        (3, b"590.12\n"),
        (3, b"five"),
        (4, &[0; 7]),
        (6, &[0; 9]),
        (6, &[0, 0xa5, 0, 0x96, 1, 1, 0, 0]),
        (11, &[0]),
        (11, &[0x55, 0x55]),
        (12, &[0; 255]),
        (13, &[0; 5]),
        (14, &[0; 3]),
        (15, b""),
        (15, b"8 5"),
        (15, &[b'8'; 65]),
        (16, b"\0x"),
        (17, b"G520/x"),
        (18, b"02\x8000"),
        (19, b"\xff"),
        (20, &[0xf1; 47]),
        (20, &[0xf1; 49]),
        (21, &[0]),
        (22, &[0; 143]),
        (22, &[0; 152]),
        (33, &[0]),
        (35, b""),
        (36, &[3, 0]),
        (36, &[0]),
        (36, &[0; 4]),
    ];
    for (field, value) in fields {
        assert_eq!(refusal(&gpu().set(*field, value)), ["nvidia_opaque_field"], "{field} {value:02x?}");
    }
    let fields: &[(u16, &[u8])] = &[
        (6, b"96.10.55.00"),
        (12, &[0; 3]),
        (22, &[0; 7]),
        (23, &[0]),
        (24, &[0; 3]),
        (25, &[0]),
        (26, &[0; 127]),
    ];
    for (field, value) in fields {
        assert_eq!(refusal(&Device::switch(9, &[1]).set(*field, value)), ["nvidia_opaque_field"], "{field}");
    }
}

#[test]
fn refuses_opaque_data_of_an_unknown_version() {
    assert_eq!(refusal(&gpu().set(34, &[0, 0])), [""; 0]);
    for version in [&[2, 0][..], &[1, 1], &[1], &[1, 0, 0]] {
        assert_eq!(refusal(&gpu().set(34, version)), ["nvidia_opaque_version"], "{version:?}");
        assert_eq!(refusal(&Device::switch(9, &[1]).set(34, version)), ["nvidia_opaque_version"]);
    }
}

#[test]
fn refuses_a_signature_that_is_not_the_attestation_keys() {
    for signature in [vec![0; 96], vec![0xff; 96]] {
        assert_eq!(refusal(&Device { signature: Some(signature), ..gpu() }), ["nvidia_report_signature"]);
    }
    let other = GpuEvidence { certificates: gpu().certificates(), ..gpu().evidence() };
    assert_eq!(failed(judge(&[other], &anchors(), now())), ["nvidia_report_signature"]);
}

#[test]
fn refuses_a_replayed_response_under_another_nonce() {
    let mut evidence = gpu().evidence();
    evidence.report[4..36].fill(0x5b);
    assert_eq!(failed(judge(&[evidence], &anchors(), now())), ["nvidia_report_signature"]);
}

#[test]
fn refuses_firmware_that_is_not_the_certified_one() {
    assert_eq!(refusal(&gpu().set(20, &[0xf2; 48])), ["nvidia_fwid"]);
    assert_eq!(refusal(&Device::switch(9, &[1]).set(20, &[0xf2; 48])), ["nvidia_fwid"]);
    assert_eq!(refusal(&Device::switch(9, &[1]).set(20, &fwid())), [""; 0]);
}

#[test]
fn refuses_a_switch_that_names_itself_otherwise() {
    assert_eq!(refusal(&Device::switch(9, &[1]).set(22, &8_u64.to_be_bytes())), ["nvidia_switch_identity"]);
}

#[test]
fn case_07_refuses_a_device_or_a_key_that_stands_twice() {
    let (one, other, same_identity) = (Device::gpu(1), Device::gpu(2), Device::gpu(1));
    let codes = |devices: &[GpuEvidence]| failed(judge(devices, &anchors(), now()));
    assert_eq!(codes(&[one.evidence(), other.evidence()]), [""; 0]);
    assert_eq!(codes(&[one.evidence(), other.evidence(), one.evidence()]), ["nvidia_duplicate_device"]);
    assert_eq!(codes(&[one.evidence(), same_identity.evidence()]), ["nvidia_duplicate_device"]);
    let mut same_key = Device::gpu(3);
    same_key.key = one.key.clone();
    same_key.chain[0].key_info = one.chain[0].key_info.clone();
    assert_eq!(codes(&[same_key.evidence()]), [""; 0]);
    assert_eq!(codes(&[one.evidence(), same_key.evidence()]), ["nvidia_duplicate_device"]);
}

#[test]
fn names_the_device_and_goes_on_to_the_next_one() {
    let devices = [
        Device::gpu(1).evidence(),
        Device::gpu(2).set(11, &[1]).evidence(),
        Device::gpu(3).set(36, &[9, 0]).evidence(),
    ];
    let refusal = judge(&devices, &anchors(), now()).unwrap_err();
    let wanted: Vec<_> = refusal.checks().failed().map(|check| check.wanted[..9].to_owned()).collect();
    assert_eq!(wanted, ["device 1:", "device 2:"]);
}

/// The part, place and length of the first rule that failed.
fn place(device: &Device) -> (String, usize, usize) {
    let refusal = judge(&[device.evidence()], &anchors(), now()).unwrap_err();
    let source = refusal.checks().failed().next().unwrap().source.clone().unwrap();
    (source.part.into_owned(), source.offset, source.length)
}

#[test]
fn names_the_place_of_what_is_wrong() {
    const BLOCKS: usize = 37 + 8;
    const BLOCK: usize = 4 + 3 + 48;
    let mut device = gpu();
    device.blocks[5][1] = 2;
    assert_eq!(place(&device), ("gpu report".into(), BLOCKS + 5 * BLOCK, BLOCK));
    let mut device = gpu();
    device.blocks[7] = block(3, &[9; 48]);
    assert_eq!(place(&device), ("gpu report".into(), BLOCKS + 7 * BLOCK, 1));

    let opaque = Report::parse(&gpu().evidence().report).unwrap().opaque_offset;
    let first = gpu().fields[0].1.len();
    let mut device = gpu();
    device.fields.insert(2, device.fields[1].clone());
    let second = device.fields[1].1.len();
    // A field is its type and its length, two bytes each, and its value.
    assert_eq!(place(&device), ("gpu report".into(), opaque + 4 + first + 4 + second, 4 + second));
    let mut device = gpu();
    device.fields[1].1.push(0);
    assert_eq!(place(&device), ("gpu report".into(), opaque + 4 + first + 4, second + 1));
    let all: usize = gpu().fields.iter().map(|(_, value)| 4 + value.len()).sum();
    let device = Device { opaque_tail: vec![1, 0, 0xff, 0xff, 0], ..gpu() };
    assert_eq!(place(&device), ("gpu report".into(), opaque + all, 5));
}

#[test]
fn every_byte_of_the_length_of_the_measurements_counts() {
    // The three bytes of the length: 64 blocks are 0x000dc0.
    for (place, bit) in [(42, 1), (43, 1), (44, 1), (44, 0x80)] {
        let mut evidence = gpu().evidence();
        evidence.report[place] ^= bit;
        assert_ne!(failed(judge(&[evidence], &anchors(), now())), ["nvidia_report_signature"], "{place}");
    }
}
