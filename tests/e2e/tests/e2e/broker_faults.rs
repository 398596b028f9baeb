//! The key broker is away, or dies at the worst moment.

use crate::support::SOON;
use anchorhold_e2e::guest::{Guest, Settings, Start};
use anchorhold_e2e::refusals::Stand;
use anchorhold_e2e::relay::{Attack, Relay};
use std::time::{Duration, Instant};

/// The keeper tries again for three seconds; the rest is for a machine under load.
const GIVES_UP_WITHIN: Duration = Duration::from_secs(30);

#[test]
fn a_broker_that_is_down_keeps_the_port_closed_and_is_named() {
    let mut stand = Stand::new().unwrap();
    let settings = stand.with_chat().unwrap();
    stand.broker.kill();
    let begun = Instant::now();
    let refusal = stand.start(&settings).unwrap().refused().unwrap();
    assert_eq!(refusal.by, "keeper");
    let named = format!("key broker at {}", settings.broker_url);
    assert!(refusal.text.contains(&named), "{}", refusal.text);
    assert!(begun.elapsed() < GIVES_UP_WITHIN);
}

/// Starts a guest through a relay with this attack; while the relay holds the release back, the broker is killed with
/// SIGKILL and started again.
fn start_across_a_kill(attack: Attack) -> (Stand, Start) {
    let mut stand = Stand::new().unwrap();
    let settings = stand.with_chat().unwrap();
    let relay = Relay::start(&stand.broker, attack, stand.path()).unwrap();
    let settings =
        Settings { broker_url: relay.url.clone(), broker_certificate: relay.certificate.clone(), ..settings };
    let (programs, directory) = (stand.programs.clone(), stand.path().join("guest"));
    let start = std::thread::scope(|scope| {
        let starting = scope.spawn(|| Guest::start(&programs, &directory, &settings, |_| {}).unwrap());
        relay.wait_until_it_holds(SOON).unwrap();
        let before = stand.broker.address.clone();
        stand.broker.kill();
        stand.broker.serve().unwrap();
        assert_eq!(stand.broker.address, before);
        relay.go_on();
        starting.join().unwrap()
    });
    (stand, start)
}

#[test]
fn a_broker_killed_between_challenge_and_release_answers_after_its_restart() {
    let (_stand, start) = start_across_a_kill(Attack::Hold);
    start.ready().unwrap();
}

#[test]
fn case_01_a_used_nonce_stays_used_after_kill_9() {
    let (_stand, start) = start_across_a_kill(Attack::ReplayLater);
    let refusal = start.refused().unwrap();
    assert_eq!((refusal.by.as_str(), refusal.code.as_str()), ("key broker", "challenge_used"));
}
