//! What the sizes of a stream's events tell of its topic, without padding and with each kind of it, and what padding costs.
//!
//! A replication in small of Whisper Leak (arXiv 2511.03675). Answers of two topics, prose and program text out of this repository, are cut
//! into passages and those into tokens as GPT's pre-tokenizer cuts them; the events are what the gateway sends for them. A naive Bayes
//! classifier over the sizes, their pairs and their number is trained on one half of the passages and asked about the other. Told is the
//! area under the receiver operating characteristic: 1 is told apart always, 0.5 never. Times of tokens are not looked at; with slots
//! they do not show. `JSON` is a file for the results.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark ends where it fails")]

use anchorhold_api::{ChoiceFrames, Frames as _, Head, Part, Surface};
use anchorhold_body_encryption::Buckets;
use anchorhold_body_encryption::sse::{Cadence, Release, pad_event};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write as _;
use std::num::NonZeroU64;

const PROSE: [&str; 4] = [
    include_str!("../../../ARCHITECTURE.md"),
    include_str!("../../../SECURITY.md"),
    include_str!("../../../attestation/sealed-weights/FORMAT.md"),
    include_str!("../../../attestation/key-release/PROTOCOL.md"),
];
const PROGRAMS: [&str; 4] = [
    include_str!("../../../attestation/verifier/src/snp.rs"),
    include_str!("../../../server/engine/src/sampler.rs"),
    include_str!("../../../attestation/audit-log/src/entry.rs"),
    include_str!("../../../attestation/key-release/src/request.rs"),
];
/// Characters of one answer, in turns: answers are of many lengths, whatever their topic.
const PASSAGES: [usize; 7] = [250, 900, 400, 1300, 600, 300, 1000];
/// The longest token, in characters.
const LONGEST: usize = 8;
/// Tokens in a second, for what slots cost.
const SPEED: u64 = 30;

/// Pieces of a passage: a word with the space before it, digits, marks and line feeds one by one.
fn tokens(passage: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    for character in passage.chars() {
        let joins = tokens.last().is_some_and(|last| {
            let end = last.chars().last().unwrap_or('\n');
            character.is_alphabetic() && (end.is_alphabetic() || end == ' ') && last.chars().count() < LONGEST
        });
        if joins {
            tokens.last_mut().unwrap().push(character);
        } else {
            tokens.push(character.to_string());
        }
    }
    tokens
}

fn answers(texts: &[&str]) -> Vec<Vec<String>> {
    let characters: Vec<char> = texts.concat().chars().collect();
    let (mut answers, mut rest) = (Vec::new(), characters.as_slice());
    for length in PASSAGES.into_iter().cycle() {
        let Some((passage, after)) = rest.split_at_checked(length) else { break };
        answers.push(tokens(&passage.iter().collect::<String>()));
        rest = after;
    }
    answers
}

/// The events of an answer, as the gateway makes them.
fn events(answer: &[String]) -> Vec<String> {
    let head =
        Head { id: format!("chatcmpl-{}", "0".repeat(26)), created: 1_800_000_000, model: "chat".into() };
    let mut frames = ChoiceFrames::new(Surface::Chat, head, false);
    let mut events = frames.begin(1);
    for token in answer {
        events.extend(frames.delta(0, Part { text: token, tokens: &[], offset: 0 }));
    }
    events
}

/// Sizes in bytes of what leaves, and how long the last token is held back, in milliseconds.
type Wire = (Vec<usize>, u64);

/// How an answer leaves.
type Way = fn(&[String]) -> Wire;

fn plain(answer: &[String]) -> Wire {
    (events(answer).iter().map(String::len).collect(), 0)
}

fn padded(answer: &[String]) -> Wire {
    let buckets = Buckets::new(&[256, 512]).unwrap();
    let events = events(answer);
    let sizes = events.iter().map(|event| {
        let mut out = Vec::new();
        pad_event(event.as_bytes(), &buckets, &mut out);
        out.len()
    });
    (sizes.collect(), 0)
}

/// Slots of 512 bytes, 20 in a second, of which the stream has 128, 512 or a multiple of it.
fn paced(answer: &[String]) -> Wire {
    let interval = NonZeroU64::new(50).unwrap();
    let lengths = Buckets::new(&[128, 512]).unwrap();
    let mut cadence = Cadence::new(interval, 512, 1 << 23).unwrap().rounded(lengths);
    let events = events(answer);
    let made_ms = |at: usize| at as u64 * 1000 / SPEED;
    let (mut sizes, mut now, mut at, mut queued) = (Vec::new(), 0, 0, 0);
    let mut held = None;
    loop {
        while at < events.len() && made_ms(at) <= now {
            cadence.offer(events[at].as_bytes()).unwrap();
            queued += events[at].len();
            at += 1;
        }
        if at == events.len() {
            cadence.end();
        }
        match cadence.release(now) {
            Release::Slot(slot) => {
                queued -= queued.min(slot.len());
                if at == events.len() && queued == 0 {
                    held.get_or_insert(now - made_ms(at - 1));
                }
                sizes.push(slot.len());
            }
            Release::Wait { until_ms } => now = until_ms,
            Release::End => return (sizes, held.unwrap_or(0)),
        }
    }
}

/// What the classifier sees of an answer.
fn features(sizes: &[usize]) -> Vec<(u8, usize, usize)> {
    let pairs = sizes.windows(2).map(|pair| (1, pair[0], pair[1]));
    let single = sizes.iter().map(|size| (0, *size, 0));
    // The number counts as much as everything else together.
    let number = std::iter::repeat_n((2, sizes.len() / 16, 0), sizes.len());
    single.chain(pairs).chain(number).collect()
}

type Counts = HashMap<(u8, usize, usize), f64>;

fn learn(answers: &[Vec<usize>]) -> (Counts, f64) {
    let mut counts = Counts::new();
    answers
        .iter()
        .flat_map(|sizes| features(sizes))
        .for_each(|feature| *counts.entry(feature).or_default() += 1.0);
    let all = counts.values().sum();
    (counts, all)
}

/// How much more likely an answer is of the first topic.
fn score(sizes: &[usize], topics: &[(Counts, f64); 2]) -> f64 {
    let log = |feature, (counts, all): &(Counts, f64)| {
        ((counts.get(feature).unwrap_or(&0.0) + 0.5) / (all + 500.0)).ln()
    };
    let features = features(sizes);
    features.iter().map(|feature| log(feature, &topics[0]) - log(feature, &topics[1])).sum::<f64>()
        / features.len() as f64
}

/// The share of pairs in which the one is above the other; a tie is half a pair.
fn area(one: &[f64], other: &[f64]) -> f64 {
    let pairs = one.iter().flat_map(|one| other.iter().map(move |other| (one, other)));
    let won: f64 = pairs
        .map(|(one, other)| if one > other { 1.0 } else { f64::from(u8::from(one == other)) / 2.0 })
        .sum();
    won / (one.len() * other.len()) as f64
}

struct Told {
    area: f64,
    bytes: f64,
    held_ms: f64,
}

fn told(topics: &[Vec<Vec<String>>; 2], wire: Way) -> Told {
    let wires: Vec<Vec<Wire>> =
        topics.iter().map(|answers| answers.iter().map(|answer| wire(answer)).collect()).collect();
    let half = |topic: usize, odd: usize| -> Vec<Vec<usize>> {
        wires[topic].iter().skip(odd).step_by(2).map(|(sizes, _)| sizes.clone()).collect()
    };
    let learned = [learn(&half(0, 0)), learn(&half(1, 0))];
    let scores = |topic| half(topic, 1).iter().map(|sizes| score(sizes, &learned)).collect::<Vec<_>>();
    let all: Vec<&Wire> = wires.iter().flatten().collect();
    let mean =
        |value: &dyn Fn(&Wire) -> f64| all.iter().map(|wire| value(wire)).sum::<f64>() / all.len() as f64;
    Told {
        area: area(&scores(0), &scores(1)),
        bytes: mean(&|(sizes, _)| sizes.iter().sum::<usize>() as f64),
        held_ms: mean(&|(_, held)| *held as f64),
    }
}

fn main() {
    let (prose, mut programs) = (answers(&PROSE), answers(&PROGRAMS));
    programs.truncate(prose.len());
    let topics = [prose, programs];
    let ways: [(&str, Way); 3] = [("plain", plain), ("sizes", padded), ("slots", paced)];
    let told = ways.map(|(name, wire)| (name, told(&topics, wire)));
    let base = told[0].1.bytes;
    let results: Vec<Value> = told
        .iter()
        .map(|(name, told)| {
            json!({"name": format!("topic_by_{name}"), "value": told.area, "unit": "area under ROC",
                "bytes_per_answer": told.bytes, "peer": "plain", "ratio": told.bytes / base, "held_ms": told.held_ms,
                "answers": [topics[0].len(), topics[1].len()]})
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
