//! Case 25 and the loader: what is loaded is what was sealed, by any number of threads.

use std::thread;

use anchorhold_sealed_weights::{
    Destination, DestinationRule, Dtype, Effort, Error, Padding, Role, SealedModel, SegmentSize, TensorRule,
    reads_as_f32,
};

use crate::support::*;

/// Loads every tensor as stored and returns the bytes in file order.
fn load_bytes(model: &SealedModel, count: usize) -> Vec<u8> {
    let tensors = model.index().tensors();
    let mut memory: Vec<Vec<u8>> =
        tensors.map(|tensor| vec![0; usize::try_from(tensor.len()).unwrap()]).collect();
    let destinations = memory.iter_mut().map(|memory| Destination::Bytes(memory)).collect();
    model.load_tensors(destinations, &threads(count)).unwrap();
    memory.concat()
}

#[test]
fn reads_back_every_file() {
    let fixture = Fixture::new();
    let model = opened(&fixture.package());
    for role in [Role::Config, Role::Tokenizer, Role::Pooling] {
        assert_eq!(*model.file(role).unwrap(), fixture.plain(role), "{role}");
    }
    assert_eq!(model.file(Role::ChatTemplate).unwrap_err(), Error::Absent(Role::ChatTemplate));
    let roles: Vec<Role> = model.roles().collect();
    assert_eq!(roles, [Role::Config, Role::Tokenizer, Role::Pooling, Role::Weights]);
    for file in model.card().files() {
        assert_eq!(*file.sha256(), sha256(&fixture.plain(file.role())), "{}", file.name());
    }
}

#[test]
fn case_25_any_number_of_threads_loads_the_sequential_bytes() {
    let fixture = Fixture::new();
    let model = opened(&fixture.package());
    let plain = fixture.plain(Role::Weights);
    let start = usize::try_from(model.index().files()[0].data_start()).unwrap();
    for count in [1, 2, 3, 4, 7, 16, 63, 64, 1_000] {
        assert!(load_bytes(&model, count) == plain[start..], "{count} threads");
    }
}

#[test]
fn case_25_segments_read_in_any_order_by_many_threads_are_the_same() {
    let fixture = Fixture::new();
    let model = opened(&fixture.package());
    let plain = fixture.plain(Role::Weights);
    let reader = weights(&model);
    let count = reader.entry().segment_count();
    let segments: Vec<&[u8]> = plain.chunks(usize::try_from(PAYLOAD).unwrap()).collect();
    thread::scope(|scope| {
        for worker in 0..64_u64 {
            let segments = &segments;
            scope.spawn(move || {
                let mut scratch = reader.scratch().unwrap();
                for step in 0..count {
                    let index = (worker * 7 + step * 3) % count;
                    let expected = segments[usize::try_from(index).unwrap()];
                    assert!(reader.read_segment(index, &mut scratch).unwrap() == expected, "{index}");
                }
            });
        }
    });
}

#[test]
fn loads_packages_of_every_segment_size() {
    let fixture = Fixture::new();
    let plain = fixture.plain(Role::Weights);
    for (segment, count) in [(SegmentSize::Mib1, 4), (SegmentSize::Mib4, 1), (SegmentSize::Mib16, 1)] {
        let out = fixture.package().with_file_name(format!("{count}-{}", segment.payload_len()));
        seal_folder(fixture.model.path(), &out, 1, segment);
        let model = opened(&out);
        assert_eq!(weights(&model).entry().segment_count(), count);
        let start = usize::try_from(model.index().files()[0].data_start()).unwrap();
        assert!(load_bytes(&model, 2) == plain[start..]);
        assert_eq!(*model.file(Role::Tokenizer).unwrap(), fixture.plain(Role::Tokenizer));
    }
}

#[test]
fn loads_weights_whose_header_fills_several_segments() {
    let fixture = Fixture::new();
    let entry = |index: usize| {
        let (begin, end) = (index * 3, index * 3 + 3);
        format!(r#""tensor-{index:060}":{{"dtype":"U8","shape":[3],"data_offsets":[{begin},{end}]}}"#)
    };
    let entries: Vec<String> = (0..20_000).map(entry).collect();
    let header = format!("{{{}}}", entries.join(","));
    assert!(header.len() as u64 > 2 * PAYLOAD);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    let data: Vec<u8> = (0..60_000_u32).map(|index| u8::try_from(index % 251).unwrap()).collect();
    bytes.extend_from_slice(&data);
    std::fs::write(fixture.model.path().join("model.safetensors"), bytes).unwrap();
    let model = opened(&fixture.seal("long-header", 1));
    assert!(load_bytes(&model, 2) == data);
}

#[test]
fn loads_numbers_exactly() {
    let fixture = Fixture::new();
    let model = opened(&fixture.package());
    let plain = fixture.plain(Role::Weights);
    let index = model.index();
    let data_start = index.files()[0].data_start();
    let mut memory: Vec<Vec<f32>> =
        index.tensors().map(|tensor| vec![0.0; usize::try_from(tensor.elements()).unwrap()]).collect();
    let destinations = index.tensors().zip(&mut memory).map(|(tensor, memory)| {
        if reads_as_f32(tensor.dtype) { Destination::F32(memory) } else { Destination::Skip }
    });
    model.load_tensors(destinations.collect(), &threads(2)).unwrap();
    for (tensor, numbers) in index.tensors().zip(&memory) {
        let start = usize::try_from(data_start + tensor.begin).unwrap();
        let bytes = &plain[start..start + usize::try_from(tensor.len()).unwrap()];
        let expected: Vec<u32> = match tensor.dtype {
            Dtype::F32 => {
                bytes.chunks(4).map(|number| u32::from_le_bytes(number.try_into().unwrap())).collect()
            }
            Dtype::Bf16 => {
                bytes.chunks(2).map(|number| u32::from_le_bytes([0, 0, number[0], number[1]])).collect()
            }
            Dtype::I64 => vec![0; numbers.len()],
            _ => continue,
        };
        let found: Vec<u32> = numbers.iter().map(|number| number.to_bits()).collect();
        assert!(found == expected, "{}", tensor.name);
    }
    let half = &memory[index.position("half").unwrap()];
    let start =
        usize::try_from(data_start + index.tensors().nth(index.position("half").unwrap()).unwrap().begin)
            .unwrap();
    for (at, number) in half.iter().enumerate() {
        let bits = u16::from_le_bytes([plain[start + 2 * at], plain[start + 2 * at + 1]]);
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
        let magnitude = match exponent {
            0 => fraction * 2_f64.powi(-24),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
        };
        let expected = if bits & 0x8000 == 0 { magnitude } else { -magnitude };
        assert!(f64::from(*number) == expected || (number.is_nan() && expected.is_nan()), "{at}");
    }
}

#[test]
fn refuses_destinations_that_do_not_fit() {
    let fixture = Fixture::new();
    let model = opened(&fixture.package());
    let index = model.index();
    let refusal = |alter: &dyn Fn(&mut Vec<Destination<'static>>)| {
        let mut destinations = index.tensors().map(|_| Destination::Skip).collect();
        alter(&mut destinations);
        model.load_tensors(destinations, &Effort::default()).unwrap_err()
    };
    let leak = |len: usize| Box::leak(vec![0.0_f32; len].into_boxed_slice());
    let ids = index.position("ids").unwrap();
    let length = Error::Destination(DestinationRule::Length);
    assert_eq!(refusal(&|all| _ = all.pop()), DestinationRule::Count.into());
    assert_eq!(refusal(&|all| all.push(Destination::Skip)), DestinationRule::Count.into());
    assert_eq!(refusal(&|all| all[0] = Destination::F32(leak(599_999))), length);
    assert_eq!(refusal(&|all| all[0] = Destination::F32(leak(600_001))), length);
    assert_eq!(refusal(&|all| all[0] = Destination::Bytes(Box::leak(Box::new([0; 8])))), length);
    let kind = Error::Destination(DestinationRule::NotNumbers);
    assert_eq!(refusal(&|all| all[ids] = Destination::F32(leak(17))), kind);
    assert_eq!(model.load_f32(&Effort::default()).unwrap_err(), kind);
}

#[test]
fn refuses_numbers_that_lie_across_segments() {
    let fixture = Fixture::new();
    let file = fixture.model.path().join("model.safetensors");
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} "#;
    assert_eq!(header.len() % 4, 3);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&[1; 8]);
    std::fs::write(file, bytes).unwrap();
    let model = opened(&fixture.seal("unaligned", 1));
    let refusal = model.load_f32(&Effort::default()).unwrap_err();
    assert_eq!(refusal, TensorRule::Unaligned.into());
    assert_eq!(load_bytes(&model, 1), [1; 8]);
}

#[test]
fn what_a_package_tells_of_itself_is_what_was_sealed() {
    let fixture = Fixture::new();
    let model = opened(&fixture.package());
    assert_eq!(model.card().padding(), Padding::None);
    assert!(model.card().files().iter().all(|file| !file.is_empty()));
    for tensor in model.index().tensors() {
        assert_eq!(tensor.is_empty(), tensor.elements() == 0, "{}", tensor.name);
    }
    assert!(model.index().tensors().any(|tensor| !tensor.is_empty()));
}

#[test]
fn case_25_tensors_read_in_parts_of_any_size_are_the_sequential_bytes() {
    let fixture = Fixture::new();
    let model = opened(&fixture.package());
    let plain = fixture.plain(Role::Weights);
    let start = model.index().files()[0].data_start();
    for (count, size) in [(1, 999_983), (2, 3 << 20), (3, 65_536), (2, usize::MAX)] {
        let effort = threads(count);
        let mut reader = model.tensor_reader(&effort).unwrap();
        for (position, tensor) in model.index().tensors().enumerate() {
            let at = usize::try_from(start + tensor.begin).unwrap();
            let wanted = &plain[at..at + usize::try_from(tensor.len()).unwrap()];
            let mut offset = 0;
            for wanted in wanted.chunks(size) {
                let mut part = vec![0; wanted.len()];
                reader.read(position, offset, &mut part).unwrap();
                assert!(part == wanted, "{count} threads, {size} bytes at {offset} of {position}");
                offset += part.len() as u64;
            }
            assert!(*reader.read_whole(position).unwrap() == wanted);
        }
    }
}

#[test]
fn case_15_a_part_of_a_changed_segment_is_refused_and_holds_zeros() {
    let fixture = Fixture::new();
    let package = fixture.package();
    let model = opened(&package);
    let file = data(&package, Role::Weights);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[usize::try_from(HEADER + SEGMENT + 99).unwrap()] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let effort = threads(2);
    let mut reader = model.tensor_reader(&effort).unwrap();
    let mut part = vec![0; 5_000];
    let start = model.index().files()[0].data_start();
    // One part in the second segment alone, and one that begins in the first.
    let refused = [PAYLOAD - start + 8, PAYLOAD - start - 8].map(|offset| {
        let refusal = reader.read(0, offset, &mut part).unwrap_err().stage();
        assert!(part[8..].iter().all(|byte| *byte == 0));
        refusal
    });
    assert_eq!(refused, ["segment", "segment"]);
    reader.read(0, 0, &mut part).unwrap();
}

#[test]
fn refuses_parts_that_a_tensor_does_not_have() {
    let model = opened(&Fixture::new().package());
    let effort = Effort::default();
    let mut reader = model.tensor_reader(&effort).unwrap();
    let len = model.index().tensors().next().unwrap().len();
    let length = Err(DestinationRule::Length.into());
    assert_eq!(reader.read(0, len, &mut [0]), length);
    assert_eq!(reader.read(0, u64::MAX, &mut [0; 2]), length);
    assert_eq!(reader.read(0, 0, &mut vec![0; usize::try_from(len).unwrap() + 1]), length);
    assert_eq!(reader.read(model.index().len(), 0, &mut []), Err(DestinationRule::Count.into()));
    assert_eq!(reader.read(0, len, &mut []), Ok(()));
}
