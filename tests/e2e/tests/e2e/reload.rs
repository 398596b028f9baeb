//! Keys that come and go while a guest serves.

use crate::support::{SOON, Served, alone, until, wait};
use anchorhold_e2e::client::Caller;
use anchorhold_e2e::guest::API_KEYS;
use rustix::process::{Pid, Signal, kill_process};

/// Runs `anchorhold key` with these words on the guest's file of keys; what it prints.
fn key(served: &Served, words: &[&str]) -> String {
    let file = served.guest.certificate.parent().unwrap().parent().unwrap().join(API_KEYS);
    let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"key"];
    arguments.extend(words.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>));
    arguments.extend([&"--file" as &dyn AsRef<std::ffi::OsStr>, &file]);
    served.stand.programs.run("anchorhold", &arguments).unwrap().trim_end().to_owned()
}

/// Through the keeper, which alone can read the file, and the command line, which replaces it.
#[test]
fn a_new_key_opens_after_a_hangup_and_a_revoked_one_opens_nothing() {
    let _turn = alone();
    let served = Served::chat();
    let secret = key(&served, &["create", "--tenant", "other", "--scopes", "models"]);
    let url = format!("https://{}", served.guest.address);
    let caller = wait(Caller::verify_at(&url, &secret, &served.stand.measurement)).unwrap();
    let status = |path: &str| wait(caller.get(path)).unwrap().status.as_u16();
    let hangup = || {
        let keeper = Pid::from_raw(i32::try_from(served.guest.keeper_pid()).unwrap()).unwrap();
        kill_process(keeper, Signal::HUP).unwrap();
    };
    assert_eq!(status("/v1/models"), 401);
    hangup();
    until("the key opens", SOON, || (status("/v1/models") == 200).then_some(()));
    assert_eq!(status("/metrics"), 403);
    let id = key(&served, &["list"]).split(' ').next().unwrap().to_owned();
    key(&served, &["revoke", &id]);
    hangup();
    until("the key opens nothing", SOON, || (status("/v1/models") == 401).then_some(()));
    assert_eq!(served.get("/v1/models").status, 200);
    served.stop();
}
