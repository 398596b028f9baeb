//! A QEMU that answers anything, and its tables of ACPI, changed: reading ends, and what is taken for a table is inside its file.
#![no_main]

use anchorhold_fuzz::edit::Script;
use anchorhold_image_builder::acpi::Tables;
use anchorhold_image_builder::fw_cfg::{MAX_FILE_BYTES, Ports};
use libfuzzer_sys::fuzz_target;
use std::io::{Read, Result, Write};

/// Answers with these bytes, whatever it is asked.
struct Peer<'a>(&'a [u8]);

impl Read for Peer<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        self.0.read(into)
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Answers as the protocol wants it, where each byte of `data` is the next that is asked for.
fn answers(data: &[u8]) -> Vec<u8> {
    let mut text = String::new();
    let mut data = data.iter();
    // Signature, directory with two files, both selected, the directory again, both files of one byte.
    for reads in [4, 4 + 2 * 64, 0, 0, 4 + 2 * 64, 1, usize::MAX] {
        text.push_str("OK\n");
        for byte in data.by_ref().take(reads) {
            text.push_str(&format!("OK {byte:#06x}\n"));
        }
    }
    text.into_bytes()
}

fn directory() -> Vec<u8> {
    let mut bytes = 2_u32.to_be_bytes().to_vec();
    for (item, name) in [(0x20_u8, "etc/a"), (0x21, "etc/b")] {
        bytes.extend([0, 0, 0, 1, 0, item, 0, 0]);
        bytes.extend(name.bytes().chain(std::iter::repeat(0)).take(56));
    }
    bytes
}

fn good() -> [Vec<u8>; 3] {
    let (mut loader, mut tables) = (Vec::new(), Vec::new());
    for name in ["etc/acpi/rsdp", "etc/acpi/tables"] {
        let mut command = vec![1, 0, 0, 0];
        command.extend(name.bytes());
        command.resize(128, 0);
        loader.extend(command);
    }
    for (signature, bytes) in [(b"DSDT", 60_u32), (b"APIC", 50), (b"MCFG", 40)] {
        let mut command = vec![3, 0, 0, 0];
        command.extend(b"etc/acpi/tables");
        command.resize(64, 0);
        command.extend((tables.len() as u32).to_le_bytes().into_iter().chain(bytes.to_le_bytes()));
        command.resize(128, 0);
        loader.extend(command);
        let end = tables.len() + bytes as usize;
        tables.extend(signature.iter().copied().chain(bytes.to_le_bytes()));
        tables.resize(end, 0);
    }
    [loader, b"RSD PTR ".to_vec(), tables]
}

fuzz_target!(|input: &[u8]| {
    let mut script = Script(input);
    match script.byte() % 3 {
        0 => drop(Ports::new(Peer(script.0)).files(&["etc/a", "etc/b"])),
        1 => {
            let mut data = [b"QEMU".to_vec(), directory(), directory(), vec![1, 2]].concat();
            script.edit(&mut data);
            if let Ok(files) = Ports::new(Peer(&answers(&data))).files(&["etc/a", "etc/b"]) {
                assert!(files.iter().all(|file| file.len() <= MAX_FILE_BYTES as usize));
            }
        }
        _ => {
            let [mut loader, mut pointer, mut tables] = good();
            script.edit_once(&mut pointer);
            script.edit_once(&mut tables);
            script.edit(&mut loader);
            let len = tables.len();
            if let Ok(tables) = Tables::new(vec![loader, pointer, tables]) {
                assert!(tables.list().len() >= 3);
                assert!(tables.list().iter().all(|table| table.bytes as usize <= len));
            }
        }
    }
});
