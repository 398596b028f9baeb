//! The kernel's audit socket (`NETLINK_AUDIT`, `linux/audit.h`).
//!
//! As the *daemon*, the kernel hands its records to this process alone: it waits where this process is slow, and prints nothing to the console,
//! which a host reads. *Beside* a daemon, records come by multicast, and one that does not fit is gone without a word.

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use crate::record::MAX_RECORD_BYTES;

/// `struct nlmsghdr`: length (4), type (2), flags (2), sequence (4), port (4).
const HEADER_LEN: usize = 16;
const BUFFER_LEN: usize = MAX_RECORD_BYTES + 2 * HEADER_LEN;
/// `NLMSG_ERROR`: the answer to a request, 0 or a negative error number.
const ANSWER: u16 = 2;
const GET: u16 = 1000;
const SET: u16 = 1001;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST: u16 = 1 | 4;
/// The group of records for those beside a daemon (`AUDIT_NLGRP_READLOG`), as a mask.
const READLOG: u32 = 1;
/// Records that wait in the kernel; then whoever makes more is held up.
const BACKLOG: u32 = 8192;
/// Messages that come before the answer to the first request. The kernel answers while it is asked, so there are few.
const MAX_EARLY: usize = 4096;

/// How the kernel's records come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// As the one daemon; takes `CAP_AUDIT_CONTROL`.
    Daemon,
    /// Beside another, best effort; takes `CAP_AUDIT_READ`.
    Beside,
}

/// What came from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A record of this kind, with its text.
    Record {
        /// `AUDIT_*` of `linux/audit.h`.
        kind: u16,
        /// As the kernel wrote it.
        text: Vec<u8>,
    },
    /// So many records were lost since the kernel started.
    LostSoFar(u32),
    /// Some did not fit into the socket. To a daemon the kernel sends them again; beside one they are gone.
    Overrun,
    /// Nothing of concern.
    Other,
}

/// A socket that the kernel sends its records to.
#[derive(Debug)]
pub struct Kernel {
    socket: OwnedFd,
    early: VecDeque<Heard>,
}

impl Kernel {
    /// Begins to hear.
    ///
    /// # Errors
    /// The system's: not the right, or another daemon is there (`EEXIST`).
    pub fn open(hearing: Hearing) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::AUDIT),
        )?;
        let groups = if hearing == Hearing::Beside { READLOG } else { 0 };
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        let mut kernel = Self { socket, early: VecDeque::new() };
        if hearing == Hearing::Daemon {
            kernel.register()?;
        }
        Ok(kernel)
    }

    /// The socket, to wait on.
    #[must_use]
    pub fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(&self.socket, PollFlags::IN)
    }

    /// Whether something waits that polling does not tell of.
    #[must_use]
    pub fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// The system's.
    pub fn receive(&mut self) -> io::Result<Heard> {
        match self.early.pop_front() {
            Some(heard) => Ok(heard),
            None => Ok(self.next()?.unwrap_or(Heard::Other)),
        }
    }

    /// Asks how many records the kernel lost; the answer comes as [`Heard::LostSoFar`].
    ///
    /// # Errors
    /// The system's.
    pub fn ask_lost(&self) -> io::Result<()> {
        self.send(GET, &[])
    }

    /// Becomes the daemon, turns records on, and has the kernel keep them rather than print them when they are too many.
    fn register(&mut self) -> io::Result<()> {
        // struct audit_status: mask, enabled, failure (0: silent, its losses are counted), pid, rate limit (0: none), backlog limit.
        let mask = 0x01 | 0x02 | 0x04 | 0x08 | 0x10;
        let pid = rustix::process::getpid().as_raw_pid().unsigned_abs();
        let status: Vec<u8> =
            [mask, 1, 0, pid, 0, BACKLOG, 0, 0, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        self.send(SET, &status)?;
        while self.early.len() < MAX_EARLY {
            let mut bytes = [0; BUFFER_LEN];
            let (kind, body) = self.read(&mut bytes)?;
            if kind == ANSWER {
                let error = body.first_chunk().map(|error| i32::from_ne_bytes(*error));
                return match error {
                    Some(0) => Ok(()),
                    Some(error) => Err(io::Error::from_raw_os_error(error.saturating_neg())),
                    None => Err(io::ErrorKind::InvalidData.into()),
                };
            }
            let heard = heard(kind, body);
            self.early.push_back(heard);
        }
        Err(io::Error::other("the kernel does not answer"))
    }

    fn send(&self, kind: u16, body: &[u8]) -> io::Result<()> {
        let len = u32::try_from(HEADER_LEN + body.len()).map_err(io::Error::other)?;
        let mut message = len.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(REQUEST.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        rustix::net::sendto(&self.socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        Ok(())
    }

    /// The next message; `None` for one that is not the kernel's.
    fn next(&mut self) -> io::Result<Option<Heard>> {
        let mut bytes = [0; BUFFER_LEN];
        match self.read(&mut bytes) {
            Ok((kind, body)) => Ok(Some(heard(kind, body))),
            Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                Ok(Some(Heard::Overrun))
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Type and body of one message. The kernel sends one with each datagram, and the length in its header is without the header where a
    /// daemon listens and with it elsewhere, so the datagram's own length counts.
    fn read<'a>(&self, bytes: &'a mut [u8; BUFFER_LEN]) -> io::Result<(u16, &'a [u8])> {
        let (len, from) = loop {
            match rustix::net::recvfrom(&self.socket, &mut bytes[..], RecvFlags::empty()) {
                Ok((len, _, from)) => break (len, from),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        let from_kernel =
            from.and_then(|from| SocketAddrNetlink::try_from(from).ok()).is_some_and(|from| from.pid() == 0);
        let message =
            bytes.get(..len).filter(|_| from_kernel).and_then(|bytes| bytes.split_at_checked(HEADER_LEN));
        let (header, body) = message.ok_or(io::ErrorKind::InvalidData)?;
        let kind = header.get(4..6).and_then(|kind| kind.try_into().ok()).map_or(0, u16::from_ne_bytes);
        Ok((kind, body))
    }
}

/// `AUDIT_LOGIN`, the one record that is numbered among the requests.
const LOGIN: u16 = 1006;

/// What a message says. The kinds from 1100 on are records.
fn heard(kind: u16, body: &[u8]) -> Heard {
    /// Where `lost` lies in `struct audit_status`.
    const LOST_AT: usize = 24;
    match kind {
        GET => {
            let lost = body.get(LOST_AT..LOST_AT + 4).and_then(|lost| lost.try_into().ok());
            lost.map_or(Heard::Other, |lost| Heard::LostSoFar(u32::from_ne_bytes(lost)))
        }
        LOGIN | 1100.. => Heard::Record { kind, text: body.to_vec() },
        _ => Heard::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_that_has_a_number_is_one() {
        for kind in [LOGIN, 1100, 1305, 1326, 1400, 2000] {
            assert_eq!(heard(kind, b"x"), Heard::Record { kind, text: b"x".to_vec() }, "{kind}");
        }
        for kind in [ANSWER, SET, 1010] {
            assert_eq!(heard(kind, b"x"), Heard::Other, "{kind}");
        }
    }

    #[test]
    fn what_the_kernel_lost_is_read_out_of_its_status() {
        let status: Vec<u8> = (0..10_u32).flat_map(u32::to_ne_bytes).collect();
        assert_eq!(heard(GET, &status), Heard::LostSoFar(6));
        assert_eq!(heard(GET, &status[..27]), Heard::Other);
    }
}
