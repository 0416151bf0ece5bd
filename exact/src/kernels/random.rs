//! Random numbers: Philox blocks side by side.

use super::Isa;
use super::pool::Pool;
use super::shared::Shared;
use super::simd::{Simd, Work};
use crate::arith::NAN;
use crate::definition::{key, round, round_keys, uniform_of};

/// Blocks of four numbers that are computed at once.
const BLOCKS: usize = 16;
/// Elements that one task writes, a multiple of those of the blocks.
const PART: usize = 1 << 13;

/// Fills `output` with the numbers of `stream` under the key that `words` spells.
pub(super) fn run(isa: Isa, pool: &Pool, stream: u32, words: &[f32], output: &mut [f32]) {
    let Some(key) = key(|word| words[word]) else {
        return output.fill(NAN);
    };
    let keys = round_keys(key);
    let elements = output.len();
    let output = Shared::new(output);
    pool.run(elements.div_ceil(PART), |task| {
        let first = task * PART;
        isa.enter(Part {
            keys,
            stream,
            first: (first / 4) as u64,
            // SAFETY: the parts of different tasks do not overlap.
            output: unsafe { output.part(first..elements.min(first + PART)) },
        });
    });
}

/// The blocks from `first` on: what one task does.
struct Part<'a> {
    keys: [[u32; 2]; 10],
    stream: u32,
    first: u64,
    output: &'a mut [f32],
}

impl Work for Part<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        for (i, output) in self.output.chunks_mut(4 * BLOCKS).enumerate() {
            let first = self.first + (i * BLOCKS) as u64;
            let mut counters = [[0; BLOCKS]; 4];
            for (lane, block) in (first..first + BLOCKS as u64).enumerate() {
                #[expect(clippy::cast_possible_truncation, reason = "the halves of a u64")]
                let halves = [block as u32, (block >> 32) as u32];
                counters[0][lane] = halves[0];
                counters[1][lane] = halves[1];
                counters[2][lane] = self.stream;
            }
            for key in self.keys {
                let [a, b, c, d] = &mut counters;
                for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                    [*a, *b, *c, *d] = round([*a, *b, *c, *d], key);
                }
            }
            let mut numbers = [0.0; 4 * BLOCKS];
            for (word, words) in counters.iter().enumerate() {
                for (lane, bits) in words.iter().enumerate() {
                    numbers[4 * lane + word] = uniform_of(*bits);
                }
            }
            output.copy_from_slice(&numbers[..output.len()]);
        }
    }
}
