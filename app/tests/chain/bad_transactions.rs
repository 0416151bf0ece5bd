//! Transactions that are refused: with which code, in which words, and that nothing is left behind but, at most, the fee.

use prost::Message;
use trainyard_app::testing::{address, send};
use trainyard_modules::bank;
use trainyard_proto::{
    address::Address,
    any::{self, Any},
    coin::utrain,
    cosmos::{
        bank::v1beta1::MsgSend,
        base::v1beta1::Coin,
        tx::{
            signing::v1beta1::SignMode,
            v1beta1::{AuthInfo, Fee, ModeInfo, TxBody, TxRaw, mode_info},
        },
    },
    pouw::PouwHeader,
};

use crate::support::*;

/// A transaction re-encoded after a change of its parts, with its old signature.
fn bend(tx: &[u8], change: impl FnOnce(&mut TxBody, &mut AuthInfo, &mut Vec<Vec<u8>>)) -> Vec<u8> {
    let mut raw = TxRaw::decode(tx).unwrap();
    let mut body = TxBody::decode(raw.body_bytes.as_slice()).unwrap();
    let mut auth = AuthInfo::decode(raw.auth_info_bytes.as_slice()).unwrap();
    change(&mut body, &mut auth, &mut raw.signatures);
    (raw.body_bytes, raw.auth_info_bytes) = (body.encode_to_vec(), auth.encode_to_vec());
    raw.encode_to_vec()
}

/// The same for the fee alone.
fn bend_fee(tx: &[u8], change: impl FnOnce(&mut Fee)) -> Vec<u8> {
    bend(tx, |_, auth, _| change(auth.fee.as_mut().unwrap()))
}

#[test]
fn transactions_that_are_not_the_signers() {
    let mut chain = calm_yard();
    let good = chain.craft("w1", vec![any::pack(&send("w1", "w2", 1))]);
    let tx = good.sign();
    let amino = bend(&tx, |_, auth, _| {
        let mode = SignMode::LegacyAminoJson.into();
        let sum = Some(mode_info::Sum::Single(mode_info::Single { mode }));
        auth.signer_infos[0].mode_info = Some(ModeInfo { sum });
    });
    let dearer = bend(&tx, |body, _, _| body.messages[0] = any::pack(&send("w1", "w2", 2)));
    let other_key = chain.craft("other", vec![any::pack(&send("other", "w2", 1))]);
    let nobody = chain.craft("nobody", vec![any::pack(&send("nobody", "w1", 1))]);
    let unverified = || vec!["signature verification failed", "chain-id (trainyard-test-1)"];
    let cases: Vec<(Vec<u8>, u32, Vec<&str>)> = vec![
        (good.clone().chain_id("trainyard-test-2").sign(), 4, unverified()),
        (bend(&tx, |_, _, all| all[0][40] ^= 1), 4, unverified()),
        (bend(&tx, |_, _, all| high_s(&mut all[0])), 4, unverified()),
        (bend(&tx, |_, _, all| all[0].truncate(63)), 4, unverified()),
        (dearer, 4, unverified()),
        (
            good.clone().signed_by("w2").sign(),
            8,
            vec!["public key does not belong to signer"],
        ),
        (
            bend(&tx, |_, _, all| all.clear()),
            4,
            vec!["0 signatures and 1 signer infos", "need 1"],
        ),
        (
            bend(&tx, |_, _, all| all.push(vec![0; 64])),
            4,
            vec!["2 signatures and 1 signer infos", "need 1"],
        ),
        (amino, 4, unverified()),
        (
            other_key.signed_by("w1").sign(),
            8,
            vec!["public key does not belong to signer"],
        ),
        (good.clone().sequence_offset(-1).sign(), 32, vec!["expected 1, got 0"]),
        (good.clone().sequence_offset(3).sign(), 32, vec!["expected 1, got 4"]),
        (nobody.sign(), 9, vec!["does not exist"]),
    ];
    for (tx, code, words) in cases {
        assert_refused(
            &mut chain,
            tx,
            &Refusal {
                failure: ("sdk", code),
                words: &words,
                payer: None,
            },
        );
    }
    // The good one was good all along, once.
    assert!(chain.block([tx.clone()])[0].is_ok());
    assert_refused(
        &mut chain,
        tx,
        &Refusal {
            failure: ("sdk", 32),
            words: &["expected 2, got 1"],
            payer: None,
        },
    );
}

#[test]
fn transactions_that_are_none() {
    let mut chain = calm_yard();
    let good = chain.craft("w1", vec![any::pack(&send("w1", "w2", 1))]);
    let tx = good.sign();
    let with = |messages: Vec<Any>| {
        let mut craft = good.clone();
        craft.draft.messages = messages;
        craft.sign()
    };
    let one = good.draft.messages[0].clone();
    let mut cut = one.clone();
    cut.value.truncate(20);
    let header = Any {
        type_url: any::type_url::<PouwHeader>(),
        value: Vec::new(),
    };
    let vote = Any {
        type_url: "/cosmos.nft.v1beta1.MsgSend".into(),
        value: Vec::new(),
    };
    let mut padded = tx.clone();
    padded.extend([0x7a, 1, 0]); // Field 15, which no TxRaw has.
    let mut memo = good.clone();
    memo.draft.memo = "m".repeat(257);
    let mut late = good.clone();
    late.draft.timeout_height = 1;
    let other = address("w2").to_string();
    let cases: Vec<(Vec<u8>, u32, Vec<&str>)> = vec![
        (vec![0; 1 << 20], 21, vec!["1048576 bytes", "at most 262144"]),
        (vec![0xff; 262_144], 2, vec!["tx parse error"]),
        (b"garbage".to_vec(), 2, vec!["tx parse error"]),
        (Vec::new(), 18, vec!["0 messages", "1 to 64"]),
        (tx[..tx.len() - 1].to_vec(), 2, vec!["tx parse error"]),
        (padded, 2, vec!["not canonically encoded"]),
        (with(vec![cut]), 2, vec!["MsgSend"]),
        (with(vec![one; 65]), 18, vec!["65 messages", "1 to 64"]),
        (with(vec![]), 18, vec!["0 messages", "1 to 64"]),
        (with(vec![vote]), 6, vec!["/cosmos.nft.v1beta1.MsgSend"]),
        (with(vec![header.clone()]), 6, vec!["PouwHeader"]),
        (
            bend(&tx, |body, _, _| body.extension_options.push(header)),
            6,
            vec!["extension options"],
        ),
        (memo.sign(), 12, vec!["257 characters", "at most 256"]),
        (late.sign(), 30, vec!["is past the tx's timeout height 1"]),
        (good.clone().gas(0).sign(), 18, vec!["gas limit is 0", "1 to 50000000"]),
        (
            good.clone().gas(50_000_001).sign(),
            18,
            vec!["gas limit is 50000001", "1 to 50000000"],
        ),
        (good.clone().gas(5_000).sign(), 11, vec!["gasWanted: 5000", "gasUsed: "]),
        (
            good.clone().fee(2 * CASH).sign(),
            5,
            vec!["is smaller than 20000000000utrain"],
        ),
        (
            good.clone().fee(u64::MAX).sign(),
            10,
            vec!["18446744073709551615", "9223372036854775807"],
        ),
        (bend_fee(&tx, |fee| fee.amount.push(utrain(1))), 10, vec!["utrain"]),
        (
            bend_fee(&tx, |fee| fee.amount[0].denom = "uatom".into()),
            10,
            vec!["uatom"],
        ),
        (
            bend_fee(&tx, |fee| fee.granter = "w2".into()),
            7,
            vec!["\"w2\" is not valid bech32"],
        ),
        (
            bend_fee(&tx, |fee| fee.payer.clone_from(&other)),
            4,
            vec!["1 signatures and 1 signer infos", "need 2"],
        ),
        (bend(&tx, |_, auth, _| auth.fee = None), 18, vec!["no fee"]),
    ];
    let granted = bend_fee(&tx, |fee| fee.granter.clone_from(&other));
    let refusal = Refusal {
        failure: ("feegrant", 5),
        words: &["pays no fees of"],
        payer: None,
    };
    assert_refused(&mut chain, granted, &refusal);
    for (tx, code, words) in cases {
        assert_refused(
            &mut chain,
            tx,
            &Refusal {
                failure: ("sdk", code),
                words: &words,
                payer: None,
            },
        );
    }
}

#[test]
fn a_nodes_own_price_of_gas_is_no_rule_of_the_chain() {
    let mut chain = builder().min_gas_price_micro(25_000).build();
    let craft = chain.craft("w1", vec![any::pack(&send("w1", "w2", 1))]).gas(100_001);
    let cheap = craft.clone().fee(2_500).sign();
    let refused = chain.check(&cheap);
    assert_eq!(refused.failure(), ("sdk", 13), "{refused:?}");
    assert!(
        refused.log.contains("got: 2500utrain required: 2501utrain"),
        "{refused:?}"
    );
    assert!(chain.check(&craft.fee(2_501).sign()).is_ok());
    assert!(
        chain.block_unchecked([cheap])[0].is_ok(),
        "a proposer may take what it likes"
    );
}

#[test]
fn running_out_of_gas_costs_the_fee_and_nothing_else() {
    let mut chain = calm_yard();
    let craft = chain.craft(
        "w1",
        vec![any::pack(&send("w1", "w2", 1)), any::pack(&send("w1", "w3", 1))],
    );
    let ante = chain.check(&craft.sign()).gas_used;
    chain.skip(1); // Forgets the check.
    let limit = u64::try_from(ante).unwrap() + 20_000;
    let wanted = format!("gasWanted: {limit}");
    let refusal = Refusal {
        failure: ("sdk", 11),
        words: &["out of gas", &wanted],
        payer: Some("w1"),
    };
    assert_refused(&mut chain, craft.gas(limit).sign(), &refusal);
}

#[test]
fn all_messages_of_a_transaction_or_none() {
    let mut chain = calm_yard();
    let messages = vec![any::pack(&send("w1", "w2", 5)), any::pack(&send("w1", "w3", CASH))];
    let tx = chain.craft("w1", messages).sign();
    let words = &["message index: 1", "is smaller than 10000000000utrain"];
    assert_refused(
        &mut chain,
        tx,
        &Refusal {
            failure: ("sdk", 5),
            words,
            payer: Some("w1"),
        },
    );
}

#[test]
fn amounts_and_addresses_that_cannot_be_sent() {
    let mut chain = calm_yard();
    let with = |coins: &[(&str, &str)], to: &str| {
        let coin = |(amount, denom): &(&str, &str)| Coin {
            amount: (*amount).into(),
            denom: (*denom).into(),
        };
        any::pack(&MsgSend {
            from_address: address("w1").to_string(),
            to_address: to.into(),
            amount: coins.iter().map(coin).collect(),
        })
    };
    let (to, operator) = (address("w2").to_string(), address("w2").operator());
    let invalid = |amount: &str, words: Vec<&'static str>| -> Case<'_> {
        ("w1", with(&[(amount, "utrain")], &to), ("sdk", 10), words)
    };
    let one = [("1", "utrain")];
    let mut cases = vec![
        invalid(
            "9223372036854775808",
            vec!["\"9223372036854775808\"", "0 and 9223372036854775807"],
        ),
        invalid(
            "18446744073709551617",
            vec!["\"18446744073709551617\"", "0 and 9223372036854775807"],
        ),
        invalid("-1", vec!["\"-1\"", "0 and 9223372036854775807"]),
        invalid("1.5", vec!["\"1.5\"", "whole number"]),
        invalid("", vec!["\"\"", "whole number"]),
        invalid("0", vec!["zero"]),
        (
            "w1",
            with(&[("1", "uatom")], &to),
            ("sdk", 10),
            vec!["uatom", "only \"utrain\""],
        ),
        ("w1", with(&[one[0], one[0]], &to), ("sdk", 10), vec!["utrain"]),
        ("w1", with(&[], &to), ("sdk", 10), vec!["zero"]),
        (
            "w1",
            with(&[("9223372036854775807", "utrain")], &to),
            ("sdk", 5),
            vec!["than 9223372036854775807utrain"],
        ),
        ("w1", with(&one, "w2"), ("sdk", 7), vec!["\"w2\"", "bech32"]),
        (
            "w1",
            with(&one, &operator),
            ("sdk", 7),
            vec!["\"trainvaloper\"", "expected \"train\""],
        ),
        (
            "w1",
            with(&one, &to.to_uppercase()),
            ("sdk", 7),
            vec!["\"TRAIN\"", "expected \"train\""],
        ),
    ];
    let modules: Vec<String> = bank::MODULE_ACCOUNTS
        .iter()
        .map(|name| Address::of_module(name).to_string())
        .collect();
    for module in &modules {
        cases.push((
            "w1",
            with(&one, module),
            ("sdk", 4),
            vec![module, "not allowed to receive funds"],
        ));
    }
    assert_all_refused(&mut chain, cases);
}
