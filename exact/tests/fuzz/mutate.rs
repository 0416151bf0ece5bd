//! Bytes that are almost right.

/// A sequence of numbers that looks random (splitmix64).
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap()
    }
}

/// Numbers as they stand in files: the extremes of several widths, and LEB128 of the greatest.
const EXTREMES: [&[u8]; 12] = [
    &[0],
    &[1],
    &[0x7f],
    &[0x80, 0x01],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0x80, 0x80, 0x80, 0x80, 0x10],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff; 8],
    &[0, 0, 0, 0, 0, 0, 0, 0x80],
    &[0, 0, 0x80, 0x7f],
    &[0, 0, 0xc0, 0xff],
];

/// One of the seeds with one to four changes: bits flipped, bytes set, put in, left out or doubled, numbers at their extremes,
/// the end cut off, a part of another seed put in.
pub(crate) fn mutated(seeds: &[Vec<u8>], draws: &mut Draws) -> Vec<u8> {
    let mut bytes = seeds[draws.below(seeds.len())].clone();
    for _ in 0..=draws.below(4) {
        let at = draws.below(bytes.len());
        let longest = if draws.below(4) == 0 { bytes.len() } else { 16 };
        let length = 1 + draws.below(longest);
        let end = (at + length).min(bytes.len());
        match draws.below(9) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << draws.below(8),
            2 if at < bytes.len() => bytes[at] = draws.next().to_le_bytes()[0],
            3 => drop(bytes.drain(at..end)),
            4 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            5 => bytes.truncate(at),
            6 => {
                let extreme = EXTREMES[draws.below(EXTREMES.len())];
                let replaced = if draws.below(2) == 0 {
                    at..at
                } else {
                    at..(at + extreme.len()).min(bytes.len())
                };
                bytes.splice(replaced, extreme.iter().copied());
            }
            7 => {
                let other = &seeds[draws.below(seeds.len())];
                let from = draws.below(other.len());
                let part = &other[from..(from + length).min(other.len())];
                bytes.splice(at..end, part.iter().copied());
            }
            _ => bytes.insert(at, draws.next().to_le_bytes()[0]),
        }
    }
    bytes
}
