//! A TPM 2.0: its quote of PCRs, and the few other commands that a guest needs.
//!
//! Commands and responses are as in *Trusted Platform Module Library* 1.59, Part 3 (commands) and Part 2 (structures). There are
//! six of them, each a fixed sequence of fields, so they are written here: `tss-esapi` binds a C library of some 100,000 lines, with a
//! daemon's protocol and policies in it, which a guest without a shell would have to carry.
//!
//! The transport is anything that takes a command and gives a response: `/dev/tpmrm0`, or the socket of an emulator.

mod wire;

use super::files::{Access, Files, read_all};
use super::{Error, System};
use anchorhold_rats::{Der, Sha256Digest, TpmEvidence};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use wire::{Command, Response};

/// The kernel's resource manager: what a process leaves loaded goes when it closes the device.
pub const TPM: &str = "/dev/tpmrm0";
/// The event log that the kernel keeps of the firmware's measurements.
pub const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// The longest event log that is read, in bytes: what evidence may carry.
const MAX_EVENT_LOG_BYTES: usize = 256 * 1024;
/// How many PCRs a bank has.
pub const PCRS: u8 = 24;
/// The longest nonce, in bytes: TPM2B_DATA with the longest digest.
const MAX_NONCE_BYTES: usize = 64;
/// How often PCRs are read and quoted while somebody extends them in between.
const ATTEMPTS: u32 = 5;
/// TPM_RH_ENDORSEMENT: its keys are the same after every reset and outlive a change of owner.
const ENDORSEMENT: u32 = 0x4000_000b;

const CREATE_PRIMARY: u32 = 0x131;
const QUOTE: u32 = 0x158;
const FLUSH_CONTEXT: u32 = 0x165;
const READ_PUBLIC: u32 = 0x173;
const PCR_READ: u32 = 0x17e;
const PCR_EXTEND: u32 = 0x182;

const NULL: u16 = 0x0010;
const SHA256: u16 = 0x000b;
const ECDSA: u16 = 0x0018;
const COORDINATE_BYTES: usize = 32;

/// TPMT_PUBLIC of the key to make: ECC P-256, ECDSA with SHA-256, restricted signing, fixed to this TPM (TPMA_OBJECT: fixedTPM,
/// fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign).
const TEMPLATE: [u8; 24] = [
    0x00, 0x23, 0x00, 0x0b, 0x00, 0x05, 0x00, 0x72, 0x00, 0x00, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00,
    0x03, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00,
];

/// Why a TPM gave no answer.
#[derive(Debug)]
pub enum TpmError {
    /// The transport failed, or ended before the response did.
    Transport(io::Error),
    /// The TPM refused the command.
    Refused {
        /// TPM_CC.
        command: u32,
        /// TPM_RC.
        code: u32,
    },
    /// The response is not one to this command.
    Malformed {
        /// TPM_CC.
        command: u32,
        /// What is documented.
        wanted: &'static str,
    },
    /// The PCRs changed between reading and quoting, each time.
    Unsettled,
    /// No such PCR, or too long a nonce.
    Argument(&'static str),
}

impl fmt::Display for TpmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(error) => write!(f, "the TPM does not answer: {error}"),
            Self::Refused { command, code } => {
                write!(f, "the TPM refused command {command:#x} with {code:#x}")
            }
            Self::Malformed { command, wanted } => {
                write!(f, "the TPM's response to command {command:#x} is not {wanted}")
            }
            Self::Unsettled => write!(f, "the PCRs changed in {ATTEMPTS} attempts to quote them"),
            Self::Argument(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for TpmError {}

/// A TPM behind a transport. One user at a time.
#[derive(Debug)]
pub struct Tpm<T> {
    transport: T,
}

impl Tpm<File> {
    /// Opens a TPM's device.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let device = System.open(path, Access::Exchange);
        Ok(Self::new(device.map_err(|error| Error::io("opening", path, error))?))
    }
}

/// The event log that the kernel has of this boot.
///
/// # Errors
/// [`Error::TooLong`] over 256 KiB, and [`Error::Io`].
pub fn event_log<F: Files>(files: &F, path: &Path) -> Result<Vec<u8>, Error> {
    read_all(files, path, MAX_EVENT_LOG_BYTES)
}

impl<T: Read + Write> Tpm<T> {
    /// The TPM behind this transport.
    pub const fn new(transport: T) -> Self {
        Self { transport }
    }

    /// A quote of these PCRs (SHA-256 bank) for this nonce, by the TPM's quoting key, with the values that it quotes.
    ///
    /// The key is made from the TPM's endorsement seed each time, so it is the same key until that seed is changed, and nothing is
    /// stored.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn quote(&mut self, pcrs: &[u8], nonce: &[u8]) -> Result<TpmEvidence, TpmError> {
        if nonce.len() > MAX_NONCE_BYTES {
            return Err(TpmError::Argument("the nonce is longer than a TPM quotes"));
        }
        let selection = selection(pcrs)?;
        let (handle, key) = self.create_key()?;
        let quoted = self.quote_with(handle, selection, nonce);
        // A key that stays takes one of the few places that the TPM has, so this must be said.
        self.exchange(Command::plain(FLUSH_CONTEXT).word(handle))?;
        let Quoted { quote, signature, values: pcrs } = quoted?;
        Ok(TpmEvidence { key, quote, signature, pcrs, event_log: None, certificates: Vec::new() })
    }

    /// The values of these PCRs, in the order of their numbers.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn read_pcrs(&mut self, pcrs: &[u8]) -> Result<Vec<[u8; 32]>, TpmError> {
        let selection = selection(pcrs)?;
        self.read_selected(selection)
    }

    /// Extends one PCR of the SHA-256 bank with this digest.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn extend(&mut self, pcr: u8, digest: &Sha256Digest) -> Result<(), TpmError> {
        selection(&[pcr])?;
        let digests = [&1_u32.to_be_bytes()[..], &SHA256.to_be_bytes(), digest.as_bytes()].concat();
        self.exchange(Command::authorised(PCR_EXTEND, pcr.into()).bytes(&digests)).map(drop)
    }

    /// TPMT_PUBLIC of a loaded or persistent object.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn read_public(&mut self, handle: u32) -> Result<Vec<u8>, TpmError> {
        let mut response = self.exchange(Command::plain(READ_PUBLIC).word(handle))?;
        response.sized("a public area")
    }

    fn create_key(&mut self) -> Result<(u32, Vec<u8>), TpmError> {
        let command = Command::authorised(CREATE_PRIMARY, ENDORSEMENT)
            // No authorisation value and no data for the key.
            .sized(&[0, 0, 0, 0])
            .sized(&TEMPLATE)
            // No outside information, no creation PCRs.
            .sized(&[])
            .word(0);
        let mut response = self.exchange(command)?;
        let handle = response.word("a handle")?;
        response.parameters()?;
        Ok((handle, response.sized("a public area")?))
    }

    /// The quote, its signature and the values, once these are the ones that were quoted.
    fn quote_with(&mut self, handle: u32, selection: [u8; 3], nonce: &[u8]) -> Result<Quoted, TpmError> {
        for _ in 0..ATTEMPTS {
            let values = self.read_selected(selection)?;
            let command =
                Command::authorised(QUOTE, handle).sized(nonce).half(NULL).bytes(&pcr_selection(selection));
            let mut response = self.exchange(command)?;
            response.parameters()?;
            let quote = response.sized("a quote")?;
            let signature = signature(&mut response)?;
            // The digest over the values ends a quote (TPMS_QUOTE_INFO).
            if quote.ends_with(Sha256Digest::of(&values.concat()).as_bytes()) {
                let values = values.into_iter().map(|value| Der(value.to_vec())).collect();
                return Ok(Quoted { quote, signature, values });
            }
        }
        Err(TpmError::Unsettled)
    }

    /// One response holds at most eight values.
    fn read_selected(&mut self, selection: [u8; 3]) -> Result<Vec<[u8; 32]>, TpmError> {
        let mut rest = bits(selection);
        let mut values = Vec::new();
        while rest != 0 {
            let [low, middle, high, _] = rest.to_le_bytes();
            let command = Command::plain(PCR_READ).bytes(&pcr_selection([low, middle, high]));
            let mut response = self.exchange(command)?;
            let wanted = "values of selected PCRs";
            response.word(wanted)?;
            let read = bits(response.selection(wanted)?);
            let count = response.word(wanted)?;
            if read == 0 || read & !rest != 0 || count != read.count_ones() {
                return Err(response.malformed(wanted));
            }
            // Values come in rising order, and so must what is still missing.
            if rest & !read != 0 && (rest & !read).trailing_zeros() < 32 - read.leading_zeros() {
                return Err(response.malformed(wanted));
            }
            for _ in 0..count {
                let value = response.sized(wanted)?;
                values.push(<[u8; 32]>::try_from(value).map_err(|_| response.malformed(wanted))?);
            }
            rest &= !read;
        }
        Ok(values)
    }

    fn exchange(&mut self, command: Command) -> Result<Response, TpmError> {
        command.exchange(&mut self.transport)
    }
}

struct Quoted {
    quote: Vec<u8>,
    signature: Vec<u8>,
    values: Vec<Der>,
}

/// TPMT_SIGNATURE of ECDSA with SHA-256, as r and s of 32 bytes each.
fn signature(response: &mut Response) -> Result<Vec<u8>, TpmError> {
    let wanted = "a signature by ECDSA with SHA-256";
    if (response.half(wanted)?, response.half(wanted)?) != (ECDSA, SHA256) {
        return Err(response.malformed(wanted));
    }
    let mut signature = Vec::with_capacity(2 * COORDINATE_BYTES);
    for _ in 0..2 {
        let number = response.sized(wanted)?;
        // TPMs may leave out leading zeros.
        let missing = COORDINATE_BYTES.checked_sub(number.len()).ok_or_else(|| response.malformed(wanted))?;
        signature.resize(signature.len() + missing, 0);
        signature.extend(number);
    }
    Ok(signature)
}

/// The bit map of these PCRs.
fn selection(pcrs: &[u8]) -> Result<[u8; 3], TpmError> {
    let mut selected = 0_u32;
    for pcr in pcrs {
        if *pcr >= PCRS {
            return Err(TpmError::Argument("a bank has PCRs 0 to 23"));
        }
        selected |= 1 << pcr;
    }
    if selected == 0 {
        return Err(TpmError::Argument("no PCR is selected"));
    }
    let [low, middle, high, _] = selected.to_le_bytes();
    Ok([low, middle, high])
}

const fn bits([low, middle, high]: [u8; 3]) -> u32 {
    u32::from_le_bytes([low, middle, high, 0])
}

/// TPML_PCR_SELECTION of one bank.
const fn pcr_selection([low, middle, high]: [u8; 3]) -> [u8; 10] {
    [0, 0, 0, 1, 0, 0x0b, 3, low, middle, high]
}
