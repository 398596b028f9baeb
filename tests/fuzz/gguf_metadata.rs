//! GGUF metadata: the bytes as they are, and the metadata of a genuine model of each family of which some keys are set to other values
//! or removed. Config, tokenizer, template and the tree of tokens are read of it.
#![no_main]

use anchorhold_model::fuzzing::gguf_metadata;
use libfuzzer_sys::fuzz_target;

const FAMILIES: [&str; 5] = ["llama", "qwen2", "qwen3", "gemma2", "gemma3"];
/// After the family's name.
const OWN: [&str; 20] = [
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "vocab_size",
    "attention.sliding_window",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope.freq_base_swa",
    "expert_count",
    "pooling_type",
];
const OTHERS: [&str; 18] = [
    "general.architecture",
    "general.quantization_version",
    "general.alignment",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_space_prefix",
    "tokenizer.ggml.add_eos_token",
    "tokenizer.chat_template",
    "tokenizer.huggingface.json",
];
const TOKENS: [&str; 12] =
    ["<unk>", "<s>", "</s>", "a", "b", "ab", "\u{2581}", "\u{2581}a", "<0x41>", "Ġ", "Ġa", "<"];
const SPELLINGS: [&str; 4] = ["gpt-2", "llama-bpe", "qwen2", "llama"];

type Edit<'a> = (u8, u8, u64, &'a str);

fuzz_target!(|data: (u8, u8, Vec<Edit>, &str, &[u8])| {
    let (family, spelling, edits, text, bytes) = data;
    let _refused = gguf_metadata(bytes, bytes.len() as u64, text);
    let family = FAMILIES[usize::from(family) % FAMILIES.len()];
    let spelling = SPELLINGS[usize::from(spelling) % SPELLINGS.len()];
    let mut metadata = genuine(family, spelling);
    for (key, kind, number, said) in edits.into_iter().take(16) {
        let at = usize::from(key) % (OWN.len() + OTHERS.len());
        let key = match at.checked_sub(OWN.len()) {
            None => format!("{family}.{}", OWN[at]),
            Some(at) => OTHERS[at].to_owned(),
        };
        metadata.retain(|(name, _)| *name != key);
        metadata.extend(value(kind, number, said).map(|value| (key, value)));
    }
    let head = header(&metadata);
    let tensor = 4 * 32 * TOKENS.len() as u64;
    let _refused = gguf_metadata(&head, head.len() as u64 + tensor, text);
});

/// A value with its type before it, or none.
fn value(kind: u8, number: u64, said: &str) -> Option<Vec<u8>> {
    Some(match kind % 9 {
        0 => return None,
        1 => [&10_u32.to_le_bytes()[..], &number.to_le_bytes()].concat(),
        2 => [&11_u32.to_le_bytes()[..], &number.to_le_bytes()].concat(),
        3 => [&12_u32.to_le_bytes()[..], &number.to_le_bytes()].concat(),
        4 => [&7_u32.to_le_bytes()[..], &[(number % 2) as u8]].concat(),
        5 => count((number % 4096) as u32),
        6 => text(said),
        7 => texts(&said.split(',').collect::<Vec<_>>()),
        _ => numbers(5, &said.chars().map(|kind| u32::from(kind) % 8).collect::<Vec<_>>()),
    })
}

fn count(number: u32) -> Vec<u8> {
    [4_u32.to_le_bytes(), number.to_le_bytes()].concat()
}

fn float(number: f32) -> Vec<u8> {
    [6_u32.to_le_bytes(), number.to_le_bytes()].concat()
}

fn plain(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn text(said: &str) -> Vec<u8> {
    [&8_u32.to_le_bytes()[..], &plain(said)].concat()
}

fn array(kind: u32, count: usize) -> Vec<u8> {
    [&9_u32.to_le_bytes()[..], &kind.to_le_bytes(), &(count as u64).to_le_bytes()].concat()
}

fn texts(all: &[&str]) -> Vec<u8> {
    let said: Vec<u8> = all.iter().flat_map(|said| plain(said)).collect();
    [array(8, all.len()), said].concat()
}

fn numbers(kind: u32, all: &[u32]) -> Vec<u8> {
    let bytes: Vec<u8> = all.iter().flat_map(|number| number.to_le_bytes()).collect();
    [array(kind, all.len()), bytes].concat()
}

/// What a converter writes for a model of this family with a tokenizer of this kind.
fn genuine(family: &str, spelling: &str) -> Vec<(String, Vec<u8>)> {
    let sentencepiece = spelling == "llama";
    let scores: Vec<u32> = (0_u8..12).map(|at| (-f32::from(at)).to_bits()).collect();
    let mut metadata = vec![
        ("general.architecture".to_owned(), text(family)),
        ("tokenizer.ggml.model".to_owned(), text(if sentencepiece { "llama" } else { "gpt2" })),
        ("tokenizer.ggml.tokens".to_owned(), texts(&TOKENS)),
        ("tokenizer.ggml.token_type".to_owned(), numbers(5, &[2, 3, 3, 1, 1, 1, 1, 1, 6, 1, 1, 1])),
        ("tokenizer.ggml.bos_token_id".to_owned(), count(1)),
        ("tokenizer.ggml.eos_token_id".to_owned(), count(2)),
        ("tokenizer.chat_template".to_owned(), text("{{ messages[0].content }}")),
    ];
    if sentencepiece {
        metadata.push(("tokenizer.ggml.scores".to_owned(), numbers(6, &scores)));
    } else {
        metadata.push(("tokenizer.ggml.pre".to_owned(), text(spelling)));
        metadata.push(("tokenizer.ggml.merges".to_owned(), texts(&["a b", "Ġ a"])));
    }
    for (key, number) in OWN.into_iter().zip([64, 32, 2, 64, 4, 2, 8, 8]) {
        metadata.push((format!("{family}.{key}"), count(number)));
    }
    metadata.push((format!("{family}.attention.layer_norm_rms_epsilon"), float(1e-6)));
    if family.starts_with("gemma") {
        metadata.push((format!("{family}.attention.sliding_window"), count(16)));
    }
    if family == "gemma2" {
        metadata.push((format!("{family}.attn_logit_softcapping"), float(50.0)));
        metadata.push((format!("{family}.final_logit_softcapping"), float(30.0)));
    }
    metadata
}

/// A header with these keys, and with the table of token vectors.
fn header(metadata: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out =
        [&b"GGUF\x03\0\0\0"[..], &1_u64.to_le_bytes(), &(metadata.len() as u64).to_le_bytes()].concat();
    for (key, value) in metadata {
        out.extend(plain(key));
        out.extend(value);
    }
    out.extend(plain("token_embd.weight"));
    out.extend(2_u32.to_le_bytes());
    out.extend([32_u64, TOKENS.len() as u64].into_iter().flat_map(u64::to_le_bytes));
    out.extend([0; 12]);
    out.resize(out.len().next_multiple_of(32), 0);
    out
}
