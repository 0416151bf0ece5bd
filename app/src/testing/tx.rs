//! Keys by name, crafted transactions, and what became of them.

use sha2::{Digest, Sha256};
use tendermint_proto::v0_38::abci;
use trainyard_client::{
    keys::PrivateKey,
    tx::{Draft, SignerData},
};
use trainyard_proto::{address::Address, any::Any, coin, cosmos::bank::v1beta1::MsgSend};

use super::shared;

/// Gas limit of a transaction that does not say otherwise.
const GAS_LIMIT: u64 = 5_000_000;
/// Its fee, utrain.
const FEE: u64 = 1_000;

/// The account key of a name.
///
/// # Panics
/// Never, but with a chance of 2⁻¹²⁸.
#[must_use]
pub fn key(name: &str) -> PrivateKey {
    PrivateKey::from_bytes(&Sha256::digest(format!("trainyard/testing/{name}")).into())
        .expect("below the curve's order")
}

/// The address of a name; of several, as `alice+bob+carol`, the account that they share, of whom all but one must sign.
#[must_use]
pub fn address(name: &str) -> Address {
    shared::shared(name).map_or_else(|| key(name).address(), |key| key.address())
}

/// A text in the form of a peer id, a function of the name.
#[must_use]
pub fn peer_id(name: &str) -> String {
    format!("12D3KooW{}", &hex::encode(Sha256::digest(name))[..44])
}

/// A message that sends `amount` utrain from name to name.
#[must_use]
pub fn send(from: &str, to: &str, amount: u64) -> MsgSend {
    MsgSend {
        from_address: address(from).to_string(),
        to_address: address(to).to_string(),
        amount: vec![coin::utrain(amount)],
    }
}

/// A transaction about to be signed; every part of it can be bent.
#[derive(Clone)]
pub struct Craft {
    signer: String,
    chain_id: String,
    account_number: u64,
    sequence: u64,
    /// Messages, memo, fee, gas limit, timeout height.
    pub draft: Draft,
}

impl Craft {
    pub(super) fn new(signer: &str, messages: Vec<Any>, chain_id: &str, account_number: u64, sequence: u64) -> Self {
        Self {
            signer: signer.into(),
            chain_id: chain_id.into(),
            account_number,
            sequence,
            draft: Draft {
                messages,
                fee: FEE,
                gas_limit: GAS_LIMIT,
                ..Draft::default()
            },
        }
    }

    /// Pays `utrain`.
    #[must_use]
    pub fn fee(mut self, utrain: u64) -> Self {
        self.draft.fee = utrain;
        self
    }

    /// May use `limit` gas.
    #[must_use]
    pub fn gas(mut self, limit: u64) -> Self {
        self.draft.gas_limit = limit;
        self
    }

    /// Is signed for another chain.
    #[must_use]
    pub fn chain_id(mut self, chain_id: &str) -> Self {
        self.chain_id = chain_id.into();
        self
    }

    /// Carries another sequence: the right one plus `offset`.
    #[must_use]
    pub fn sequence_offset(mut self, offset: i64) -> Self {
        self.sequence = self.sequence.saturating_add_signed(offset);
        self
    }

    /// Is signed by the key of another name.
    #[must_use]
    pub fn signed_by(mut self, name: &str) -> Self {
        self.signer = name.into();
        self
    }

    /// The bytes.
    #[must_use]
    pub fn sign(&self) -> Vec<u8> {
        if shared::shared(&self.signer).is_some() {
            let (chain_id, number) = (&self.chain_id, self.account_number);
            return shared::sign(&self.draft, &self.signer, chain_id, number, self.sequence);
        }
        let data = SignerData {
            chain_id: &self.chain_id,
            account_number: self.account_number,
            sequence: self.sequence,
        };
        self.draft.sign(&key(&self.signer), data)
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whether it is in the block.
    pub included: bool,
    /// 0 is success.
    pub code: u32,
    /// Namespace of the code.
    pub codespace: String,
    /// What was wrong.
    pub log: String,
    /// Encoded `TxMsgData`.
    pub data: Vec<u8>,
    /// Gas limit.
    pub gas_wanted: i64,
    /// Gas used.
    pub gas_used: i64,
    /// Events.
    pub events: Vec<abci::Event>,
}

impl Outcome {
    pub(super) fn executed(result: abci::ExecTxResult) -> Self {
        Self {
            included: true,
            code: result.code,
            codespace: result.codespace,
            log: result.log,
            data: result.data.to_vec(),
            gas_wanted: result.gas_wanted,
            gas_used: result.gas_used,
            events: result.events,
        }
    }

    pub(super) fn refused(response: abci::ResponseCheckTx) -> Self {
        Self {
            included: false,
            code: response.code,
            codespace: response.codespace,
            log: response.log,
            data: response.data.to_vec(),
            gas_wanted: response.gas_wanted,
            gas_used: response.gas_used,
            events: response.events,
        }
    }

    pub(super) fn left_out() -> Self {
        Self {
            included: false,
            code: u32::MAX,
            codespace: "testing".into(),
            log: "the proposer left it out".into(),
            data: Vec::new(),
            gas_wanted: 0,
            gas_used: 0,
            events: Vec::new(),
        }
    }

    /// Whether it succeeded.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code == 0
    }

    /// Codespace and code.
    #[must_use]
    pub fn failure(&self) -> (&str, u32) {
        (&self.codespace, self.code)
    }

    /// The first value of an attribute of an event of this kind.
    #[must_use]
    pub fn attribute(&self, kind: &str, key: &str) -> Option<&str> {
        let attributes = self
            .events
            .iter()
            .filter(|e| e.r#type == kind)
            .flat_map(|e| &e.attributes);
        attributes.into_iter().find(|a| a.key == key).map(|a| a.value.as_str())
    }
}
