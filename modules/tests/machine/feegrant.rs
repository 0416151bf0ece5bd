//! Allowances.

use trainyard_modules::{bank, context::timestamp, error::Error};
use trainyard_proto::{
    any::{self, Any},
    coin,
    cosmos::{
        bank::v1beta1::MsgSend,
        feegrant::v1beta1::{
            AllowedMsgAllowance, BasicAllowance, MsgGrantAllowance, MsgRevokeAllowance, PeriodicAllowance,
            QueryAllowanceRequest, QueryAllowanceResponse, QueryAllowancesByGranterRequest,
            QueryAllowancesByGranterResponse, QueryAllowancesRequest, QueryAllowancesResponse,
        },
    },
    prost::Message,
    tendermint_proto::google::protobuf::Duration,
};

use crate::yard::{CASH, FEE, TRAIN, Yard, address, public_any};

/// Has an account, and nothing in it.
const POOR: &str = "poor";

fn yard() -> Yard {
    Yard::new(&["alice", "bob"], &[("v1", 500 * TRAIN)], |_| ())
}

fn allow(granter: &str, grantee: &str, allowance: Any) -> MsgGrantAllowance {
    MsgGrantAllowance {
        granter: address(granter).to_string(),
        grantee: address(grantee).to_string(),
        allowance: Some(allowance),
    }
}

fn revoke(granter: &str, grantee: &str) -> MsgRevokeAllowance {
    MsgRevokeAllowance {
        granter: address(granter).to_string(),
        grantee: address(grantee).to_string(),
    }
}

fn basic(limit: u64, expiration: Option<u64>) -> BasicAllowance {
    BasicAllowance {
        spend_limit: if limit == 0 {
            Vec::new()
        } else {
            vec![coin::utrain(limit)]
        },
        expiration: expiration.map(timestamp),
    }
}

fn periodic(limit: u64, seconds: i64, each: u64) -> PeriodicAllowance {
    PeriodicAllowance {
        basic: Some(basic(limit, None)),
        period: Some(Duration { seconds, nanos: 0 }),
        period_spend_limit: vec![coin::utrain(each)],
        period_can_spend: Vec::new(),
        period_reset: None,
    }
}

fn send(from: &str, amount: u64) -> Any {
    any::pack(&MsgSend {
        from_address: address(from).to_string(),
        to_address: address("v1").to_string(),
        amount: vec![coin::utrain(amount)],
    })
}

/// A transaction of [`POOR`] that `granter` is to pay; it sends money that is not there, so that only its fee succeeds.
fn paid_by(yard: &mut Yard, granter: &str) -> Error {
    let granter = address(granter).to_string();
    let tx = yard.bent(POOR, vec![send(POOR, TRAIN)], |auth| {
        auth.fee.as_mut().unwrap().granter = granter;
    });
    yard.block(&[tx]).remove(0).error.unwrap()
}

fn failure(error: &Error) -> (&str, u32) {
    (error.codespace, error.code)
}

/// What is said when the fee was paid and the message failed.
const SPENT: (&str, u32) = ("sdk", 5);

#[test]
fn an_account_without_money_acts_at_anothers_cost() {
    let mut yard = yard();
    yard.ok("alice", &allow("alice", POOR, any::pack(&basic(3 * FEE, None))));
    let granted = yard.worth("alice");
    assert_eq!(failure(&paid_by(&mut yard, "bob")), ("feegrant", 5));
    for _ in 0..2 {
        assert_eq!(failure(&paid_by(&mut yard, "alice")), SPENT);
    }
    let request = QueryAllowanceRequest {
        granter: address("alice").to_string(),
        grantee: address(POOR).to_string(),
    };
    let path = "/cosmos.feegrant.v1beta1.Query/Allowance";
    let response: QueryAllowanceResponse = yard.query(path, &request).unwrap();
    let left = response.allowance.unwrap().allowance.unwrap();
    assert_eq!(BasicAllowance::decode(left.value.as_slice()).unwrap(), basic(FEE, None));
    yard.export();
    assert_eq!(failure(&paid_by(&mut yard, "alice")), SPENT);
    assert_eq!(yard.worth("alice"), granted - 3 * FEE);
    assert_eq!(yard.account(address(POOR)).1, 3);
    // It is used up, and so forgotten.
    assert_eq!(failure(&paid_by(&mut yard, "alice")), ("feegrant", 5));
    assert!(yard.query::<_, QueryAllowanceResponse>(path, &request).is_err());

    // More than is left is refused whole, and changes nothing.
    yard.ok("alice", &allow("alice", POOR, any::pack(&basic(FEE - 1, None))));
    let before = yard.worth("alice");
    assert_eq!(failure(&paid_by(&mut yard, "alice")), ("feegrant", 2));
    assert_eq!(yard.worth("alice"), before);
    yard.ok("alice", &revoke("alice", POOR));
    assert_eq!(failure(&paid_by(&mut yard, "alice")), ("feegrant", 5));
    yard.refused("alice", &revoke("alice", POOR), ("feegrant", 5), "no allowance");
    // Without a limit, until it is taken back; but only what the granter has.
    yard.ok("alice", &allow("alice", POOR, any::pack(&basic(0, None))));
    assert_eq!(failure(&paid_by(&mut yard, "alice")), SPENT);
}

#[test]
fn periods_renew_what_may_be_spent() {
    let mut yard = yard();
    yard.ok(
        "alice",
        &allow("alice", POOR, any::pack(&periodic(4 * FEE, 100, 2 * FEE))),
    );
    let begun = yard.block.time;
    for expected in [SPENT, SPENT, ("feegrant", 2)] {
        assert_eq!(failure(&paid_by(&mut yard, "alice")), expected);
    }
    yard.export();
    // The second period, with what is left of the whole.
    let wait = begun + 99 - yard.block.time;
    yard.after(wait, &[]);
    assert_eq!(failure(&paid_by(&mut yard, "alice")), SPENT);
    yard.export();
    // The third, for which only one fee is left of the whole.
    yard.after(300, &[]);
    assert_eq!(failure(&paid_by(&mut yard, "alice")), SPENT);
    assert_eq!(failure(&paid_by(&mut yard, "alice")), ("feegrant", 5));
}

#[test]
fn an_allowance_can_be_for_named_messages() {
    let mut yard = yard();
    let for_messages = |messages: &[&str]| {
        any::pack(&AllowedMsgAllowance {
            allowance: Some(any::pack(&basic(0, None))),
            allowed_messages: messages.iter().map(ToString::to_string).collect(),
        })
    };
    yard.ok(
        "alice",
        &allow("alice", POOR, for_messages(&["/cosmos.gov.v1.MsgVote"])),
    );
    let error = paid_by(&mut yard, "alice");
    assert_eq!(failure(&error), ("feegrant", 7));
    assert!(error.log.contains("/cosmos.bank.v1beta1.MsgSend"), "{error}");
    yard.ok("alice", &revoke("alice", POOR));
    let both = ["/cosmos.gov.v1.MsgVote", "/cosmos.bank.v1beta1.MsgSend"];
    yard.ok("alice", &allow("alice", POOR, for_messages(&both)));
    assert_eq!(failure(&paid_by(&mut yard, "alice")), SPENT);
    yard.export();
    yard.refused(
        "alice",
        &allow("alice", "bob", for_messages(&[])),
        ("feegrant", 6),
        "empty",
    );
    yard.refused(
        "alice",
        &allow("alice", "bob", for_messages(&["/none.Msg"])),
        ("sdk", 6),
        "resolve",
    );
    let nested = any::pack(&AllowedMsgAllowance {
        allowance: Some(for_messages(&both)),
        allowed_messages: vec![both[0].into()],
    });
    yard.refused("alice", &allow("alice", "bob", nested), ("feegrant", 8), "no basic");
}

#[test]
fn allowances_end_and_are_listed() {
    let mut yard = yard();
    let now = yard.block.time;
    let past = any::pack(&basic(TRAIN, Some(now)));
    yard.refused("alice", &allow("alice", POOR, past), ("feegrant", 3), "ended");
    yard.ok("alice", &allow("alice", POOR, any::pack(&basic(TRAIN, Some(now + 50)))));
    yard.ok("bob", &allow("bob", POOR, any::pack(&basic(TRAIN, None))));
    yard.ok("alice", &allow("alice", "bob", any::pack(&basic(TRAIN, None))));
    let got = |yard: &Yard| -> usize {
        let request = QueryAllowancesRequest {
            grantee: address(POOR).to_string(),
            pagination: None,
        };
        let response: QueryAllowancesResponse = yard
            .query("/cosmos.feegrant.v1beta1.Query/Allowances", &request)
            .unwrap();
        response.allowances.len()
    };
    let gave = |yard: &Yard| -> usize {
        let request = QueryAllowancesByGranterRequest {
            granter: address("alice").to_string(),
            pagination: None,
        };
        let path = "/cosmos.feegrant.v1beta1.Query/AllowancesByGranter";
        let response: QueryAllowancesByGranterResponse = yard.query(path, &request).unwrap();
        response.allowances.len()
    };
    assert_eq!((got(&yard), gave(&yard)), (2, 2));
    yard.export();
    let granter = address("alice").to_string();
    let late = yard.bent(POOR, vec![send(POOR, 1)], |auth| {
        auth.fee.as_mut().unwrap().granter = granter;
    });
    let wait = now + 50 - yard.block.time;
    let error = yard.after(wait, &[late]).remove(0).error.unwrap();
    assert_eq!(failure(&error), ("feegrant", 3));
    assert_eq!((got(&yard), gave(&yard)), (1, 1));
    yard.export();
}

#[test]
fn what_is_no_allowance() {
    let mut yard = yard();
    let limited = BasicAllowance {
        spend_limit: vec![coin::utrain(0)],
        expiration: None,
    };
    let greedy = periodic(FEE, 10, 2 * FEE);
    let mut timeless = periodic(0, 0, FEE);
    for (allowance, failure, words) in [
        (any::pack(&limited), ("feegrant", 8), "spend limit is zero"),
        (any::pack(&greedy), ("feegrant", 8), "above the whole"),
        (any::pack(&timeless), ("feegrant", 4), "0 s"),
        (send("alice", 1), ("feegrant", 8), "no basic"),
    ] {
        yard.refused("alice", &allow("alice", POOR, allowance), failure, words);
    }
    timeless.period = None;
    yard.refused(
        "alice",
        &allow("alice", POOR, any::pack(&timeless)),
        ("feegrant", 4),
        "",
    );
    let itself = allow("alice", "alice", any::pack(&basic(0, None)));
    yard.refused("alice", &itself, ("sdk", 7), "itself");
    yard.refused(
        "bob",
        &allow("alice", POOR, any::pack(&basic(0, None))),
        ("sdk", 8),
        "does not belong",
    );
    yard.ok("alice", &allow("alice", POOR, any::pack(&basic(0, None))));
    let again = allow("alice", POOR, any::pack(&basic(TRAIN, None)));
    yard.refused("alice", &again, ("feegrant", 9), "already");
}

#[test]
fn whoever_pays_signs() {
    let mut yard = yard();
    let bob = address("bob").to_string();
    // Bob is named and does not sign.
    let tx = yard.bent("alice", vec![send("alice", 1)], |auth| {
        auth.fee.as_mut().unwrap().payer.clone_from(&bob);
    });
    let error = yard.block(&[tx]).remove(0).error.unwrap();
    assert_eq!(failure(&error), ("sdk", 4));
    assert!(error.log.contains("need 2"), "{error}");
    // Both sign.
    let (number, sequence) = yard.account(address("bob"));
    let tx = yard.bent("alice", vec![send("alice", TRAIN)], |auth| {
        auth.fee.as_mut().unwrap().payer.clone_from(&bob);
        let mut second = auth.signer_infos[0].clone();
        second.public_key = Some(public_any("bob"));
        second.sequence = sequence;
        auth.signer_infos.push(second);
    });
    let tx = yard.cosigned(&tx, "bob", number);
    let collected = yard.held(bank::FEE_COLLECTOR);
    assert_eq!(yard.block(&[tx]).remove(0).error, None);
    assert_eq!(yard.held(bank::FEE_COLLECTOR), collected + FEE);
    assert_eq!(yard.balance(address("alice")), CASH - TRAIN);
    assert_eq!(yard.balance(address("bob")), CASH - FEE);
}
