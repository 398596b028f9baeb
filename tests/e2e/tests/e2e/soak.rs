//! The short form of `make soak`.

use crate::support::alone;
use anchorhold_e2e::soak::{Soak, run};
use std::time::Duration;

#[test]
fn callers_who_come_and_leave_lose_no_place_and_no_memory() {
    let _turn = alone();
    let outcome = run(Soak { clients: 64, time: Duration::from_secs(8), seed: 3 }, |_| {}).unwrap();
    assert!(outcome.whole > 100 && outcome.left > 50 && outcome.questions > 50, "{outcome:?}");
}
