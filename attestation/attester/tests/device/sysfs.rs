//! A TD's registers and event log, by a double of sysfs.
//!
//! As in the kernel (`drivers/virt/coco/guest/tsm-mr.c`): a write that is not the whole digest at offset 0 is refused with EINVAL, a
//! read gives the value as it is then, and RTMRs extend as the TDX module does: SHA-384 over the old value and the digest.

use anchorhold_attester::device::tdx::{Register, Registers, event_log, registers_of};
use anchorhold_attester::device::{Access, Error, Files};
use anchorhold_attester::software::paravisor;
use anchorhold_attester::software::tdx::{TdConfig, TdxGuest};
use anchorhold_rats::{Measurement, ReportData};
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
