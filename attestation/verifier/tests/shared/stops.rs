//! A refusal has the rules of the first stage that failed: what would rest on them is not looked at.

use anchorhold_verifier::Refusal;

/// Holds that behind the first rule that failed no later stage was begun. `gates` are the first rules of the later stages; a rule
/// about "device 3: ..." is of that device alone.
pub(crate) fn assert_stops(refusal: &Refusal, gates: &[&str]) {
    let all = refusal.checks().all();
    let first = refusal.checks().failed().next().expect("a refusal has a reason");
    let place = all.iter().position(|check| check == first).expect("it is one of all");
    let device = |wanted: &str| wanted.split_once(": ").map(|(device, _)| device.to_owned());
    let of = device(&first.wanted).filter(|device| device.starts_with("device "));
    for check in all.iter().skip(place + 1) {
        let other = of.is_some() && device(&check.wanted) != of;
        let is_gate = gates.contains(&check.code.as_ref());
        assert!(other || !is_gate, "{} was judged though {} had failed", check.code, first.code);
    }
}
