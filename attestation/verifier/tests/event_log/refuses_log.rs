//! Refusals of the shape of a log, and what is given out of one that has it.

use crate::support::*;
use anchorhold_verifier::event_log::{
    EventData, EventKind, MAX_EVENT_BYTES, MAX_EVENTS, MAX_LOG_BYTES, Rtmr,
};

#[test]
fn replays_each_register_in_order() {
    let replayed = replayed(&log(&boot()));
    let zero = [0; 48];
    let variable = variable(&anchorhold_verifier::event_log::GLOBAL_VARIABLE, "SecureBoot", &[1]);
    let rtmr0 = extend(extend(zero, &sha384(&variable)), &sha384(&[0; 4]));
    let rtmr1 = extend(extend(zero, &sha384(b"Calling EFI Application from Boot Option")), &[7; 48]);
    let rtmr2 = extend(zero, &sha384(b"quiet"));
    let rtmr3 = extend(zero, &sha384(b"of the running system"));
    assert_eq!(replayed.rtmrs(), &[rtmr0, rtmr1, rtmr2, rtmr3]);
    let registers: Vec<_> = replayed.events().iter().map(|event| event.register()).collect();
    let [a, b, c, d] = Rtmr::ALL;
    assert_eq!(registers, [a, a, b, b, c, d]);
}

#[test]
fn an_event_that_is_not_extended_changes_nothing() {
    let quiet =
        |register| record(register, EventKind::NoAction, &[(SHA384, &[9; 48])], b"StartupLocality\0\x03");
    let mut records = boot();
    let plain = replayed(&log(&records));
    for register in 0..=4 {
        records.insert(1, quiet(register));
    }
    let with = replayed(&log(&records));
    assert_eq!(with.rtmrs(), plain.rtmrs());
    assert_eq!(with.events().len(), plain.events().len());
}

#[test]
fn data_is_given_out_only_where_the_digest_is_its_own() {
    let proved = replayed(&log(&[event(1, EventKind::EfiAction, b"an action")]));
    assert_eq!(proved.events()[0].data(), EventData::Proved(b"an action"));
    let other = record(1, EventKind::EfiAction, &[(SHA384, &sha384(b"another"))], b"an action");
    let replayed = replayed(&log(&[other]));
    assert_eq!(replayed.events()[0].data(), EventData::Unproved { length: 9 });
    assert_eq!(replayed.events()[0].digest(), &sha384(b"another"));
}

#[test]
fn digests_of_programs_and_firmware_prove_no_data() {
    for kind in [
        EventKind::BootServicesApplication,
        EventKind::PlatformFirmwareBlob2,
        EventKind::HandoffTables2,
        EventKind::Unknown(0x8000_0100),
    ] {
        let replayed = replayed(&log(&[event(1, kind, b"text")]));
        assert_eq!(replayed.events()[0].data(), EventData::Unproved { length: 4 }, "{kind}");
    }
}

#[test]
fn a_part_that_is_not_measured_is_not_given_out() {
    let vendor = [3; 16];
    let td_shim = [&b"td_hob\0\0\0\0\0\0\0\0\0\0"[..], &7_u32.to_le_bytes(), b"content"].concat();
    for (kind, data, measured) in [
        (EventKind::Ipl, &b"grub_cmd: set timeout=0\0"[..], &b"set timeout=0"[..]),
        (EventKind::Ipl, b"kernel_cmdline: quiet\0", b"quiet"),
        (EventKind::Ipl, b"module_cmdline: quiet\0", b"quiet"),
        (EventKind::Ipl, b"grub_cmd [ xy = xy ]\0p", b"[ xy = xy ]\0"),
        (EventKind::Ipl, b"grub_kernel_cmdline quiet\0\0", b"quiet"),
        (EventKind::Ipl, b"text\0", b"text"),
        (EventKind::VariableBoot, &variable(&vendor, "BootOrder", &[0, 1]), &[0, 1]),
        (EventKind::PlatformConfigFlags, &td_shim, b"content"),
    ] {
        let replayed = replayed(&log(&[record(1, kind, &[(SHA384, &sha384(measured))], data)]));
        assert_eq!(replayed.events()[0].data(), EventData::Proved(measured), "{kind}");
    }
    for (kind, data, measured) in [
        (EventKind::Ipl, &b"grub_cmd: quiet\0\0\0"[..], &b"quiet"[..]),
        (EventKind::Ipl, b"grub_cmd: quiet", b"quiet"),
        (EventKind::Ipl, b"other: quiet\0", b"quiet"),
        (EventKind::EfiAction, b"text\0", b"text"),
        (EventKind::VariableDriverConfig, &variable(&vendor, "BootOrder", &[0, 1]), &[0, 1]),
        (EventKind::PlatformConfigFlags, &td_shim[..26], b"conten"),
    ] {
        let replayed = replayed(&log(&[record(1, kind, &[(SHA384, &sha384(measured))], data)]));
        assert_eq!(replayed.events()[0].data(), EventData::Unproved { length: data.len() }, "{kind}");
    }
}

#[test]
fn other_digests_are_skipped_by_the_length_in_the_header() {
    let list = [(0x0004, 20), (SHA384, 48), (SHA256, 32)];
    let digests: [(u16, &[u8]); 3] = [(SHA256, &[1; 32]), (SHA384, &[2; 48]), (0x0004, &[3; 20])];
    let all = record(1, EventKind::EfiAction, &digests, b"");
    let one = record(2, EventKind::EfiAction, &digests[1..2], b"");
    let bytes = [header_record(&spec_id(&list)), all, one].concat();
    let replayed = replayed(&bytes);
    assert_eq!(replayed.rtmrs(), &[extend([0; 48], &[2; 48]), extend([0; 48], &[2; 48]), [0; 48], [0; 48]]);
}

#[test]
fn padding_ends_a_log() {
    let whole = log(&boot());
    for padding in [0x00, 0xff] {
        for length in [1, 7, 8, 9, 64, 4096] {
            let padded = [whole.clone(), vec![padding; length]].concat();
            assert_eq!(replayed(&padded).rtmrs(), replayed(&whole).rtmrs(), "{length} of {padding:#x}");
        }
    }
}

#[test]
fn case_09_refuses_a_log_over_its_length() {
    let mut whole = log(&boot());
    whole.resize(MAX_LOG_BYTES, 0xff);
    replayed(&whole);
    whole.push(0xff);
    assert_eq!(code(&whole), "eventlog_length");
}

#[test]
fn refuses_a_log_without_a_good_header() {
    let good = header();
    for length in 0..good.len() {
        let code = code(&good[..length]);
        assert!(["eventlog_header", "eventlog_algorithms"].contains(&code.as_str()), "{length}: {code}");
    }
    // Register, type, digest, signature, platform class, minor and major version, pointers, vendor information.
    for (offset, value) in [
        (0, 2),
        (3, 1),
        (4, 4),
        (8, 1),
        (27, 1),
        (32, b's'),
        (47, b'!'),
        (48, 2),
        (51, 1),
        (52, 1),
        (53, 1),
        (55, 3),
        (64, 1),
    ] {
        let mut other = good.clone();
        other[offset] = value;
        assert_eq!(code(&other), "eventlog_header", "{offset}");
    }
    let longer = header_record(&[spec_id(&[(SHA384, 48)]), vec![0]].concat());
    assert_eq!(code(&longer), "eventlog_header");
    let over = header_record(&[spec_id(&[(SHA384, 48)]), vec![0; MAX_EVENT_BYTES]].concat());
    assert_eq!(code(&over), "eventlog_header");
    assert_eq!(code(&boot().concat()), "eventlog_header");
}

#[test]
fn a_header_may_name_register_0_and_a_vendor() {
    let mut data = spec_id(&[(SHA384, 48)]);
    *data.last_mut().unwrap() = 7;
    let mut record = header_record(&[&data[..], b"td-shim"].concat());
    for register in [0, 1] {
        record[0] = register;
        replayed(&record);
    }
    record[0] = 2;
    assert_eq!(code(&record), "eventlog_header");
}

#[test]
fn refuses_algorithm_lists_without_a_right_sha384() {
    for list in [
        &[][..],
        &[(SHA256, 32)],
        &[(SHA384, 32)],
        &[(SHA384, 48), (SHA384, 48)],
        &[(SHA384, 48), (SHA256, 0)],
        &[(SHA384, 48), (SHA256, 65)],
        &[(SHA384, 48); 17],
    ] {
        assert_eq!(code(&header_record(&spec_id(list))), "eventlog_algorithms", "{list:?}");
    }
    // As many algorithms as are read, and digests as long as they may be.
    let most: Vec<(u16, u16)> = (0..15).map(|index| (0x100 + index, 64)).chain([(SHA384, 48)]).collect();
    replayed(&header_record(&spec_id(&most)));
    let mut many = spec_id(&[(SHA384, 48)]);
    many[24] = 2;
    assert_eq!(code(&header_record(&many)), "eventlog_algorithms");
}

#[test]
fn refuses_a_record_that_is_cut_short() {
    let records = boot();
    let whole = log(&records);
    let last = whole.len() - records.last().unwrap().len();
    for length in last + 1..whole.len() {
        assert_eq!(refusal(&whole[..length]), ("eventlog_truncated".into(), Some((last, 0))), "{length}");
    }
    let long = record(1, EventKind::EfiAction, &[(SHA384, &[0; 48])], b"text");
    let mut longer = log(&[long]);
    let at = longer.len() - 8;
    longer[at] = 5;
    assert_eq!(code(&longer), "eventlog_truncated");
}

#[test]
fn case_09_refuses_more_records_than_the_limit() {
    for kind in [EventKind::EfiAction, EventKind::NoAction] {
        let many = |count| log(&vec![record(1, kind, &[(SHA384, &[0; 48])], b""); count]);
        replayed(&many(MAX_EVENTS));
        assert_eq!(code(&many(MAX_EVENTS + 1)), "eventlog_event_count");
    }
}

#[test]
fn case_09_refuses_an_event_over_its_length() {
    replayed(&log(&[event(1, EventKind::EfiAction, &vec![1; MAX_EVENT_BYTES])]));
    let long = log(&[event(1, EventKind::EfiAction, &vec![1; MAX_EVENT_BYTES + 1])]);
    assert_eq!(refusal(&long), ("eventlog_event_length".into(), Some((header().len(), 66))));
    let mut huge = log(&[event(1, EventKind::EfiAction, b"")]);
    let at = huge.len() - 4;
    huge[at..].fill(0xff);
    assert_eq!(code(&huge), "eventlog_event_length");
}

#[test]
fn refuses_an_event_in_mrtd_or_an_unknown_register() {
    for register in [0, 5, 0x0100_0001, u32::MAX] {
        let log = log(&[event(register, EventKind::EfiAction, b"text")]);
        assert_eq!(refusal(&log), ("eventlog_register".into(), Some((header().len(), 4))), "{register}");
    }
    assert_eq!(code(&log(&[event(5, EventKind::NoAction, b"text")])), "eventlog_register");
}

#[test]
fn refuses_digests_that_are_not_one_of_each() {
    let header = header_record(&spec_id(&[(SHA384, 48), (SHA256, 32)]));
    let right = (SHA384, &[1; 48][..]);
    let other = (SHA256, &[1; 32][..]);
    for digests in [
        &[][..],
        &[other],
        &[right, right],
        &[other, other],
        &[right, other, other],
        &[right, (0x000d, &[1; 64])],
        &[(0x0012, &[1; 32]), right],
    ] {
        let log = [header.clone(), record(1, EventKind::EfiAction, digests, b"")].concat();
        assert_eq!(refusal(&log), ("eventlog_digests".into(), Some((header.len() + 8, 4))), "{digests:?}");
    }
    let mut huge = [header.clone(), record(1, EventKind::EfiAction, &[right], b"")].concat();
    huge[header.len() + 8..header.len() + 12].fill(0xff);
    assert_eq!(code(&huge), "eventlog_digests");
}

#[test]
fn refuses_a_second_header() {
    let again = spec_id(&[(SHA384, 48)]);
    for data in [&again[..], b"Spec ID Event02\0"] {
        let second = record(1, EventKind::NoAction, &[(SHA384, &[0; 48])], data);
        assert_eq!(code(&log(&[separator(1), second])), "eventlog_second_header");
    }
    // In the form of the first, its digest of 20 zero bytes reads as no digests.
    assert_eq!(code(&log(&[header()])), "eventlog_digests");
}

#[test]
fn refuses_anything_hidden_in_the_padding() {
    let whole = log(&boot());
    for (padding, other) in [(0x00, 0xff), (0xff, 0x00), (0xff, 1), (0x00, 1)] {
        for length in [9, 64, 4096] {
            let mut padded = [whole.clone(), vec![padding; length]].concat();
            *padded.last_mut().unwrap() = other;
            assert_eq!(refusal(&padded), ("eventlog_padding".into(), Some((whole.len(), length))));
        }
    }
    let hidden = [whole.clone(), vec![0xff; 64], separator(1)].concat();
    assert_eq!(code(&hidden), "eventlog_padding");
}
