//! Caching, retries and limits of time, on a paused clock.

use crate::script::{Script, Step, answer, good, status, with_header};
use crate::simulated::{CRL_DAYS, CRL_PATH, DAY, Snp, at, open_cache, store};
use anchorhold_endorsements::{
    BaseUrl, Cause, Config, EndorsementStore, Error, Failure, Item, Limits, Mode, TransportError, Vendor,
};
use anchorhold_rats::Der;
use futures_util::future::join_all;
use std::fs;
use std::time::Duration;
use tokio::time::Instant;

fn scripted() -> (Snp, Script) {
    let (snp, script) = (Snp::new(), Script::default());
    snp.serve(&script);
    (snp, script)
}

fn missing(error: Error) -> Vec<Failure> {
    match error {
        Error::Missing(failures) => failures,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_cache_has_is_not_asked_for() {
    let (snp, script) = scripted();
    let (_folder, store) = store(Config::production(), script.clone());
    let first = store.endorse(&snp.evidence, at(0)).await.unwrap();
    assert_eq!(script.take_asked(), snp.paths());
    assert_eq!(first.evidence.certificates, [Der(snp.vcek.clone())]);
    assert_eq!(first.endorsements.snp_crls, [Der(snp.crl.clone())]);
    assert_eq!(first.not_kept, None);
    assert_eq!(store.endorse(&snp.evidence, at(DAY - 1)).await.unwrap(), first);
    assert_eq!(script.take_asked(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_due_is_fetched_again_and_a_vcek_is_not() {
    let (snp, script) = scripted();
    let (_folder, store) = store(Config::production(), script.clone());
    store.endorse(&snp.evidence, at(0)).await.unwrap();
    script.take_asked();
    store.endorse(&snp.evidence, at(DAY)).await.unwrap();
    assert_eq!(script.take_asked(), [CRL_PATH]);
    store.endorse(&snp.evidence, at(2 * DAY - 1)).await.unwrap();
    assert_eq!(script.take_asked(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_is_down_takes_nothing_away_until_the_stated_end() {
    let (snp, script) = scripted();
    let (_folder, store) = store(Config::production(), script.clone());
    store.endorse(&snp.evidence, at(0)).await.unwrap();
    script.set(CRL_PATH, [status(503)]);
    let late = store.endorse(&snp.evidence, at(CRL_DAYS * DAY)).await.unwrap();
    assert_eq!(late.endorsements.snp_crls, [Der(snp.crl.clone())]);
    let over = missing(store.endorse(&snp.evidence, at(CRL_DAYS * DAY + 1)).await.unwrap_err());
    assert!(matches!(over[..], [Failure { cause: Cause::Unavailable { status: 503, .. }, .. }]), "{over:?}");
}

#[tokio::test(start_paused = true)]
async fn an_altered_file_is_fetched_again_without_a_failure() {
    let (snp, script) = scripted();
    let (folder, store) = store(Config::production(), script.clone());
    let first = store.endorse(&snp.evidence, at(0)).await.unwrap();
    script.take_asked();
    for file in fs::read_dir(folder.path().join("cache")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(store.endorse(&snp.evidence, at(1)).await.unwrap(), first);
    assert_eq!(script.take_asked(), snp.paths());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_refuses_is_told_and_costs_nothing_else() {
    let (snp, script) = scripted();
    let (folder, store) = store(Config::production(), script.clone());
    fs::remove_dir_all(folder.path().join("cache")).unwrap();
    let endorsed = store.endorse(&snp.evidence, at(0)).await.unwrap();
    assert_eq!(endorsed.not_kept, Some(std::io::ErrorKind::NotFound));
    assert_eq!(endorsed.endorsements.snp_crls, [Der(snp.crl.clone())]);
}

#[tokio::test(start_paused = true)]
async fn refresh_asks_whatever_the_cache_has_and_replaces_it() {
    let (snp, script) = scripted();
    let (folder, first) = store(Config::production(), script.clone());
    first.endorse(&snp.evidence, at(0)).await.unwrap();
    script.take_asked();
    let config = Config { mode: Mode::Refresh, ..Config::production() };
    let refreshing = EndorsementStore::new(config, script.clone(), open_cache(folder.path()));
    refreshing.endorse(&snp.evidence, at(DAY - 1)).await.unwrap();
    assert_eq!(script.take_asked(), snp.paths());
    first.endorse(&snp.evidence, at(2 * DAY - 2)).await.unwrap();
    assert_eq!(script.take_asked(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn offline_asks_nothing_and_names_what_is_missing() {
    let (snp, script) = scripted();
    let (folder, online) = store(Config::production(), script.clone());
    let config = Config { mode: Mode::Offline, ..Config::production() };
    let offline = EndorsementStore::new(config, script.clone(), open_cache(folder.path()));
    let error = offline.endorse(&snp.evidence, at(0)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("AMD VCEK of Genoa chip") && text.contains("kdsintf.amd.com"), "{text}");
    assert!(text.contains("Vcek revocation list of Genoa") && text.contains("not in the cache"), "{text}");
    assert_eq!(missing(error).len(), 2);
    assert_eq!(script.take_asked(), [""; 0]);
    let endorsed = online.endorse(&snp.evidence, at(0)).await.unwrap();
    script.take_asked();
    // Beyond the time at which it would be asked for again, up to its end.
    assert_eq!(offline.endorse(&snp.evidence, at(20 * DAY)).await.unwrap(), endorsed);
    let over = missing(offline.endorse(&snp.evidence, at(CRL_DAYS * DAY + 1)).await.unwrap_err());
    assert!(
        matches!(&over[..], [Failure { cause: Cause::Expired { expired }, .. }] if *expired == at(CRL_DAYS * DAY))
    );
    assert_eq!(script.take_asked(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn absence_is_believed_for_a_minute() {
    let (snp, script) = scripted();
    script.set(&snp.vcek_path, [status(404)]);
    let (_folder, store) = store(Config::production(), script.clone());
    for seconds in [0, 59] {
        let failures = missing(store.endorse(&snp.evidence, at(seconds)).await.unwrap_err());
        assert!(matches!(
            failures[..],
            [Failure { cause: Cause::Absent { status: 404 }, vendor: Vendor::Amd, .. }]
        ));
    }
    assert_eq!(script.take_asked(), snp.paths(), "asked once");
    snp.serve(&script);
    assert!(store.endorse(&snp.evidence, at(60)).await.is_ok());
    assert_eq!(script.take_asked(), [snp.vcek_path.as_str()]);
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_and_the_rest_is_not() {
    let broken = Step::Fail(TransportError::Broken("reset".into()));
    for passing in [status(429), status(500), status(503), broken] {
        let (snp, script) = scripted();
        script.set(CRL_PATH, [passing.clone(), passing, good(&snp.crl)]);
        let (_folder, store) = store(Config::production(), script.clone());
        assert!(store.endorse(&snp.evidence, at(0)).await.is_ok());
        assert_eq!(script.take_asked().iter().filter(|path| *path == CRL_PATH).count(), 3);
    }
    let long = Step::Fail(TransportError::TooLong { max_bytes: 1 });
    for lasting in [status(400), status(401), status(403), status(404), status(302), long, good(b"<html>")] {
        let (snp, script) = scripted();
        script.set(CRL_PATH, [lasting, good(&snp.crl)]);
        let (_folder, store) = store(Config::production(), script.clone());
        assert_eq!(missing(store.endorse(&snp.evidence, at(0)).await.unwrap_err()).len(), 1);
        assert_eq!(script.take_asked().iter().filter(|path| *path == CRL_PATH).count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn waits_as_long_as_the_service_asks_or_gives_up_at_once() {
    let (snp, script) = scripted();
    let busy = |seconds| Step::Answer(with_header(answer(429, b""), "retry-after", seconds));
    script.set(CRL_PATH, [busy("7"), good(&snp.crl)]);
    let (_folder, first) = store(Config::production(), script.clone());
    let started = Instant::now();
    first.endorse(&snp.evidence, at(0)).await.unwrap();
    assert!((7..8).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    script.set(CRL_PATH, [busy("3600"), good(&snp.crl)]);
    let (_folder, second) = store(Config::production(), script.clone());
    let started = Instant::now();
    let failures = missing(second.endorse(&snp.evidence, at(0)).await.unwrap_err());
    assert!(started.elapsed() < Duration::from_secs(1));
    let wanted = Cause::Unavailable { status: 429, retry_after_s: Some(3600) };
    assert_eq!(failures[0].cause, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_silent_service_costs_the_limit_of_one_attempt_and_all_together_the_total() {
    let (snp, script) = scripted();
    script.set(CRL_PATH, [Step::Never]);
    let (_folder, first) = store(Config::production(), script.clone());
    let started = Instant::now();
    let failures = missing(first.endorse(&snp.evidence, at(0)).await.unwrap_err());
    assert_eq!(failures[0].cause, Cause::Timeout { within: Duration::from_secs(10) });
    // Four attempts of 10 s and three waits of at most 3.5 s together.
    assert!((40..44).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    let limits = Limits { total_timeout: Duration::from_secs(15), ..Limits::default() };
    let (_folder, second) = store(Config { limits, ..Config::production() }, script.clone());
    let started = Instant::now();
    second.endorse(&snp.evidence, at(0)).await.unwrap_err();
    assert!(started.elapsed() <= Duration::from_secs(15), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_beside_a_failure_is_kept() {
    let (snp, script) = scripted();
    script.set(CRL_PATH, [Step::Fail(TransportError::Connect("refused".into()))]);
    let (_folder, store) = store(Config::production(), script.clone());
    let gathered = store.gather(&snp.evidence, at(0)).await.unwrap();
    assert_eq!(gathered.endorsed.evidence.certificates, [Der(snp.vcek.clone())]);
    assert_eq!(gathered.endorsed.endorsements.snp_crls, []);
    let [failure] = &gathered.missing[..] else { panic!("{:?}", gathered.missing) };
    assert!(matches!(*failure.item, Item::AmdCrl { .. }));
    assert_eq!((failure.vendor, failure.host.as_str()), (Vendor::Amd, "kdsintf.amd.com"));
    script.take_asked();
    snp.serve(&script);
    assert!(store.endorse(&snp.evidence, at(0)).await.is_ok());
    assert_eq!(script.take_asked(), [CRL_PATH]);
}

#[tokio::test(start_paused = true)]
async fn many_at_once_ask_once() {
    let (snp, script) = scripted();
    let slow = |body: &[u8]| Step::After(Duration::from_secs(2), answer(200, body));
    script.set(&snp.vcek_path, [slow(&snp.vcek)]);
    script.set(CRL_PATH, [slow(&snp.crl)]);
    let (_folder, store) = store(Config::production(), script.clone());
    let all = join_all((0..20).map(|_| store.endorse(&snp.evidence, at(0)))).await;
    assert!(all.iter().all(|one| one == &all[0] && one.is_ok()));
    assert_eq!(script.take_asked(), snp.paths());
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_at_once_than_allowed() {
    let script = Script::default();
    let guests: Vec<_> = (0..6).map(|_| Snp::new()).collect();
    for snp in &guests {
        script.set(&snp.vcek_path, [Step::After(Duration::from_secs(1), answer(200, &snp.vcek))]);
        script.set(CRL_PATH, [good(&snp.crl)]);
    }
    let limits = Limits { parallel: 2.try_into().unwrap(), ..Limits::default() };
    let (_folder, store) = store(Config { limits, ..Config::production() }, script.clone());
    let all = join_all(guests.iter().map(|snp| store.endorse(&snp.evidence, at(0)))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(script.most_under_way(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_certificate_of_another_chip_is_not_kept() {
    let (snp, script) = scripted();
    script.set(&snp.vcek_path, [good(&Snp::new().vcek), good(&snp.vcek)]);
    let (_folder, store) = store(Config::production(), script.clone());
    let failures = missing(store.endorse(&snp.evidence, at(0)).await.unwrap_err());
    assert_eq!(failures[0].cause, Cause::Content { wanted: "the certificate of that chip" });
    assert!(store.endorse(&snp.evidence, at(0)).await.is_ok());
}

#[test]
fn failures_name_the_host_of_the_mirror() {
    let mut config = Config::production();
    config.kds = BaseUrl::new("https://mirror.example/kds").unwrap().into();
    config.mode = Mode::Offline;
    let snp = Snp::new();
    let (_folder, store) = store(config, Script::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let failures = missing(runtime.block_on(store.endorse(&snp.evidence, at(0))).unwrap_err());
    assert!(failures.iter().all(|failure| failure.host == "mirror.example"));
}
