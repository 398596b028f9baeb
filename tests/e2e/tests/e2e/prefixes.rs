//! What was computed for a prompt is found again by its own tenant, and by nobody else.

use crate::support::{Served, chat, wait};
use anchorhold_e2e::client::Caller;
use anchorhold_e2e::guest::Settings;
use anchorhold_e2e::refusals::Stand;
use serde_json::Value;

/// Several blocks long.
fn question(topic: &str) -> String {
    format!("{topic}: {}What is Anchorhold?", "Answer with care, and say what you do not know. ".repeat(3))
}

/// A deployment whose settings are changed, and a caller of its second tenant.
fn serve(change: impl FnOnce(&mut Settings)) -> (Served, Caller) {
    let mut stand = Stand::new().unwrap();
    let mut settings = stand.with_chat().unwrap();
    change(&mut settings);
    let served = Served::start(stand, &settings);
    let url = format!("https://{}", served.guest.address);
    let other = wait(Caller::verify_at(&url, &settings.other_key, &served.stand.measurement)).unwrap();
    (served, other)
}

/// How many tokens of its prompt an answer says were found.
fn cached(body: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(body).unwrap();
    answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
}

fn text(body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap();
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[test]
fn a_tenant_finds_its_own_prompts_and_no_others() {
    let (served, other) = serve(|_| {});
    let counted = || served.metric("anchorhold_prompt_tokens_cached_total");
    let own = |topic| text(&served.post("/v1/chat/completions", &chat(&question(topic))).body);
    let of_other =
        |topic| text(&wait(other.post("/v1/chat/completions", &chat(&question(topic)))).unwrap().body);
    let first = own("one");
    assert_eq!(counted(), 0);
    assert_eq!(of_other("one"), first, "the same answer, computed anew");
    assert_eq!(counted(), 0, "found across tenants");
    assert_eq!(own("one"), first);
    let found = counted();
    assert!(found >= 32, "{found} tokens");
    assert_eq!(of_other("one"), first);
    assert_eq!(counted(), 2 * found, "each has its own");
    own("two");
    assert!(counted() < 2 * found + 32, "the beginning of a template at most");
    let again = served.post("/v1/chat/completions", &chat(&question("one")));
    assert_eq!(cached(&again.body), found, "the usage says the same as the metrics");
    let requests = served.metric("anchorhold_prompt_tokens_total");
    assert!(requests > 4 * found);
}

#[test]
fn nothing_is_found_where_nothing_may_be_kept() {
    let (served, _other) = serve(|settings| settings.keep_prefixes = false);
    for _ in 0..2 {
        assert_eq!(served.post("/v1/chat/completions", &chat(&question("one"))).status, 200);
    }
    assert_eq!(served.metric("anchorhold_prompt_tokens_cached_total"), 0);
}
