//! Folders to be sealed: the same bytes every time, and refusals of what is in them.

use anchorhold_sealed_weights::{Padding, SealOptions, Suite};

use crate::folder::{self, published, safetensors};
use crate::make::Cases;
use crate::package::{Package, options};
use crate::seal_gguf::gguf;
use crate::seal_signatures::signatures;
use crate::store::File;

pub(crate) fn add(cases: &mut Cases) {
    good(cases);
    choices(cases);
    folders(cases);
    texts(cases);
    tables(cases);
    gguf(cases);
    indexes(cases);
    signatures(cases);
}

fn good(cases: &mut Cases) {
    for (id, folder) in [
        ("pack-safetensors", folder::small()),
        ("pack-sharded", folder::sharded()),
        ("pack-gguf", folder::gguf()),
        ("pack-gguf-split", folder::gguf_split()),
    ] {
        cases.seal((id, "", "the same inputs give these bytes"), &folder, &options(1), &[]);
    }
    for (id, options) in [
        ("pack-blake3", SealOptions { suite: Suite::Blake3, ..options(1) }),
        ("pack-padme", SealOptions { padding: Padding::Padme, ..options(1) }),
        ("pack-power-of-two", SealOptions { padding: Padding::PowerOfTwo, ..options(1) }),
        ("pack-next-version", options(2)),
    ] {
        cases.seal((id, "", "other options give other bytes"), &folder::small(), &options, &[]);
    }
}

fn choices(cases: &mut Cases) {
    let small = folder::small();
    for (id, code, options) in [
        ("options-model-id", "options_model_id", SealOptions { model_id: "/tiny", ..options(1) }),
        ("options-version", "options_version_zero", options(0)),
        ("options-times", "options_times", SealOptions { not_after_s: 1_000, ..options(1) }),
    ] {
        cases.seal((id, code, "the owner asks for what a manifest may not say"), &small, &options, &[]);
    }
    let previous = File::Whole(Package::seal(&small, &options(2)).get("manifest.json"));
    let with = |cases: &mut Cases, id, code, options: &SealOptions<'_>| {
        cases.seal(
            (id, code, "the predecessor does not fit"),
            &small,
            options,
            &[("previous", previous.clone())],
        );
    };
    with(cases, "options-previous-version", "options_previous_version", &options(2));
    let other = SealOptions { model_id: "acme/other", ..options(3) };
    with(cases, "options-previous-model", "options_previous_model", &other);
}

/// Adds a case of the small folder with one file more, or another one in its place.
fn with(cases: &mut Cases, head: (&str, &str, &str), name: &str, file: File) {
    let mut folder = folder::small();
    folder.insert(name.to_owned(), file);
    cases.seal(head, &folder, &options(1), &[]);
}

pub(crate) fn whole(bytes: impl AsRef<[u8]>) -> File {
    File::Whole(bytes.as_ref().to_vec())
}

fn folders(cases: &mut Cases) {
    for (id, code, name) in [
        ("folder-pickle", "source_pickle", "pytorch_model.bin"),
        ("folder-code", "source_code", "modeling_tiny.py"),
        ("folder-sentence-piece", "source_sentence_piece", "tokenizer.model"),
        ("folder-vocabulary", "source_vocabulary", "vocab.txt"),
        ("folder-unknown", "source_unknown", "notes.txt"),
        ("folder-unknown-inside", "source_unknown", "1_Pooling/notes.txt"),
    ] {
        with(cases, (id, code, "a file that no package holds"), name, whole("x"));
    }
    with(cases, ("folder-empty-file", "source_size", "an empty config"), "config.json", whole(""));
    with(
        cases,
        ("folder-large-file", "source_size", "a config of 1 MiB and a byte"),
        "config.json",
        File::Fill(b' ', (1 << 20) + 1),
    );
    with(
        cases,
        ("folder-two-weights", "source_several_weights", "GGUF beside safetensors"),
        "a.gguf",
        whole(published("gguf/tiny.gguf")),
    );
    with(
        cases,
        ("folder-index-alone", "source_index_presence", "an index without numbered files"),
        "model.safetensors.index.json",
        whole(r#"{"weight_map":{}}"#),
    );
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let mut folder = folder::small();
        folder.remove(name);
        cases.seal(
            (&format!("folder-without-{name}"), "source_missing", "a file that a model needs"),
            &folder,
            &options(1),
            &[],
        );
    }
    let mut folder = folder::sharded();
    folder.remove("model-00002-of-00002.safetensors");
    cases.seal(
        ("folder-shard-missing", "source_shards", "the last numbered file is missing"),
        &folder,
        &options(1),
        &[],
    );
    let mut folder = folder::sharded();
    folder.remove("model.safetensors.index.json");
    cases.seal(
        ("folder-index-missing", "source_index_presence", "numbered files without an index"),
        &folder,
        &options(1),
        &[],
    );
}

fn texts(cases: &mut Cases) {
    let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
    for (id, code, name, text) in [
        ("json-utf8", "json_utf8", "chat_template.jinja", &b"\xff"[..]),
        ("json-malformed", "json_malformed", "generation_config.json", b"{"),
        ("json-trailing", "json_malformed", "generation_config.json", b"{}{}"),
        ("json-deep", "json_too_deep", "tokenizer.json", deep.as_bytes()),
        ("json-very-deep", "json_too_deep", "tokenizer.json", "[".repeat(100_000).as_bytes()),
        ("json-repeated-key", "json_duplicate_key", "config.json", br#"{"a":{"b":1,"b":2}}"#),
        (
            "json-auto-map",
            "json_code_key",
            "tokenizer_config.json",
            br#"{"auto_map":{"AutoTokenizer":["x.py",null]}}"#,
        ),
        (
            "json-auto-map-inside",
            "json_code_key",
            "config.json",
            br#"{"text_config":{"auto_map":{"AutoConfig":"x.py"}}}"#,
        ),
        (
            "json-remote-code",
            "json_code_key",
            "sentence_bert_config.json",
            br#"{"model_args":{"trust_remote_code":true}}"#,
        ),
        (
            "json-custom-pipelines",
            "json_code_key",
            "config.json",
            br#"{"custom_pipelines":{"x":{"impl":"x.X"}}}"#,
        ),
        ("json-module", "json_module_type", "modules.json", br#"[{"idx":0,"type":"custom.Module"}]"#),
    ] {
        with(cases, (id, code, "a file of the model breaks a rule"), name, whole(text));
    }
}

fn tables(cases: &mut Cases) {
    let one = |shape: &str, begin: u64, end: u64| {
        format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#)
    };
    let names = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    let long = format!(r#"{{"{}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#, "n".repeat(513));
    for (id, code, header, len) in [
        ("safetensors-no-brace", "tensors_no_brace", "[]".to_owned(), 0),
        ("safetensors-not-table", "tensors_not_table", r#"{"a":{"dtype":"F31"}}"#.to_owned(), 0),
        ("safetensors-no-tensor", "tensors_count", "{}".to_owned(), 0),
        ("safetensors-name", "tensors_name", long, 1),
        ("safetensors-names", "tensors_duplicate_name", names.to_owned(), 2),
        ("safetensors-rank", "tensors_rank", one("[1,1,1,1,1,1,1,1,1]", 0, 4), 4),
        ("safetensors-overflow", "tensors_size", one("[4294967296,4294967296]", 0, 4), 4),
        ("safetensors-gap", "tensors_gap", one("[1]", 4, 8), 8),
        ("safetensors-end", "tensors_end", one("[1]", 0, 4), 5),
        ("safetensors-element-type", "tensors_element_type", one("[0]", 0, 0).replace("F32", "Q4_K"), 0),
    ] {
        let file = whole(safetensors(&header, &vec![0; len]));
        with(cases, (id, code, "a header that breaks a rule"), "model.safetensors", file);
    }
    for (id, code, bytes) in [
        ("safetensors-cut", "tensors_header_cut", vec![1, 0, 0]),
        ("safetensors-hundred-megabytes", "tensors_header_too_long", (100_u64 << 20).to_le_bytes().to_vec()),
        (
            "safetensors-beyond-file",
            "tensors_header_beyond_file",
            [&100_u64.to_le_bytes()[..], b"{}"].concat(),
        ),
    ] {
        with(cases, (id, code, "a header whose length lies"), "model.safetensors", whole(bytes));
    }
}

fn indexes(cases: &mut Cases) {
    for (id, code, text) in [
        ("index-not-index", "weights_index_not_index", r#"{"weight_map":[]}"#),
        (
            "index-other-file",
            "weights_index_other_file",
            r#"{"weight_map":{"a":"model-00002-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#,
        ),
        (
            "index-tensor-missing",
            "weights_index_incomplete",
            r#"{"weight_map":{"a":"model-00001-of-00002.safetensors"}}"#,
        ),
    ] {
        let mut folder = folder::sharded();
        folder.insert("model.safetensors.index.json".to_owned(), whole(text));
        cases.seal((id, code, "an index that is not of the files"), &folder, &options(1), &[]);
    }
    let mut folder = folder::sharded();
    let first = folder["model-00001-of-00002.safetensors"].clone();
    folder.insert("model-00002-of-00002.safetensors".to_owned(), first);
    cases.seal(
        ("shards-same-tensor", "tensors_duplicate_name", "two files hold one tensor"),
        &folder,
        &options(1),
        &[],
    );
}
