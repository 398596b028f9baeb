//! The event log of a boot that a TPM measured, and the PCRs that it adds up to.

use crate::event_log::{Bank, EventKind, pcr, read_records};
use anchorhold_rats::Checks;
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;

/// What the data of an event begins with that says from where the TPM was started: one byte follows, with which PCR 0 then
/// begins (PC Client Platform Firmware Profile, section 10.4.5.3).
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrEvent {
    /// The PCR that it extends.
    pub pcr: u8,
    /// The type that the log gives it. No digest covers it.
    pub kind: EventKind,
    /// The SHA-256 digest that the PCR was extended with.
    pub digest: [u8; 32],
}

/// A log that was read, with the PCRs (SHA-256 bank) that it gives. Authentic as far as these equal quoted ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrLog {
    pcrs: BTreeMap<u8, [u8; 32]>,
    events: Vec<PcrEvent>,
}

impl PcrLog {
    /// The PCRs that the log extends, after the last event.
    #[must_use]
    pub const fn pcrs(&self) -> &BTreeMap<u8, [u8; 32]> {
        &self.pcrs
    }

    /// Every event that was extended, in order.
    #[must_use]
    pub fn events(&self) -> &[PcrEvent] {
        &self.events
    }

    /// A log of which only is known what it adds up to. Holding one proves nothing.
    #[must_use]
    pub const fn of_pcrs(pcrs: BTreeMap<u8, [u8; 32]>) -> Self {
        Self { pcrs, events: Vec::new() }
    }

    /// Reads a log, replays it and records the rules about its shape; `None` when one failed.
    pub(super) fn read(log: &[u8], checks: &mut Checks) -> Option<Self> {
        let records = read_records(log, Bank::SHA256, "PCRs 0 to 23", pcr, checks)?;
        let mut pcrs = BTreeMap::new();
        for data in &records.informative {
            if let Some([locality]) = data.strip_prefix(STARTUP_LOCALITY) {
                let mut first = [0; 32];
                first.iter_mut().rev().take(1).for_each(|byte| *byte = *locality);
                pcrs.insert(0, first);
            }
        }
        let mut events = Vec::new();
        for record in &records.extended {
            let value: &mut [u8; 32] = pcrs.entry(record.register).or_default();
            let mut context = Context::new(&SHA256);
            context.update(value);
            context.update(record.digest);
            value.copy_from_slice(context.finish().as_ref());
            let digest = record.digest.try_into().ok()?;
            events.push(PcrEvent { pcr: record.register, kind: record.kind, digest });
        }
        Some(Self { pcrs, events })
    }
}
