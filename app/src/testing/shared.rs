//! Accounts of several keys. A name with plus signs, as `alice+bob+carol`, is the account of those names' keys of which all but
//! one must sign; the last one never does.

use prost::Message;
use trainyard_client::tx::Draft;
use trainyard_proto::{
    amino, coin,
    cosmos::{
        crypto::multisig::v1beta1::MultiSignature,
        tx::{
            signing::v1beta1::SignMode,
            v1beta1::{
                AuthInfo, Fee, ModeInfo, SignerInfo, TxBody, TxRaw,
                mode_info::{Multi, Single, Sum},
            },
        },
    },
    keys::{PublicKey, bit_array},
};

use super::tx::key;

/// The keys of a shared account; `None` of a name that is one's own.
pub(super) fn shared(name: &str) -> Option<PublicKey> {
    if !name.contains('+') {
        return None;
    }
    let keys = name.split('+').map(|name| PublicKey::Single(key(name).public_key()));
    let keys: Vec<_> = keys.collect();
    let threshold = u32::try_from(keys.len() - 1).unwrap_or(u32::MAX);
    Some(PublicKey::Multisig { threshold, keys })
}

/// The transaction, signed by enough of those who share the account. What has no text, as messages of governance, is signed as if
/// its text were empty, which no chain accepts.
pub(super) fn sign(draft: &Draft, name: &str, chain_id: &str, account_number: u64, sequence: u64) -> Vec<u8> {
    let body = TxBody {
        messages: draft.messages.clone(),
        memo: draft.memo.clone(),
        timeout_height: draft.timeout_height,
        ..TxBody::default()
    };
    let amount = if draft.fee == 0 {
        Vec::new()
    } else {
        vec![coin::utrain(draft.fee)]
    };
    let fee = Fee {
        amount,
        gas_limit: draft.gas_limit,
        payer: String::new(),
        granter: draft.fee_granter.map(|g| g.to_string()).unwrap_or_default(),
    };
    let text = amino::sign_bytes(&body, &fee, chain_id, account_number, sequence).unwrap_or_default();
    let names: Vec<&str> = name.split('+').collect();
    let signing = &names[..names.len() - 1];
    let bits: Vec<bool> = (0..names.len()).map(|at| at < signing.len()).collect();
    let signatures = signing.iter().map(|name| key(name).sign(&text).to_vec()).collect();
    let one = ModeInfo {
        sum: Some(Sum::Single(Single {
            mode: SignMode::LegacyAminoJson.into(),
        })),
    };
    let auth = AuthInfo {
        signer_infos: vec![SignerInfo {
            public_key: shared(name).map(|key| key.pack()),
            mode_info: Some(ModeInfo {
                sum: Some(Sum::Multi(Multi {
                    bitarray: Some(bit_array(&bits)),
                    mode_infos: vec![one; signing.len()],
                })),
            }),
            sequence,
        }],
        fee: Some(fee),
        ..AuthInfo::default()
    };
    TxRaw {
        body_bytes: body.encode_to_vec(),
        auth_info_bytes: auth.encode_to_vec(),
        signatures: vec![MultiSignature { signatures }.encode_to_vec()],
    }
    .encode_to_vec()
}
