//! Commands and responses as bytes, big-endian (TPM 2.0 Library Part 1, section 18).

use super::TpmError;
use std::io::{self, Read, Write};

/// TPM_ST_NO_SESSIONS and TPM_ST_SESSIONS.
const PLAIN: u16 = 0x8001;
const AUTHORISED: u16 = 0x8002;
/// Tag, size and code.
const HEADER_BYTES: usize = 10;
/// The longest response of a TPM for personal computers, in bytes.
const MAX_RESPONSE_BYTES: usize = 4096;
/// TPM_RS_PW with an empty password: the handle, and no nonce, attributes or value.
const EMPTY_PASSWORD: [u8; 13] = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
const SHA256: u16 = 0x000b;
/// TPM_RC_YIELDED, TPM_RC_TESTING and TPM_RC_RETRY: nothing was done, and the same command is to be sent again (Part 1, section
/// 39.3). The kernel does so for its own device.
const AGAIN: [u32; 3] = [0x908, 0x90a, 0x922];
const ATTEMPTS: u32 = 32;

/// A command while it is written.
pub(super) struct Command {
    code: u32,
    tag: u16,
    body: Vec<u8>,
}

impl Command {
    /// A command that needs no authorisation.
    pub(super) const fn plain(code: u32) -> Self {
        Self { code, tag: PLAIN, body: Vec::new() }
    }

    /// A command on an object or hierarchy whose authorisation value is empty.
    pub(super) fn authorised(code: u32, handle: u32) -> Self {
        let body = [&handle.to_be_bytes()[..], &EMPTY_PASSWORD].concat();
        Self { code, tag: AUTHORISED, body }
    }

    pub(super) fn half(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn word(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// TPM2B; what is written here is far below its limit.
    pub(super) fn sized(self, bytes: &[u8]) -> Self {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.half(length).bytes(bytes)
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.body.extend(bytes);
        self
    }

    /// Sends the command until the TPM does it, and reads the one response, however it is cut into reads.
    pub(super) fn exchange<T: Read + Write>(self, transport: &mut T) -> Result<Response, TpmError> {
        let size = u32::try_from(HEADER_BYTES.saturating_add(self.body.len())).unwrap_or(u32::MAX);
        let command =
            [&self.tag.to_be_bytes()[..], &size.to_be_bytes(), &self.code.to_be_bytes(), &self.body].concat();
        let mut attempts = 1;
        loop {
            transport.write_all(&command).map_err(TpmError::Transport)?;
            match self.read_response(transport) {
                Err(TpmError::Refused { code, .. }) if AGAIN.contains(&code) && attempts < ATTEMPTS => {
                    attempts += 1
                }
                outcome => return outcome,
            }
        }
    }

    fn read_response<T: Read>(&self, transport: &mut T) -> Result<Response, TpmError> {
        let malformed = |wanted| TpmError::Malformed { command: self.code, wanted };
        let bytes = read(transport, &malformed)?;
        let mut response = Response { command: self.code, bytes, at: 0 };
        let tag = response.half("a header")?;
        response.word("a header")?;
        match response.word("a header")? {
            0 if tag == self.tag => Ok(response),
            0 => Err(malformed("a response with the command's tag")),
            code => Err(TpmError::Refused { command: self.code, code }),
        }
    }
}

/// Reads one response, as long as its header says.
fn read<T: Read>(
    transport: &mut T,
    malformed: &impl Fn(&'static str) -> TpmError,
) -> Result<Vec<u8>, TpmError> {
    let mut bytes = Vec::new();
    let mut buffer = [0; MAX_RESPONSE_BYTES];
    loop {
        let size = bytes.get(2..6).and_then(|size| size.first_chunk::<4>());
        let size = size.map(|size| usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX));
        if let Some(size) = size {
            if !(HEADER_BYTES..=MAX_RESPONSE_BYTES).contains(&size) || bytes.len() > size {
                return Err(malformed("one response of 10 to 4096 bytes"));
            }
            if bytes.len() == size {
                return Ok(bytes);
            }
        }
        match transport.read(&mut buffer) {
            Ok(0) => return Err(TpmError::Transport(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => bytes.extend(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(TpmError::Transport(error)),
        }
    }
}

/// A response while it is read.
pub(super) struct Response {
    command: u32,
    bytes: Vec<u8>,
    at: usize,
}

impl Response {
    pub(super) const fn malformed(&self, wanted: &'static str) -> TpmError {
        TpmError::Malformed { command: self.command, wanted }
    }

    fn take(&mut self, length: usize, wanted: &'static str) -> Result<&[u8], TpmError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.malformed(wanted))?;
        let start = std::mem::replace(&mut self.at, end);
        Ok(self.bytes.get(start..end).unwrap_or_default())
    }

    fn array<const N: usize>(&mut self, wanted: &'static str) -> Result<[u8; N], TpmError> {
        let malformed = self.malformed(wanted);
        self.take(N, wanted)?.try_into().map_err(|_| malformed)
    }

    pub(super) fn half(&mut self, wanted: &'static str) -> Result<u16, TpmError> {
        self.array(wanted).map(u16::from_be_bytes)
    }

    pub(super) fn word(&mut self, wanted: &'static str) -> Result<u32, TpmError> {
        self.array(wanted).map(u32::from_be_bytes)
    }

    /// TPM2B.
    pub(super) fn sized(&mut self, wanted: &'static str) -> Result<Vec<u8>, TpmError> {
        let length = usize::from(self.half(wanted)?);
        self.take(length, wanted).map(<[u8]>::to_vec)
    }

    /// The length of the parameters, which stands before them where a session stands after them.
    pub(super) fn parameters(&mut self) -> Result<(), TpmError> {
        let wanted = "parameters and a session";
        let length = usize::try_from(self.word(wanted)?).unwrap_or(usize::MAX);
        let left = self.bytes.len().saturating_sub(self.at);
        if length > left { Err(self.malformed(wanted)) } else { Ok(()) }
    }

    /// TPML_PCR_SELECTION of one bank, SHA-256.
    pub(super) fn selection(&mut self, wanted: &'static str) -> Result<[u8; 3], TpmError> {
        let (banks, algorithm) = (self.word(wanted)?, self.half(wanted)?);
        let [bytes] = self.array(wanted)?;
        if (banks, algorithm, bytes) != (1, SHA256, 3) {
            return Err(self.malformed(wanted));
        }
        self.array(wanted)
    }
}
