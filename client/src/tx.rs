//! Cosmos transactions: built, signed in `SIGN_MODE_DIRECT`, hashed.

use prost::Message;
use sha2::{Digest, Sha256};
use trainyard_proto::address::Address;
use trainyard_proto::any;
use trainyard_proto::coin;
use trainyard_proto::cosmos::crypto::secp256k1::PubKey;
use trainyard_proto::cosmos::tx::signing::v1beta1::SignMode;
use trainyard_proto::cosmos::tx::v1beta1::mode_info::{Single, Sum};
use trainyard_proto::cosmos::tx::v1beta1::{AuthInfo, Fee, ModeInfo, SignDoc, SignerInfo, TxBody, TxRaw};

use crate::keys::PrivateKey;

/// What is signed, apart from who signs and for which chain.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Messages, executed in order, all or none.
    pub messages: Vec<any::Any>,
    /// Free text.
    pub memo: String,
    /// utrain.
    pub fee: u64,
    /// Gas that may be used.
    pub gas_limit: u64,
    /// Height after which the transaction is void; 0 is never.
    pub timeout_height: u64,
    /// Who pays the fee instead of the signer, having allowed it.
    pub fee_granter: Option<Address>,
}

/// Whom the chain knows the signer as, and for which transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignerData<'a> {
    /// The chain's id.
    pub chain_id: &'a str,
    /// The account's number.
    pub account_number: u64,
    /// How many transactions the account has sent.
    pub sequence: u64,
}

impl Draft {
    /// The signed transaction's bytes.
    #[must_use]
    pub fn sign(&self, key: &PrivateKey, data: SignerData<'_>) -> Vec<u8> {
        let (body_bytes, auth_info_bytes) = self.parts(key, data.sequence);
        let document = SignDoc {
            body_bytes: body_bytes.clone(),
            auth_info_bytes: auth_info_bytes.clone(),
            chain_id: data.chain_id.into(),
            account_number: data.account_number,
        };
        let signatures = vec![key.sign(&document.encode_to_vec()).to_vec()];
        TxRaw {
            body_bytes,
            auth_info_bytes,
            signatures,
        }
        .encode_to_vec()
    }

    /// The transaction with one empty signature, as `Simulate` takes it.
    #[must_use]
    pub fn unsigned(&self, key: &PrivateKey, sequence: u64) -> Vec<u8> {
        let (body_bytes, auth_info_bytes) = self.parts(key, sequence);
        TxRaw {
            body_bytes,
            auth_info_bytes,
            signatures: vec![Vec::new()],
        }
        .encode_to_vec()
    }

    fn parts(&self, key: &PrivateKey, sequence: u64) -> (Vec<u8>, Vec<u8>) {
        let body = TxBody {
            messages: self.messages.clone(),
            memo: self.memo.clone(),
            timeout_height: self.timeout_height,
            ..TxBody::default()
        };
        let signer = SignerInfo {
            public_key: Some(any::pack(&PubKey {
                key: key.public_key().to_vec(),
            })),
            mode_info: Some(ModeInfo {
                sum: Some(Sum::Single(Single {
                    mode: SignMode::Direct.into(),
                })),
            }),
            sequence,
        };
        let amount = if self.fee == 0 {
            Vec::new()
        } else {
            vec![coin::utrain(self.fee)]
        };
        let fee = Fee {
            amount,
            gas_limit: self.gas_limit,
            payer: String::new(),
            granter: self.fee_granter.map(|granter| granter.to_string()).unwrap_or_default(),
        };
        let auth = AuthInfo {
            signer_infos: vec![signer],
            fee: Some(fee),
            ..AuthInfo::default()
        };
        (body.encode_to_vec(), auth.encode_to_vec())
    }
}

/// A transaction's hash, under which CometBFT finds it.
#[must_use]
pub fn hash(tx: &[u8]) -> [u8; 32] {
    Sha256::digest(tx).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::verify_digest;
    use trainyard_proto::cosmos::bank::v1beta1::MsgSend;

    fn draft(key: &PrivateKey) -> Draft {
        let send = MsgSend {
            from_address: key.address().to_string(),
            to_address: key.address().to_string(),
            amount: vec![coin::utrain(5)],
        };
        Draft {
            messages: vec![any::pack(&send)],
            memo: "hello".into(),
            fee: 7,
            gas_limit: 100_000,
            timeout_height: 9,
            fee_granter: None,
        }
    }

    #[test]
    fn the_signature_covers_body_fee_sequence_account_and_chain() {
        let key = PrivateKey::from_bytes(&[1; 32]).unwrap();
        let data = SignerData {
            chain_id: "trainyard-1",
            account_number: 4,
            sequence: 2,
        };
        let bytes = draft(&key).sign(&key, data);
        let raw = TxRaw::decode(bytes.as_slice()).unwrap();
        let body = TxBody::decode(raw.body_bytes.as_slice()).unwrap();
        let auth = AuthInfo::decode(raw.auth_info_bytes.as_slice()).unwrap();
        assert_eq!((body.memo.as_str(), body.timeout_height), ("hello", 9));
        assert_eq!(body.messages[0].type_url, "/cosmos.bank.v1beta1.MsgSend");
        assert_eq!(auth.signer_infos[0].sequence, 2);
        assert_eq!(auth.fee.unwrap().amount, [coin::utrain(7)]);
        assert_eq!(
            auth.signer_infos[0].public_key.as_ref().unwrap().type_url,
            "/cosmos.crypto.secp256k1.PubKey"
        );

        let document = SignDoc {
            body_bytes: raw.body_bytes,
            auth_info_bytes: raw.auth_info_bytes,
            chain_id: "trainyard-1".into(),
            account_number: 4,
        };
        let digest = hash(&document.encode_to_vec());
        assert!(verify_digest(&key.public_key(), &digest, &raw.signatures[0]));
        for other in [
            SignerData {
                chain_id: "trainyard-2",
                ..data
            },
            SignerData {
                account_number: 5,
                ..data
            },
            SignerData { sequence: 3, ..data },
        ] {
            let other = TxRaw::decode(draft(&key).sign(&key, other).as_slice()).unwrap();
            assert_ne!(other.signatures, raw.signatures);
        }
    }

    #[test]
    fn an_unsigned_transaction_has_one_empty_signature() {
        let key = PrivateKey::from_bytes(&[1; 32]).unwrap();
        let raw = TxRaw::decode(draft(&key).unsigned(&key, 0).as_slice()).unwrap();
        assert_eq!(raw.signatures, [Vec::<u8>::new()]);
    }
}
