//! Gas: what a transaction may use. One unit stands for about 2 ns of one core.
//!
//! The schedule follows what `scripts/bench gas` measures on the real store with 100 000 keys, counting what all threads compute.
//! What computes costs 0.7 to 2.9 ns per gas, a factor of four between the cheapest and the dearest (two cores of a
//! busy Xeon server, the program as it is installed, medians of several runs):
//!
//! | what | ns | gas | ns per gas |
//! |---|---|---|---|
//! | read a value of 64 bytes | 3 850 | 1 586 | 2.4 |
//! | find that there is none | 1 140 | 1 520 | 0.8 |
//! | a step of an iteration over such a value | 290 | 146 | 2.0 |
//! | write such a value, with its share of the commit: over one; a new one | 26 000; 19 000 | 9 860 | 2.7; 1.9 |
//! | delete it | 22 000 | 14 000 | 1.6 |
//! | decode a transaction of one send | 2 600 | 3 140 | 0.8 |
//! | a byte of a larger one | 12 | 10 | 1.2 |
//! | verify a signature | 26 000 | 14 000 | 1.9 |
//!
//! Bytes of values compute next to nothing and are charged all the same, since every node keeps and sends them. A whole
//! transaction costs less per gas the more often it writes the same key, for only the last write is committed. A plain send
//! uses under 80 000 gas, so that wallets' habits of `--gas` carry over; a block of 400 000 000 takes under a second of two cores.

use crate::error::SdkError;

/// Reading a key.
pub const READ_FLAT: u64 = 1_500;
/// Per byte read.
pub const READ_BYTE: u64 = 1;
/// Writing a key.
pub const WRITE_FLAT: u64 = 9_000;
/// Per byte written.
pub const WRITE_BYTE: u64 = 10;
/// Deleting a key: the tree moves its neighbours.
pub const DELETE: u64 = 14_000;
/// Each step of an iteration.
pub const STEP: u64 = 60;
/// Per byte of a transaction: decoding and checking it.
pub const TX_BYTE: u64 = 10;
/// Verifying a secp256k1 signature.
pub const SIGNATURE: u64 = 14_000;
/// Per byte that a signature is over: hashing it.
pub const SIGNED_BYTE: u64 = 1;
/// Per byte of a text that a signature is over: writing it out.
pub const SIGNED_TEXT_BYTE: u64 = 10;

/// A meter with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gas {
    limit: u64,
    used: u64,
}

impl Gas {
    /// A meter that stops at `limit`.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, used: 0 }
    }

    /// A meter for what no transaction pays for: begin, end, genesis, queries.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Gas used so far; may stand above the limit after the charge that broke it.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Charges `amount`.
    ///
    /// # Errors
    /// Out of gas.
    pub fn charge(&mut self, amount: u64, location: &'static str) -> Result<(), SdkError> {
        self.used = self.used.saturating_add(amount);
        if self.used > self.limit {
            return Err(SdkError::OutOfGas {
                location,
                wanted: self.limit,
                used: self.used,
            });
        }
        Ok(())
    }
}
