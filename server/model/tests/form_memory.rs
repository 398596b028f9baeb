//! What a compiled form says that it takes is at least what it takes.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use anchorhold_engine::{Constraint, Structure};
use serde_json::{Value, json};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's memory, and how many bytes of it are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator that counts")]
// SAFETY: everything is the system allocator's doing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `dealloc`, and `alloc` took it from there.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static MEMORY: Counting = Counting;

fn kept(make: impl FnOnce() -> Box<dyn Constraint>) -> (Box<dyn Constraint>, usize) {
    let before = IN_USE.load(Ordering::Relaxed);
    let made = make();
    (made, IN_USE.load(Ordering::Relaxed) - before)
}

fn forms() -> Vec<(&'static str, Structure)> {
    let schema = |value: Value| Structure::JsonSchema(value.to_string());
    let each = |count: usize, make: &dyn Fn(usize) -> Value| -> Value {
        Value::Object((0..count).map(|at| (format!("p{at}"), make(at))).collect())
    };
    let text = |pattern: &str| json!({"type": "string", "pattern": pattern});
    let either = |at: usize| {
        let kinds: Vec<Value> = (0..20).map(|other| text(&format!("a{at}b{other}c.*"))).collect();
        json!({"anyOf": kinds})
    };
    let items = |count: usize, make: &dyn Fn(usize) -> Value| json!({"type": "array", "prefixItems": (0..count).map(make).collect::<Vec<_>>()});
    let nested = (0..28).fold(
        json!({"type": "integer"}),
        |inner, at| json!({"type": "array", "minItems": 900 + at, "maxItems": 5_000 + at, "items": inner}),
    );
    let chain = |at: usize| {
        let next = format!("#/properties/p{}", (at * 7 + 1) % 600);
        json!({"type": "object", "properties": {"a": {"$ref": next}, "b": {"$ref": next}}})
    };
    vec![
        ("any object", Structure::JsonObject),
        ("an integer", schema(json!({"type": "integer"}))),
        ("anything", schema(json!({}))),
        ("optional texts", schema(json!({"type": "object", "properties": each(1300, &|_| text("[a-z]+"))}))),
        ("of any kind", schema(json!({"type": "object", "properties": each(2000, &|_| json!({}))}))),
        ("booleans", schema(items(4000, &|_| json!({"type": "boolean"})))),
        ("true", schema(items(9000, &|_| json!(true)))),
        ("ranges", schema(items(300, &|at| json!({"type": "integer", "minimum": at, "maximum": at * 777})))),
        ("nested lists", schema(nested)),
        ("references", schema(json!({"type": "object", "properties": each(600, &chain)}))),
        ("alternatives at once", schema(json!({"allOf": [either(0), either(1)]}))),
        ("words", schema(json!({"enum": (0..3000).map(|at| format!("word {at}")).collect::<Vec<_>>()}))),
        ("counted", Structure::Regex("((([a-z]{0,100}x){0,100}y){0,100}z){0,100}".into())),
        ("letters", Structure::Regex("a".repeat(4000))),
        ("classes", Structure::Regex("\\p{L}{500}\\P{L}{500}".into())),
        ("texts", Structure::Choice((0..1024).map(|at| format!("{at:x} is {}", at * at)).collect())),
    ]
}

/// One test, since the count is that of the process.
#[test]
fn a_form_takes_no_more_memory_than_it_says() {
    let model = common::chat(&common::anchor_chat(), 1);
    let (mut told, mut kept_to) = (Vec::new(), true);
    for (name, form) in forms() {
        // What the library keeps for all forms is there after the first.
        if model.grammars.constraint(&form).is_err() {
            continue;
        }
        let (first, takes) = kept(|| model.grammars.constraint(&form).unwrap());
        let (_second, takes_again) = kept(|| first.fork());
        let (says, says_again) = (first.bytes(0), first.bytes(1) - first.bytes(0));
        told.push(format!("{name}: takes {takes} of {says}, a fork {takes_again} of {says_again}"));
        kept_to &= takes <= says && takes_again <= says_again;
    }
    assert!(kept_to && told.len() > 9, "{told:#?}");
}
