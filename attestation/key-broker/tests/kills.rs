//! The broker is killed with SIGKILL at random points of a release, over and over. `KILLS=1000` asks for that many.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop at a surprise"
)]

mod common;

use anchorhold_key_release::ReleaseKey;
use anchorhold_rats::Kem;
use common::programs::{SIMULATED, Server, Site, machine};
use std::path::Path;
use std::time::{Duration, Instant};

const KILLS: u32 = 20;

/// Every file below `folder`, by name and content.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push((
                entry.file_name().to_string_lossy().into_owned(),
                std::fs::read(entry.path()).unwrap(),
            ));
        }
    }
    found
}

fn no_secret_lies_in(folder: &Path) {
    let key = common::weights_key(7);
    for (name, content) in files(folder) {
        let shown = content.windows(32).any(|part| part == key.expose());
        assert!(!shown, "the weights key lies in {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_23_killed_at_any_point_of_a_release_the_broker_goes_on_and_leaves_no_key_behind() {
    let kills = std::env::var("KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let site = Site::new(SIMULATED);
    let (machine, key) = (machine(), ReleaseKey::generate(Kem::X25519).unwrap());
    let (mut took, mut answered, mut cut) = (Duration::from_millis(5), 0, 0);
    for kill in 0..kills {
        let server = Server::start(SIMULATED, &site.state(), site.key("tls_key"));
        let challenge = server.post("/v1/challenge", Vec::new()).await;
        let (body, awaiting) = site.answer(&challenge.body, (&machine, &key), 1);
        let began = Instant::now();
        let client = anchorhold_channel::client::Client::pinned(
            server.address.parse().unwrap(),
            site.key("tls_key"),
            anchorhold_channel::client::Limits::default(),
        );
        let sent = body.clone();
        let asking = tokio::spawn(async move {
            let answer = client.post_json("/v1/release", &[], sent.into()).await;
            (answer, began.elapsed())
        });
        // Spread over the time that the last answered release took, and a little beyond.
        tokio::time::sleep(took.mul_f64(f64::from(kill % 23) / 20.0)).await;
        drop(server);
        let (first, answered_in) = asking.await.unwrap();
        no_secret_lies_in(site.folder.path());
        let server = Server::start(SIMULATED, &site.state(), site.key("tls_key"));
        let second = server.post("/v1/release", body).await;
        match first {
            Ok(answer) if answer.status == 200 => {
                took = answered_in.min(Duration::from_millis(500));
                assert!(awaiting.open(&answer.body, &key).is_ok());
                assert_eq!(second.status, 409, "an answered nonce is good again");
                answered += 1;
            }
            _ => {
                // Nobody got the key yet: the guest may have it now, or has to begin anew.
                assert!([200, 409].contains(&second.status.as_u16()), "{}", second.status);
                cut += 1;
            }
        }
        drop(server);
    }
    no_secret_lies_in(site.folder.path());
    let output =
        std::process::Command::new(SIMULATED).args(["log", "--state", &site.state()]).output().unwrap();
    assert!(output.status.success());
    eprintln!("{kills} kills: {answered} after the answer, {cut} before");
}
