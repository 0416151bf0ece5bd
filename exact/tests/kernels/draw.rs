//! Random choices: first those of a list that proptest shrinks, then a fixed stream that starts from it.

use trainyard_exact::definition::{Coordinate, View};

#[derive(Clone, Debug)]
pub(crate) struct Draw {
    choices: std::vec::IntoIter<u32>,
    state: u32,
}

impl Draw {
    pub(crate) fn new(choices: Vec<u32>) -> Self {
        let state = choices
            .iter()
            .fold(1u32, |state, next| state.wrapping_mul(31).wrapping_add(*next));
        Self {
            choices: choices.into_iter(),
            state,
        }
    }

    fn stream(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.state >> 8
    }

    /// A number from `low` to `high`.
    pub(crate) fn range(&mut self, low: i64, high: i64) -> i64 {
        let next = self.choices.next().unwrap_or(self.state >> 8);
        self.stream();
        low + i64::from(next) % (high - low + 1)
    }

    pub(crate) fn size(&mut self, low: usize, high: usize) -> usize {
        usize::try_from(self.range(low as i64, high as i64)).unwrap()
    }

    pub(crate) fn flip(&mut self) -> bool {
        self.range(0, 1) == 1
    }

    /// Ordinary numbers of many magnitudes, in half of the cases with special ones among them, seldom any bits at all.
    pub(crate) fn numbers(&mut self, count: usize) -> Vec<f32> {
        let kind = self.range(0, 7);
        (0..count).map(|_| self.number(kind)).collect()
    }

    fn number(&mut self, kind: i64) -> f32 {
        let special = [
            0.0,
            -0.0,
            f32::MAX,
            f32::MIN_POSITIVE,
            1e-45,
            -1e-40,
            f32::INFINITY,
            f32::from_bits(0xff81_2345),
        ];
        let draw = self.stream();
        match kind {
            0 => f32::from_bits(draw << 8 | self.stream() & 0xff),
            1..=4 if draw.is_multiple_of(64) => special[(draw / 64 % 8) as usize],
            // A sign, an exponent of −8..8 and a full mantissa.
            _ => f32::from_bits((draw & 1) << 31 | (119 + (draw >> 1) % 16) << 23 | self.stream() >> 1 & 0x007f_ffff),
        }
    }

    /// A view whose coordinates are a few small multiples of loop axes, mostly within a shape that fits them.
    pub(crate) fn view(&mut self, loops: &[usize]) -> View {
        let axes = self.size(0, 3);
        let mut view = View {
            shape: vec![],
            coordinates: vec![],
            outside: [0.0, -0.0, 1.5, f32::NEG_INFINITY, f32::NAN][self.size(0, 4)],
        };
        for _ in 0..axes {
            let mut coefficients = vec![0; loops.len()];
            let (mut low, mut high) = (0, 0);
            for _ in 0..self.size(0, 2) {
                if loops.is_empty() {
                    break;
                }
                let axis = self.size(0, loops.len() - 1);
                coefficients[axis] = [1, 1, 1, 2, 3, -1][self.size(0, 5)];
            }
            for (coefficient, extent) in coefficients.iter().zip(loops) {
                let reach = coefficient * (extent.max(&1) - 1) as i64;
                low += reach.min(0);
                high += reach.max(0);
            }
            let divisor = if self.range(0, 4) == 0 { self.range(2, 3) } else { 1 };
            // Now and then the shape is smaller or the offset another than what would stay inside.
            let (mut offset, mut extent) = (-low, (high - low) / divisor + 1);
            if self.range(0, 2) == 0 {
                offset += self.range(-2, 2);
                extent = (extent + self.range(-2, 1)).max(0);
            }
            // Axes along a diagonal could make the input huge.
            let bound = 20_000 / view.shape.iter().product::<usize>().max(1);
            view.shape.push(usize::try_from(extent).unwrap().min(bound));
            view.coordinates.push(Coordinate {
                offset,
                coefficients,
                divisor,
            });
        }
        view
    }

    /// Extents of up to `axes` axes with about `elements` elements in all, among them ones and now and then a zero.
    pub(crate) fn shape(&mut self, axes: usize, elements: usize) -> Vec<usize> {
        let mut left = elements;
        let mut shape = Vec::new();
        for _ in 0..self.size(0, axes) {
            let extent = match self.range(0, 15) {
                0 => 0,
                1..=3 => 1,
                4..=9 => self.size(1, left.clamp(1, 5)),
                _ => self.size(1, left.max(1)),
            };
            left /= extent.max(1);
            shape.push(extent);
        }
        shape
    }
}
