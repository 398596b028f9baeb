use super::*;
use crate::packed::Form;
use crate::rows::{Filled, Input};
use crate::stored::LARGE;
use crate::threads::Threads;
use std::num::NonZeroUsize;

const FORMS: [Stored; 3] = [Stored::Q8_0, Stored::Q4K, Stored::Q6K];

struct Noise(u32);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0.to_le_bytes()[3]
    }

    fn number(&mut self) -> f32 {
        f32::from(self.byte()) / 128.0 - 1.0 + f32::from(self.byte()) / 32768.0
    }

    fn numbers(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.number()).collect()
    }

    /// A row as a file stores it: any bytes, with scales of ordinary size.
    fn row(&mut self, stored: Stored, depth: usize) -> Vec<u8> {
        let (_, block) = stored.block();
        let mut row: Vec<u8> = (0..stored.bytes(depth).unwrap()).map(|_| self.byte()).collect();
        let scales: &[usize] = match stored {
            Stored::Q8_0 => &[1],
            Stored::Q4K => &[1, 3],
            _ => &[209],
        };
        for block in row.chunks_mut(block) {
            scales.iter().for_each(|&at| block[at] = 0x20 | block[at] & 0x83);
        }
        row
    }
}

fn matrix(noise: &mut Noise, parts: &[(Stored, usize)], depth: usize) -> (Quantised, Vec<Vec<f32>>) {
    let mut matrix = Quantised::zeroed(parts, depth);
    let mut rows = Vec::new();
    for &(stored, count) in parts {
        for _ in 0..count {
            let row = noise.row(stored, depth);
            matrix.set_row(rows.len(), &row);
            let mut numbers = vec![0.0; depth];
            stored.numbers(&row, &mut numbers);
            rows.push(numbers);
        }
    }
    (matrix, rows)
}

fn product(matrix: &Quantised, level: Level, x: &[f32], columns: usize, depth: usize) -> Vec<f32> {
    let mut out = Sheet::default();
    multiply(
        matrix,
        level,
        (x, depth),
        (&Epilogue { bias: Pages::default(), then: Then::Store }, columns),
        &mut out,
    )
}

fn multiply(
    matrix: &Quantised,
    level: Level,
    (x, depth): (&[f32], usize),
    (epilogue, columns): (&Epilogue, usize),
    out: &mut Sheet,
) -> Vec<f32> {
    let count = x.len() / depth;
    let mut input = Input::default();
    input.fill_here((Isa::detect(), Form::Quantised), (count, depth), |row, line| {
        line.copy_from_slice(&x[row * depth..(row + 1) * depth]);
    });
    let Filled::Plain(rows) = input.filled() else { panic!("rows of another form") };
    let threads = Threads::start(NonZeroUsize::new(2).unwrap()).unwrap();
    out.resize(count, columns);
    matrix.multiply_on(level, Team::All(&threads), rows, epilogue, out);
    let mut lines = vec![0.0; count * columns];
    lines.chunks_mut(columns).enumerate().for_each(|(row, line)| out.copy_row(row, line));
    lines
}

fn assert_same_bits(got: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    let differ = got.iter().zip(wanted).position(|(a, b)| a.to_bits() != b.to_bits());
    assert_eq!(differ, None, "{what}");
}

#[test]
fn rows_come_back_as_the_file_has_them() {
    let mut noise = Noise(1);
    let parts = FORMS.map(|stored| (stored, 37));
    let (matrix, rows) = matrix(&mut noise, &parts, 2 * LARGE);
    let mut out = vec![0.0; 2 * LARGE];
    for (index, row) in rows.iter().enumerate() {
        matrix.copy_row(index, &mut out);
        assert_same_bits(&out, row, &format!("row {index}"));
    }
    let before = out.clone();
    matrix.copy_row(rows.len(), &mut out);
    assert_same_bits(&out, &before, "no such row");
}

/// What a product is by its definition: rows quantised in blocks, sums in double precision.
fn by_definition(stored: Stored, x: &[f32], weights: &[f32]) -> (f64, f64) {
    let (numbers, _) = stored.block();
    let (mut sum, mut most) = (0.0, 0.0);
    for (x, weights) in x.chunks(numbers).zip(weights.chunks(numbers)) {
        let scale = x.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
        for (x, weight) in x.iter().zip(weights) {
            let quant = if scale > 0.0 { (x * (1.0 / scale)).round_ties_even() } else { 0.0 };
            let product = f64::from(quant) * f64::from(scale) * f64::from(*weight);
            sum += product;
            most += product.abs();
        }
    }
    (sum, most)
}

#[test]
fn products_are_those_of_the_quantised_rows() {
    for stored in FORMS {
        let mut noise = Noise(2);
        let depth = 3 * LARGE;
        let (matrix, weights) = matrix(&mut noise, &[(stored, 70)], depth);
        let x = noise.numbers(11 * depth);
        let got = product(&matrix, Level::detect(), &x, 70, depth);
        for (x, got) in x.chunks(depth).zip(got.chunks(70)) {
            for (weights, got) in weights.iter().zip(got) {
                let (wanted, most) = by_definition(stored, x, weights);
                // The numbers of the file are rounded differently in the reference than their parts are in the sum.
                assert!((f64::from(*got) - wanted).abs() <= most * 1e-6, "{stored:?}: {got} {wanted}");
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    for stored in FORMS {
        let mut noise = Noise(3);
        let (depth, columns) = (2 * LARGE, 45);
        let (matrix, _) = matrix(&mut noise, &[(stored, columns)], depth);
        let mut x = noise.numbers(23 * depth);
        // Extremes: nothing at all, one number alone, and the largest sums that there are.
        x[..depth].fill(0.0);
        x[depth..2 * depth].fill(0.0);
        x[depth + 5] = 3.0;
        x[2 * depth..3 * depth].fill(-1.0);
        let wanted = product(&matrix, Level::all()[0], &x, columns, depth);
        for level in Level::all() {
            assert_same_bits(
                &product(&matrix, level, &x, columns, depth),
                &wanted,
                &format!("{level:?} {stored:?}"),
            );
        }
    }
}

#[test]
fn a_row_is_bit_identical_alone_and_in_company() {
    let mut noise = Noise(4);
    let (depth, columns) = (LARGE, 3 * 67);
    let (matrix, _) = matrix(&mut noise, &FORMS.map(|stored| (stored, 67)), depth);
    let x = noise.numbers(211 * depth);
    for level in Level::all() {
        let together = product(&matrix, level, &x, columns, depth);
        for size in [1, 2, 3, 5, 8, 32, 65] {
            for (x, wanted) in x.chunks(size * depth).zip(together.chunks(size * columns)) {
                let got = product(&matrix, level, x, columns, depth);
                assert_same_bits(&got, wanted, &format!("{level:?} {size}"));
            }
        }
    }
}

#[test]
fn parts_are_stacked_and_bias_is_added() {
    let mut noise = Noise(5);
    let parts = [(Stored::Q4K, 3), (Stored::Q6K, 40), (Stored::Q8_0, 1)];
    let (matrix, _) = matrix(&mut noise, &parts, LARGE);
    let bias: Vec<f32> = (0..44_i16).map(f32::from).collect();
    let mut out = Sheet::default();
    for (then, factor) in [(Then::Store, 1.0), (Then::Add, 2.0), (Then::Store, 1.0)] {
        let epilogue = Epilogue { bias: Pages::copy_of(&bias), then };
        let zeros = [0.0; 2 * LARGE];
        let got = multiply(&matrix, Level::detect(), (&zeros, LARGE), (&epilogue, 44), &mut out);
        let wanted: Vec<f32> = bias.iter().chain(&bias).map(|bias| bias * factor).collect();
        assert_eq!(got, wanted, "{then:?}");
    }
}

#[test]
fn what_is_not_finite_does_not_become_a_number() {
    let mut noise = Noise(6);
    for stored in FORMS {
        let (matrix, _) = matrix(&mut noise, &[(stored, 2)], LARGE);
        for wrong in [f32::NAN, f32::NEG_INFINITY] {
            let mut x = noise.numbers(LARGE);
            x[200] = wrong;
            for level in Level::all() {
                assert!(product(&matrix, level, &x, 2, LARGE).iter().all(|out| out.is_nan()), "{level:?}");
            }
        }
    }
}
