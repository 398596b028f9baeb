//! `/dev/sev-guest`, by a double of the driver's answers.

use anchorhold_attester::device::Error;
use anchorhold_attester::device::snp::{Refused, SnpDevice, report};
use anchorhold_rats::ReportData;
use std::cell::RefCell;
use std::io;

const REPORT_DATA: ReportData = ReportData::new([7; 64]);

/// What the driver does at each request, with the room that there is for certificates.
struct Driver<F>(RefCell<F>);

impl<F: FnMut(&mut [u8; 4000], &mut [u8]) -> Result<(), u64>> SnpDevice for Driver<F> {
    fn extended_report(
        &self,
        report_data: &ReportData,
        vmpl: u32,
        response: &mut [u8; 4000],
        certificates: &mut [u8],
    ) -> Result<(), Refused> {
        assert_eq!((report_data, vmpl, certificates.len() % 4096), (&REPORT_DATA, 0, 0));
        (self.0.borrow_mut())(response, certificates)
            .map_err(|exit_info| Refused { error: io::Error::from_raw_os_error(5), exit_info })
    }
}

fn driver<F: FnMut(&mut [u8; 4000], &mut [u8]) -> Result<(), u64>>(answer: F) -> Driver<F> {
    Driver(RefCell::new(answer))
}

/// MSG_REPORT_RSP with a report that names `report_data`.
fn answer(response: &mut [u8; 4000], status: u32, length: u32, report_data: &[u8; 64]) {
    response[..4].copy_from_slice(&status.to_le_bytes());
    response[4..8].copy_from_slice(&length.to_le_bytes());
    response[32] = 5;
    response[32 + 0x50..32 + 0x90].copy_from_slice(report_data);
}

#[test]
fn reads_report_and_certificates() {
    let good = driver(|response, certificates| {
        answer(response, 0, 1184, REPORT_DATA.as_bytes());
        certificates[0] = 9;
        Ok(())
    });
    let read = report(&good, &REPORT_DATA).unwrap();
    assert_eq!((read.report.len(), read.report[0], read.auxiliary[0]), (1184, 5, 9));
}

#[test]
fn a_host_with_too_many_certificates_is_asked_for_none() {
    let mut rooms = Vec::new();
    let crowded = driver(|response, certificates| {
        rooms.push(certificates.len());
        answer(response, 0, 1184, REPORT_DATA.as_bytes());
        if certificates.is_empty() { Ok(()) } else { Err(1 << 32) }
    });
    assert!(report(&crowded, &REPORT_DATA).unwrap().auxiliary.is_empty());
    assert_eq!(rooms, [0x4000, 0]);
}

#[test]
fn refuses_errors_of_firmware_host_and_driver() {
    for (exit_info, firmware) in [(2 << 32, true), (0x16, true), (0xff, false), (0, false)] {
        let error = report(&driver(|_, _| Err(exit_info)), &REPORT_DATA).unwrap_err();
        assert_eq!(matches!(error, Error::Firmware { code } if code == exit_info), firmware, "{error}");
        assert_eq!(matches!(error, Error::Io { .. }), !firmware, "{error}");
    }
    let status = driver(|response, _| {
        answer(response, 0x16, 0, REPORT_DATA.as_bytes());
        Ok(())
    });
    assert!(matches!(report(&status, &REPORT_DATA).unwrap_err(), Error::Firmware { code: 0x16 }));
}

#[test]
fn refuses_another_length_and_other_report_data() {
    for length in [0, 1183, 1185, u32::MAX] {
        let other = driver(|response, _| {
            answer(response, 0, length, REPORT_DATA.as_bytes());
            Ok(())
        });
        assert!(matches!(report(&other, &REPORT_DATA).unwrap_err(), Error::Malformed { .. }), "{length}");
    }
    let other = driver(|response, _| {
        answer(response, 0, 1184, &[8; 64]);
        Ok(())
    });
    assert!(matches!(report(&other, &REPORT_DATA).unwrap_err(), Error::OtherReportData));
}

/// Why the `sev` crate does not read the device here, although it has a function for it: it follows offsets that the host
/// wrote, wherever they lead. Out of a table at the beginning of this buffer it takes the guest's memory behind it for a
/// certificate, which would then be sent out as evidence.
#[test]
fn the_sev_crate_reads_past_the_table_that_a_host_wrote() {
    let vcek = b"\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd";
    let entry = [&vcek[..], &64_u32.to_le_bytes(), &6_u32.to_le_bytes()].concat();
    let mut memory = [entry, vec![0; 24], vec![0; 16], b"SECRET".to_vec()].concat();
    let (table, secret) = memory.split_at_mut(48);
    let read = sev::firmware::host::CertTableEntry::vec_bytes_to_cert_table(table).unwrap();
    assert_eq!(read[0].data(), &secret[16..]);
    assert!(anchorhold_rats::CertificateTable::parse(table).is_err());
}
