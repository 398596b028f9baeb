//! A store that answers as it is told, down to the byte. It speaks HTTP by hand, because no library would say such things.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::files;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// First and last byte.
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) headers: BTreeMap<String, String>,
    /// How many requests for the same path came before.
    pub(crate) nth: usize,
}

/// What to answer.
pub(crate) enum Reply {
    /// What an honest store says.
    Honest,
    /// The same with another entity tag.
    Etag(String),
    /// The same, whatever tag was wished for.
    EtagIgnoringMatch(String),
    /// The same with these bytes instead of the object's.
    Bytes(Vec<u8>),
    /// The honest head, this many bytes of the body, and the end of the connection.
    Cut(usize),
    /// The honest head, this many bytes of the body, and then a byte at a time.
    Drip(usize, Duration),
    /// These bytes, and the end of the connection.
    Raw(String),
    /// These bytes, and then zeros for as long as anybody reads.
    Endless(String),
    /// Nothing, for as long as anybody waits.
    Silence,
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

/// A store over some files.
pub(crate) struct Server {
    pub(crate) url: String,
    log: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Shared {
    objects: BTreeMap<String, Vec<u8>>,
    script: Box<Script>,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) async fn honest(root: &Path) -> Self {
        Self::start(root, |_| Reply::Honest).await
    }

    pub(crate) async fn start(
        root: &Path,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen(root, None, script).await
    }

    pub(crate) async fn tls(root: &Path, config: Arc<ServerConfig>) -> Self {
        Self::listen(root, Some(config.into()), |_| Reply::Honest).await
    }

    async fn listen(
        root: &Path,
        tls: Option<TlsAcceptor>,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let name = |path: &Path| format!("/{}", path.strip_prefix(root).unwrap().display());
        let objects = files(root).iter().map(|path| (name(path), fs::read(path).unwrap())).collect();
        let log = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(Shared { objects, script: Box::new(script), log: Arc::clone(&log) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let task = tokio::spawn(async move {
            // The set ends its tasks with the server.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &shared).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, log, task }
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// The ranges of `path` that were asked for so far, without that of the header.
    pub(crate) fn ranges(&self, path: &str) -> Vec<(u64, u64)> {
        let path = format!("/{path}");
        let ranges = self.requests().into_iter().filter(|request| request.path == path);
        ranges.filter_map(|request| request.range).filter(|range| range.0 != 0).collect()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) {
    while let Some(request) = read_request(&mut stream, shared).await {
        let reply = (shared.script)(&request);
        if !answer(&mut stream, shared, &request, reply).await {
            return;
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin), shared: &Shared) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_ascii_lowercase(), value.to_owned()))
    };
    let headers: BTreeMap<String, String> = lines.filter_map(header).collect();
    let range = headers.get("range").map(|range| {
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        (first.parse().unwrap(), last.parse().unwrap())
    });
    let mut log = shared.log.lock().unwrap();
    let nth = log.iter().filter(|before| before.path == path).count();
    let request = Request { path, range, headers, nth };
    log.push(request.clone());
    Some(request)
}

/// Answers; false when the connection is to end.
async fn answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    shared: &Shared,
    request: &Request,
    reply: Reply,
) -> bool {
    let object = shared.objects.get(&request.path);
    let mut etag = format!("\"{}-1\"", request.path);
    let (mut bytes, mut ignores_match) = (None, false);
    match &reply {
        Reply::Raw(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            return false;
        }
        Reply::Endless(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            while stream.write_all(&[0; 64 * 1024]).await.is_ok() {}
            return false;
        }
        Reply::Silence => std::future::pending().await,
        Reply::Etag(other) => etag.clone_from(other),
        Reply::EtagIgnoringMatch(other) => (etag, ignores_match) = (other.clone(), true),
        Reply::Bytes(other) => bytes = Some(other.clone()),
        Reply::Honest | Reply::Cut(_) | Reply::Drip(..) => {}
    }
    let Some(object) = bytes.as_ref().or(object) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.is_ok();
    };
    if !ignores_match && request.headers.get("if-match").is_some_and(|wanted| *wanted != etag) {
        return stream
            .write_all(b"HTTP/1.1 412 Precondition Failed\r\ncontent-length: 0\r\n\r\n")
            .await
            .is_ok();
    }
    let total = object.len();
    let (status, range, body) = match request.range {
        Some((first, last)) => {
            let range = format!("content-range: bytes {first}-{last}/{total}\r\n");
            ("206 Partial Content", range, &object[first as usize..=last as usize])
        }
        None => ("200 OK", String::new(), &object[..]),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\netag: {etag}\r\ncontent-length: {length}\r\n{range}\r\n");
    if stream.write_all(head.as_bytes()).await.is_err() {
        return false;
    }
    match reply {
        Reply::Cut(len) => {
            let _ = stream.write_all(&body[..len.min(length)]).await;
            false
        }
        Reply::Drip(len, every) => {
            let (fast, slow) = body.split_at(len.min(length));
            let _ = stream.write_all(fast).await;
            for byte in slow {
                tokio::time::sleep(every).await;
                if stream.write_all(&[*byte]).await.is_err() {
                    return false;
                }
            }
            true
        }
        _ => stream.write_all(body).await.is_ok(),
    }
}
