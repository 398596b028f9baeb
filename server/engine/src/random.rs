//! Random numbers without a stream: the same key and counter give the same number, in whatever order they are asked.
//!
//! Philox 4x32 with ten rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11). Good
//! statistics, no secrecy: never a source of keys.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// A number in `0.0..1.0` with 53 random bits, fixed by `seed` and `position`.
pub(crate) fn uniform(seed: u64, position: u64) -> f64 {
    let (key_high, key_low) = halves(seed);
    let (high, low) = halves(position);
    let [first, second, _, _] = philox([low, high, 0, 0], [key_low, key_high]);
    let bits = (u64::from(first) << 32 | u64::from(second)) >> 11;
    // Both are exact: 53 bits fit an f64, and 2^-53 is a power of two.
    bits as f64 * (-53f64).exp2()
}

/// The seed of choice `choice` under `seed`: the seed itself for the first. The third word of the counter keeps these numbers apart
/// from those of [`uniform`].
pub(crate) fn derived(seed: u64, choice: u32) -> u64 {
    if choice == 0 {
        return seed;
    }
    let (key_high, key_low) = halves(seed);
    let [first, second, _, _] = philox([choice, 0, 1, 0], [key_low, key_high]);
    u64::from(first) << 32 | u64::from(second)
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let [c0, c1, c2, c3] = counter;
        let (high0, low0) = halves(u64::from(MULTIPLIERS[0]) * u64::from(c0));
        let (high1, low1) = halves(u64::from(MULTIPLIERS[1]) * u64::from(c2));
        counter = [high1 ^ c1 ^ key[0], low1, high0 ^ c3 ^ key[1], low0];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    counter
}

/// The high and the low 32 bits.
fn halves(word: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = word.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with Random123 (`kat_vectors`).
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn choices_have_seeds_of_their_own_and_the_first_keeps_the_seed() {
        let seeds: std::collections::BTreeSet<u64> =
            (0..20).flat_map(|seed| (0..16).map(move |choice| derived(seed, choice))).collect();
        assert_eq!(seeds.len(), 20 * 16);
        assert_eq!(derived(7, 0), 7);
    }

    #[test]
    fn numbers_are_below_one_and_differ_by_seed_and_position() {
        let numbers: Vec<f64> =
            (0..50).flat_map(|seed| (0..50).map(move |position| uniform(seed, position))).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let mut sorted = numbers.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.dedup();
        assert_eq!(sorted.len(), numbers.len());
        let mean = numbers.iter().sum::<f64>() / 2500.0;
        assert!((mean - 0.5).abs() < 0.03, "{mean}");
    }
}
