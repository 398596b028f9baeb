//! A stretch of network between a broker and its database that can be cut without a word to either end.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

#[derive(Default)]
struct Cut {
    cut: Mutex<bool>,
    healed: Condvar,
}

impl Cut {
    /// Returns when the network is whole.
    fn pass(&self) {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        while *cut {
            cut = self.healed.wait(cut).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

pub(crate) struct Partition {
    pub(crate) port: u16,
    cut: Arc<Cut>,
    over: Arc<AtomicBool>,
}

impl Partition {
    pub(crate) fn before(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let (cut, over) = (Arc::new(Cut::default()), Arc::new(AtomicBool::new(false)));
        let (between, ended) = (Arc::clone(&cut), Arc::clone(&over));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
                else {
                    continue;
                };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let between = Arc::clone(&between);
                    std::thread::spawn(move || pump(from, to, &between));
                }
            }
        });
        Self { port: own, cut, over }
    }

    pub(crate) fn set_cut(&self, cut: bool) {
        *self.cut.cut.lock().unwrap_or_else(PoisonError::into_inner) = cut;
        self.cut.healed.notify_all();
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.set_cut(false);
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, cut: &Cut) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        cut.pass();
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}
