//! The receiving end of a body in `anchorhold-body/1` (PROTOCOL.md, "Frames").

use crate::Error;
use crate::aead::{FrameKey, TAG_BYTES};
use crate::reassembly::Reassembly;
use crate::sealer::{FINAL, MARK, MAX_FRAME_BYTES};

/// Turns frames into a body. What it gives out is authentic as far as it goes; that the body is whole, only [`finish`](Self::finish) says.
#[derive(Debug)]
pub struct Opener {
    key: FrameKey,
    frames: Reassembly,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Open,
    Ended,
    Refused(Error),
}

impl Opener {
    pub(crate) const fn new(key: FrameKey, limit_bytes: u64) -> Self {
        Self { key, frames: Reassembly::new(limit_bytes), state: State::Open }
    }

    /// Takes the next bytes of the body, cut anywhere, and appends to `out` the data of every frame that they complete.
    ///
    /// # Errors
    /// [`Error::FrameLength`], [`Error::Frame`], [`Error::Appended`] or [`Error::TooLong`]; the same again whatever follows. What stands
    /// in `out` then is still an authentic beginning of the body.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        while !bytes.is_empty() {
            let outcome = match self.state {
                State::Open => self.frame(&mut bytes, out),
                State::Ended => Err(Error::Appended),
                State::Refused(error) => Err(error),
            };
            if let Err(error) = outcome {
                self.state = State::Refused(error);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether the last frame came. Nothing may follow it.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Establishes that the body is whole: its last frame came and nothing after it. To be called when the HTTP body has ended.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the last frame did not come; what [`push`](Self::push) refused, if it did.
    pub fn finish(self) -> Result<(), Error> {
        match self.state {
            State::Open => Err(Error::Truncated),
            State::Ended => Ok(()),
            State::Refused(error) => Err(error),
        }
    }

    /// Opens a body that is in memory, whole or not at all.
    ///
    /// # Errors
    /// As [`push`](Self::push) and [`finish`](Self::finish).
    pub fn open_whole(mut self, body: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(body.len());
        self.push(body, &mut out)?;
        self.finish().map(|()| out)
    }

    fn frame(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let Self { key, frames, state } = self;
        frames.take(bytes, length_of, |prefix, frame| {
            let start = out.len();
            key.open(&prefix, frame, out)?;
            let plain = out.get(start..).unwrap_or_default();
            let mark = plain.iter().rposition(|byte| *byte != 0).filter(|at| plain.get(*at) == Some(&MARK));
            out.truncate(start + mark.unwrap_or(0));
            mark.ok_or(Error::Frame)?;
            if u32::from_be_bytes(prefix) & FINAL != 0 {
                *state = State::Ended;
            }
            Ok(())
        })?;
        Ok(())
    }
}

fn length_of(prefix: u32) -> Result<usize, Error> {
    usize::try_from(prefix & !FINAL)
        .ok()
        .filter(|length| (TAG_BYTES + 1..=TAG_BYTES + MAX_FRAME_BYTES).contains(length))
        .ok_or(Error::FrameLength)
}
