//! Canonical bytes: what is hashed or disputed has exactly one encoding, and decoding it is bounded.
//!
//! Numbers are LEB128 in their shortest form (seven bits to a byte, the lowest first), signed ones zigzag before that;
//! an f32 is its four bytes, little-endian, and its only NaN is the canonical one. Whatever has another encoding than
//! the one that is written, or bytes after its end, is refused.

use crate::arith::canonical;
use crate::prf::Hash;

/// Why bytes are not the encoding of anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// The bytes end too early.
    #[error("{needed} more bytes are needed, {found} are left")]
    Short {
        /// What is still to be read.
        needed: usize,
        /// What there is.
        found: usize,
    },
    /// More bytes than any encoding has.
    #[error("{found} bytes, at most {bound} are allowed")]
    Long {
        /// How many there are.
        found: usize,
        /// The bound.
        bound: usize,
    },
    /// Bytes behind the end.
    #[error("{found} bytes are left over")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// A number that does not fit, or is out of bounds.
    #[error("{what} is above its bound {bound}")]
    Number {
        /// What the number is.
        what: &'static str,
        /// The largest allowed.
        bound: u64,
    },
    /// A number with more bytes than it needs, or a NaN with another payload.
    #[error("{what} is not in its one form")]
    Form {
        /// What it is.
        what: &'static str,
    },
    /// A number that names none of the alternatives.
    #[error("{what} {found} does not exist")]
    Unknown {
        /// What it should name.
        what: &'static str,
        /// Its value.
        found: u8,
    },
    /// Well-formed bytes of a primitive that is refused.
    #[error(transparent)]
    Definition(#[from] crate::definition::DefinitionError),
}

/// Appends the shortest form of a number.
pub fn write_number(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// Appends a signed number.
pub fn write_signed(out: &mut Vec<u8>, value: i64) {
    write_number(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends an f32.
pub fn write_f32(out: &mut Vec<u8>, value: f32) {
    out.extend_from_slice(&canonical(value).to_le_bytes());
}

/// Appends a number of bytes, then the bytes.
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what the functions above wrote, and refuses everything else.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of at most `bound` bytes.
    ///
    /// # Errors
    /// When there are more.
    pub fn new(bytes: &'a [u8], bound: usize) -> Result<Self, EncodingError> {
        let found = bytes.len();
        if found > bound {
            return Err(EncodingError::Long { found, bound });
        }
        Ok(Self { rest: bytes })
    }

    /// The next `needed` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn take(&mut self, needed: usize) -> Result<&'a [u8], EncodingError> {
        let found = self.rest.len();
        let (bytes, rest) = self
            .rest
            .split_at_checked(needed)
            .ok_or(EncodingError::Short { needed, found })?;
        self.rest = rest;
        Ok(bytes)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], EncodingError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The next byte.
    ///
    /// # Errors
    /// When none is left.
    pub fn byte(&mut self) -> Result<u8, EncodingError> {
        Ok(self.array::<1>()?[0])
    }

    /// A digest.
    ///
    /// # Errors
    /// When fewer than 32 bytes are left.
    pub fn hash(&mut self) -> Result<Hash, EncodingError> {
        self.array()
    }

    /// A number of at most `bound`; `what` names it in the error.
    ///
    /// # Errors
    /// When it ends early, is not in its shortest form, or is above the bound.
    pub fn number(&mut self, what: &'static str, bound: u64) -> Result<u64, EncodingError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if (low << shift) >> shift != low {
                return Err(EncodingError::Number { what, bound });
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return match (byte, shift) {
                    (0, 7..) => Err(EncodingError::Form { what }),
                    _ if value > bound => Err(EncodingError::Number { what, bound }),
                    _ => Ok(value),
                };
            }
        }
        Err(EncodingError::Number { what, bound })
    }

    /// A number of at most `bound` that counts or indexes something in memory.
    ///
    /// # Errors
    /// As for [`Reader::number`].
    pub fn count(&mut self, what: &'static str, bound: usize) -> Result<usize, EncodingError> {
        let value = self.number(what, bound as u64)?;
        usize::try_from(value).map_err(|_| EncodingError::Number {
            what,
            bound: bound as u64,
        })
    }

    /// A signed number of any size.
    ///
    /// # Errors
    /// When it ends early or is not in its shortest form.
    pub fn signed(&mut self, what: &'static str) -> Result<i64, EncodingError> {
        let value = self.number(what, u64::MAX)?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// An f32.
    ///
    /// # Errors
    /// When it ends early or is a NaN other than the canonical one.
    pub fn f32(&mut self, what: &'static str) -> Result<f32, EncodingError> {
        let bits = u32::from_le_bytes(self.array()?);
        let value = f32::from_bits(bits);
        if canonical(value).to_bits() == bits {
            Ok(value)
        } else {
            Err(EncodingError::Form { what })
        }
    }

    /// Bytes with their number before them, at most `bound`.
    ///
    /// # Errors
    /// When they end early or are too many.
    pub fn bytes(&mut self, what: &'static str, bound: usize) -> Result<&'a [u8], EncodingError> {
        let length = self.count(what, bound)?;
        self.take(length)
    }

    /// What is left, unread.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Ends reading.
    ///
    /// # Errors
    /// When bytes are left.
    pub fn finish(self) -> Result<(), EncodingError> {
        match self.rest.len() {
            0 => Ok(()),
            found => Err(EncodingError::Trailing { found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read<T>(
        bytes: &[u8],
        with: impl FnOnce(&mut Reader<'_>) -> Result<T, EncodingError>,
    ) -> Result<T, EncodingError> {
        let mut reader = Reader::new(bytes, 100)?;
        let value = with(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    #[test]
    fn other_forms_are_refused() {
        let number = |bytes: &[u8]| read(bytes, |reader| reader.number("n", 1000));
        assert_eq!(number(&[0xe8, 0x07]), Ok(1000));
        assert_eq!(number(&[0x80, 0x00]), Err(EncodingError::Form { what: "n" }));
        assert_eq!(
            number(&[0xe9, 0x07]),
            Err(EncodingError::Number { what: "n", bound: 1000 })
        );
        assert_eq!(
            number(&[0xff; 11]),
            Err(EncodingError::Number { what: "n", bound: 1000 })
        );
        assert_eq!(number(&[0x80]), Err(EncodingError::Short { needed: 1, found: 0 }));
        assert_eq!(number(&[1, 2]), Err(EncodingError::Trailing { found: 1 }));
        let float = |bits: u32| read(&bits.to_le_bytes(), |reader| reader.f32("x"));
        assert!(float(0x7fc0_0000).unwrap().is_nan());
        assert_eq!(float(0x7fc0_0001), Err(EncodingError::Form { what: "x" }));
        assert_eq!(
            read(&[9; 101], |_| Ok(())),
            Err(EncodingError::Long { found: 101, bound: 100 })
        );
        let error = read(&[3, 1, 1, 1], |reader| reader.bytes("text", 2).map(<[u8]>::len)).unwrap_err();
        assert_eq!(error.to_string(), "text is above its bound 2");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(unsigned: u64, signed: i64, bits: u32, text in proptest::collection::vec(any::<u8>(), 0..20)) {
            let mut out = Vec::new();
            write_number(&mut out, unsigned);
            write_signed(&mut out, signed);
            write_f32(&mut out, f32::from_bits(bits));
            write_bytes(&mut out, &text);
            let mut reader = Reader::new(&out, out.len()).unwrap();
            prop_assert_eq!(reader.number("n", u64::MAX), Ok(unsigned));
            prop_assert_eq!(reader.signed("n"), Ok(signed));
            prop_assert_eq!(reader.f32("x").unwrap().to_bits(), canonical(f32::from_bits(bits)).to_bits());
            prop_assert_eq!(reader.bytes("text", 20), Ok(&text[..]));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}
