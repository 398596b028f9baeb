//! Reports through configfs: what is read, and each thing that can go wrong.

use crate::configfs::{Configfs, Provider, State, Step};
use anchorhold_attester::device::{self, Device, Error, Tsm};
use anchorhold_attester::software::tdx::{TdConfig, TdxAuthority, TdxGuest};
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_rats::{Endorsements, Measurement, ReportData, Timestamp};
use anchorhold_verifier::dangerous::{SimulatedRoots, allow_simulated, simulated_anchors};
use anchorhold_verifier::{AppraisalPolicy, appraise, authenticate, snp, tdx};
use rustix::io::Errno;
use std::path::Path;
use std::time::Duration;

const REPORT_DATA: ReportData = ReportData::new([7; 64]);
const OTHER: [u8; 64] = [8; 64];

fn now() -> Timestamp {
    "2026-10-01T00:00:00Z".parse().unwrap()
}

/// The host's table for this guest: VCEK and ASK, as the `sev` crate's table has them.
fn table(certificates: &[anchorhold_rats::Der]) -> Vec<u8> {
    let guids = [
        b"\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd",
        b"\x4a\xb7\xb3\x79\xbb\xac\x4f\xe4\xa0\x2f\x05\xae\xf3\x27\xc7\x82",
    ];
    let (mut entries, mut contents) = (Vec::new(), Vec::new());
    for (guid, certificate) in guids.into_iter().zip(certificates) {
        let at = u32::try_from(24 * (certificates.len() + 1) + contents.len()).unwrap();
        let length = u32::try_from(certificate.0.len()).unwrap();
        entries.extend([&guid[..], &at.to_le_bytes(), &length.to_le_bytes()].concat());
        contents.extend(&certificate.0);
    }
    entries.extend([0; 24]);
    [entries, contents].concat()
}

fn snp_provider() -> Provider {
    let guest = SoftwareGuest::launch(LaunchConfig::new(Measurement::new([3; 48])), now()).unwrap();
    Box::new(move |_, data| {
        let evidence = guest.attest(&ReportData::new(data)).unwrap();
        Ok((evidence.report, table(&evidence.certificates)))
    })
}

fn snp() -> Configfs {
    Configfs::new("sev_guest", snp_provider())
}

fn tsm(files: &Configfs) -> Tsm<Configfs> {
    Tsm::new(files.clone(), "/reports").with_first_pause(Duration::ZERO)
}

fn device(files: &Configfs) -> Device<Configfs> {
    Device::of_tsm(files.clone(), Path::new("/reports"), Path::new("/ccel"), Path::new("/m")).unwrap()
}

/// No entry is left behind, whatever happened.
fn report(files: &Configfs) -> Result<device::TsmReport, Error> {
    let outcome = tsm(files).report(&REPORT_DATA);
    assert!(files.state().items.is_empty());
    outcome
}

fn each_time(files: &Configfs, other: impl FnMut(&mut State, &Step) + Send + 'static) {
    files.state().other = Some(Box::new(other));
}

fn is(step: &Step, wanted: &str) -> bool {
    let (Step::Made(path) | Step::Opened(path) | Step::Closed(path)) = step;
    path.ends_with(wanted)
}

#[test]
fn snp_evidence_with_the_hosts_certificates_is_accepted() {
    let evidence = device(&snp()).attest(&REPORT_DATA).unwrap();
    assert_eq!((evidence.certificates.len(), &evidence.event_log), (2, &None));
    assert_eq!(device::measurement_of(&evidence), Some(Measurement::new([3; 48])));
    let roots = SimulatedRoots { amd: Some(simulated_ark_der()), ..SimulatedRoots::default() };
    let authentic =
        authenticate(&evidence, &Endorsements::default(), &simulated_anchors(&roots).unwrap(), now())
            .unwrap();
    let genoa = Some(snp::GenoaTcb { bootloader: 10, tee: 0, snp: 25, microcode: 84 });
    let minimum = snp::MinimumTcb { genoa, ..snp::MinimumTcb::default() };
    let policy = snp::Policy::strict(vec![Measurement::new([3; 48])], minimum);
    appraise(authentic, &AppraisalPolicy::from(allow_simulated(policy)), &REPORT_DATA.into()).unwrap();
}

#[test]
fn a_td_quote_is_authentic() {
    let guest = TdxGuest::launch(TdConfig::new(Measurement::new([4; 48])), now()).unwrap();
    let collateral = guest.collateral(now()).unwrap();
    let provider: Provider =
        Box::new(move |_, data| Ok((guest.quote(&ReportData::new(data)).unwrap(), vec![])));
    let evidence = device(&Configfs::new("tdx_guest", provider)).attest(&REPORT_DATA).unwrap();
    assert_eq!(device::measurement_of(&evidence), Some(Measurement::new([4; 48])));
    let roots =
        SimulatedRoots { intel: Some(TdxAuthority::Root.certificate_der()), ..SimulatedRoots::default() };
    let input = tdx::Input { quote: &evidence.report, collateral: Some(&collateral) };
    let quote = tdx::authenticate(&input, &simulated_anchors(&roots).unwrap(), now()).unwrap();
    assert_eq!(quote.claims().body().report_data, REPORT_DATA);
}

#[test]
fn short_reads_signals_and_partial_writes_change_nothing() {
    let files = snp();
    let whole = report(&files).unwrap();
    assert_eq!(whole.report.len(), 1184);
    for chunk in [1, 7, 1183] {
        let mut state = files.state();
        (state.chunk, state.signals) = (chunk, 3);
        drop(state);
        let again = report(&files).unwrap();
        assert_eq!((again.report.len(), again.auxiliary), (1184, whole.auxiliary.clone()));
    }
}

#[test]
fn a_guest_below_a_service_module_asks_for_its_own_level() {
    let files = snp();
    let mut inner = snp_provider();
    files.state().provider =
        Box::new(move |level, data| if level == 2 { inner(0, data) } else { Err(Errno::INVAL) });
    assert!(matches!(report(&files).unwrap_err(), Error::Io { .. }));
    files.state().privlevel_floor = Some(2);
    report(&files).unwrap();
}

/// The kernel ignores what comes of closing `inblob`, so nothing but the generation tells.
#[test]
fn refuses_a_report_for_which_the_kernel_did_not_take_the_report_data() {
    let files = snp();
    each_time(&files, |state, step| {
        if is(step, "outblob") {
            // As if the close had been refused with EBUSY: the entry is as it was, and somebody's older data is in it.
            for item in state.items.values_mut() {
                (item.inblob, item.write_generation) = (OTHER.to_vec(), 0);
            }
        }
    });
    let error = report(&files).unwrap_err();
    let Error::Contended { attempts: 5, last } = error else { panic!("{error}") };
    assert!(matches!(*last, Error::Interference { wanted: 1, observed: 0 }), "{last}");
}

#[test]
fn refuses_a_report_after_another_user_wrote_to_the_entry() {
    let files = snp();
    each_time(&files, |state, step| {
        if is(step, "inblob") && matches!(step, Step::Closed(_)) {
            state.items.values_mut().for_each(|item| item.write_inblob(&OTHER));
        }
    });
    let error = report(&files).unwrap_err();
    let Error::Contended { attempts: 5, last } = error else { panic!("{error}") };
    assert!(matches!(*last, Error::Interference { wanted: 1, observed: 2 }), "{last}");
    assert_eq!(files.state().made.len(), 5);
}

/// With the same number of writes as the reader's own the counter says nothing; the report does.
#[test]
fn refuses_another_users_report_that_the_generation_does_not_show() {
    let files = snp();
    each_time(&files, |state, step| {
        if is(step, "outblob") && matches!(step, Step::Opened(_)) {
            state.items.values_mut().for_each(|item| item.inblob = OTHER.to_vec());
        }
    });
    let error = report(&files).unwrap_err();
    let Error::Contended { attempts: 5, last } = error else { panic!("{error}") };
    assert!(matches!(*last, Error::OtherReportData), "{last}");
}

#[test]
fn one_race_is_survived_in_an_entry_of_its_own() {
    let files = snp();
    let mut raced = false;
    each_time(&files, move |state, step| {
        if is(step, "inblob") && matches!(step, Step::Closed(_)) && !std::mem::replace(&mut raced, true) {
            state.items.values_mut().for_each(|item| item.write_inblob(&OTHER));
        }
    });
    report(&files).unwrap();
    let made = files.state().made.clone();
    assert_eq!(made.len(), 2);
    assert_ne!(made[0], made[1]);
}

#[test]
fn a_busy_module_is_asked_again_and_others_errors_are_final() {
    for (errno, asked) in
        [(Errno::BUSY, 5), (Errno::WOULDBLOCK, 5), (Errno::TIMEDOUT, 5), (Errno::INVAL, 1), (Errno::IO, 1)]
    {
        let files = snp();
        files.state().provider = Box::new(move |_, _| Err(errno));
        let error = report(&files).unwrap_err();
        assert_eq!(matches!(error, Error::Contended { .. }), asked == 5, "{error}");
        assert_eq!(files.state().made.len(), asked, "{errno}");
    }
    let files = snp();
    let (mut inner, mut busy) = (snp_provider(), 4);
    files.state().provider = Box::new(move |level, data| {
        if busy > 0 {
            busy -= 1;
            return Err(Errno::BUSY);
        }
        inner(level, data)
    });
    report(&files).unwrap();
}

#[test]
fn refuses_more_than_evidence_may_carry() {
    for (out, aux) in [(16 * 1024 + 1, 0), (1184, 32 * 1024 + 1), (40_000, 0)] {
        let files = snp();
        files.state().provider = Box::new(move |_, _| Ok((vec![0; out], vec![0; aux])));
        let error = report(&files).unwrap_err();
        // The kernel's own limit is an error of the system, ours comes first where it is lower.
        assert!(matches!(error, Error::TooLong { .. } | Error::Io { .. }), "{error}");
    }
}

#[test]
fn refuses_a_report_without_the_asked_report_data() {
    for report_of in [&[][..], &[2; 0x60][..], &[5; 600][..]] {
        let files = snp();
        files.state().provider = Box::new(move |_, _| Ok((report_of.to_vec(), vec![])));
        assert!(matches!(report(&files).unwrap_err(), Error::Contended { .. }));
    }
}

#[test]
fn refuses_attributes_that_are_not_what_is_documented() {
    let files = Configfs::new("arm_cca_guest", snp_provider());
    let error = report(&files).unwrap_err();
    assert!(matches!(&error, Error::Provider { observed, .. } if observed == "arm_cca_guest"), "{error}");
    let files = Configfs::new(
        "a name that is longer than any provider's, and that would be read for ever if nobody counted",
        snp_provider(),
    );
    assert!(matches!(report(&files).unwrap_err(), Error::TooLong { limit: 64, .. }));
}

#[test]
fn without_a_provider_there_is_no_device() {
    let files = snp();
    files.state().name = None;
    assert_eq!(tsm(&files).provider().unwrap(), None);
    let error =
        Device::of_tsm(files, Path::new("/reports"), Path::new("/ccel"), Path::new("/m")).err().unwrap();
    assert!(matches!(error, Error::NoDevice), "{error}");
    assert_eq!(Tsm::new(snp(), "/elsewhere").provider().unwrap(), None);
}

#[test]
fn refuses_a_hosts_table_that_is_none_and_does_without_certificates() {
    let files = snp();
    let mut inner = snp_provider();
    files.state().provider = Box::new(move |level, data| Ok((inner(level, data)?.0, vec![1; 40])));
    assert!(matches!(device(&files).attest(&REPORT_DATA).unwrap_err(), Error::Certificates(_)));
    let files = snp();
    let mut inner = snp_provider();
    files.state().provider = Box::new(move |level, data| Ok((inner(level, data)?.0, vec![])));
    assert_eq!(device(&files).attest(&REPORT_DATA).unwrap().certificates, []);
}
