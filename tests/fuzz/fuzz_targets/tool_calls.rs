//! Answers that may hold calls: however one is cut, the calls are the same, what is told is in it, and arguments that ended are JSON.
//! Tools that a grammar is made of: refused or compiled, in bounded work.
#![no_main]

use anchorhold_engine::{Calling, MustCall, Tool};
use anchorhold_model::{CallStream, CallSyntax, Grammars, Marks, Said};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static GRAMMARS: LazyLock<Grammars> = LazyLock::new(Grammars::of_bytes);

/// Parts of one kind put together.
fn read<'a>(mut stream: CallStream, pieces: impl IntoIterator<Item = &'a str>) -> Vec<Said> {
    let mut all: Vec<Said> = pieces.into_iter().flat_map(|piece| stream.push(piece)).collect();
    all.extend(stream.finish());
    let mut said: Vec<Said> = Vec::new();
    for part in all {
        match (said.last_mut(), &part) {
            (Some(Said::Text(last)), Said::Text(more)) => last.push_str(more),
            (Some(Said::Arguments(last)), Said::Arguments(more)) => last.push_str(more),
            _ => said.push(part),
        }
    }
    said
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let syntax = match kind % 3 {
        0 => CallSyntax::Hermes,
        1 => CallSyntax::Llama,
        _ => CallSyntax::Mistral,
    };
    let stream = || CallStream::new(syntax, vec!["f".to_owned()], kind & 64 != 0);
    let whole = read(stream(), [text]);
    let width = usize::from(kind & 31) + 1;
    let characters: Vec<char> = text.chars().collect();
    let pieces: Vec<String> = characters.chunks(width).map(|chunk| chunk.iter().collect()).collect();
    assert_eq!(whole, read(stream(), pieces.iter().map(String::as_str)), "it depends on the cut");
    let told: usize = whole
        .iter()
        .map(|part| match part {
            Said::Text(text) => text.len(),
            Said::Arguments(text) if text != "{}" => text.len(),
            Said::Arguments(_) | Said::Call(_) => 0,
        })
        .sum();
    assert!(told <= text.len(), "more is told than was said");
    assert!(
        whole.iter().all(|part| !matches!(part, Said::Call(name) if name != "f")),
        "a tool that is not offered"
    );

    let tool = Tool { name: "f".to_owned(), json: text.to_owned(), strict: kind & 128 != 0 };
    let calling =
        Calling { must: if kind & 64 != 0 { MustCall::Any } else { MustCall::No }, once: kind & 32 != 0 };
    let marks = Marks { syntax, opening: None, closing: None };
    let Ok(Some(mut constraint)) = GRAMMARS.calls(marks, &[tool], &calling) else { return };
    for step in 0..64 {
        let mut logits = vec![0.0_f32; 257];
        if constraint.restrict(&mut logits).is_err() {
            return;
        }
        let allowed: Vec<u32> = (0..257).filter(|token| logits[*token as usize] == 0.0).collect();
        assert!(!allowed.is_empty(), "nothing may come, and no error");
        let token = allowed[(usize::from(*kind) + 31 * step) % allowed.len()];
        if token == 256 || constraint.accept(token).is_err() {
            return;
        }
    }
});
