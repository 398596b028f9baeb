//! The same readers on the machine itself, where it is told to have a TEE.

use anchorhold_attester::device::{Device, Provider, Tsm};
use anchorhold_attester::device::{snp, tdx};
use anchorhold_rats::{Nonce, ReportData};

/// Which TEE this machine has, as whoever runs the tests says.
fn told() -> Option<Provider> {
    match std::env::var("ANCHORHOLD_TEST_DEVICE").ok()?.as_str() {
        "snp" => Some(Provider::Snp),
        "tdx" => Some(Provider::Tdx),
        other => panic!("ANCHORHOLD_TEST_DEVICE is {other}, wanted snp or tdx"),
    }
}

#[test]
fn the_machine_attests_as_it_is_told_to_have() {
    let found = Device::find();
    let Some(wanted) = told() else {
        // A machine with a TEE whose tests were not told so still attests.
        assert!(found.is_err() || found.is_ok_and(|device| device.attest(&ReportData::new([1; 64])).is_ok()));
        return;
    };
    let device = found.unwrap();
    assert_eq!(device.provider(), wanted);
    for byte in 0..4 {
        let nonce = ReportData::new([byte; 2 * Nonce::LEN]);
        device.attest(&nonce).unwrap();
        assert_eq!(Tsm::default().report(&nonce).unwrap().provider, wanted);
    }
    match wanted {
        Provider::Snp => {
            let driver = snp::SevGuest::open().unwrap().unwrap();
            snp::report(&driver, &ReportData::new([9; 64])).unwrap();
        }
        Provider::Tdx => {
            let report = tdx::td_report(&ReportData::new([9; 64])).unwrap().unwrap();
            let registers = tdx::registers_of(&report).unwrap();
            let shown = tdx::Registers::default().read(tdx::Register::Rtmr1).unwrap();
            assert!(shown.is_none_or(|value| value == registers[1]));
        }
    }
}
