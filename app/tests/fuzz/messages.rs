//! Transactions, their messages, and what is signed of them.

use std::cell::RefCell;

use trainyard_modules::{
    gas::Gas,
    machine::{
        self, Mode,
        ante::{Direct, Tx},
    },
    state::State,
};
use trainyard_proto::{
    address::Address,
    amino,
    any::{self, Any},
    coin,
    cosmos::{
        crypto::{multisig::LegacyAminoPubKey, secp256k1},
        tx::v1beta1::{AuthInfo, Fee, SignerInfo, TxBody, TxRaw},
    },
    keys::PublicKey,
    prost::Message,
};

use crate::{
    POPULATED,
    harness::{fuzz, fuzz_made},
    mutate::mutated,
    support::FEE,
};

/// Runs a transaction over the crowd's state, in each mode. What fails in the ante leaves nothing behind.
fn run(base: &State<'_>, bytes: &[u8]) {
    let next = trainyard_modules::context::Block {
        height: POPULATED.block.height + 1,
        ..POPULATED.block.clone()
    };
    for again in [false, true] {
        let mode = Mode::Check {
            min_gas_price_micro: 0,
            again,
        };
        let mut state = State::new(base, Gas::unlimited());
        let result = machine::run_tx(&mut state, &next, bytes, mode, &Direct).expect("a transaction stops no node");
        assert!(
            result.error.is_none() || state.into_changes().is_empty(),
            "{:?}",
            result.error
        );
    }
    let mut state = State::new(base, Gas::unlimited());
    machine::run_tx(&mut state, &next, bytes, Mode::Deliver, &Direct).expect("a transaction stops no node");
}

/// What decodes is what was sent, to the byte: one transaction has one hash.
#[test]
fn transactions_decode_and_run() {
    let base = POPULATED.base();
    let mut seeds = POPULATED.txs.clone();
    seeds.retain(|tx| Tx::decode(tx).is_ok());
    fuzz("transactions", &seeds, |bytes| {
        run(&base, bytes);
        let Ok(tx) = Tx::decode(bytes) else {
            return false;
        };
        assert!(!tx.messages().is_empty() && tx.signers.len() <= 1 + tx.messages().len());
        true
    });
}

/// A transaction of one message whose signatures are not looked at; none where nobody could sign it.
fn unsigned(base: &mut State<'_>, message: Any) -> Option<Vec<u8>> {
    let body = TxBody {
        messages: vec![message],
        ..TxBody::default()
    };
    let fee = Fee {
        amount: vec![coin::utrain(FEE)],
        gas_limit: 5_000_000,
        ..Fee::default()
    };
    let mut auth = AuthInfo {
        fee: Some(fee),
        ..AuthInfo::default()
    };
    let encode = |auth: &AuthInfo, signatures| {
        TxRaw {
            body_bytes: body.encode_to_vec(),
            auth_info_bytes: auth.encode_to_vec(),
            signatures,
        }
        .encode_to_vec()
    };
    let signer: Address = *Tx::decode(&encode(&auth, Vec::new())).ok()?.signers.first()?;
    let account = trainyard_modules::auth::ACCOUNTS.get(base, &signer).unwrap()?;
    auth.signer_infos.push(SignerInfo {
        sequence: account.sequence,
        ..SignerInfo::default()
    });
    Some(encode(&auth, vec![Vec::new()]))
}

/// A message with changed bytes that its owner had signed: it is refused, or leaves a state in which everything adds up, also
/// after the blocks that follow.
#[test]
fn messages_are_refused_or_keep_the_books() {
    let base = RefCell::new(POPULATED.base());
    let seeds: Vec<Vec<u8>> = POPULATED
        .operations
        .iter()
        .map(|(_, message)| message.encode_to_vec())
        .collect();
    let target = |bytes: &[u8]| {
        let Ok(message) = Any::decode(bytes) else {
            return false;
        };
        let Some(tx) = unsigned(&mut base.borrow_mut(), message) else {
            return false;
        };
        let base = base.borrow();
        let mut state = State::new(&*base, Gas::unlimited());
        let next = trainyard_modules::context::Block {
            height: POPULATED.block.height + 1,
            ..POPULATED.block.clone()
        };
        let result = machine::run_tx(&mut state, &next, &tx, Mode::Simulate, &Direct).expect("no node stops");
        if result.error.is_some() {
            return false;
        }
        machine::invariants(&mut state).expect("the books are kept");
        machine::end_block(&mut state, &next, 0, &mut Vec::new()).expect("the block ends");
        machine::invariants(&mut state).expect("the books are kept after the block");
        true
    };
    fuzz_made("messages", 600, |draws| mutated(&seeds, draws), target);
}

/// A document of a transaction is JSON, the same each time, and only that transaction has it.
#[test]
fn sign_documents_say_what_is_signed() {
    let sign = |body: &TxBody| amino::sign_bytes(body, &Fee::default(), "chain", 1, 2);
    let bodies = POPULATED.operations.iter().map(|(_, message)| TxBody {
        messages: vec![message.clone()],
        memo: "memo".into(),
        ..TxBody::default()
    });
    let seeds: Vec<(Vec<u8>, Vec<u8>)> = bodies
        .filter_map(|body| Some((body.encode_to_vec(), sign(&body).ok()?)))
        .collect();
    let bytes: Vec<Vec<u8>> = seeds.iter().map(|(body, _)| body.clone()).collect();
    fuzz("sign documents", &bytes, |bytes| {
        let Ok(body) = TxBody::decode(bytes) else {
            return false;
        };
        let Ok(text) = sign(&body) else { return false };
        let read: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert!(read["msgs"].is_array());
        for (other, document) in &seeds {
            // Where the bytes are the body's one encoding, another body has another text.
            if text == *document && body.encode_to_vec() == bytes {
                assert_eq!(other, bytes, "{}", String::from_utf8_lossy(document));
            }
        }
        true
    });
}

/// A key that is read has one encoding and few parts.
#[test]
fn public_keys_are_read() {
    let single = |byte: u8| any::pack(&secp256k1::PubKey { key: vec![byte; 33] });
    let several = any::pack(&LegacyAminoPubKey {
        threshold: 2,
        public_keys: vec![single(2), single(3), single(3)],
    });
    let nested = any::pack(&LegacyAminoPubKey {
        threshold: 1,
        public_keys: vec![several.clone(), single(2)],
    });
    let seeds = [single(2), several, nested].map(|key| key.encode_to_vec());
    fuzz("public keys", &seeds, |bytes| {
        let Ok(any) = Any::decode(bytes) else {
            return false;
        };
        let Ok(key) = PublicKey::read(&any) else {
            return false;
        };
        assert_eq!(PublicKey::read(&key.pack()), Ok(key.clone()));
        assert!(key.count() <= trainyard_proto::keys::MAX_KEYS);
        let _ = key.address();
        true
    });
}
