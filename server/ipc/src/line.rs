//! Framed messages over a Unix stream socket, with descriptors.
//!
//! A frame is a length (4 bytes, big-endian) and that many bytes of postcard. Descriptors travel with the
//! first bytes of the frame they belong to, as many with each byte as the kernel lets. Reading and writing block; each
//! direction has one owner.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use zeroize::Zeroize as _;

/// The longest message, in bytes: a batch of embeddings of 2,048 inputs and 1,024 dimensions with room to spare.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// The most descriptors with one message: a package has two for each of its up to 267 objects, a card and a lock.
pub const MAX_DESCRIPTORS: usize = 3 * DESCRIPTORS_OF_ONE_BYTE;
/// The kernel's own limit for one call (unix(7), `SCM_MAX_FD`).
const DESCRIPTORS_OF_ONE_BYTE: usize = 253;

/// Why a line broke. Every one of these ends the line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The peer closed the line between two messages.
    #[error("the peer closed the line")]
    Closed,
    /// The peer closed the line inside a message.
    #[error("the line ended inside a message")]
    Truncated,
    /// A frame over [`MAX_FRAME_BYTES`], coming or going.
    #[error("a message of {bytes} bytes, the limit is {MAX_FRAME_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The bytes are not a message of this line's list, or not exactly one.
    #[error("not a message of this line")]
    Malformed,
    /// More descriptors than [`MAX_DESCRIPTORS`], or some were lost on the way.
    #[error("too many descriptors with one message")]
    TooManyDescriptors,
    /// The system refused.
    #[error("line: {0}")]
    System(#[from] io::Error),
}

impl From<Errno> for LineError {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

/// Where a child finds its line to the keeper: standard input.
pub const KEEPER_LINE: RawFd = 0;
/// Where a worker finds its line to the gateway: standard output.
pub const GATEWAY_LINE: RawFd = 1;

/// Makes a connected pair of sockets; neither is inherited by a child unless it is told so.
///
/// # Errors
/// The system's.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Duplicates a descriptor that the parent process left open for us under this number, and marks the copy as not to
/// be inherited further.
///
/// # Errors
/// No such descriptor, or it is not a socket.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // The path names this process's own descriptor table, so no unsafe claim of ownership is needed; a socket cannot
    // be opened through /proc, so it is duplicated through a pidfd of ourselves.
    let own = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())?;
    let copy = rustix::process::pidfd_getfd(own, number, rustix::process::PidfdGetfdFlags::empty())?;
    rustix::net::sockopt::socket_type(&copy)?;
    Ok(copy)
}

/// Both directions of one line: sends `Out`, receives `In`.
#[derive(Debug)]
pub struct Line<Out, In> {
    writer: LineWriter<Out>,
    reader: LineReader<In>,
}

impl<Out: Serialize, In: DeserializeOwned> Line<Out, In> {
    /// A line over this socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        let socket = Arc::new(socket);
        Self {
            writer: LineWriter { socket: Arc::clone(&socket), list: PhantomData },
            reader: LineReader { socket, descriptors: VecDeque::new(), list: PhantomData },
        }
    }

    /// The two directions apart, for two threads.
    #[must_use]
    pub fn split(self) -> (LineWriter<Out>, LineReader<In>) {
        (self.writer, self.reader)
    }

    /// See [`LineWriter::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send(&mut self, message: &Out, descriptors: &[BorrowedFd<'_>]) -> Result<(), LineError> {
        self.writer.send(message, descriptors)
    }

    /// See [`LineReader::receive`].
    ///
    /// # Errors
    /// As there.
    pub fn receive(&mut self) -> Result<(In, Vec<OwnedFd>), LineError> {
        self.reader.receive()
    }
}

/// The sending end of a line.
#[derive(Debug)]
pub struct LineWriter<Out> {
    socket: Arc<OwnedFd>,
    list: PhantomData<fn(&Out)>,
}

impl<Out: Serialize> LineWriter<Out> {
    /// Sends one message, with descriptors, and waits until the kernel took all of it. The encoded bytes are wiped.
    ///
    /// # Errors
    /// [`LineError`]; after one the line is of no use.
    pub fn send(&mut self, message: &Out, descriptors: &[BorrowedFd<'_>]) -> Result<(), LineError> {
        if descriptors.len() > MAX_DESCRIPTORS {
            return Err(LineError::TooManyDescriptors);
        }
        let mut frame = postcard::to_extend(message, vec![0; 4]).map_err(|_| LineError::Malformed)?;
        let body = frame.len() - 4;
        let header = u32::try_from(body).ok().filter(|_| body <= MAX_FRAME_BYTES);
        let result = match (header, frame.first_chunk_mut::<4>()) {
            (Some(length), Some(head)) => {
                *head = length.to_be_bytes();
                self.send_frame(&frame, descriptors)
            }
            _ => Err(LineError::TooLong { bytes: body }),
        };
        frame.zeroize();
        result
    }

    fn send_frame(&mut self, frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), LineError> {
        let mut rest = frame;
        let mut batches = descriptors.chunks(DESCRIPTORS_OF_ONE_BYTE).peekable();
        while !rest.is_empty() {
            let batch = batches.next().unwrap_or_default();
            // Another batch needs a byte of its own; the length alone has more bytes than there can be batches.
            let some = if batches.peek().is_some() { rest.split_at(1).0 } else { rest };
            let sent = self.send_some(some, batch)?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends some of `bytes`, with all of `descriptors`, and tells how many bytes.
    fn send_some(&mut self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize, LineError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_OF_ONE_BYTE))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(LineError::TooManyDescriptors);
        }
        loop {
            match sendmsg(&*self.socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(sent) => return Ok(sent),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(LineError::Closed),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Ends the line for both sides: the peer's next receive, and ours, answer [`LineError::Closed`].
    pub fn shut_down(&self) {
        shut_down(&self.socket);
    }
}

/// The receiving end of a line.
#[derive(Debug)]
pub struct LineReader<In> {
    socket: Arc<OwnedFd>,
    descriptors: VecDeque<OwnedFd>,
    list: PhantomData<fn() -> In>,
}

impl<In: DeserializeOwned> LineReader<In> {
    /// Waits for one message and the descriptors that came with it. The encoded bytes are wiped.
    ///
    /// # Errors
    /// [`LineError`]; after one the line is of no use.
    pub fn receive(&mut self) -> Result<(In, Vec<OwnedFd>), LineError> {
        let mut header = [0; 4];
        if !self.fill(&mut header)? {
            return Err(LineError::Closed);
        }
        let bytes = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
        if bytes > MAX_FRAME_BYTES {
            return Err(LineError::TooLong { bytes });
        }
        let mut body = vec![0; bytes];
        if bytes > 0 && !self.fill(&mut body)? {
            return Err(LineError::Truncated);
        }
        let message = decode(&body);
        body.zeroize();
        Ok((message?, self.descriptors.drain(..).collect()))
    }

    /// Fills `buffer`; false when the line ended before its first byte.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, LineError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_OF_ONE_BYTE))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let rest = buffer.get_mut(filled..).unwrap_or_default();
            let got = match recvmsg(
                &*self.socket,
                &mut [IoSliceMut::new(rest)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(got) => got,
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => return Err(LineError::Closed),
                Err(errno) => return Err(errno.into()),
            };
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    self.descriptors.extend(descriptors);
                }
            }
            if got.flags.contains(rustix::net::ReturnFlags::CTRUNC)
                || self.descriptors.len() > MAX_DESCRIPTORS
            {
                return Err(LineError::TooManyDescriptors);
            }
            match (got.bytes, filled) {
                (0, 0) => return Ok(false),
                (0, _) => return Err(LineError::Truncated),
                (bytes, _) => filled += bytes,
            }
        }
        Ok(true)
    }
}

impl<In> LineReader<In> {
    /// As [`LineWriter::shut_down`], from this end.
    pub fn shut_down(&self) {
        shut_down(&self.socket);
    }
}

fn shut_down(socket: &OwnedFd) {
    // A line that the peer already closed answers an error, and is closed all the same.
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
}

impl<In> AsFd for LineReader<In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Reads exactly one message out of `body`.
fn decode<In: DeserializeOwned>(body: &[u8]) -> Result<In, LineError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(LineError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, FromWorker, ToWorker, Work};
    use anchorhold_engine::RequestId;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    fn lines() -> (Line<Work, Event>, Line<Event, Work>) {
        let (left, right) = pair().unwrap();
        (Line::new(left), Line::new(right))
    }

    #[test]
    fn carries_messages_both_ways_in_order() {
        let (mut gateway, mut worker) = lines();
        for id in 0..3 {
            gateway.send(&Work::Cancel { id: RequestId(id) }, &[]).unwrap();
        }
        for id in 0..3 {
            assert_eq!(worker.receive().unwrap().0, Work::Cancel { id: RequestId(id) });
        }
        let vectors = vec![vec![0.5; 1024]; 2048];
        let answer = Event::Embedded { id: RequestId(1), vectors, tokens_in: 9 };
        let sender = std::thread::spawn(move || worker.send(&answer, &[]).map(|()| answer));
        let got = gateway.receive().unwrap().0;
        assert_eq!(got, sender.join().unwrap().unwrap());
    }

    #[test]
    fn descriptors_arrive_with_their_own_message() {
        let (left, right) = pair().unwrap();
        let mut keeper: Line<ToWorker, FromWorker> = Line::new(left);
        let mut worker: Line<FromWorker, ToWorker> = Line::new(right);
        let (ours, theirs) = pair().unwrap();
        keeper.send(&ToWorker::Wipe, &[theirs.as_fd()]).unwrap();
        keeper.send(&ToWorker::Wipe, &[]).unwrap();
        drop(theirs);
        let (_, mut with) = worker.receive().unwrap();
        let (_, without) = worker.receive().unwrap();
        assert_eq!((with.len(), without.len()), (1, 0));
        UnixStream::from(with.remove(0)).write_all(b"x").unwrap();
        let mut byte = [0];
        assert_eq!(rustix::io::read(&ours, &mut byte).unwrap(), 1);
    }

    #[test]
    fn carries_the_descriptors_of_the_largest_package_in_order_and_no_more() {
        let (left, right) = pair().unwrap();
        let mut keeper: Line<ToWorker, FromWorker> = Line::new(left);
        let mut worker: Line<FromWorker, ToWorker> = Line::new(right);
        let (first, second) = (rustix::pipe::pipe().unwrap().0, rustix::pipe::pipe().unwrap().0);
        let which = |at: usize| if at.is_multiple_of(7) { &first } else { &second };
        let many: Vec<_> = (0..=MAX_DESCRIPTORS).map(|at| which(at).as_fd()).collect();
        keeper.send(&ToWorker::Wipe, &many[..MAX_DESCRIPTORS]).unwrap();
        keeper.send(&ToWorker::Wipe, &many[..1]).unwrap();
        let (_, came) = worker.receive().unwrap();
        assert_eq!(came.len(), MAX_DESCRIPTORS);
        let inode = |file: &OwnedFd| rustix::fs::fstat(file).unwrap().st_ino;
        assert!(came.iter().enumerate().all(|(at, file)| inode(file) == inode(which(at))));
        assert_eq!(worker.receive().unwrap().1.len(), 1);
        let refused = keeper.send(&ToWorker::Wipe, &many);
        assert!(matches!(refused, Err(LineError::TooManyDescriptors)));
    }

    #[test]
    fn refuses_long_short_trailing_and_foreign_frames() {
        let cases: [(&[u8], &str); 4] = [
            (&u32::MAX.to_be_bytes(), "a message of"),
            (&[0, 0, 0, 9, 1], "ended inside"),
            (&[0, 0, 0, 3, 1, 7, 7], "not a message"),
            (&[0, 0, 0, 1, 200], "not a message"),
        ];
        for (bytes, wanted) in cases {
            let (left, right) = pair().unwrap();
            let mut worker: Line<Event, Work> = Line::new(right);
            UnixStream::from(left).write_all(bytes).unwrap();
            let error = worker.receive().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error} for {bytes:?}");
        }
    }

    #[test]
    fn says_when_the_peer_is_gone() {
        let (mut gateway, worker) = lines();
        drop(worker);
        assert!(matches!(gateway.receive(), Err(LineError::Closed)));
        assert!(matches!(gateway.send(&Work::Cancel { id: RequestId(1) }, &[]), Err(LineError::Closed)));
    }
}
