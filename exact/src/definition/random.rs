//! Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

/// The uniform number of element `index` of stream `stream` under `key`: a multiple of 2⁻²⁴ in [0, 1). It is the upper
/// 24 bits of word `index % 4` of Philox4x32-10 with the counter (low and high half of `index / 4`, `stream`, 0).
pub fn uniform(key: [u32; 2], stream: u32, index: u64) -> f32 {
    let block = index / 4;
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a u64")]
    let words = philox([block as u32, (block >> 32) as u32, stream, 0], key);
    uniform_of(words[(index % 4) as usize])
}

/// The uniform number that a random word makes.
#[inline(always)]
pub(crate) fn uniform_of(word: u32) -> f32 {
    // 24 bits fit an f32, and so does the power of two.
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Philox4x32 with ten rounds.
pub fn philox(mut counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    for key in round_keys(key) {
        counter = round(counter, key);
    }
    counter
}

/// The keys of the ten rounds.
pub(crate) fn round_keys(key: [u32; 2]) -> [[u32; 2]; 10] {
    let mut keys = [key; 10];
    for i in 1..keys.len() {
        keys[i] = [
            keys[i - 1][0].wrapping_add(0x9E37_79B9),
            keys[i - 1][1].wrapping_add(0xBB67_AE85),
        ];
    }
    keys
}

/// One round.
#[inline(always)]
pub(crate) fn round(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let product = |factor: u32, word: u32| {
        let wide = u64::from(factor) * u64::from(word);
        #[expect(clippy::cast_possible_truncation, reason = "the halves of a u64")]
        let halves = ((wide >> 32) as u32, wide as u32);
        halves
    };
    let (high0, low0) = product(0xD251_1F53, counter[0]);
    let (high1, low1) = product(0xCD9E_8D57, counter[2]);
    [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers published with the paper's code (Random123, `kat_vectors`).
    #[test]
    fn philox_gives_the_published_words() {
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            (
                [u32::MAX; 4],
                [u32::MAX; 2],
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, words) in cases {
            assert_eq!(philox(counter, key), words);
        }
    }

    #[test]
    fn numbers_are_uniform_and_every_argument_matters() {
        let numbers: Vec<f32> = (0..40_000).map(|i| uniform([1, 2], 3, i)).collect();
        let mean = numbers.iter().map(|x| f64::from(*x)).sum::<f64>() / 40_000.0;
        assert!(numbers.iter().all(|x| (0.0..1.0).contains(x)));
        assert!((mean - 0.5).abs() < 5.0 / (12f64 * 40_000.0).sqrt(), "{mean}");
        let first = uniform([1, 2], 3, 0);
        for other in [
            uniform([2, 2], 3, 0),
            uniform([1, 3], 3, 0),
            uniform([1, 2], 4, 0),
            uniform([1, 2], 3, 1),
        ] {
            assert_ne!(first, other);
        }
    }
}
