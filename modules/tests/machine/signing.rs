//! Who signed what, how: transactions as CosmJS makes them, and multisig accounts. The vectors are those of `proto`.

use trainyard_modules::machine;
use trainyard_proto::{
    address::Address,
    amino,
    any::{self, Any},
    coin,
    cosmos::{
        bank::v1beta1::MsgSend,
        crypto::multisig::v1beta1::{CompactBitArray, MultiSignature},
        feegrant::v1beta1::{BasicAllowance, MsgGrantAllowance},
        tx::{
            signing::v1beta1::SignMode,
            v1beta1::{
                AuthInfo, Fee, ModeInfo, SignDoc, SignerInfo, TxBody, TxRaw,
                mode_info::{Multi, Single, Sum},
            },
        },
        upgrade::v1beta1::MsgCancelUpgrade,
    },
    keys::{PublicKey, bit_array},
    prost::Message,
};

use crate::yard::{CASH, FEE, TRAIN, Yard, address, public, public_any, sign_bytes};

fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../proto/tests/cosmjs.json")).unwrap()
}

fn bytes(text: &serde_json::Value) -> Vec<u8> {
    hex::decode(text.as_str().unwrap()).unwrap()
}

/// The accounts that the vectors were made for, with their numbers.
fn yard() -> Yard {
    let validators = [("v1", 500 * TRAIN), ("v2", 300 * TRAIN)];
    Yard::new(&["alice", "bob", "carol"], &validators, |_| ())
}

fn send(from: Address, to: &str, amount: u64) -> MsgSend {
    MsgSend {
        from_address: from.to_string(),
        to_address: address(to).to_string(),
        amount: vec![coin::utrain(amount)],
    }
}

/// The codespace, code and text with which a transaction is refused.
fn refusal(yard: &mut Yard, tx: Vec<u8>) -> (&'static str, u32, String) {
    let error = yard.block(&[tx]).remove(0).error.expect("a refusal");
    (error.codespace, error.code, error.log)
}

/// A transaction after a change of its parts, with the signatures it had.
fn bend(tx: &[u8], change: impl FnOnce(&mut TxBody, &mut AuthInfo, &mut Vec<Vec<u8>>)) -> Vec<u8> {
    let mut raw = TxRaw::decode(tx).unwrap();
    let mut body = TxBody::decode(raw.body_bytes.as_slice()).unwrap();
    let mut auth = AuthInfo::decode(raw.auth_info_bytes.as_slice()).unwrap();
    change(&mut body, &mut auth, &mut raw.signatures);
    (raw.body_bytes, raw.auth_info_bytes) = (body.encode_to_vec(), auth.encode_to_vec());
    raw.encode_to_vec()
}

#[test]
fn what_cosmjs_signs_in_amino_json_is_executed() {
    let mut yard = yard();
    yard.ok(
        "bob",
        &MsgGrantAllowance {
            granter: address("bob").to_string(),
            grantee: address("alice").to_string(),
            allowance: Some(any::pack(&BasicAllowance::default())),
        },
    );
    let routed: Vec<String> = machine::message_urls().collect();
    let vectors = vectors();
    for case in vectors["cases"].as_array().unwrap() {
        let (name, tx) = (case["name"].as_str().unwrap(), bytes(&case["tx"]));
        if name.starts_with('/') && !routed.iter().any(|url| url == name) {
            continue;
        }
        // Nothing in the text can be changed afterwards.
        for tampered in [
            bend(&tx, |body, _, _| body.memo.push('!')),
            bend(&tx, |body, _, _| body.timeout_height += 5_000),
            bend(&tx, |body, _, _| body.messages.push(body.messages[0].clone())),
            bend(&tx, |_, auth, _| auth.fee.as_mut().unwrap().gas_limit += 1),
            bend(&tx, |_, auth, _| {
                auth.fee.as_mut().unwrap().amount[0].amount = "999".into();
            }),
            bend(&tx, |_, _, signatures| signatures[0][9] ^= 1),
        ] {
            let (codespace, code, log) = refusal(&mut yard, tampered);
            assert_eq!((codespace, code), ("sdk", 4), "{name}: {log}");
            assert!(log.contains("signature verification failed"), "{name}: {log}");
        }
        assert_eq!(yard.block(std::slice::from_ref(&tx)).remove(0).error, None, "{name}");
        assert_eq!(refusal(&mut yard, tx).1, 32, "{name} is executed once");
    }
    yard.export();
}

/// What a text does not show can still be paid for by the byte: a stranger who lets a transaction run out of gas by making it
/// longer would cost its sender the fee.
#[test]
fn nothing_is_put_into_a_transaction_beside_its_text() {
    let mut yard = yard();
    let tx = bytes(&vectors()["cases"][0]["tx"]);
    // A field that nobody knows: number 15, four bytes.
    let unknown = [0x7a, 4, 1, 2, 3, 4];
    let raw = |change: &dyn Fn(&mut TxRaw)| {
        let mut raw = TxRaw::decode(tx.as_slice()).unwrap();
        change(&mut raw);
        raw.encode_to_vec()
    };
    let longer = [
        raw(&|raw| raw.body_bytes.extend(unknown)),
        raw(&|raw| raw.auth_info_bytes.extend(unknown)),
        bend(&tx, |body, _, _| body.messages[0].value.extend(unknown)),
        bend(&tx, |_, auth, _| {
            auth.signer_infos[0].public_key.as_mut().unwrap().value.extend(unknown);
        }),
        bend(&tx, |_, auth, _| {
            auth.signer_infos[0].public_key = Some(public_any("bob"));
        }),
    ];
    for tx in longer {
        let (codespace, code, log) = refusal(&mut yard, tx);
        assert!(
            codespace == "sdk" && (code == 4 || code == 8),
            "{codespace} {code}: {log}"
        );
    }
    assert_eq!(yard.account(address("alice")).1, 0);
    assert_eq!(yard.balance(address("alice")), CASH);
    assert_eq!(yard.block(&[tx]).remove(0).error, None);
}

#[test]
fn every_message_that_accounts_send_has_a_text() {
    let texts = |url: String| {
        let message = Any {
            type_url: url,
            value: Vec::new(),
        };
        let body = TxBody {
            messages: vec![message],
            ..TxBody::default()
        };
        amino::sign_bytes(&body, &Fee::default(), "c", 1, 2)
    };
    let without: Vec<String> = machine::message_urls()
        .filter(|url| texts(url.clone()).is_err())
        .collect();
    // What governance alone may send is never signed.
    for url in &without {
        assert!(
            url.starts_with("/cosmos.") && (url.ends_with("UpdateParams") || url.contains(".upgrade.")),
            "{url}"
        );
    }
}

#[test]
fn modes_are_two_and_not_for_everything() {
    let mut yard = yard();
    let tx = bytes(&vectors()["cases"][0]["tx"]);
    let textual = bend(&tx, |_, auth, _| {
        auth.signer_infos[0].mode_info = Some(ModeInfo {
            sum: Some(Sum::Single(Single {
                mode: SignMode::Textual.into(),
            })),
        });
    });
    assert!(
        refusal(&mut yard, textual)
            .2
            .contains("SIGN_MODE_TEXTUAL is not supported")
    );
    let none = bend(&tx, |_, auth, _| auth.signer_infos[0].mode_info = None);
    assert!(refusal(&mut yard, none).2.contains("gives one signature"));
    #[allow(deprecated)]
    let tipped = bend(&tx, |_, auth, _| auth.tip = Some(Default::default()));
    assert!(refusal(&mut yard, tipped).2.contains("no place for tips"));
    let cancel = MsgCancelUpgrade {
        authority: address("alice").to_string(),
    };
    let formless = bend(&tx, |body, _, _| body.messages[0] = any::pack(&cancel));
    let (codespace, code, log) = refusal(&mut yard, formless);
    assert_eq!((codespace, code), ("sdk", 4));
    assert!(log.contains("MsgCancelUpgrade has no amino JSON form"), "{log}");
    assert_eq!(yard.balance(address("alice")), CASH);
}

/// The multisig account of the vectors, two of alice, bob and carol, with 100 TRAIN.
fn shared(yard: &mut Yard) -> Address {
    let account: Address = vectors()["multisig"]["address"].as_str().unwrap().parse().unwrap();
    yard.ok("bob", &send(address("bob"), "v1", 0).to(account, 100 * TRAIN));
    assert_eq!(yard.account(account), (5, 0));
    account
}

trait To {
    fn to(self, account: Address, amount: u64) -> Self;
}

impl To for MsgSend {
    fn to(mut self, account: Address, amount: u64) -> Self {
        self.to_address = account.to_string();
        self.amount = vec![coin::utrain(amount)];
        self
    }
}

fn multi(auth: &mut AuthInfo) -> &mut Multi {
    match &mut auth.signer_infos[0].mode_info.as_mut().unwrap().sum {
        Some(Sum::Multi(multi)) => multi,
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_of_three_sign_for_a_multisig_account() {
    let mut yard = yard();
    let account = shared(&mut yard);
    let vectors = vectors();
    let txs: Vec<Vec<u8>> = vectors["multisig"]["txs"]
        .as_array()
        .unwrap()
        .iter()
        .map(bytes)
        .collect();
    let resign = |tx: &[u8], change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        bend(tx, |_, _, signatures| {
            let mut all = MultiSignature::decode(signatures[0].as_slice()).unwrap();
            change(&mut all.signatures);
            signatures[0] = all.encode_to_vec();
        })
    };
    // Alice and carol signed; every other claim about that is wrong.
    let wrong = [
        (resign(&txs[0], &|all| all.swap(0, 1)), "signature verification failed"),
        (
            resign(&txs[0], &|all| all[1] = all[0].clone()),
            "signature verification failed",
        ),
        (
            resign(&txs[0], &|all| all.truncate(1)),
            "says that 2 keys signed, it has 1 signatures and 2 modes",
        ),
        (
            bend(&txs[0], |_, auth, _| {
                multi(auth).bitarray = Some(bit_array(&[true, true, false]));
            }),
            "signature verification failed",
        ),
        (
            bend(&txs[0], |_, auth, _| {
                multi(auth).bitarray = Some(bit_array(&[true, false, true, false]));
            }),
            "is of 4 keys, the account has 3",
        ),
        (bend(&txs[0], |_, auth, _| multi(auth).bitarray = None), "is of 0 keys"),
        (
            bend(&txs[0], |_, auth, _| {
                multi(auth).bitarray = Some(CompactBitArray {
                    extra_bits_stored: 3,
                    elems: vec![0xff],
                });
            }),
            "is of 0 keys",
        ),
        (
            bend(&txs[0], |_, auth, _| multi(auth).mode_infos.truncate(1)),
            "1 modes",
        ),
        (
            bend(&txs[0], |_, _, signatures| signatures[0].push(0)),
            "does not decode",
        ),
        (
            bend(&txs[0], |_, auth, _| {
                let one = multi(auth).mode_infos[0].clone();
                auth.signer_infos[0].mode_info = Some(one);
            }),
            "give a multisignature",
        ),
    ];
    for (tx, words) in wrong {
        let (codespace, code, log) = refusal(&mut yard, tx);
        assert_eq!((codespace, code), ("sdk", 4), "{log}");
        assert!(log.contains(words), "{log:?} lacks {words:?}");
    }
    // One is not enough, even if it really signed.
    let alone = bend(&txs[0], |_, auth, signatures| {
        let multi = multi(auth);
        multi.bitarray = Some(bit_array(&[true, false, false]));
        multi.mode_infos.truncate(1);
        let mut all = MultiSignature::decode(signatures[0].as_slice()).unwrap();
        all.signatures.truncate(1);
        signatures[0] = all.encode_to_vec();
    });
    assert!(
        refusal(&mut yard, alone)
            .2
            .contains("1 of the account's keys signed, 2 must")
    );
    // Another key has another address.
    let lax = bend(&txs[0], |_, auth, _| {
        let keys = ["alice", "bob", "carol"]
            .map(|name| PublicKey::Single(public(name)))
            .to_vec();
        auth.signer_infos[0].public_key = Some(PublicKey::Multisig { threshold: 1, keys }.pack());
    });
    assert!(refusal(&mut yard, lax).2.contains("does not belong to signer"));

    let before = yard.balance(account);
    for tx in &txs {
        assert_eq!(yard.block(std::slice::from_ref(tx)).remove(0).error, None);
    }
    assert_eq!(yard.balance(account), before - 3 * (TRAIN + FEE));
    assert_eq!(yard.account(account).1, 3);
    yard.export();
}

/// What is left of a signature when its signer is drawn from a tree of keys.
enum Part<'a> {
    One(&'a str),
    Many(Vec<Option<Part<'a>>>),
}

fn modes(part: &Part<'_>, mode: SignMode) -> ModeInfo {
    let sum = match part {
        Part::One(_) => Sum::Single(Single { mode: mode.into() }),
        Part::Many(parts) => Sum::Multi(Multi {
            bitarray: Some(bit_array(&parts.iter().map(Option::is_some).collect::<Vec<_>>())),
            mode_infos: parts.iter().flatten().map(|part| modes(part, mode)).collect(),
        }),
    };
    ModeInfo { sum: Some(sum) }
}

fn signature(part: &Part<'_>, bytes: &[u8]) -> Vec<u8> {
    match part {
        Part::One(name) => sign_bytes(name, bytes),
        Part::Many(parts) => MultiSignature {
            signatures: parts.iter().flatten().map(|part| signature(part, bytes)).collect(),
        }
        .encode_to_vec(),
    }
}

fn shared_tx(yard: &Yard, key: &PublicKey, message: Any, part: &Part<'_>, mode: SignMode) -> Vec<u8> {
    let (number, sequence) = yard.account(key.address());
    let body = TxBody {
        messages: vec![message],
        ..TxBody::default()
    };
    let fee = Fee {
        amount: vec![coin::utrain(FEE)],
        gas_limit: 1_000_000,
        ..Fee::default()
    };
    let auth = AuthInfo {
        signer_infos: vec![SignerInfo {
            public_key: Some(key.pack()),
            mode_info: Some(modes(part, mode)),
            sequence,
        }],
        fee: Some(fee.clone()),
        ..AuthInfo::default()
    };
    let chain_id = yard.block.chain_id.clone();
    let signed = match mode {
        SignMode::Direct => SignDoc {
            body_bytes: body.encode_to_vec(),
            auth_info_bytes: auth.encode_to_vec(),
            chain_id,
            account_number: number,
        }
        .encode_to_vec(),
        _ => amino::sign_bytes(&body, &fee, &chain_id, number, sequence).unwrap(),
    };
    TxRaw {
        body_bytes: body.encode_to_vec(),
        auth_info_bytes: auth.encode_to_vec(),
        signatures: vec![signature(part, &signed)],
    }
    .encode_to_vec()
}

#[test]
fn keys_can_stand_inside_of_keys() {
    let mut yard = yard();
    let single = |name: &str| PublicKey::Single(public(name));
    let of = |threshold, keys| PublicKey::Multisig { threshold, keys };
    // Alice, and one of bob and carol.
    let key = of(2, vec![single("alice"), of(1, vec![single("bob"), single("carol")])]);
    yard.ok("bob", &send(address("bob"), "v1", 0).to(key.address(), 100 * TRAIN));
    let message = any::pack(&send(key.address(), "bob", TRAIN));
    let inner = |who: [Option<&'static str>; 2]| Part::Many(Vec::from(who.map(|name| name.map(Part::One))));
    for mode in [SignMode::LegacyAminoJson, SignMode::Direct] {
        let good = Part::Many(vec![Some(Part::One("alice")), Some(inner([None, Some("carol")]))]);
        let tx = shared_tx(&yard, &key, message.clone(), &good, mode);
        assert_eq!(yard.block(&[tx]).remove(0).error, None, "{mode:?}");
        for (bad, words) in [
            (
                Part::Many(vec![Some(Part::One("alice")), Some(inner([None, Some("bob")]))]),
                "signature verification failed",
            ),
            (
                Part::Many(vec![Some(Part::One("alice")), Some(inner([None, None]))]),
                "0 of the account's keys signed, 1 must",
            ),
            (
                Part::Many(vec![None, Some(inner([Some("bob"), Some("carol")]))]),
                "1 of the account's keys signed, 2 must",
            ),
            (
                Part::Many(vec![Some(Part::One("alice")), Some(Part::One("bob"))]),
                "give a multisignature",
            ),
            (
                Part::Many(vec![
                    Some(inner([Some("alice"), None])),
                    Some(inner([Some("bob"), None])),
                ]),
                "gives one signature",
            ),
        ] {
            let tx = shared_tx(&yard, &key, message.clone(), &bad, mode);
            let (codespace, code, log) = refusal(&mut yard, tx);
            assert_eq!((codespace, code), ("sdk", 4), "{log}");
            assert!(log.contains(words), "{log:?} lacks {words:?}");
        }
    }
    yard.export();

    // Each signature is paid for.
    let charged = |keys: usize| {
        let mut yard = self::yard();
        let names = ["alice", "bob", "carol"];
        let key = of(
            u32::try_from(keys).unwrap(),
            names.iter().map(|name| single(name)).collect(),
        );
        yard.ok("bob", &send(address("bob"), "v1", 0).to(key.address(), 100 * TRAIN));
        let part = Part::Many((0..3).map(|at| (at < keys).then(|| Part::One(names[at]))).collect());
        let message = any::pack(&send(key.address(), "bob", TRAIN));
        let tx = shared_tx(&yard, &key, message, &part, SignMode::LegacyAminoJson);
        let length = tx.len() as u64;
        let result = yard.block(&[tx]).remove(0);
        assert_eq!(result.error, None);
        result.gas_used - 10 * length
    };
    // Verifying it, and writing out what it is over: a text of some 400 bytes.
    let each = (charged(3) - charged(1)) / 2;
    assert!((17_000..20_000).contains(&each), "{each}");
}

#[test]
fn an_account_of_too_many_keys_cannot_sign() {
    let mut yard = yard();
    let keys = vec![PublicKey::Single(public("alice")); 8];
    let key = PublicKey::Multisig { threshold: 1, keys };
    yard.ok("bob", &send(address("bob"), "v1", 0).to(key.address(), 100 * TRAIN));
    let mut parts = vec![Some(Part::One("alice"))];
    parts.resize_with(8, || None);
    let message = any::pack(&send(key.address(), "bob", TRAIN));
    let tx = shared_tx(&yard, &key, message, &Part::Many(parts), SignMode::LegacyAminoJson);
    let (codespace, code, log) = refusal(&mut yard, tx);
    assert_eq!((codespace, code), ("sdk", 8));
    assert!(log.contains("more than 7 keys"), "{log}");
}

proptest::proptest! {
    /// Keys, bit arrays and messages come from strangers.
    #[test]
    fn no_bytes_are_too_strange(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120),
        which in proptest::prelude::any::<proptest::sample::Index>(),
        extra_bits_stored in 0u32..12,
    ) {
        let keys = ["/cosmos.crypto.multisig.LegacyAminoPubKey", "/cosmos.crypto.secp256k1.PubKey"];
        for type_url in keys {
            let key = PublicKey::read(&Any { type_url: type_url.into(), value: bytes.clone() });
            if let Ok(key) = key {
                proptest::prop_assert_eq!(PublicKey::read(&key.pack()), Ok(key));
            }
        }
        let array = CompactBitArray { extra_bits_stored, elems: bytes[..bytes.len().min(3)].to_vec() };
        if let Some(bits) = trainyard_proto::keys::bits(&array) {
            proptest::prop_assert_eq!(bit_array(&bits), array);
        }
        let urls: Vec<String> = machine::message_urls().collect();
        let message = Any { type_url: urls[which.index(urls.len())].clone(), value: bytes };
        let body = TxBody { messages: vec![message], ..TxBody::default() };
        if let Ok(text) = amino::sign_bytes(&body, &Fee::default(), "c", 1, 2) {
            let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
            proptest::prop_assert!(read.is_object());
        }
    }
}
