//! A fake service on the loopback that sends prepared bytes, whatever they are.

use crate::ocsp_responder;
use rustls::ServerConfig;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

#[derive(Clone)]
pub(crate) enum Reply {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, then the same piece again and again for as long as the client takes it.
    Endless(Vec<u8>, Vec<u8>),
    /// Nothing, with the connection open.
    Silence,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

#[derive(Default)]
struct State {
    routes: Mutex<HashMap<String, VecDeque<Reply>>>,
    seen: Mutex<Vec<Seen>>,
    sent: Mutex<u64>,
}

/// Stops with the last handle.
pub(crate) struct Service {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut bytes = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str("\r\n");
    Reply::Bytes([bytes.as_bytes(), body].concat())
}

impl Service {
    pub(crate) async fn start(tls: Option<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (state, acceptor) = (Arc::clone(&shared), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, &state).await,
                        // A client that does not trust the certificate goes away.
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => serve(stream, &state).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, state, task }
    }

    pub(crate) fn set(&self, path: impl Into<String>, replies: impl Into<VecDeque<Reply>>) {
        self.state.routes.lock().unwrap().insert(path.into(), replies.into());
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Bytes that endless replies have sent.
    pub(crate) fn sent(&self) -> u64 {
        *self.state.sent.lock().unwrap()
    }
}

/// One request and its reply; `None` when the client went away.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, state: &State) -> Option<()> {
    let seen = read(&mut stream).await?;
    let path = seen.line.split(' ').nth(1).unwrap_or_default().to_owned();
    let post = seen.line.starts_with("POST").then(|| seen.body.clone());
    state.seen.lock().unwrap().push(seen);
    let route = {
        let mut routes = state.routes.lock().unwrap();
        match routes.get_mut(&path) {
            Some(replies) if replies.len() > 1 => replies.pop_front(),
            Some(replies) => replies.front().cloned(),
            None => None,
        }
    };
    let reply = match (route, post) {
        (Some(reply), _) => reply,
        (None, Some(request)) => reply(200, &[], &ocsp_responder::respond(&request)),
        (None, None) => reply(404, &[], b""),
    };
    match reply {
        Reply::Bytes(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            stream.shutdown().await.ok()
        }
        Reply::Endless(head, piece) => {
            stream.write_all(&head).await.ok()?;
            loop {
                stream.write_all(&piece).await.ok()?;
                *state.sent.lock().unwrap() += piece.len() as u64;
            }
        }
        Reply::Silence => std::future::pending().await,
    }
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length.unwrap_or(0) {
        stream.read_buf(&mut body).await.ok().filter(|read| *read > 0)?;
    }
    let line = String::from_utf8(bytes).ok()?.lines().next()?.to_owned();
    Some(Seen { line, head, body })
}
