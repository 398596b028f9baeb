//! A port that nobody may have opened.

use anchorhold_rats::Nonce;
use anyhow::{Context as _, ensure};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(2);
/// Between two looks; a port that opens in between is still open at the next.
const PAUSE: Duration = Duration::from_millis(1);

/// Tries to connect to one free address again and again, from before a start until after it.
#[derive(Debug)]
pub struct Watch {
    address: SocketAddr,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    refused: AtomicU64,
    /// Everything else, in particular a connection.
    not_refused: AtomicU64,
    over: AtomicBool,
}

/// An address of this machine's own network on which nobody listens and which no other test takes.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    let nonce = Nonce::random()?;
    let [a, b, c, ..] = *nonce.as_bytes();
    // Below 128, so that it is neither 127.0.0.1 nor the broadcast address.
    let own = Ipv4Addr::new(127, 1 + a % 126, b, 1 + c % 126);
    Ok(TcpListener::bind((own, 0)).context("no free port")?.local_addr()?)
}

/// A port of 127.0.0.1 on which nobody listens.
pub fn free_loopback_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?.local_addr()?.port())
}

/// Whether a connection to `address` is refused by the system, as it is while nobody listens.
#[must_use]
pub fn is_closed(address: &SocketAddr) -> bool {
    TcpStream::connect_timeout(address, CONNECT).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
}

impl Watch {
    /// Takes a free address and begins.
    pub fn begin() -> anyhow::Result<Self> {
        let address = free_address()?;
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let thread = std::thread::Builder::new().spawn(move || {
            while !shared.over.load(Ordering::Relaxed) {
                shared.look(&address);
                std::thread::sleep(PAUSE);
            }
        })?;
        Ok(Self { address, seen, thread: Some(thread) })
    }

    /// The address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// One look more, now.
    pub fn look_again(&self) {
        self.seen.look(&self.address);
    }

    /// Looks a last time.
    ///
    /// # Errors
    /// The port was open, once or now.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.stop();
        self.look_again();
        let (refused, not_refused) =
            (self.seen.refused.load(Ordering::Relaxed), self.seen.not_refused.load(Ordering::Relaxed));
        ensure!(
            refused > 0 && not_refused == 0,
            "{}: {not_refused} of {} connections were not refused",
            self.address,
            refused + not_refused
        );
        Ok(())
    }

    fn stop(&mut self) {
        self.seen.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread does nothing that panics.
            let _ = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Seen {
    fn look(&self, address: &SocketAddr) {
        let count = if is_closed(address) { &self.refused } else { &self.not_refused };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_tells_a_closed_port_from_one_that_was_open_for_a_moment() {
        Watch::begin().unwrap().end().unwrap();
        let watch = Watch::begin().unwrap();
        let listener = TcpListener::bind(watch.address()).unwrap();
        watch.look_again();
        drop(listener);
        assert!(watch.end().unwrap_err().to_string().contains("not refused"));
    }
}
