//! Case 21: a store that does everything wrong. Each wrong ends bounded, with a code of its own, and what was verified before
//! is not asked for again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anchorhold_weights_store::{Error, Fault, Limits, Recheck, Target};

use crate::server::{Reply, Request, Server};
use crate::support::{Fetch, SEGMENT, SEGMENTS, Sealed, limits, loads};

/// Whether this asks for segments, not for a header, tree, card or manifest.
fn is_segments(request: &Request) -> bool {
    request.range.is_some_and(|range| range.0 != 0)
}

fn is_weights(request: &Request, sealed: &str) -> bool {
    request.path == format!("/{sealed}")
}

/// The segments that a range of the weights asks for.
fn segments_of((first, last): (u64, u64)) -> std::ops::Range<u64> {
    (first - 74) / SEGMENT..(last - 74) / SEGMENT + 1
}

/// A store that is honest but for what `wrong` says of requests for segments of the weights.
async fn wrong_segments(
    sealed: &Sealed,
    wrong: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> Server {
    let path = sealed.weights().path();
    let script = move |request: &Request| {
        if is_segments(request) && is_weights(request, &path) { wrong(request) } else { Reply::Honest }
    };
    Server::start(&sealed.package(), script).await
}

/// Checks that a store that never stops doing this wrong ends with this code, within the attempts; that an honest store then
/// gives the rest, and only the rest; and that the model loads.
async fn ends_with(code: &str, limits: Limits, wrong: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
    let sealed = Sealed::new();
    let weights = sealed.weights().path();
    // The first range of the weights comes, so that there is something that must not be fetched twice.
    let server =
        wrong_segments(
            &sealed,
            move |request| {
                if request.range.unwrap().0 == 74 { Reply::Honest } else { wrong(request) }
            },
        )
        .await;
    let out = tempfile::tempdir().unwrap();
    // One request at a time, so that the first range is whole when the second goes wrong.
    let limits = Limits { in_flight: 1, ..limits };
    let fetch =
        Fetch { limits: limits.clone(), ..Fetch::new(&server.url, &sealed, Target::Folder(out.path())) };
    let (observed, error) = fetch.refused().await;
    assert_eq!(observed, code, "{error}");
    let asked = server.ranges(&weights);
    assert!(asked.len() as u32 <= 1 + limits.attempts * (SEGMENTS as u32), "{asked:?}");
    assert_eq!(asked.iter().filter(|range| range.0 == 74).count(), 1, "{asked:?}");
    assert!(!out.path().join("manifest.json").exists(), "a folder with a manifest is a whole package");

    let honest = Server::honest(&sealed.package()).await;
    let rest = Fetch::new(&honest.url, &sealed, Target::Folder(out.path())).run().await.unwrap();
    assert!(rest.summary().reused >= 2 * SEGMENT);
    let again: Vec<u64> = honest.ranges(&weights).into_iter().flat_map(segments_of).collect();
    assert!(!again.contains(&0) && !again.contains(&1), "{again:?}");
    loads(rest);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_answers_that_end_early_after_the_attempts() {
    ends_with("short", limits(), |_| Reply::Cut(1000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_answers_that_end_before_their_head_after_the_attempts() {
    ends_with("broken", limits(), |_| Reply::Raw("HTTP/1.1 206 Par".to_owned())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_another_range_at_once() {
    let wrong = |request: &Request| {
        let (first, last) = request.range.unwrap();
        let (first, last, length) = (first - 1, last - 1, last - first + 1);
        Reply::Raw(format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-length: {length}\r\ncontent-range: bytes {first}-{last}/9999999\r\n\r\n"
        ))
    };
    ends_with("range", limits(), wrong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_a_range_without_a_content_range_at_once() {
    let wrong =
        |_: &Request| Reply::Raw("HTTP/1.1 206 Partial Content\r\ncontent-length: 5\r\n\r\n12345".to_owned());
    ends_with("range", limits(), wrong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_the_whole_object_for_a_range_at_once() {
    let wrong =
        |_: &Request| Reply::Endless("HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n".to_owned());
    ends_with("not_partial", limits(), wrong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_a_store_that_is_never_available() {
    let wrong = |_: &Request| {
        Reply::Raw(
            "HTTP/1.1 503 Slow Down\r\ncontent-length: 27\r\n\r\n<Error><Code>SlowDown</Code".to_owned(),
        )
    };
    ends_with("unavailable", limits(), wrong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_to_wait_longer_than_the_longest_wait() {
    let sealed = Sealed::new();
    let text = "HTTP/1.1 503 Slow Down\r\nretry-after: 86400\r\ncontent-length: 29\r\n\r\n<Error><Code>SlowDown</Code>\n";
    let server = Server::start(&sealed.package(), |_| Reply::Raw(text.to_owned())).await;
    let out = tempfile::tempdir().unwrap();
    let refused = Fetch::new(&server.url, &sealed, Target::Folder(out.path())).run().await.unwrap_err();
    let fault =
        Fault::Unavailable { status: 503, code: Some("SlowDown".into()), retry_after_s: Some(86_400) };
    assert_eq!(refused, Error::Store { file: "manifest.json".into(), fault, attempts: 1 });
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_one_byte_a_second() {
    // The store sends one byte and then waits longer than the window, however busy the machine is.
    let slow = Limits { pace_window: Duration::from_millis(400), pace_least: 64 * 1024, ..limits() };
    ends_with("slow", slow, |_| Reply::Drip(1, Duration::from_secs(1))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_an_answer_whose_head_does_not_come() {
    let short = Limits { head_timeout: Duration::from_millis(400), ..limits() };
    ends_with("timeout", short, |_| Reply::Silence).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_a_redirect_and_goes_nowhere() {
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    for location in
        ["http://169.254.169.254/latest/meta-data/".to_owned(), format!("http://127.0.0.1:{port}/")]
    {
        for status in [301, 302, 303, 307, 308] {
            let sealed = Sealed::new();
            let text =
                format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
            let server = Server::start(&sealed.package(), move |_| Reply::Raw(text.clone())).await;
            let out = tempfile::tempdir().unwrap();
            let refused =
                Fetch::new(&server.url, &sealed, Target::Folder(out.path())).run().await.unwrap_err();
            let fault = Fault::Redirect { status };
            assert_eq!(refused, Error::Store { file: "manifest.json".into(), fault, attempts: 1 });
            assert_eq!(server.requests().len(), 1);
        }
    }
    let nobody = tokio::time::timeout(Duration::from_millis(50), elsewhere.accept()).await;
    assert!(nobody.is_err(), "somebody followed a redirect");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_a_redirect_in_the_middle() {
    let text = "HTTP/1.1 307 Elsewhere\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
    ends_with("redirect", limits(), |_| Reply::Raw(text.to_owned())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_a_compressed_answer_at_once() {
    let wrong = |request: &Request| {
        let (first, last) = request.range.unwrap();
        let length = last - first + 1;
        Reply::Endless(format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\ncontent-range: bytes {first}-{last}/9999999\r\n\r\n"
        ))
    };
    ends_with("encoding", limits(), wrong).await;
}

/// An answer to a range with this `content-length`, and zeros without end.
fn with_length(request: &Request, length: impl Fn(u64) -> String) -> Reply {
    let (first, last) = request.range.unwrap();
    let length = length(last - first + 1);
    Reply::Endless(format!(
        "HTTP/1.1 206 Partial Content\r\n{length}content-range: bytes {first}-{last}/9999999\r\n\r\n"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_a_length_that_is_more_than_the_range_at_once() {
    let wrong =
        |request: &Request| with_length(request, |length| format!("content-length: {}\r\n", length + 1));
    ends_with("too_long", limits(), wrong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_a_length_that_is_less_than_the_range() {
    let wrong =
        |request: &Request| with_length(request, |length| format!("content-length: {}\r\n", length - 1));
    ends_with("short", limits(), wrong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_a_body_that_has_no_end() {
    ends_with("broken", limits(), |request| with_length(request, |_| String::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_a_manifest_that_has_no_end() {
    for (head, code) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n", "too_long"),
        ("HTTP/1.1 200 OK\r\n\r\n", "broken"),
    ] {
        let sealed = Sealed::new();
        let server = Server::start(&sealed.package(), |_| Reply::Endless(head.to_owned())).await;
        let out = tempfile::tempdir().unwrap();
        assert_eq!(Fetch::new(&server.url, &sealed, Target::Folder(out.path())).refused().await.0, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_a_head_that_has_no_end() {
    let sealed = Sealed::new();
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(1000));
    for head in [endless, many] {
        let server = Server::start(&sealed.package(), move |_| Reply::Raw(head.clone())).await;
        let out = tempfile::tempdir().unwrap();
        assert_eq!(Fetch::new(&server.url, &sealed, Target::Folder(out.path())).refused().await.0, "broken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_what_is_not_http() {
    let sealed = Sealed::new();
    let server =
        Server::start(&sealed.package(), |_| Reply::Raw("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned())).await;
    let out = tempfile::tempdir().unwrap();
    assert_eq!(Fetch::new(&server.url, &sealed, Target::Folder(out.path())).refused().await.0, "broken");
    let port = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let nobody = format!("http://127.0.0.1:{port}");
    assert_eq!(Fetch::new(&nobody, &sealed, Target::Folder(out.path())).refused().await.0, "unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_statuses_by_what_they_mean() {
    for (status, code) in
        [(404, "absent"), (410, "absent"), (401, "denied"), (403, "denied"), (400, "status"), (204, "broken")]
    {
        let sealed = Sealed::new();
        let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        let text = if status == 204 { "HTTP/1.1 204 X\r\n\r\n".to_owned() } else { text };
        let server = Server::start(&sealed.package(), move |_| Reply::Raw(text.clone())).await;
        let out = tempfile::tempdir().unwrap();
        let (observed, error) = Fetch::new(&server.url, &sealed, Target::Folder(out.path())).refused().await;
        assert_eq!(observed, code, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_bytes_that_are_not_the_signed_ones() {
    let zeros = |_: &Request| Reply::Bytes(vec![0; 74 + SEGMENT as usize * 6]);
    // The header and the length are right, so only the segments' own hashes can tell.
    let sealed = Sealed::new();
    let length = sealed.weights().ciphertext_len() as usize;
    ends_with("segment", limits(), move |_| Reply::Bytes(vec![0; length])).await;
    ends_with("trailing", limits(), zeros).await;
    ends_with("truncated", limits(), move |_| Reply::Bytes(vec![0; length - 1])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_trees_cards_and_headers_that_are_not_the_signed_ones() {
    let sealed = Sealed::new();
    let weights = sealed.weights();
    let flipped = |name: &str| {
        let mut bytes = std::fs::read(sealed.package().join(name)).unwrap();
        bytes[10] ^= 1;
        bytes
    };
    for (name, code) in [
        (weights.path(), "header"),
        (format!("{}.tree", weights.path()), "tree"),
        ("card.sealed".to_owned(), "header"),
    ] {
        let (bytes, path) = (flipped(&name), format!("/{name}"));
        let script = move |request: &Request| {
            if request.path == path { Reply::Bytes(bytes.clone()) } else { Reply::Honest }
        };
        let server = Server::start(&sealed.package(), script).await;
        let out = tempfile::tempdir().unwrap();
        let (observed, error) = Fetch::new(&server.url, &sealed, Target::Folder(out.path())).refused().await;
        assert_eq!(observed, code, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_refuses_an_object_that_never_stops_changing() {
    let count = Arc::new(AtomicUsize::new(0));
    let sealed = Sealed::new();
    let script = move |_: &Request| Reply::Etag(format!("\"{}\"", count.fetch_add(1, Ordering::Relaxed)));
    let server = Server::start(&sealed.package(), script).await;
    let out = tempfile::tempdir().unwrap();
    let (code, error) = Fetch::new(&server.url, &sealed, Target::Folder(out.path())).refused().await;
    assert_eq!(code, "changed", "{error}");
    assert!(server.requests().len() < 100, "{}", server.requests().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_goes_on_after_an_object_changed_without_fetching_what_was_verified() {
    for answers_with_412 in [true, false] {
        let sealed = Sealed::new();
        let path = sealed.weights().path();
        // From the second range on the object has another tag; the bytes are the same, as after a copy in the store.
        let changed = Arc::new(AtomicUsize::new(0));
        let server = {
            let weights = format!("/{path}");
            Server::start(&sealed.package(), move |request| {
                let first = request.range.map(|range| range.0).filter(|_| request.path == weights);
                let new = || Reply::Etag("\"new\"".to_owned());
                match first {
                    Some(0) if changed.load(Ordering::Relaxed) > 0 => new(),
                    None | Some(0 | 74) => Reply::Honest,
                    Some(_) if request.headers["if-match"] == "\"new\"" => new(),
                    Some(_) => {
                        changed.fetch_add(1, Ordering::Relaxed);
                        // Either the store holds the tag against the object, or it ignores the wish and says what it has.
                        if answers_with_412 { new() } else { Reply::EtagIgnoringMatch("\"new\"".to_owned()) }
                    }
                }
            })
            .await
        };
        let out = tempfile::tempdir().unwrap();
        let limits = Limits { in_flight: 1, ..limits() };
        let fetch = Fetch { limits, ..Fetch::new(&server.url, &sealed, Target::Folder(out.path())) };
        loads(fetch.run().await.unwrap());
        let asked = server.ranges(&path);
        assert_eq!(asked.iter().filter(|range| range.0 == 74).count(), 1, "{asked:?}");
        assert_eq!(asked.len(), 4, "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_survives_a_storm_and_short_reads_without_fetching_a_segment_twice() {
    let sealed = Sealed::new();
    let path = sealed.weights().path();
    let server = wrong_segments(&sealed, |request| match request.nth % 4 {
        // One whole segment and a piece of the next.
        1 => Reply::Cut(SEGMENT as usize + 5),
        2 => Reply::Raw("HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n".to_owned()),
        3 => Reply::Raw(String::new()),
        _ => Reply::Cut(SEGMENT as usize),
    })
    .await;
    let out = tempfile::tempdir().unwrap();
    let limits = Limits { in_flight: 1, range_len: u64::MAX, attempts: 4, ..limits() };
    let fetch = Fetch { limits, ..Fetch::new(&server.url, &sealed, Target::Folder(out.path())) };
    loads(fetch.run().await.unwrap());
    let begun: Vec<u64> = server.ranges(&path).into_iter().map(|range| segments_of(range).start).collect();
    assert!(begun.windows(2).all(|pair| pair[0] <= pair[1]), "{begun:?}");
    assert_eq!(begun.last(), Some(&(SEGMENTS - 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_the_whole_fetch_has_a_time() {
    let sealed = Sealed::new();
    let server = wrong_segments(&sealed, |_| Reply::Silence).await;
    let out = tempfile::tempdir().unwrap();
    let within = Duration::from_secs(2);
    let limits = Limits { total: within, ..limits() };
    let fetch = Fetch { limits, ..Fetch::new(&server.url, &sealed, Target::Folder(out.path())) };
    assert_eq!(fetch.run().await.unwrap_err(), Error::Budget { within });
}

#[tokio::test(flavor = "multi_thread")]
async fn case_21_a_dropped_fetch_goes_on_where_it_was() {
    let sealed = Sealed::new();
    let path = sealed.weights().path();
    let server = wrong_segments(&sealed, |request| match request.range.unwrap().0 {
        74 => Reply::Honest,
        _ => Reply::Silence,
    })
    .await;
    let out = tempfile::tempdir().unwrap();
    // Nothing is noted on the way, so that only the end of the fetch can have noted it.
    let limits = Limits { in_flight: 2, note_every: u64::MAX, ..limits() };
    let fetch = Fetch { limits, ..Fetch::new(&server.url, &sealed, Target::Folder(out.path())) };
    let reached = tokio::sync::Notify::new();
    let report = |progress: anchorhold_weights_store::Progress| {
        if progress.done >= 2 * SEGMENT {
            reached.notify_one();
        }
    };
    tokio::select! {
        ended = fetch.report(&report) => panic!("{:?}", ended.map(|package| package.summary())),
        () = reached.notified() => {}
    }
    let honest = Server::honest(&sealed.package()).await;
    loads(Fetch::new(&honest.url, &sealed, Target::Folder(out.path())).run().await.unwrap());
    let again: Vec<u64> = honest.ranges(&path).into_iter().flat_map(segments_of).collect();
    assert_eq!(again, [2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_24_rot_is_found_and_that_segment_alone_is_fetched_again() {
    use std::os::unix::fs::FileExt as _;
    let sealed = Sealed::new();
    let weights = sealed.weights();
    let server = Server::honest(&sealed.package()).await;
    let out = tempfile::tempdir().unwrap();
    let fetch = Fetch::new(&server.url, &sealed, Target::Folder(out.path()));
    fetch.run().await.unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(out.path().join(weights.path())).unwrap();
    file.write_at(b"rot", 74 + 3 * SEGMENT + 100).unwrap();
    // The note still says that it was verified, so a fetch that believes it does nothing...
    let before = server.requests().len();
    let believed = fetch.run().await.unwrap();
    assert_eq!(server.requests().len(), before);
    // ...and whoever loads the package finds it.
    let key = anchorhold_sealed_weights::WeightsKey::open(believed.manifest(), &crate::support::KEY).unwrap();
    let model = anchorhold_sealed_weights::SealedModel::open(&key, believed.into_files().0).unwrap();
    assert_eq!(model.verify(&anchorhold_sealed_weights::Effort::default()).unwrap_err().stage(), "segment");
    drop(model);
    let recheck = Recheck::Everything;
    let repaired = Fetch { recheck, ..Fetch::new(&server.url, &sealed, Target::Folder(out.path())) };
    let repaired = repaired.run().await.unwrap();
    assert_eq!(repaired.summary().fetched, SEGMENT);
    let asked: Vec<(u64, u64)> =
        server.requests()[before..].iter().filter_map(|request| request.range).collect();
    assert_eq!(asked, [(0, 73), (74 + 3 * SEGMENT, 74 + 4 * SEGMENT - 1)]);
    loads(repaired);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_note_does_not_matter_to_whoever_reads() {
    let sealed = Sealed::new();
    let weights = sealed.weights();
    let server = Server::honest(&sealed.package()).await;
    let out = tempfile::tempdir().unwrap();
    let fetch = Fetch::new(&server.url, &sealed, Target::Folder(out.path()));
    fetch.run().await.unwrap();
    // The bytes go, the note stays.
    std::fs::write(out.path().join(weights.path()), vec![0; weights.ciphertext_len() as usize]).unwrap();
    let believed = fetch.run().await.unwrap();
    let key = anchorhold_sealed_weights::WeightsKey::open(believed.manifest(), &crate::support::KEY).unwrap();
    let model = anchorhold_sealed_weights::SealedModel::open(&key, believed.into_files().0).unwrap();
    assert_eq!(model.verify(&anchorhold_sealed_weights::Effort::default()).unwrap_err().stage(), "segment");
    // A note that is torn is none: then the bytes are looked at.
    let note = out.path().join(".fetch").join(weights.id().to_string());
    std::fs::write(&note, b"AHSEGS1\n").unwrap();
    let refetched = fetch.run().await.unwrap();
    assert_eq!(refetched.summary().fetched, weights.ciphertext_len() - 74);
    loads(refetched);
}
