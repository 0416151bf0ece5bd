//! Gas: what a transaction may use. Costs are the SDK's defaults, so that wallets' habits of `--gas` carry over.

use crate::error::SdkError;

/// Reading a key.
pub const READ_FLAT: u64 = 1_000;
/// Per byte read.
pub const READ_BYTE: u64 = 3;
/// Writing a key.
pub const WRITE_FLAT: u64 = 2_000;
/// Per byte written.
pub const WRITE_BYTE: u64 = 30;
/// Deleting a key.
pub const DELETE: u64 = 1_000;
/// Each step of an iteration.
pub const STEP: u64 = 30;
/// Per byte of a transaction.
pub const TX_BYTE: u64 = 10;
/// Verifying a secp256k1 signature.
pub const SIGNATURE: u64 = 1_000;

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
