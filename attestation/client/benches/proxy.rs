//! What the local endpoint adds to a request: attested connections that are kept, asked directly and through it, in turn.
//!
//! The guest is a software guest behind real TLS on loopback, which repeats a body of 512 bytes with a receipt. `ROUNDS` is how many
//! pairs, `JSON` a file for the results.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark ends where it fails")]

#[expect(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/client/support.rs"]
mod support;

use anchorhold_client::proxy::{Hosts, Limits, Proxy, serve};
use anchorhold_client::receipts::Receipts;
use anchorhold_client::{Settings, VerifiedUpstream};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::io::Write as _;
use std::time::Instant;
use support::{Party, Says, Server};
use tokio::net::{TcpListener, TcpStream};

const PATH: &str = "/v1/chat/completions";

fn quantile(times: &mut [f64], part: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times[(times.len() * part / 100).min(times.len() - 1)]
}

fn request(host: &str) -> Request<Full<Bytes>> {
    let body = Full::from(vec![b'x'; 512]);
    Request::post(PATH).header("host", host).header("content-type", "application/json").body(body).unwrap()
}

async fn measure(rounds: usize) -> [Vec<f64>; 2] {
    let server = Server::start(Says::default()).await;
    let direct = VerifiedUpstream::new(server.target(), Party::new(), Settings::default(), None);
    let upstream = VerifiedUpstream::new(server.target(), Party::new(), Settings::default(), None);
    let proxy = Proxy::new(upstream, Receipts::counting(), Hosts::loopback(), Limits::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, proxy.clone(), std::future::pending()));
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let host = address.to_string();
    let [mut directly, mut through] = [const { Vec::new() }; 2];
    for round in 0..rounds + 50 {
        let began = Instant::now();
        let (response, _) = direct.request(request(&host)).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 512);
        let direct = began.elapsed().as_secs_f64() * 1e6;
        let began = Instant::now();
        sender.ready().await.unwrap();
        let response = sender.send_request(request(&host)).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 512);
        // The first ones open the connections.
        if round >= 50 {
            directly.push(direct);
            through.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    assert_eq!(proxy.status().receipts.good, (rounds + 50) as u64);
    [directly, through]
}

fn main() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5000);
    let [mut directly, mut through] = tokio::runtime::Runtime::new().unwrap().block_on(measure(rounds));
    let results: Vec<_> = [50, 99]
        .into_iter()
        .map(|part| {
            let (direct, proxied) = (quantile(&mut directly, part), quantile(&mut through, part));
            json!({"name": format!("proxied_request_p{part}"), "value": proxied, "unit": "us",
                "peer": "the same on an attested connection directly", "peer_value": direct, "ratio": proxied / direct})
        })
        .collect();
    let mut out = std::io::stdout();
    for result in &results {
        writeln!(out, "{result}").unwrap();
    }
    if let Some(path) = std::env::var_os("JSON") {
        std::fs::write(path, serde_json::to_vec_pretty(&results).unwrap()).unwrap();
    }
}
