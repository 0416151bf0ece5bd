//! A block of a compressed tensor: the quantised values of up to 1024 neighbouring elements, and their bytes.

/// Elements of a block; the last block of a tensor may have fewer.
pub const BLOCK_ELEMENTS: usize = 1024;
/// Exponent of the finest grid.
pub const MIN_EXPONENT: i8 = -48;
/// Exponent of the coarsest grid.
pub const MAX_EXPONENT: i8 = 16;
/// The longest encoding of a block, in bytes.
pub const MAX_BLOCK_BYTES: usize = 3 + BLOCK_ELEMENTS;
/// Magnitudes from here on do not fit the largest exponent: 127.5·2¹⁶.
pub(super) const LARGEST: f32 = 127.5 * (1u32 << MAX_EXPONENT) as f32;
/// Gap byte that passes over this many elements without a value after it.
const SKIP: u8 = u8::MAX;

/// Values `q·2^exponent` with `q` in `−127 ..= 127`, for neighbouring elements. Its bytes:
///
/// ```text
/// block  = count as u16 le                              of a block with no value but 0
///        | count as u16 le ‖ exponent as i8 ‖ values    else; count is the number of values that are not 0
/// values = q[0] ‖ q[1] ‖ …                    as i8     where 2·count ≥ elements of the block
///        | (gap ‖ q)…                                   else, for each value that is not 0, in index order
/// gap    = elements passed over since the value before (or the block's start): a byte 255 for each full 255, then the rest
/// ```
///
/// The exponent is the smallest that holds the values (one of them is at least 64 in magnitude), or −48. So equal values
/// have equal bytes, and [`Block::decode`] refuses all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    exponent: i8,
    values: Vec<i8>,
}

/// One quantised value: `value·2^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantum {
    exponent: i8,
    value: i8,
}

impl Quantum {
    /// `value·2^exponent`, where both are in the bounds of a block.
    pub fn new(exponent: i8, value: i8) -> Option<Self> {
        ((MIN_EXPONENT..=MAX_EXPONENT).contains(&exponent) && value != i8::MIN).then_some(Self { exponent, value })
    }

    /// What is left of `whole` when this was sent of it; exact. `None` where this is no rounding of `whole`: another
    /// integer is nearer, or `whole` is NaN, infinite or too large.
    pub fn remainder(self, whole: f32) -> Option<f32> {
        let inverse = power(-self.exponent);
        let nearest = || (whole * inverse).abs() < 127.5 && round(whole, inverse) == self.value;
        let rounded = fits(whole) && (self.value == 0 || nearest());
        rounded.then(|| whole - f32::from(self.value) * power(self.exponent))
    }

    /// The value in units of `2^MIN_EXPONENT`; less than 2⁷¹ in magnitude.
    pub fn in_finest_units(self) -> i128 {
        i128::from(self.value) << (i32::from(self.exponent) - i32::from(MIN_EXPONENT))
    }
}

/// Why bytes are not a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The bytes end inside the block.
    #[error("the bytes end inside the block")]
    Truncated,
    /// More values than elements.
    #[error("it counts {found} values for {elements} elements")]
    Count {
        /// Values announced, or found in the dense form.
        found: usize,
        /// Elements of the block.
        elements: usize,
    },
    /// The dense form holds another number of values than it says.
    #[error("it counts {count} values and holds {found}")]
    Miscounted {
        /// Values announced.
        count: usize,
        /// Values found.
        found: usize,
    },
    /// The exponent is out of bounds.
    #[error("its exponent is {0}; it must be between {MIN_EXPONENT} and {MAX_EXPONENT}")]
    Exponent(i8),
    /// A value lies behind the last element.
    #[error("a value is at position {position} of {elements} elements")]
    Position {
        /// The position.
        position: usize,
        /// Elements of the block.
        elements: usize,
    },
    /// A value is −128, or 0 in the sparse form.
    #[error("its value at position {position} is {value}")]
    Value {
        /// The position.
        position: usize,
        /// The value.
        value: i8,
    },
    /// The values would fit a smaller exponent.
    #[error("its largest magnitude is {largest} at exponent {exponent}; a smaller exponent holds it")]
    Coarse {
        /// The largest magnitude.
        largest: u8,
        /// The exponent.
        exponent: i8,
    },
}

impl Block {
    /// The finest block that holds `values`, each rounded half to even. They must fit ([`fits`]), of which the caller has
    /// made sure.
    pub(super) fn quantise(values: &[f32]) -> Self {
        let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let exponent = exponent(largest);
        let inverse = power(-exponent);
        Self {
            exponent,
            values: values.iter().map(|value| round(*value, inverse)).collect(),
        }
    }

    /// The values as f32, each exact.
    pub fn dequantised(&self) -> impl Iterator<Item = f32> {
        let unit = power(self.exponent);
        self.values.iter().map(move |value| f32::from(*value) * unit)
    }

    /// The value at `position`, or `None` behind the last element.
    pub fn quantum(&self, position: usize) -> Option<Quantum> {
        let value = *self.values.get(position)?;
        Some(Quantum {
            exponent: self.exponent,
            value,
        })
    }

    /// The exponent of the grid.
    pub fn exponent(&self) -> i8 {
        self.exponent
    }

    /// The integers, one per element.
    pub fn values(&self) -> &[i8] {
        &self.values
    }

    /// Appends the block's bytes.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let count = self.count();
        // A block has at most 1024 elements.
        bytes.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
        if count == 0 {
            return;
        }
        bytes.push(self.exponent.cast_unsigned());
        if dense(count, self.values.len()) {
            bytes.extend(self.values.iter().map(|value| value.cast_unsigned()));
            return;
        }
        let mut next = 0;
        for (position, value) in self.values.iter().enumerate().filter(|(_, value)| **value != 0) {
            let mut gap = position - next;
            while gap >= usize::from(SKIP) {
                bytes.push(SKIP);
                gap -= usize::from(SKIP);
            }
            // Below 255, so nothing is cut off.
            bytes.extend([u8::try_from(gap).unwrap_or(SKIP), value.cast_unsigned()]);
            next = position + 1;
        }
    }

    /// The block of `elements` elements (at most 1024) at the head of `bytes`, and its length in bytes.
    ///
    /// # Errors
    /// When the bytes are not the one encoding of a block.
    pub fn decode(bytes: &[u8], elements: usize) -> Result<(Self, usize), BlockError> {
        let mut rest = bytes;
        let mut next = || rest.split_off_first().copied().ok_or(BlockError::Truncated);
        let count = usize::from(u16::from_le_bytes([next()?, next()?]));
        let mut block = Self {
            exponent: MIN_EXPONENT,
            values: vec![0; elements.min(BLOCK_ELEMENTS)],
        };
        let elements = block.values.len();
        if count > elements {
            return Err(BlockError::Count { found: count, elements });
        }
        if count > 0 {
            block.exponent = next()?.cast_signed();
            if !(MIN_EXPONENT..=MAX_EXPONENT).contains(&block.exponent) {
                return Err(BlockError::Exponent(block.exponent));
            }
            if dense(count, elements) {
                for value in &mut block.values {
                    *value = next()?.cast_signed();
                }
                let found = block.count();
                if found != count {
                    return Err(BlockError::Miscounted { count, found });
                }
            } else {
                let mut position = 0;
                for _ in 0..count {
                    let mut gap = next()?;
                    while gap == SKIP {
                        position += usize::from(SKIP);
                        if position >= elements {
                            break;
                        }
                        gap = next()?;
                    }
                    position += usize::from(gap);
                    let Some(slot) = block.values.get_mut(position) else {
                        return Err(BlockError::Position { position, elements });
                    };
                    *slot = next()?.cast_signed();
                    if *slot == 0 {
                        return Err(BlockError::Value { position, value: 0 });
                    }
                    position += 1;
                }
            }
            if let Some(position) = block.values.iter().position(|value| *value == i8::MIN) {
                return Err(BlockError::Value {
                    position,
                    value: i8::MIN,
                });
            }
            let largest = block
                .values
                .iter()
                .fold(0, |largest, value| largest.max(value.unsigned_abs()));
            if largest < 64 && block.exponent > MIN_EXPONENT {
                return Err(BlockError::Coarse {
                    largest,
                    exponent: block.exponent,
                });
            }
        }
        Ok((block, bytes.len() - rest.len()))
    }

    fn count(&self) -> usize {
        self.values.iter().filter(|value| **value != 0).count()
    }
}

/// Whether a value can be quantised: it is finite and below 127.5·2¹⁶ in magnitude.
pub(super) fn fits(value: f32) -> bool {
    // False for NaN.
    value.abs() < LARGEST
}

/// `value·inverse`, below 127.5 in magnitude, rounded to an integer, half to even.
#[expect(clippy::cast_possible_truncation, reason = "an integer of at most 127 in magnitude")]
fn round(value: f32, inverse: f32) -> i8 {
    // Adding 1.5·2²³ leaves no bit below 1, so that the addition itself rounds to an integer, half to even. A product that
    // is not exact is subnormal, and rounds to 0 as it should.
    (value * inverse + 12_582_912.0 - 12_582_912.0) as i8
}

/// Whether a block with `count` values that are not 0 is written out in full.
fn dense(count: usize, elements: usize) -> bool {
    2 * count >= elements
}

/// The smallest exponent on whose grid `largest` rounds to at most 127.
fn exponent(largest: f32) -> i8 {
    let mut exponent = MIN_EXPONENT;
    while exponent < MAX_EXPONENT && largest * power(-exponent) >= 127.5 {
        exponent += 1;
    }
    exponent
}

/// `2^exponent`, for exponents between −48 and 48.
fn power(exponent: i8) -> f32 {
    f32::from_bits((127 + i32::from(exponent)).cast_unsigned() << 23)
}
