use proptest::prelude::*;

use super::*;

/// A tensor of a file being made: name, dimensions innermost first, type, bytes.
struct Row<'a>(&'a str, &'a [u64], u32, u64);

/// A GGUF file being made, wrong wherever a test wants it.
#[derive(Clone)]
struct Maker {
    version: u32,
    tensor_count: Option<u64>,
    key_count: Option<u64>,
    metadata: Vec<u8>,
    keys: u64,
    alignment: u64,
    shift: u64,
}

fn maker() -> Maker {
    Maker {
        version: 3,
        tensor_count: None,
        key_count: None,
        metadata: Vec::new(),
        keys: 0,
        alignment: DEFAULT_ALIGNMENT,
        shift: 0,
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Maker {
    /// Adds a key whose value is already encoded.
    fn key(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.metadata.extend([&text(key)[..], &kind.to_le_bytes(), value].concat());
        self.keys += 1;
        self
    }

    fn align(self, alignment: u64) -> Self {
        let value = u32::try_from(alignment).unwrap().to_le_bytes();
        Self { alignment, ..self }.key("general.alignment", 4, &value)
    }

    fn header(&self, rows: &[Row<'_>]) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(rows.len() as u64).to_le_bytes());
        out.extend(self.key_count.unwrap_or(self.keys).to_le_bytes());
        out.extend(&self.metadata);
        let mut offset = 0_u64;
        for Row(name, dims, kind, len) in rows {
            out.extend(text(name));
            out.extend(u32::try_from(dims.len()).unwrap().to_le_bytes());
            dims.iter().for_each(|side| out.extend(side.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend((offset + self.shift).to_le_bytes());
            offset = (offset + len).next_multiple_of(self.alignment);
        }
        out
    }

    /// The whole file, padded at its end or not.
    fn file(&self, rows: &[Row<'_>], padded: bool) -> Vec<u8> {
        let mut out = self.header(rows);
        let alignment = usize::try_from(self.alignment).unwrap();
        out.resize(out.len().next_multiple_of(alignment), 0);
        for (at, Row(.., len)) in rows.iter().enumerate() {
            out.resize(out.len().next_multiple_of(alignment), 0);
            out.resize(out.len() + usize::try_from(*len).unwrap(), u8::try_from(at).unwrap() + 1);
        }
        if padded {
            out.resize(out.len().next_multiple_of(alignment), 0);
        }
        out
    }
}

const ROW: Row<'static> = Row("a", &[4], 0, 16);

fn parse(bytes: &[u8]) -> Result<Gguf<'_>, Error> {
    Gguf::parse(bytes, bytes.len() as u64)
}

fn refuses(maker: &Maker, rows: &[Row<'_>], rule: impl Into<Error>) {
    assert_eq!(parse(&maker.file(rows, true)).unwrap_err(), rule.into());
}

fn array(element_type: u32, count: u64, bytes: &[u8]) -> Vec<u8> {
    [&element_type.to_le_bytes()[..], &count.to_le_bytes(), bytes].concat()
}

#[test]
fn reads_tensors_of_every_shape_and_keys_of_every_type() {
    let texts = [text("x"), text("")].concat();
    let made = maker()
        .key("a.u8", 0, &[255])
        .key("a.i8", 1, &[255])
        .key("a.u16", 2, &[1, 2])
        .key("a.i16", 3, &[255, 255])
        .key("a.u32", 4, &7_u32.to_le_bytes())
        .key("a.i32", 5, &(-7_i32).to_le_bytes())
        .key("a.f32", 6, &0.5_f32.to_le_bytes())
        .key("a.bool", 7, &[1])
        .key("tokenizer.chat_template", 8, &text("{{ x }}"))
        .key("a.u64", 10, &u64::MAX.to_le_bytes())
        .key("a.i64", 11, &i64::MIN.to_le_bytes())
        .key("a.f64", 12, &0.25_f64.to_le_bytes())
        .key("tokenizer.ggml.tokens", 9, &array(8, 2, &texts))
        .key("a.shorts", 9, &array(2, 3, &[1, 0, 2, 0, 3, 0]));
    let rows =
        [Row("w", &[64, 3], 2, 108), Row("b", &[2], 0, 8), Row("none", &[0], 1, 0), Row("s", &[1], 24, 1)];
    let file = made.file(&rows, true);
    let gguf = parse(&file).unwrap();
    assert_eq!(gguf.metadata().len(), 14);
    let values = [
        ("a.u8", GgufValue::Unsigned(255)),
        ("a.i8", GgufValue::Signed(-1)),
        ("a.u16", GgufValue::Unsigned(513)),
        ("a.i16", GgufValue::Signed(-1)),
        ("a.u32", GgufValue::Unsigned(7)),
        ("a.i32", GgufValue::Signed(-7)),
        ("a.f32", GgufValue::Float(0.5)),
        ("a.bool", GgufValue::Bool(true)),
        ("tokenizer.chat_template", GgufValue::Text("{{ x }}")),
        ("a.u64", GgufValue::Unsigned(u64::MAX)),
        ("a.i64", GgufValue::Signed(i64::MIN)),
        ("a.f64", GgufValue::Float(0.25)),
        ("tokenizer.ggml.tokens", GgufValue::Array { element_type: 8, count: 2, bytes: &texts }),
        ("a.shorts", GgufValue::Array { element_type: 2, count: 3, bytes: &[1, 0, 2, 0, 3, 0] }),
    ];
    for (key, value) in values {
        assert_eq!(gguf.get(key), Some(value), "{key}");
    }
    assert_eq!(gguf.get("a.none"), None);
    let found: Vec<_> = gguf
        .table()
        .tensors()
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.dtype, tensor.shape.clone(), tensor.begin, tensor.end))
        .collect();
    let expected = [
        ("w", Dtype::Q4_0, vec![3, 64], 0, 108),
        ("b", Dtype::F32, vec![2], 128, 136),
        ("none", Dtype::F16, vec![0], 160, 160),
        ("s", Dtype::I8, vec![1], 160, 161),
    ];
    assert_eq!(found, expected);
    assert_eq!(gguf.table().data_start() % DEFAULT_ALIGNMENT, 0);
    assert_eq!(gguf.into_table().container(), Container::Gguf);
}

#[test]
fn the_file_may_end_at_its_last_tensor_or_at_the_next_multiple() {
    let rows = [Row("a", &[3], 0, 12)];
    let (bare, padded) = (maker().file(&rows, false), maker().file(&rows, true));
    assert!(parse(&bare).is_ok() && parse(&padded).is_ok());
    for wrong in [&padded[..padded.len() - 1], &bare[..bare.len() - 1], &[&padded[..], &[0]].concat()] {
        assert_eq!(parse(wrong).unwrap_err(), TensorRule::End.into());
    }
}

#[test]
fn alignments_are_powers_of_two_within_limits() {
    for alignment in [8, 64, 65_536] {
        let file = maker().align(alignment).file(&[ROW, Row("b", &[1], 0, 4)], true);
        let table = parse(&file).unwrap().into_table();
        assert_eq!((table.tensors()[1].begin, table.data_start() % alignment), (alignment.max(16), 0));
    }
    for alignment in [0, 1, 4, 12, 48, 131_072] {
        let made = maker().key("general.alignment", 4, &u32::to_le_bytes(alignment));
        refuses(&made, &[ROW], GgufRule::Alignment);
    }
    refuses(&maker().key("general.alignment", 8, &text("32")), &[ROW], GgufRule::Alignment);
    refuses(&maker().key("general.alignment", 5, &32_i32.to_le_bytes()), &[ROW], GgufRule::Alignment);
}

#[test]
fn case_22_refuses_other_magic_version_and_byte_order() {
    let good = maker().file(&[ROW], true);
    let with = |at: usize, bytes: &[u8]| {
        let mut altered = good.clone();
        altered[at..at + bytes.len()].copy_from_slice(bytes);
        parse(&altered).unwrap_err()
    };
    assert_eq!(with(0, b"GGML"), GgufRule::Magic.into());
    for version in [0, 1, 4, 3_u32.swap_bytes()] {
        assert_eq!(with(4, &version.to_le_bytes()), GgufRule::Version.into());
    }
    assert!(parse(&Maker { version: 2, ..maker() }.file(&[ROW], true)).is_ok());
    assert_eq!(parse(b"").unwrap_err(), GgufRule::Magic.into());
    assert_eq!(parse(b"GGUF").unwrap_err(), GgufRule::Cut.into());
}

#[test]
fn case_22_refuses_counts_that_lie() {
    for count in [MAX_TENSORS as u64 + 1, 1_000_000, u64::MAX] {
        refuses(&Maker { tensor_count: Some(count), ..maker() }, &[ROW], TensorRule::Count);
    }
    assert!(parse(&maker().key("split.count", 2, &[2, 0]).file(&[], true)).is_ok(), "metadata alone");
    for count in [MAX_GGUF_KEYS as u64 + 1, u64::MAX] {
        refuses(&Maker { key_count: Some(count), ..maker() }, &[ROW], GgufRule::KeyCount);
    }
    let bytes = Maker { tensor_count: Some(2), ..maker() }.header(&[ROW]);
    assert_eq!(parse(&bytes).unwrap_err(), GgufRule::Cut.into());
    let bytes = Maker { key_count: Some(9), ..maker() }.header(&[]);
    assert_eq!(Gguf::parse(&bytes, 1 << 40).unwrap_err(), GgufRule::Cut.into());
}

#[test]
fn case_22_refuses_lengths_that_lie() {
    let mut long = (MAX_GGUF_TEXT_LEN as u64 + 1).to_le_bytes().to_vec();
    long.resize(long.len() + MAX_GGUF_TEXT_LEN + 1, b'x');
    refuses(&maker().key("a", 8, &long), &[ROW], GgufRule::StringLength);
    for lie in [u64::MAX, 1 << 62, MAX_GGUF_TEXT_LEN as u64 + 1] {
        refuses(&maker().key("a", 8, &lie.to_le_bytes()), &[ROW], GgufRule::StringLength);
    }
    for lie in [u64::MAX, 1 << 62, MAX_GGUF_ARRAY_LEN as u64 + 1] {
        for kind in [0, 8, 10] {
            refuses(&maker().key("a", 9, &array(kind, lie, &[])), &[ROW], GgufRule::ArrayLength);
        }
    }
    // Within the limits, and still not there.
    let bytes = maker().key("a", 9, &array(12, MAX_GGUF_ARRAY_LEN as u64, &[0; 64])).header(&[ROW]);
    assert_eq!(parse(&bytes).unwrap_err(), GgufRule::Cut.into());
    let bytes = maker().key("a", 9, &array(8, MAX_GGUF_ARRAY_LEN as u64, &text("x"))).header(&[]);
    assert_eq!(parse(&bytes).unwrap_err(), GgufRule::Cut.into());
    let exact = vec![0; MAX_GGUF_ARRAY_LEN];
    let file = maker().key("a", 9, &array(0, MAX_GGUF_ARRAY_LEN as u64, &exact)).file(&[ROW], true);
    assert!(parse(&file).is_ok());
}

#[test]
fn case_22_refuses_nested_arrays_unknown_types_and_other_booleans() {
    refuses(&maker().key("a", 9, &array(9, 1, &array(0, 0, &[]))), &[ROW], GgufRule::NestedArray);
    refuses(&maker().key("a", 9, &array(13, 0, &[])), &[ROW], GgufRule::ValueType);
    for kind in [13, 255, u32::MAX] {
        refuses(&maker().key("a", kind, &[0]), &[ROW], GgufRule::ValueType);
    }
    refuses(&maker().key("a", 7, &[2]), &[ROW], GgufRule::Bool);
    refuses(&maker().key("a", 9, &array(7, 2, &[1, 255])), &[ROW], GgufRule::Bool);
    refuses(&maker().key("a", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]), &[ROW], GgufRule::Utf8);
    refuses(&maker().key("a", 9, &array(8, 1, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff])), &[ROW], GgufRule::Utf8);
}

#[test]
fn case_22_refuses_ill_formed_repeated_and_dangerous_keys() {
    let long = "k".repeat(MAX_GGUF_KEY_LEN + 1);
    for key in ["", ".", "a.", ".a", "a..b", "A", "a b", "\u{e9}", "a\0", &long] {
        refuses(&maker().key(key, 0, &[0]), &[ROW], GgufRule::Key);
    }
    assert!(parse(&maker().key(&long[1..], 0, &[0]).file(&[ROW], true)).is_ok());
    assert!(parse(&maker().key("phi-3.rope_2", 0, &[0]).file(&[ROW], true)).is_ok());
    let twice = maker().key("a.b", 0, &[0]).key("a.c", 0, &[0]).key("a.b", 7, &[0]);
    refuses(&twice, &[ROW], GgufRule::DuplicateKey);
    for key in ["auto_map", "general.auto_map", "x.trust_remote_code.y", "custom_pipelines.a"] {
        refuses(&maker().key(key, 7, &[0]), &[ROW], GgufRule::CodeKey);
    }
}

#[test]
fn case_22_refuses_hostile_tensors() {
    use TensorRule::{DuplicateName, Name, Size};
    refuses(&maker(), &[Row("", &[4], 0, 16)], Name);
    refuses(&maker(), &[Row(&"n".repeat(MAX_NAME_LEN + 1), &[4], 0, 16)], Name);
    refuses(&maker(), &[ROW, ROW], DuplicateName);
    refuses(&maker(), &[Row("a", &[], 0, 4)], GgufRule::Rank);
    refuses(&maker(), &[Row("a", &[1, 1, 1, 1, 1], 0, 4)], GgufRule::Rank);
    for kind in [4, 9, 15, 31, 99, u32::MAX] {
        refuses(&maker(), &[Row("a", &[32], kind, 32)], GgufRule::TensorType);
    }
    for dims in [&[31_u64][..], &[33, 32], &[16, 2]] {
        refuses(&maker(), &[Row("a", dims, 2, 18)], GgufRule::Block);
    }
    for dims in
        [&[1_u64 << 32, 1 << 32][..], &[u64::MAX, 2], &[1 << 62], &[1 << 63, 1 << 63, 1 << 63, 1 << 63]]
    {
        refuses(&maker(), &[Row("a", dims, 28, 8)], Size);
    }
    // What the shape claims is not there.
    refuses(&maker(), &[Row("a", &[1 << 40], 0, 16)], TensorRule::End);
}

#[test]
fn case_22_refuses_overlaps_gaps_and_offsets_off_the_alignment() {
    for shift in [1, 32, u64::MAX] {
        refuses(&Maker { shift, ..maker() }, &[ROW], GgufRule::Offset);
    }
    let offsets = |second: u64| {
        let rows = [ROW, Row("b", &[4], 0, 16)];
        let mut file = maker().file(&rows, true);
        let at = maker().header(&rows).len() - 8;
        file[at..at + 8].copy_from_slice(&second.to_le_bytes());
        parse(&file).map(drop)
    };
    assert_eq!(offsets(32), Ok(()));
    for wrong in [0, 16, 31, 33, 64] {
        assert_eq!(offsets(wrong), Err(GgufRule::Offset.into()), "{wrong}");
    }
}

#[test]
fn case_22_refuses_every_truncation_of_the_header() {
    let made = maker().key("a", 9, &array(8, 1, &text("x"))).key("b", 6, &[0; 4]);
    let file = made.file(&[ROW], true);
    let header_len = made.header(&[ROW]).len();
    for len in 4..header_len {
        assert_eq!(Gguf::parse(&file[..len], file.len() as u64).unwrap_err(), GgufRule::Cut.into(), "{len}");
    }
    assert!(Gguf::parse(&file[..header_len], file.len() as u64).is_ok());
}

#[test]
fn case_22_refuses_a_header_beyond_the_limit() {
    let mut made = maker();
    let text_len = MAX_GGUF_TEXT_LEN;
    let value = text(&"x".repeat(text_len));
    for key in 0..64 {
        made = made.key(&format!("k{key}"), 8, &value);
    }
    refuses(&made, &[ROW], GgufRule::Cut);
}

#[test]
fn split_files_say_where_they_belong() {
    let split = |no: u16, count: u16, tensors: i32| {
        maker().key("split.no", 2, &no.to_le_bytes()).key("split.count", 2, &count.to_le_bytes()).key(
            "split.tensors.count",
            5,
            &tensors.to_le_bytes(),
        )
    };
    let check = |made: &Maker, place, tensors| {
        let file = made.file(&[ROW], true);
        parse(&file).unwrap().check_split(place, tensors)
    };
    assert_eq!(check(&split(1, 3, 30), (1, 3), 30), Ok(()));
    assert_eq!(check(&split(0, 1, 1), (0, 1), 1), Ok(()));
    assert_eq!(check(&split(0, 0, 1), (0, 1), 1), Ok(()));
    assert_eq!(check(&maker(), (0, 1), 1), Ok(()));
    for (made, place) in [
        (split(0, 3, 30), (1, 3)),
        (split(1, 2, 30), (1, 3)),
        (split(1, 3, 29), (1, 3)),
        (split(1, 3, -30), (1, 3)),
        (split(0, 3, 30), (0, 1)),
        (split(1, 1, 30), (0, 1)),
        (maker(), (0, 2)),
        (maker().key("split.count", 8, &text("1")), (0, 1)),
    ] {
        assert_eq!(check(&made, place, 30), Err(GgufRule::Split), "{place:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn altered_headers_give_a_table_that_holds_or_an_error(at in 0_usize..400, byte: u8) {
        let made = maker().key("a", 9, &array(8, 2, &[text("x"), text("yy")].concat())).align(64);
        let mut file = made.file(&[Row("w", &[64, 3], 2, 108), Row("b", &[2], 0, 8)], true);
        let at = at % made.header(&[ROW, ROW]).len().min(file.len());
        file[at] = byte;
        if let Ok(gguf) = parse(&file) {
            let mut end = 0;
            for tensor in gguf.table().tensors() {
                prop_assert!(tensor.begin >= end);
                end = tensor.end;
            }
            prop_assert!(gguf.table().data_start() + end <= file.len() as u64);
        }
    }
}
