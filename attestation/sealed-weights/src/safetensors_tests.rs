use std::collections::HashMap;

use proptest::prelude::*;
use safetensors::tensor::{SafeTensors, TensorView, serialize};

use super::*;
use crate::tensors::MAX_NAME_LEN;

/// A file of this header and `data_len` zero bytes.
fn file(header: &str, data_len: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data_len, 0);
    bytes
}

fn parse(header: &str, data_len: usize) -> Result<FileTable, Error> {
    let bytes = file(header, data_len);
    parse_safetensors(&bytes, bytes.len() as u64)
}

/// Checks that a header is refused by this rule.
fn refuses(header: &str, data_len: usize, rule: TensorRule) {
    assert_eq!(parse(header, data_len).unwrap_err(), rule.into(), "{header:.200}");
}

const NOT_A_TABLE: TensorRule = TensorRule::NotTable;
const GAP: TensorRule = TensorRule::Gap;
const SIZE: TensorRule = TensorRule::Size;

fn one(shape: &str, begin: u64, end: u64) -> String {
    format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#)
}

#[test]
fn reads_tensors_in_the_order_of_their_bytes() {
    let header = r#"{"__metadata__":{"format":"pt"},
        "b":{"dtype":"F32","shape":[2,1],"data_offsets":[2,10]},
        "a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},
        "none":{"dtype":"I64","shape":[3,0],"data_offsets":[10,10]}}  "#;
    let index = parse(header, 10).unwrap();
    let names: Vec<&str> = index.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "none"]);
    assert_eq!(index.data_start(), 8 + header.len() as u64);
    assert_eq!((index.tensors()[1].elements(), index.tensors()[1].len()), (2, 8));
    assert!(index.tensors()[2].is_empty());
}

#[test]
fn case_22_refuses_a_hundred_megabyte_header_unread() {
    let mut head = (100_u64 << 20).to_le_bytes().to_vec();
    head.push(b'{');
    let refused = parse_safetensors(&head, 200 << 20).unwrap_err();
    assert_eq!(refused, Error::Tensors(TensorRule::HeaderTooLong));
    let refused = parse_safetensors(&u64::MAX.to_le_bytes(), u64::MAX).unwrap_err();
    assert_eq!(refused, Error::Tensors(TensorRule::HeaderTooLong));
}

#[test]
fn case_22_refuses_a_header_longer_than_the_file() {
    let mut bytes = file("{}", 0);
    bytes[0] = 3;
    let refused = parse_safetensors(&bytes, bytes.len() as u64).unwrap_err();
    assert_eq!(refused, Error::Tensors(TensorRule::HeaderBeyondFile));
    let cut = parse_safetensors(&bytes, 100).unwrap_err();
    assert_eq!(cut, Error::Tensors(TensorRule::HeaderCut));
    assert_eq!(parse_safetensors(&bytes[..7], 7).unwrap_err(), Error::Tensors(TensorRule::HeaderCut));
}

#[test]
fn case_22_refuses_a_million_tensors() {
    use std::fmt::Write as _;
    let table = |count: usize| {
        let mut header = String::from("{");
        for index in 0..count {
            let comma = if index == 0 { "" } else { "," };
            let (begin, end) = (index, index + 1);
            write!(
                header,
                r#"{comma}"{index:x}":{{"dtype":"U8","shape":[1],"data_offsets":[{begin},{end}]}}"#
            )
            .unwrap();
        }
        header.push('}');
        header
    };
    assert_eq!(parse(&table(MAX_TENSORS), MAX_TENSORS).unwrap().tensors().len(), MAX_TENSORS);
    refuses(&table(MAX_TENSORS + 1), MAX_TENSORS + 1, NOT_A_TABLE);
    refuses(&table(1_000_000), 1_000_000, TensorRule::HeaderTooLong);
}

#[test]
fn case_22_refuses_overlaps_and_gaps() {
    let two = |first: (u64, u64), second: (u64, u64)| {
        let tensor = |name: &str, (begin, end): (u64, u64)| {
            let shape = end - begin;
            format!(r#""{name}":{{"dtype":"U8","shape":[{shape}],"data_offsets":[{begin},{end}]}}"#)
        };
        format!("{{{},{}}}", tensor("a", first), tensor("b", second))
    };
    assert!(parse(&two((0, 4), (4, 8)), 8).is_ok());
    refuses(&two((0, 4), (3, 8)), 8, GAP);
    refuses(&two((0, 4), (0, 4)), 4, GAP);
    refuses(&two((0, 4), (5, 8)), 8, GAP);
    refuses(&two((1, 4), (4, 8)), 8, GAP);
    refuses(&two((0, 4), (4, 8)), 9, TensorRule::End);
    refuses(&two((0, 4), (4, 8)), 7, TensorRule::End);
}

#[test]
fn case_22_refuses_shapes_that_overflow() {
    refuses(&one("[4294967296,4294967296]", 0, 4), 4, SIZE);
    refuses(&one("[18446744073709551615,18446744073709551615]", 0, 4), 4, SIZE);
    refuses(&one("[4611686018427387905]", 0, 4), 4, SIZE);
    refuses(&one("[2]", 0, 4), 4, SIZE);
    refuses(&one("[1]", 4, 0), 4, SIZE);
    refuses(&one("[1]", 18_446_744_073_709_551_615, 3), 4, SIZE);
    refuses(&one("[1,1,1,1,1,1,1,1,1]", 0, 4), 4, TensorRule::Rank);
}

#[test]
fn case_22_refuses_other_json_than_a_table() {
    refuses("[]", 0, TensorRule::NoBrace);
    refuses(" {}", 0, TensorRule::NoBrace);
    refuses("{}", 0, TensorRule::Count);
    refuses(&one("[1]", 0, 4).replace("F32", "F31"), 4, NOT_A_TABLE);
    refuses(&one("[1]", 0, 4).replace("\"shape\"", "\"x\":1,\"shape\""), 4, NOT_A_TABLE);
    refuses(&one("[1]", 0, 4).replace("\"shape\":[1],", ""), 4, NOT_A_TABLE);
    refuses(&one("[1.0]", 0, 4), 4, NOT_A_TABLE);
    refuses(&one("[-1]", 0, 4), 4, NOT_A_TABLE);
    refuses(&one("[1]", 0, 4).replace("[0,4]", "[0,4,4]"), 4, NOT_A_TABLE);
    refuses(&format!("{}x", one("[1]", 0, 4)), 4, NOT_A_TABLE);
    refuses(&format!("{{\"a\":{}", "[".repeat(100_000)), 0, NOT_A_TABLE);
}

#[test]
fn case_22_refuses_repeated_names_and_hidden_metadata() {
    let tensor = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    let other = r#"{"dtype":"U8","shape":[1],"data_offsets":[1,2]}"#;
    refuses(&format!(r#"{{"a":{tensor},"a":{other}}}"#), 2, TensorRule::DuplicateName);
    let rule = TensorRule::Name;
    refuses(&format!(r#"{{"":{tensor}}}"#), 1, rule);
    refuses(&format!(r#"{{"{}":{tensor}}}"#, "n".repeat(MAX_NAME_LEN + 1)), 1, rule);
    for metadata in [r#"{"x":1}"#, r#"{"x":{"y":"z"}}"#, "[]", "null"] {
        refuses(&format!(r#"{{"__metadata__":{metadata},"a":{tensor}}}"#), 1, NOT_A_TABLE);
    }
    refuses(&format!(r#"{{"__metadata__":{{}},"__metadata__":{{}},"a":{tensor}}}"#), 1, NOT_A_TABLE);
    let many: Vec<String> = (0..=MAX_METADATA).map(|index| format!(r#""{index}":"""#)).collect();
    refuses(&format!(r#"{{"__metadata__":{{{}}},"a":{tensor}}}"#, many.join(",")), 1, NOT_A_TABLE);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn agrees_with_the_safetensors_crate(sides in proptest::collection::vec((0_usize..5, 1_usize..5), 1..8)) {
        let data = [0_u8; 64];
        let views = sides.iter().enumerate().map(|(index, (rows, columns))| {
            let view = TensorView::new(safetensors::Dtype::F32, vec![*rows, *columns], &data[..rows * columns * 4]);
            (format!("t{index}"), view.unwrap())
        });
        let bytes = serialize(views, Some(HashMap::from([("format".to_owned(), "pt".to_owned())]))).unwrap();
        let theirs = SafeTensors::deserialize(&bytes).unwrap();
        let ours = parse_safetensors(&bytes, bytes.len() as u64).unwrap();
        prop_assert_eq!(theirs.len(), ours.tensors().len());
        for tensor in ours.tensors() {
            let view = theirs.tensor(&tensor.name).unwrap();
            let shape: Vec<u64> = view.shape().iter().map(|side| *side as u64).collect();
            prop_assert_eq!(&shape, &tensor.shape);
            prop_assert_eq!(view.data().len() as u64, tensor.len());
        }
    }

    #[test]
    fn never_panics_on_altered_headers(at in 0_usize..200, byte: u8) {
        let header = r#"{"b":{"dtype":"F32","shape":[2,1],"data_offsets":[2,10]},"a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}"#;
        let mut bytes = file(header, 10);
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(index) = parse_safetensors(&bytes, bytes.len() as u64) {
            prop_assert_eq!(index.tensors().last().unwrap().end + index.data_start(), bytes.len() as u64);
        }
    }
}
