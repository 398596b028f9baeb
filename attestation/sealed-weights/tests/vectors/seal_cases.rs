//! Folders to be sealed: the same bytes every time, and refusals of what is in them.

use anchorhold_sealed_weights::{ModelSignature, Padding, SealOptions, SignerKey, Suite};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::floe::{hex, sha256};
use crate::folder::{self, Folder, published, safetensors};
use crate::make::Cases;
use crate::package::{Package, options};
use crate::store::File;

pub(crate) fn signature(name: &str, key: &str) -> ModelSignature {
    let pem = String::from_utf8(published(&format!("model-signing/{key}"))).unwrap();
    let key = SignerKey::from_pem(&pem).unwrap();
    ModelSignature::verify(&published(&format!("model-signing/{name}")), &key).unwrap()
}

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

fn whole(bytes: impl AsRef<[u8]>) -> File {
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

/// A GGUF file being made, wrong wherever a case wants it.
struct Gguf {
    counts: (u64, u64),
    metadata: Vec<u8>,
    row: Vec<u8>,
    data: Vec<u8>,
}

fn text(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

fn row(name: &[u8], dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut out = text(name);
    out.extend((dims.len() as u32).to_le_bytes());
    dims.iter().for_each(|side| out.extend(side.to_le_bytes()));
    out.extend(kind.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out
}

impl Gguf {
    fn new() -> Self {
        Self { counts: (1, 0), metadata: Vec::new(), row: row(b"a", &[4], 0, 0), data: vec![1; 16] }
    }

    fn key(key: &[u8], kind: u32, value: &[u8]) -> Self {
        let metadata = [&text(key)[..], &kind.to_le_bytes(), value].concat();
        Self { counts: (1, 1), metadata, ..Self::new() }
    }

    fn row(row: Vec<u8>) -> Self {
        Self { row, ..Self::new() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = [&b"GGUF"[..], &3_u32.to_le_bytes()].concat();
        out.extend(self.counts.0.to_le_bytes());
        out.extend(self.counts.1.to_le_bytes());
        out.extend(&self.metadata);
        out.extend(&self.row);
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }
}

fn gguf(cases: &mut Cases) {
    let array = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    let genuine = Gguf::new().bytes();
    let version = |version: u32| [&genuine[..4], &version.to_le_bytes(), &genuine[8..]].concat();
    let twice = Gguf {
        counts: (1, 2),
        metadata: [text(b"a"), vec![0, 0, 0, 0, 1]].concat().repeat(2),
        ..Gguf::new()
    };
    let split = Gguf::key(b"split.count", 2, &[2, 0]);
    let files: Vec<(&str, &str, &str, Vec<u8>)> = vec![
        ("gguf-magic", "gguf_magic", "another magic", [b"GGML", &genuine[4..]].concat()),
        ("gguf-version-1", "gguf_version", "version 1", version(1)),
        ("gguf-big-endian", "gguf_version", "big-endian", version(3_u32.swap_bytes())),
        ("gguf-cut", "gguf_cut", "ends inside its header", genuine[..40].to_vec()),
        (
            "gguf-million-tensors",
            "tensors_count",
            "claims 1,000,000 tensors",
            Gguf { counts: (1_000_000, 0), ..Gguf::new() }.bytes(),
        ),
        (
            "gguf-no-tensor",
            "tensors_count",
            "no tensor",
            Gguf { counts: (0, 0), row: Vec::new(), data: Vec::new(), ..Gguf::new() }.bytes(),
        ),
        (
            "gguf-keys",
            "gguf_key_count",
            "claims 2^64 - 1 keys",
            Gguf { counts: (1, u64::MAX), ..Gguf::new() }.bytes(),
        ),
        ("gguf-key-form", "gguf_key", "a key in capitals", Gguf::key(b"General", 0, &[0]).bytes()),
        ("gguf-key-length", "gguf_key", "a key of 129 bytes", Gguf::key(&[b'k'; 129], 0, &[0]).bytes()),
        ("gguf-key-twice", "gguf_duplicate_key", "a key twice", twice.bytes()),
        (
            "gguf-auto-map",
            "gguf_code_key",
            "a key that asks for code",
            Gguf::key(b"tokenizer.auto_map", 0, &[0]).bytes(),
        ),
        (
            "gguf-text-length",
            "gguf_string_length",
            "claims a text of 2^63 bytes",
            Gguf::key(b"a", 8, &(1_u64 << 63).to_le_bytes()).bytes(),
        ),
        (
            "gguf-text-utf8",
            "gguf_utf8",
            "a text that is no UTF-8",
            Gguf::key(b"a", 8, &text(b"\xff")).bytes(),
        ),
        (
            "gguf-array-length",
            "gguf_array_length",
            "claims an array of 2^62 elements",
            Gguf::key(b"a", 9, &array(10, 1 << 62)).bytes(),
        ),
        (
            "gguf-array-short",
            "gguf_cut",
            "an array longer than the file",
            Gguf::key(b"a", 9, &array(10, 1 << 20)).bytes(),
        ),
        (
            "gguf-nested-array",
            "gguf_nested_array",
            "an array of arrays",
            Gguf::key(b"a", 9, &array(9, 1)).bytes(),
        ),
        ("gguf-value-type", "gguf_value_type", "a type that is not known", Gguf::key(b"a", 13, &[0]).bytes()),
        ("gguf-bool", "gguf_bool", "a boolean of 2", Gguf::key(b"a", 7, &[2]).bytes()),
        (
            "gguf-alignment-zero",
            "gguf_alignment",
            "an alignment of 0",
            Gguf::key(b"general.alignment", 4, &[0; 4]).bytes(),
        ),
        (
            "gguf-alignment",
            "gguf_alignment",
            "an alignment of 12",
            Gguf::key(b"general.alignment", 4, &[12, 0, 0, 0]).bytes(),
        ),
        ("gguf-rank", "gguf_rank", "five dimensions", Gguf::row(row(b"a", &[4, 1, 1, 1, 1], 0, 0)).bytes()),
        ("gguf-rank-zero", "gguf_rank", "no dimension", Gguf::row(row(b"a", &[], 0, 0)).bytes()),
        (
            "gguf-tensor-type",
            "gguf_tensor_type",
            "a type that was taken out of ggml",
            Gguf::row(row(b"a", &[32], 4, 0)).bytes(),
        ),
        (
            "gguf-stored-type",
            "gguf_tensor_type",
            "a type that is never stored",
            Gguf::row(row(b"a", &[32], 9, 0)).bytes(),
        ),
        (
            "gguf-block",
            "gguf_block",
            "a row that is no multiple of the block",
            Gguf::row(row(b"a", &[31], 2, 0)).bytes(),
        ),
        (
            "gguf-offset",
            "gguf_offset",
            "a tensor that begins late",
            Gguf::row(row(b"a", &[4], 0, 32)).bytes(),
        ),
        (
            "gguf-overflow",
            "tensors_size",
            "a shape whose product is 2^64",
            Gguf::row(row(b"a", &[1 << 32, 1 << 32], 0, 0)).bytes(),
        ),
        (
            "gguf-name",
            "tensors_name",
            "a name of 513 bytes",
            Gguf::row(row(&[b'n'; 513], &[4], 0, 0)).bytes(),
        ),
        ("gguf-end", "tensors_end", "bytes after the last tensor", [&genuine[..], &[0; 64]].concat()),
        ("gguf-split-alone", "gguf_split", "one of two, alone", split.bytes()),
    ];
    for (id, code, why, bytes) in files {
        let folder: Folder = [("a.gguf".to_owned(), File::Whole(bytes))].into();
        cases.seal((id, code, why), &folder, &options(1), &[]);
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

fn signer() -> (Ed25519KeyPair, Vec<u8>) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
    let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let der = [&prefix[..], pair.public_key().as_ref()].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der));
    (pair, pem.into_bytes())
}

/// A statement over the small folder.
pub(crate) fn statement() -> Value {
    let resources: Vec<Value> = folder::small()
        .iter()
        .map(|(name, file)| json!({ "name": name, "algorithm": "sha256", "digest": hex(&sha256(&file.bytes())) }))
        .collect();
    let mut statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "tiny", "digest": { "sha256": "" } }],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": { "method": "files", "hash_type": "sha256", "allow_symlinks": false },
            "resources": resources,
        },
    });
    reroot(&mut statement);
    statement
}

/// Makes the subject's digest fit the resources.
fn reroot(statement: &mut Value) {
    let resources = statement["predicate"]["resources"].as_array().unwrap();
    let all: Vec<u8> = resources
        .iter()
        .flat_map(|resource| crate::floe::unhex(resource["digest"].as_str().unwrap()))
        .collect();
    statement["subject"][0]["digest"]["sha256"] = hex(&sha256(&all)).into();
}

fn bundle(payload: &[u8]) -> Value {
    let kind = "application/vnd.in-toto+json";
    let message = [format!("DSSEv1 28 {kind} {} ", payload.len()).as_bytes(), payload].concat();
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {},
        "dsseEnvelope": {
            "payload": STANDARD.encode(payload),
            "payloadType": kind,
            "signatures": [{ "sig": STANDARD.encode(signer().0.sign(&message).as_ref()), "keyid": "" }],
        },
    })
}

fn signed(cases: &mut Cases, head: (&str, &str, &str), bundle: &[u8], signer: Vec<u8>) {
    let extra = [("model_signature", whole(bundle)), ("model_signer", File::Whole(signer))];
    cases.seal(head, &folder::small(), &options(1), &extra);
}

fn signatures(cases: &mut Cases) {
    type Change = fn(&mut Value);
    let bundles: &[(&str, &str, &str, Change)] = &[
        ("oms-not-bundle", "model_signature_not_bundle", "a key that is not known", |b| b["more"] = json!(1)),
        ("oms-media-type", "model_signature_media_type", "another media type", |b| {
            b["mediaType"] = json!("application/json")
        }),
        ("oms-payload-type", "model_signature_payload_type", "another payload type", |b| {
            b["dsseEnvelope"]["payloadType"] = json!("text/plain")
        }),
        ("oms-no-signature", "model_signature_count", "no signature", |b| {
            b["dsseEnvelope"]["signatures"] = json!([])
        }),
        ("oms-base64", "model_signature_base64", "base64 that is none", |b| {
            b["dsseEnvelope"]["payload"] = json!("!")
        }),
        ("oms-hint", "model_signature_hint", "names another key", |b| {
            b["verificationMaterial"] = json!({ "publicKey": { "hint": "00" } })
        }),
        ("oms-payload", "model_signature_invalid", "another payload under the signature", |b| {
            b["dsseEnvelope"]["payload"] = json!(STANDARD.encode("{}"))
        }),
    ];
    for (id, code, why, edit) in bundles {
        let mut bundle = bundle(statement().to_string().as_bytes());
        edit(&mut bundle);
        signed(cases, (id, code, why), bundle.to_string().as_bytes(), signer().1);
    }
    let statements: &[(&str, &str, &str, Change)] = &[
        ("oms-not-statement", "model_signature_not_statement", "no predicate", |s| s["predicate"] = json!(1)),
        ("oms-old-statement", "model_signature_statement_type", "the predicate of model signing 0.2", |s| {
            s["predicateType"] = json!("https://model_signing/Digests/v0.1")
        }),
        ("oms-subject", "model_signature_subject", "no subject", |s| s["subject"] = json!([])),
        ("oms-shards", "model_signature_method", "hashed by shards", |s| {
            s["predicate"]["serialization"]["method"] = json!("shards")
        }),
        ("oms-resource", "model_signature_resource", "a digest of another algorithm", |s| {
            s["predicate"]["resources"][0]["algorithm"] = json!("blake3")
        }),
        ("oms-no-resource", "model_signature_resource_count", "no resource", |s| {
            s["predicate"]["resources"] = json!([])
        }),
        ("oms-resource-twice", "model_signature_duplicate_resource", "a resource twice", |s| {
            s["predicate"]["resources"][1] = s["predicate"]["resources"][0].clone();
        }),
        ("oms-root", "model_signature_root_digest", "resources that are not those of the subject", |s| {
            s["predicate"]["resources"].as_array_mut().unwrap().reverse();
        }),
        ("oms-unsigned-file", "model_signature_unsigned", "a file that is not signed", |s| {
            drop(s["predicate"]["resources"].as_array_mut().unwrap().remove(0));
            reroot(s);
        }),
        ("oms-other-file", "model_signature_digest", "a file that is not the signed one", |s| {
            s["predicate"]["resources"][0]["digest"] = json!("00".repeat(32));
            reroot(s);
        }),
        ("oms-missing-file", "model_signature_incomplete", "a signed file that is not there", |s| {
            let file =
                json!({ "name": "chat_template.jinja", "algorithm": "sha256", "digest": "00".repeat(32) });
            s["predicate"]["resources"].as_array_mut().unwrap().push(file);
            reroot(s);
        }),
    ];
    for (id, code, why, edit) in statements {
        let mut statement = statement();
        edit(&mut statement);
        let bundle = bundle(statement.to_string().as_bytes());
        signed(cases, (id, code, why), bundle.to_string().as_bytes(), signer().1);
    }
    let good = bundle(statement().to_string().as_bytes()).to_string();
    signed(
        cases,
        ("oms-signer-p521", "model_signature_signer_key", "a key of P-521"),
        good.as_bytes(),
        published("model-signing/p521.pem"),
    );
    signed(
        cases,
        ("oms-signer-other", "model_signature_invalid", "another signer is named"),
        good.as_bytes(),
        published("model-signing/p256.pem"),
    );
    let extra =
        [("model_signature", File::Fill(b' ', (1 << 20) + 1)), ("model_signer", File::Whole(signer().1))];
    cases.seal(
        ("oms-too-long", "model_signature_too_long", "one byte over the limit"),
        &folder::small(),
        &options(1),
        &extra,
    );
}
