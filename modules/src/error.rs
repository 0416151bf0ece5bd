//! Errors of the state machine: every one has a stable `(codespace, code)` for programs and a text for people.

use trainyard_proto::{address::AddressError, coin::CoinError};

/// What a failed check, transaction or query says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{log}")]
pub struct Error {
    /// Namespace of the code: a module's name, or `sdk` for the codes every Cosmos tool knows.
    pub codespace: &'static str,
    /// Never 0. 1 in codespace `fatal` means that the node itself is broken and must stop.
    pub code: u32,
    /// What was wrong, with the value found and the bound it broke. Never part of the consensus.
    pub log: String,
}

impl Error {
    /// The node cannot go on: its store failed or its state contradicts itself.
    #[must_use]
    pub fn fatal(log: impl Into<String>) -> Self {
        Self {
            codespace: "fatal",
            code: 1,
            log: log.into(),
        }
    }

    /// Whether the node must stop rather than answer.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.codespace == "fatal"
    }
}

/// An enum of errors with stable codes.
pub trait Coded: std::error::Error {
    /// Namespace of the codes.
    const CODESPACE: &'static str;
    /// The code of this error; never 0, never reused.
    fn code(&self) -> u32;
}

/// Gives an error enum its codespace and lets `?` turn it into [`Error`].
macro_rules! coded {
    ($type:ty, $codespace:literal, |$self:ident| $code:expr) => {
        impl $crate::error::Coded for $type {
            const CODESPACE: &'static str = $codespace;
            fn code(&self) -> u32 {
                let $self = self;
                $code
            }
        }
        impl From<$type> for $crate::error::Error {
            fn from(error: $type) -> Self {
                use $crate::error::Coded;
                Self {
                    codespace: <$type>::CODESPACE,
                    code: error.code(),
                    log: error.to_string(),
                }
            }
        }
    };
}
pub(crate) use coded;

/// Errors with the SDK's own codes and phrases: wallets and CosmJS parse them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SdkError {
    #[error("{0}: tx parse error")]
    TxDecode(String),
    #[error(
        "signature verification failed; please verify account number ({number}) and chain-id ({chain_id}): unauthorized"
    )]
    Signature { number: u64, chain_id: String },
    #[error("{0}: unauthorized")]
    Unauthorized(String),
    #[error("spendable balance {have}utrain is smaller than {need}utrain: insufficient funds")]
    InsufficientFunds { have: u64, need: u64 },
    #[error("{0}: unknown request")]
    UnknownRequest(String),
    #[error("{0}: invalid address")]
    InvalidAddress(String),
    #[error("{0}: invalid pubkey")]
    InvalidPubKey(String),
    #[error("account {0} does not exist: unknown address")]
    UnknownAddress(String),
    #[error("{0}: invalid coins")]
    InvalidCoins(String),
    #[error("out of gas in location: {location}; gasWanted: {wanted}, gasUsed: {used}: out of gas")]
    OutOfGas {
        location: &'static str,
        wanted: u64,
        used: u64,
    },
    #[error("memo has {found} characters, at most {max}: memo too large")]
    MemoTooLarge { found: usize, max: usize },
    #[error("insufficient fees; got: {got}utrain required: {need}utrain: insufficient fee")]
    InsufficientFee { got: u64, need: u64 },
    #[error("{0}: invalid request")]
    InvalidRequest(String),
    #[error("tx has {found} bytes, at most {max}: tx too large")]
    TxTooLarge { found: usize, max: usize },
    #[error("height {height} is past the tx's timeout height {timeout}: tx timeout height")]
    TimeoutHeight { height: u64, timeout: u64 },
    #[error("account sequence mismatch, expected {expected}, got {got}: incorrect account sequence")]
    WrongSequence { expected: u64, got: u64 },
    #[error("rpc error: code = NotFound desc = {0}: key not found")]
    NotFound(String),
}

coded!(SdkError, "sdk", |error| match error {
    SdkError::TxDecode(_) => 2,
    SdkError::Signature { .. } | SdkError::Unauthorized(_) => 4,
    SdkError::InsufficientFunds { .. } => 5,
    SdkError::UnknownRequest(_) => 6,
    SdkError::InvalidAddress(_) => 7,
    SdkError::InvalidPubKey(_) => 8,
    SdkError::UnknownAddress(_) => 9,
    SdkError::InvalidCoins(_) => 10,
    SdkError::OutOfGas { .. } => 11,
    SdkError::MemoTooLarge { .. } => 12,
    SdkError::InsufficientFee { .. } => 13,
    SdkError::InvalidRequest(_) => 18,
    SdkError::TxTooLarge { .. } => 21,
    SdkError::TimeoutHeight { .. } => 30,
    SdkError::WrongSequence { .. } => 32,
    SdkError::NotFound(_) => 38,
});

impl From<AddressError> for Error {
    fn from(error: AddressError) -> Self {
        SdkError::InvalidAddress(error.to_string()).into()
    }
}

impl From<CoinError> for Error {
    fn from(error: CoinError) -> Self {
        SdkError::InvalidCoins(error.to_string()).into()
    }
}
