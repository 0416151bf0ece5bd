//! Numbers that look random, the same for the same seed (SplitMix64).

use trainyard_app::testing::TRAIN;

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// From `low` to `high`, both included.
    pub(crate) fn within(&mut self, low: u32, high: u32) -> u32 {
        low + u32::try_from(self.below(u64::from(high - low) + 1)).unwrap()
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn choose<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() {
            return None;
        }
        from.get(usize::try_from(self.below(from.len() as u64)).unwrap())
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *self.choose(from).unwrap()
    }

    /// utrain: mostly what an account can pay, now and then nothing, dust, or more than there is.
    pub(crate) fn amount(&mut self, cash: u64) -> u64 {
        match self.below(14) {
            0 => 0,
            1 => self.next(),
            2 => cash,
            3 => 1 + self.below(9),
            4 => self.below(TRAIN),
            5 => self.below(cash),
            _ => self.below(500 * TRAIN),
        }
    }

    /// A decimal share of 0 to `most` hundredths.
    pub(crate) fn share(&mut self, most: u64) -> String {
        format!("{}.{:02}", most / 100, self.below(most % 100 + 1))
    }
}
