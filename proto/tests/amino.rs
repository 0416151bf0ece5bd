//! Against CosmJS 0.33: `cosmjs.json` holds what its amino signer signed, and the transactions it made of that. The keys are
//! SHA-256 of `yard/alice`, `yard/bob`, `yard/carol`.
//!
//! Messages for which CosmJS has no amino form are written here as the SDK's annotations (`amino.name`,
//! `amino.dont_omitempty`) have them.

use cosmos_sdk_proto::cosmos::{
    authz::v1beta1::{GenericAuthorization, Grant, MsgExec, MsgGrant, MsgRevoke},
    bank::v1beta1::{MsgSend, SendAuthorization},
    distribution::v1beta1::{MsgCommunityPoolSpend, MsgWithdrawValidatorCommission},
    feegrant::v1beta1::{
        AllowedMsgAllowance, BasicAllowance, MsgGrantAllowance, MsgRevokeAllowance, PeriodicAllowance,
    },
    gov::v1::{MsgCancelProposal, MsgDeposit, MsgSubmitProposal, MsgVote, MsgVoteWeighted, WeightedVoteOption},
    slashing::v1beta1::MsgUnjail,
    staking::v1beta1::{
        AuthorizationType, Description, MsgCreateValidator, MsgEditValidator, StakeAuthorization,
        stake_authorization::{Policy, Validators},
    },
    tx::v1beta1::{AuthInfo, Fee, TxBody, TxRaw},
};
use prost::Message;
use tendermint_proto::google::protobuf::{Duration, Timestamp};
use trainyard_proto::{
    amino::{AminoError, sign_bytes},
    any::{self, Any},
    coin::utrain,
    keys::PublicKey,
    pouw::PouwHeader,
};

fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!("cosmjs.json")).unwrap()
}

fn raw(hex: &serde_json::Value) -> TxRaw {
    let hex = hex.as_str().unwrap();
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    TxRaw::decode(bytes.as_slice()).unwrap()
}

#[test]
fn texts_are_those_that_cosmjs_signs() {
    let vectors = vectors();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 15);
    for case in cases {
        let raw = raw(&case["tx"]);
        let body = TxBody::decode(raw.body_bytes.as_slice()).unwrap();
        let fee = AuthInfo::decode(raw.auth_info_bytes.as_slice()).unwrap().fee.unwrap();
        let bytes = sign_bytes(&body, &fee, "yard-1", 0, case["sequence"].as_u64().unwrap()).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), case["sign_bytes"].as_str().unwrap());
    }
}

#[test]
fn a_multisig_account_has_the_address_that_cosmjs_gives_it() {
    let vectors = &vectors()["multisig"];
    for tx in vectors["txs"].as_array().unwrap() {
        let auth = AuthInfo::decode(raw(tx).auth_info_bytes.as_slice()).unwrap();
        let key = PublicKey::read(auth.signer_infos[0].public_key.as_ref().unwrap()).unwrap();
        assert!(matches!(&key, PublicKey::Multisig { threshold: 2, keys } if keys.len() == 3));
        assert_eq!(key.address().to_string(), vectors["address"].as_str().unwrap());
        assert_eq!(Some(key.pack()), auth.signer_infos[0].public_key);
    }
}

/// What is signed of a message, between the brackets of `msgs`.
fn text(message: Any) -> Result<String, AminoError> {
    let body = TxBody {
        messages: vec![message],
        ..TxBody::default()
    };
    let bytes = sign_bytes(&body, &Fee::default(), "c", 1, 2)?;
    let text = String::from_utf8(bytes).unwrap();
    let head = r#"{"account_number":"1","chain_id":"c","fee":{"amount":[],"gas":"0"},"memo":"","msgs":["#;
    let tail = r#"],"sequence":"2"}"#;
    Ok(text.strip_prefix(head).unwrap().strip_suffix(tail).unwrap().to_string())
}

fn half() -> Option<Timestamp> {
    Some(Timestamp {
        seconds: 1_700_000_000,
        nanos: 500_000_000,
    })
}

#[test]
fn texts_are_those_of_the_sdk() {
    let vote = MsgVote {
        proposal_id: 7,
        voter: "train1a".into(),
        option: 1,
        metadata: String::new(),
    };
    let weighted = MsgVoteWeighted {
        proposal_id: 0,
        voter: "train1a".into(),
        options: vec![WeightedVoteOption {
            option: 3,
            weight: "1.000000000000000000".into(),
        }],
        metadata: "why".into(),
    };
    let deposit = MsgDeposit {
        proposal_id: 7,
        depositor: "train1a".into(),
        amount: Vec::new(),
    };
    let spend = MsgCommunityPoolSpend {
        authority: "train1g".into(),
        recipient: "train1b".into(),
        amount: vec![utrain(5)],
    };
    let submit = MsgSubmitProposal {
        messages: vec![any::pack(&spend)],
        initial_deposit: vec![utrain(9)],
        proposer: "train1a".into(),
        title: "t".into(),
        summary: "s".into(),
        expedited: true,
        ..MsgSubmitProposal::default()
    };
    let commission = MsgWithdrawValidatorCommission {
        validator_address: "trainvaloper1a".into(),
    };
    let basic = BasicAllowance {
        spend_limit: Vec::new(),
        expiration: half(),
    };
    let periodic = PeriodicAllowance {
        basic: Some(BasicAllowance::default()),
        period: Some(Duration { seconds: 60, nanos: 0 }),
        period_spend_limit: vec![utrain(3)],
        period_can_spend: Vec::new(),
        period_reset: Some(Timestamp::default()),
    };
    let allowed = AllowedMsgAllowance {
        allowance: Some(any::pack(&periodic)),
        allowed_messages: vec!["/m".into()],
    };
    let allow = |allowance: Any| MsgGrantAllowance {
        granter: "train1a".into(),
        grantee: "train1b".into(),
        allowance: Some(allowance),
    };
    let grant = |authorization: Any, expiration| MsgGrant {
        granter: "train1a".into(),
        grantee: "train1b".into(),
        grant: Some(Grant {
            authorization: Some(authorization),
            expiration,
        }),
    };
    let generic = GenericAuthorization { msg: "/m".into() };
    let sends = SendAuthorization {
        spend_limit: vec![utrain(1)],
        allow_list: vec!["train1c".into()],
    };
    let revoke = MsgRevoke {
        granter: "train1a".into(),
        grantee: "train1b".into(),
        msg_type_url: "/m".into(),
    };
    let stop = MsgRevokeAllowance {
        granter: "train1a".into(),
        grantee: "train1b".into(),
    };
    for (message, expected) in [
        (
            any::pack(&vote),
            r#"{"type":"cosmos-sdk/v1/MsgVote","value":{"option":1,"proposal_id":"7","voter":"train1a"}}"#,
        ),
        (
            any::pack(&weighted),
            r#"{"type":"cosmos-sdk/v1/MsgVoteWeighted","value":{"metadata":"why","options":[{"option":3,"weight":"1.000000000000000000"}],"proposal_id":"0","voter":"train1a"}}"#,
        ),
        (
            any::pack(&deposit),
            r#"{"type":"cosmos-sdk/v1/MsgDeposit","value":{"amount":[],"depositor":"train1a","proposal_id":"7"}}"#,
        ),
        (
            any::pack(&submit),
            r#"{"type":"cosmos-sdk/v1/MsgSubmitProposal","value":{"expedited":true,"initial_deposit":[{"amount":"9","denom":"utrain"}],"messages":[{"type":"cosmos-sdk/distr/MsgCommunityPoolSpend","value":{"amount":[{"amount":"5","denom":"utrain"}],"authority":"train1g","recipient":"train1b"}}],"proposer":"train1a","summary":"s","title":"t"}}"#,
        ),
        (
            any::pack(&commission),
            r#"{"type":"cosmos-sdk/MsgWithdrawValCommission","value":{"validator_address":"trainvaloper1a"}}"#,
        ),
        (
            any::pack(&allow(any::pack(&basic))),
            r#"{"type":"cosmos-sdk/MsgGrantAllowance","value":{"allowance":{"type":"cosmos-sdk/BasicAllowance","value":{"expiration":"2023-11-14T22:13:20.5Z","spend_limit":[]}},"grantee":"train1b","granter":"train1a"}}"#,
        ),
        (
            any::pack(&allow(any::pack(&allowed))),
            r#"{"type":"cosmos-sdk/MsgGrantAllowance","value":{"allowance":{"type":"cosmos-sdk/AllowedMsgAllowance","value":{"allowance":{"type":"cosmos-sdk/PeriodicAllowance","value":{"basic":{"spend_limit":[]},"period":"60000000000","period_can_spend":[],"period_reset":"1970-01-01T00:00:00Z","period_spend_limit":[{"amount":"3","denom":"utrain"}]}},"allowed_messages":["/m"]}},"grantee":"train1b","granter":"train1a"}}"#,
        ),
        (
            any::pack(&stop),
            r#"{"type":"cosmos-sdk/MsgRevokeAllowance","value":{"grantee":"train1b","granter":"train1a"}}"#,
        ),
        (
            any::pack(&grant(any::pack(&generic), half())),
            r#"{"type":"cosmos-sdk/MsgGrant","value":{"grant":{"authorization":{"type":"cosmos-sdk/GenericAuthorization","value":{"msg":"/m"}},"expiration":"2023-11-14T22:13:20.5Z"},"grantee":"train1b","granter":"train1a"}}"#,
        ),
        (
            any::pack(&grant(any::pack(&sends), None)),
            r#"{"type":"cosmos-sdk/MsgGrant","value":{"grant":{"authorization":{"type":"cosmos-sdk/SendAuthorization","value":{"allow_list":["train1c"],"spend_limit":[{"amount":"1","denom":"utrain"}]}}},"grantee":"train1b","granter":"train1a"}}"#,
        ),
        (
            any::pack(&revoke),
            r#"{"type":"cosmos-sdk/MsgRevoke","value":{"grantee":"train1b","granter":"train1a","msg_type_url":"/m"}}"#,
        ),
    ] {
        assert_eq!(text(message).unwrap(), expected);
    }
}

/// What CosmJS has no form for, or writes with empty fields that the SDK leaves out.
#[test]
fn texts_of_validators_and_permissions_are_those_of_the_sdk() {
    let edit = MsgEditValidator {
        description: Some(Description {
            moniker: "m".into(),
            ..Description::default()
        }),
        validator_address: "trainvaloper1a".into(),
        commission_rate: "60000000000000000".into(),
        min_self_delegation: String::new(),
    };
    let unjail = MsgUnjail {
        validator_addr: "trainvaloper1a".into(),
    };
    let cancel = MsgCancelProposal {
        proposal_id: 7,
        proposer: "train1a".into(),
    };
    let exec = MsgExec {
        grantee: "train1b".into(),
        msgs: vec![any::pack(&MsgSend {
            from_address: "train1a".into(),
            to_address: "train1b".into(),
            amount: vec![utrain(5)],
        })],
    };
    let stake = |most: Option<u64>, validators| {
        let stake = StakeAuthorization {
            max_tokens: most.map(utrain),
            authorization_type: AuthorizationType::Delegate.into(),
            validators,
        };
        let grant = Grant {
            authorization: Some(any::pack(&stake)),
            expiration: None,
        };
        any::pack(&MsgGrant {
            granter: "train1a".into(),
            grantee: "train1b".into(),
            grant: Some(grant),
        })
    };
    let listed = || Validators {
        address: vec!["trainvaloper1c".into()],
    };
    for (message, expected) in [
        (
            any::pack(&MsgCreateValidator::default()),
            r#"{"type":"cosmos-sdk/MsgCreateValidator","value":{"commission":{"max_change_rate":"0","max_rate":"0","rate":"0"},"description":{},"value":{"amount":""}}}"#,
        ),
        (
            any::pack(&edit),
            r#"{"type":"cosmos-sdk/MsgEditValidator","value":{"commission_rate":"0.060000000000000000","description":{"moniker":"m"},"validator_address":"trainvaloper1a"}}"#,
        ),
        (
            any::pack(&unjail),
            r#"{"type":"cosmos-sdk/MsgUnjail","value":{"address":"trainvaloper1a"}}"#,
        ),
        (
            any::pack(&cancel),
            r#"{"type":"cosmos-sdk/v1/MsgCancelProposal","value":{"proposal_id":"7","proposer":"train1a"}}"#,
        ),
        (
            any::pack(&exec),
            r#"{"type":"cosmos-sdk/MsgExec","value":{"grantee":"train1b","msgs":[{"type":"cosmos-sdk/MsgSend","value":{"amount":[{"amount":"5","denom":"utrain"}],"from_address":"train1a","to_address":"train1b"}}]}}"#,
        ),
        (
            stake(Some(9), Some(Policy::AllowList(listed()))),
            r#"{"type":"cosmos-sdk/MsgGrant","value":{"grant":{"authorization":{"type":"cosmos-sdk/StakeAuthorization","value":{"Validators":{"type":"cosmos-sdk/StakeAuthorization/AllowList","value":{"allow_list":{"address":["trainvaloper1c"]}}},"authorization_type":1,"max_tokens":{"amount":"9","denom":"utrain"}}}},"grantee":"train1b","granter":"train1a"}}"#,
        ),
        (
            stake(None, Some(Policy::DenyList(listed()))),
            r#"{"type":"cosmos-sdk/MsgGrant","value":{"grant":{"authorization":{"type":"cosmos-sdk/StakeAuthorization","value":{"Validators":{"type":"cosmos-sdk/StakeAuthorization/DenyList","value":{"deny_list":{"address":["trainvaloper1c"]}}},"authorization_type":1}}},"grantee":"train1b","granter":"train1a"}}"#,
        ),
    ] {
        assert_eq!(text(message).unwrap(), expected);
    }
}

#[test]
fn what_has_no_text_is_named() {
    let header = any::pack(&PouwHeader::default());
    assert_eq!(
        text(header.clone()),
        Err(AminoError::Message("/trainyard.pouw.v1.PouwHeader".into()))
    );
    let nested = MsgGrant {
        grant: Some(Grant {
            authorization: Some(header.clone()),
            expiration: None,
        }),
        ..MsgGrant::default()
    };
    assert!(matches!(text(any::pack(&nested)), Err(AminoError::Message(_))));
    let mut cut = any::pack(&MsgRevoke {
        granter: "x".into(),
        ..MsgRevoke::default()
    });
    cut.value.pop();
    assert!(matches!(text(cut), Err(AminoError::Decode(_))));
    let body = TxBody {
        non_critical_extension_options: vec![header],
        ..TxBody::default()
    };
    let refused = sign_bytes(&body, &Fee::default(), "c", 1, 2);
    assert_eq!(refused, Err(AminoError::Place("extension options")));
}
