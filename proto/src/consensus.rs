//! `cosmos.consensus.v1`, which `cosmos-sdk-proto` does not have: the parameters of consensus, changed by governance.

use prost::{Message, Name};
use tendermint_proto::v0_38::types::{AbciParams, BlockParams, ConsensusParams, EvidenceParams, ValidatorParams};

/// Package of these messages.
const PACKAGE: &str = "cosmos.consensus.v1";

/// Replaces all parameters. By governance only.
#[derive(Clone, PartialEq, Message)]
pub struct MsgUpdateParams {
    /// The account of governance.
    #[prost(string, tag = "1")]
    pub authority: String,
    /// Size and gas of blocks.
    #[prost(message, optional, tag = "2")]
    pub block: Option<BlockParams>,
    /// Age and size of evidence.
    #[prost(message, optional, tag = "3")]
    pub evidence: Option<EvidenceParams>,
    /// Keys of validators.
    #[prost(message, optional, tag = "4")]
    pub validator: Option<ValidatorParams>,
    /// Extensions of votes.
    #[prost(message, optional, tag = "5")]
    pub abci: Option<AbciParams>,
}

/// Nothing.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct MsgUpdateParamsResponse {}

/// Asks for the parameters.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct QueryParamsRequest {}

/// The parameters.
#[derive(Clone, PartialEq, Message, serde::Serialize, serde::Deserialize)]
pub struct QueryParamsResponse {
    /// As CometBFT holds blocks to them.
    #[prost(message, optional, tag = "1")]
    pub params: Option<ConsensusParams>,
}

macro_rules! named {
    ($($message:ident),*) => {$(
        impl Name for $message {
            const NAME: &'static str = stringify!($message);
            const PACKAGE: &'static str = PACKAGE;
        }
    )*};
}
named!(
    MsgUpdateParams,
    MsgUpdateParamsResponse,
    QueryParamsRequest,
    QueryParamsResponse
);
