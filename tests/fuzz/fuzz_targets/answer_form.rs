//! Forms of answers: any schema, regular expression or list of texts is refused or compiles, in bounded work, and what compiles leaves
//! a token in every step until it ends or gives up.
#![no_main]

use anchorhold_engine::Structure;
use anchorhold_model::Grammars;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const VOCABULARY: u32 = 257;
const END: u32 = 256;
const STEPS: usize = 64;

static GRAMMARS: LazyLock<Grammars> = LazyLock::new(Grammars::of_bytes);

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let structure = match kind % 3 {
        0 => Structure::JsonSchema(text.to_owned()),
        1 => Structure::Regex(text.to_owned()),
        _ => Structure::Choice(text.split('\n').map(str::to_owned).collect()),
    };
    let Ok(mut constraint) = GRAMMARS.constraint(&structure) else { return };
    for step in 0..STEPS {
        let mut logits = vec![0.0_f32; VOCABULARY as usize];
        if constraint.restrict(&mut logits).is_err() {
            return;
        }
        let allowed: Vec<u32> = (0..VOCABULARY).filter(|token| logits[*token as usize] == 0.0).collect();
        assert!(!allowed.is_empty(), "nothing may come, and no error");
        let token = allowed[(usize::from(*kind) + 31 * step) % allowed.len()];
        if token == END || constraint.accept(token).is_err() {
            return;
        }
    }
});
