//! SHA-256 with a one-byte domain tag for each use, and the pseudo-random stream made of it.

use sha2::{Digest, Sha256};

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// What a hash is for. The tag is the first byte hashed, so a hash made for one use never passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// A leaf of a Merkle tree.
    Leaf = 0x00,
    /// An inner node of a Merkle tree.
    Node = 0x01,
    /// A Merkle root: the number of leaves and the top node.
    Root = 0x02,
    /// A blinded leaf of a trace.
    Trace = 0x10,
    /// A salt that blinds a leaf of a trace.
    Salt = 0x11,
    /// Order of samples in a round.
    Batches = 0x20,
    /// Initial weights of the built-in architectures.
    Init = 0x21,
    /// Masks of dropout.
    Dropout = 0x22,
}

/// SHA-256 of the tag followed by the parts. Parts are concatenated as they are: all but the last must have a fixed
/// length or carry their own.
pub fn hash(tag: Tag, parts: &[&[u8]]) -> Hash {
    let mut sha = Sha256::new_with_prefix([tag as u8]);
    for part in parts {
        sha.update(part);
    }
    sha.finalize().into()
}

/// A pseudo-random stream: block *i* is `SHA-256(key ‖ i as u64 le)`, read as eight little-endian `u32`.
#[derive(Clone, Debug)]
pub struct Stream {
    key: Hash,
    counter: u64,
    block: Hash,
    used: usize,
}

impl Stream {
    /// The stream keyed by `hash(tag, parts)`.
    pub fn new(tag: Tag, parts: &[&[u8]]) -> Self {
        Self {
            key: hash(tag, parts),
            counter: 0,
            block: [0; 32],
            used: 32,
        }
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 32 {
            self.block = Sha256::new()
                .chain_update(self.key)
                .chain_update(self.counter.to_le_bytes())
                .finalize()
                .into();
            self.counter = self.counter.wrapping_add(1);
            self.used = 0;
        }
        let mut word = [0; 4];
        word.copy_from_slice(&self.block[self.used..self.used + 4]);
        self.used += 4;
        u32::from_le_bytes(word)
    }

    /// A uniform integer in `0..bound`, without bias: draws that fall into the incomplete last interval are thrown
    /// away (Lemire, arXiv 1805.10941). `bound` 0 gives 0.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the halves of a 64-bit product are wanted"
    )]
    pub fn below(&mut self, bound: u32) -> u32 {
        if bound == 0 {
            return 0;
        }
        let reject_under = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= reject_under {
                return (product >> 32) as u32;
            }
        }
    }

    /// A uniform multiple of 2⁻²³ in `[-1, 1)`; exact in f32.
    pub fn symmetric_f32(&mut self) -> f32 {
        let bits = (self.next_u32() >> 8).cast_signed();
        (bits - (1 << 23)) as f32 / (1 << 23) as f32
    }

    /// A uniform multiple of 2⁻²⁴ in `[0, 1)`; exact in f32.
    pub fn unit_f32(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 / (1 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_fixed_forever() {
        let mut stream = Stream::new(Tag::Batches, &[b"golden"]);
        let words: Vec<u32> = (0..9).map(|_| stream.next_u32()).collect();
        let key = hash(Tag::Batches, &[b"golden"]);
        let first = Sha256::digest([&key[..], &0u64.to_le_bytes()].concat());
        let second = Sha256::digest([&key[..], &1u64.to_le_bytes()].concat());
        assert_eq!(words[0].to_le_bytes(), first[..4]);
        assert_eq!(words[7].to_le_bytes(), first[28..]);
        assert_eq!(words[8].to_le_bytes(), second[..4]);
    }

    #[test]
    fn below_is_uniform_and_in_bounds() {
        let mut stream = Stream::new(Tag::Batches, &[]);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[stream.below(6) as usize] += 1;
        }
        // Five standard deviations of a binomial with n = 60 000 and p = 1/6.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 460), "{counts:?}");
        assert_eq!(stream.below(1), 0);
        assert_eq!(stream.below(0), 0);
    }

    #[test]
    fn floats_stay_in_their_interval() {
        let mut stream = Stream::new(Tag::Init, &[]);
        for _ in 0..10_000 {
            assert!((-1.0..1.0).contains(&stream.symmetric_f32()));
            assert!((0.0..1.0).contains(&stream.unit_f32()));
        }
    }
}
