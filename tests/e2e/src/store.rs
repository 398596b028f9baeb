//! A store of packages: a folder over plain HTTP with ranges and entity tags.

use anyhow::Context as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How much of a body is written at once, in bytes: whoever counts sees steps of this size.
const STEP: usize = 16 * 1024;
/// The longest line of a request.
const MAX_LINE: u64 = 8 * 1024;

/// A server that ends with this value; a connection that is open then may be served to its end.
pub struct PackageStore {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    requests: AtomicU64,
    bytes: AtomicU64,
    over: AtomicBool,
    sent: Box<dyn Fn(u64) + Send + Sync>,
}

impl PackageStore {
    /// Serves the packages below `root`.
    pub fn start(root: &Path) -> anyhow::Result<Self> {
        Self::watched(root, |_| {})
    }

    /// The same, and `sent` is told how many bytes of bodies have been sent in all, again and again.
    pub fn watched(root: &Path, sent: impl Fn(u64) + Send + Sync + 'static) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            over: AtomicBool::new(false),
            sent: Box::new(sent),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.over.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&serving);
                // A peer that leaves in the middle is what this server is for.
                std::thread::spawn(move || stream.map(|stream| serve(&shared, &stream)));
            }
        });
        Ok(Self { address, shared })
    }

    /// The address of the package in the folder of this name.
    #[must_use]
    pub fn url(&self, package: &str) -> String {
        // By name, so that whoever fetches has to look it up.
        format!("http://localhost:{}/{package}", self.address.port())
    }

    /// The port on which it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Bytes of bodies so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::SeqCst)
    }
}

impl std::fmt::Debug for PackageStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackageStore({})", self.address)
    }
}

impl Drop for PackageStore {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts; when nobody answers, it has ended already.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(shared: &Shared, stream: &TcpStream) -> anyhow::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let first = read_line(&mut reader)?;
        let path = first.split(' ').nth(1).context("no request")?.to_owned();
        let (mut range, mut if_match) = (None, None);
        loop {
            let line = read_line(&mut reader)?;
            match line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value)) {
                Some((name, value)) if name == "range" => {
                    range = value.strip_prefix("bytes=").map(str::to_owned)
                }
                Some((name, value)) if name == "if-match" => if_match = Some(value.to_owned()),
                Some(_) => {}
                None if line.is_empty() => break,
                None => anyhow::bail!("not a header"),
            }
        }
        shared.requests.fetch_add(1, Ordering::SeqCst);
        answer(shared, stream, &path, (range.as_deref(), if_match.as_deref()))?;
    }
}

fn read_line(reader: &mut BufReader<&TcpStream>) -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut line = String::new();
    let read = reader.by_ref().take(MAX_LINE).read_line(&mut line)?;
    anyhow::ensure!(read > 0, "the peer is gone");
    Ok(line.trim_end().to_owned())
}

fn answer(
    shared: &Shared,
    mut stream: &TcpStream,
    path: &str,
    (range, if_match): (Option<&str>, Option<&str>),
) -> anyhow::Result<()> {
    let file = shared.root.join(path.trim_start_matches('/'));
    let Ok(bytes) = std::fs::read(&file) else {
        return Ok(stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")?);
    };
    let modified = file.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let etag = format!("\"{modified:x}-{}\"", bytes.len());
    if if_match.is_some_and(|wanted| wanted != etag) {
        return Ok(stream.write_all(b"HTTP/1.1 412 Precondition Failed\r\ncontent-length: 0\r\n\r\n")?);
    }
    let (status, range, body) = match range.and_then(|range| range.split_once('-')) {
        Some((first, last)) => {
            let (first, last): (usize, usize) = (first.parse()?, last.parse()?);
            let body = bytes.get(first..=last).context("range")?;
            let range = format!("content-range: bytes {first}-{last}/{}\r\n", bytes.len());
            ("206 Partial Content", range, body)
        }
        None => ("200 OK", String::new(), bytes.as_slice()),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\netag: {etag}\r\ncontent-length: {length}\r\n{range}\r\n");
    stream.write_all(head.as_bytes())?;
    for step in body.chunks(STEP) {
        stream.write_all(step)?;
        let sent = shared.bytes.fetch_add(step.len() as u64, Ordering::SeqCst) + step.len() as u64;
        (shared.sent)(sent);
    }
    Ok(())
}
