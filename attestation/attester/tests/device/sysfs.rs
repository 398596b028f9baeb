//! A TD's registers and event log, by a double of sysfs.
//!
//! As in the kernel (`drivers/virt/coco/guest/tsm-mr.c`): a write that is not the whole digest at offset 0 is refused with EINVAL, a
//! read gives the value as it is then, and RTMRs extend as the TDX module does: SHA-384 over the old value and the digest.

use crate::configfs::{Attribute, Configfs};
use anchorhold_attester::device::tdx::{Register, Registers, event_log, registers_of};
use anchorhold_attester::device::{Access, Device, Error, Files, MAX_RUNTIME_EVENTS, Measured};
use anchorhold_attester::software::paravisor;
use anchorhold_attester::software::tdx::{Boot, EventLog, TdConfig, TdxGuest};
use anchorhold_rats::{Measurement, ReportData, RuntimeEvent, Sha256Digest};
use anchorhold_verifier::event_log;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Sysfs {
    files: Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>,
    chunk: usize,
}

struct Open {
    sysfs: Sysfs,
    path: PathBuf,
    at: usize,
}

impl Files for Sysfs {
    type File = Open;

    fn make_folder(&self, _: &Path) -> io::Result<()> {
        Err(Errno::PERM.into())
    }

    fn remove_folder(&self, _: &Path) -> io::Result<()> {
        Err(Errno::PERM.into())
    }

    fn open(&self, path: &Path, _: Access) -> io::Result<Open> {
        let there = self.files.lock().unwrap().contains_key(path);
        if !there {
            return Err(Errno::NOENT.into());
        }
        Ok(Open { sysfs: self.clone(), path: path.to_owned(), at: 0 })
    }
}

impl Read for Open {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let files = self.sysfs.files.lock().unwrap();
        let rest = &files[&self.path][self.at..];
        let count = rest.len().min(buffer.len()).min(self.sysfs.chunk);
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

impl Write for Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(self.sysfs.chunk)];
        if self.at != 0 || bytes.len() != 48 {
            return Err(Errno::INVAL.into());
        }
        let mut files = self.sysfs.files.lock().unwrap();
        let value = files.get_mut(&self.path).unwrap();
        let extended = ring::digest::digest(&ring::digest::SHA384, &[&value[..], bytes].concat());
        *value = extended.as_ref().to_vec();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn sysfs(chunk: usize, files: &[(&str, &[u8])]) -> Sysfs {
    let files = files.iter().map(|(path, bytes)| (PathBuf::from(path), bytes.to_vec())).collect();
    Sysfs { files: Arc::new(Mutex::new(files)), chunk }
}

#[test]
fn a_register_is_read_and_extended() {
    let registers = Registers::new(sysfs(usize::MAX, &[("/m/rtmr3:sha384", &[0; 48])]), "/m");
    assert_eq!(registers.read(Register::Rtmr3).unwrap(), Some([0; 48]));
    registers.extend(Register::Rtmr3, &[1; 48]).unwrap();
    let wanted = ring::digest::digest(&ring::digest::SHA384, &[[0; 48], [1; 48]].concat());
    assert_eq!(registers.read(Register::Rtmr3).unwrap().unwrap(), wanted.as_ref());
    assert_eq!(registers.read(Register::Rtmr0).unwrap(), None);
    assert!(matches!(registers.extend(Register::Rtmr0, &[1; 48]), Err(Error::Io { .. })));
}

#[test]
fn a_register_is_not_extended_by_half_a_digest() {
    let registers = Registers::new(sysfs(40, &[("/m/rtmr3:sha384", &[0; 48])]), "/m");
    assert!(registers.extend(Register::Rtmr3, &[1; 48]).is_err());
    assert_eq!(registers.read(Register::Rtmr3).unwrap(), Some([0; 48]));
}

#[test]
fn refuses_a_register_of_another_length() {
    for (length, is_long) in [(0, false), (47, false), (49, true)] {
        let registers = Registers::new(sysfs(usize::MAX, &[("/m/rtmr1:sha384", &vec![0; length])]), "/m");
        let error = registers.read(Register::Rtmr1).unwrap_err();
        assert_eq!(matches!(error, Error::TooLong { .. }), is_long, "{error}");
        assert_eq!(matches!(error, Error::Malformed { .. }), !is_long, "{error}");
    }
}

#[test]
fn an_event_log_is_read_whole_up_to_its_limit() {
    let log = |length| sysfs(1000, &[("/ccel", &vec![0xff; length])]);
    let path = Path::new("/ccel");
    assert_eq!(event_log(&log(256 * 1024), path).unwrap().unwrap().len(), 256 * 1024);
    assert!(matches!(event_log(&log(256 * 1024 + 1), path).unwrap_err(), Error::TooLong { .. }));
    assert_eq!(event_log(&log(1), Path::new("/none")).unwrap(), None);
}

#[test]
fn the_registers_of_a_local_report_are_those_of_the_quote() {
    let guest =
        TdxGuest::launch(TdConfig::new(Measurement::new([4; 48])), "2026-10-01T00:00:00Z".parse().unwrap())
            .unwrap();
    let quote = guest.quote(&ReportData::new([7; 64])).unwrap();
    let report = paravisor::td_report(&quote).try_into().unwrap();
    assert_eq!(registers_of(&report), Some(guest.registers()));
}

/// Reports in configfs, registers and event log in sysfs, as one machine has them.
#[derive(Clone)]
struct Both(Configfs, Sysfs);

enum Either {
    Configfs(Attribute),
    Sysfs(Open),
}

impl Files for Both {
    type File = Either;

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.0.make_folder(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.0.remove_folder(path)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Either> {
        match path.starts_with("/reports") {
            true => self.0.open(path, access).map(Either::Configfs),
            false => self.1.open(path, access).map(Either::Sysfs),
        }
    }
}

impl Read for Either {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Configfs(file) => file.read(buffer),
            Self::Sysfs(file) => file.read(buffer),
        }
    }
}

impl Write for Either {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Configfs(file) => file.write(bytes),
            Self::Sysfs(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const RTMR3: &str = "/m/rtmr3:sha384";

fn event(version: u64) -> RuntimeEvent {
    RuntimeEvent::model("acme/chat", version, &Sha256Digest::new([8; 32]))
}

/// A TD with this sysfs; its processor is told what the register was extended with.
fn td(sysfs: &Sysfs) -> (Device<Both>, Arc<Mutex<TdxGuest>>) {
    let at = "2026-10-01T00:00:00Z".parse().unwrap();
    let guest = Arc::new(Mutex::new(TdxGuest::launch(TdConfig::new(Measurement::new([4; 48])), at).unwrap()));
    let quoting = Arc::clone(&guest);
    let quote =
        move |_, data| Ok((quoting.lock().unwrap().quote(&ReportData::new(data)).unwrap(), Vec::new()));
    let files = Both(Configfs::new("tdx_guest", Box::new(quote)), sysfs.clone());
    let device = Device::of_tsm(files, Path::new("/reports"), Path::new("/ccel"), Path::new("/m")).unwrap();
    (device, guest)
}

fn firmware_log() -> Vec<u8> {
    EventLog::boot(&Boot::default()).encode()
}

#[test]
fn what_a_running_td_measures_is_in_its_register_and_in_the_log_of_its_evidence() {
    let sysfs = sysfs(usize::MAX, &[(RTMR3, &[0; 48]), ("/ccel", &firmware_log())]);
    let (mut device, guest) = td(&sysfs);
    for version in [1, 2, 1] {
        assert_eq!(device.measure(event(version)).unwrap(), Measured::InRegister);
        guest.lock().unwrap().measure(&event(version));
    }
    let registers = guest.lock().unwrap().registers();
    assert_eq!(sysfs.files.lock().unwrap()[Path::new(RTMR3)], registers[3], "each event once");
    let evidence = device.attest(&ReportData::new([7; 64])).unwrap();
    let replayed = event_log::read(&evidence.event_log.unwrap().0).unwrap();
    event_log::appraise(Some(&replayed), &registers, &event_log::Policy::strict()).unwrap();
    let last = replayed.events().last().unwrap().data();
    assert_eq!(last, event_log::EventData::Proved(&event(2).data()));
}

#[test]
fn without_a_register_nothing_is_measured_and_nothing_is_said_of_it() {
    let (mut device, _) = td(&sysfs(usize::MAX, &[("/ccel", &firmware_log())]));
    assert_eq!(device.measure(event(1)).unwrap(), Measured::Nowhere);
    assert_eq!(device.attest(&ReportData::new([7; 64])).unwrap().event_log.unwrap().0, firmware_log());
}

#[test]
fn an_event_that_the_register_did_not_take_is_an_error_and_not_in_the_log() {
    let (mut device, _) = td(&sysfs(40, &[(RTMR3, &[0; 48]), ("/ccel", &firmware_log())]));
    assert!(matches!(device.measure(event(1)), Err(Error::PartialWrite { .. } | Error::Io { .. })));
    assert_eq!(device.attest(&ReportData::new([7; 64])).unwrap().event_log.unwrap().0, firmware_log());
}

#[test]
fn more_events_than_evidence_may_carry_are_refused() {
    let (mut device, _) = td(&sysfs(usize::MAX, &[(RTMR3, &[0; 48])]));
    for version in 0..MAX_RUNTIME_EVENTS as u64 {
        device.measure(event(version)).unwrap();
    }
    assert!(matches!(device.measure(event(u64::MAX)), Err(Error::Full { .. })));
    assert_eq!(device.measure(event(0)).unwrap(), Measured::InRegister, "known already");
}
