//! `google.protobuf.Any` by type URL.

use prost::{Message, Name};

pub use cosmos_sdk_proto::Any;

/// Packs a message under its type URL, with the leading slash that Cosmos chains use: `/cosmos.bank.v1beta1.MsgSend`.
#[must_use]
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: type_url::<M>(),
        value: message.encode_to_vec(),
    }
}

/// The type URL of a message.
#[must_use]
pub fn type_url<M: Name>() -> String {
    format!("/{}.{}", M::PACKAGE, M::NAME)
}
