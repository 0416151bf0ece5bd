//! Permissions.

use trainyard_modules::{bank, context::timestamp};
use trainyard_proto::{
    address::Address,
    any::{self, Any},
    coin,
    cosmos::{
        authz::v1beta1::{
            GenericAuthorization, Grant, MsgExec, MsgExecResponse, MsgGrant, MsgRevoke, QueryGranteeGrantsRequest,
            QueryGranteeGrantsResponse, QueryGranterGrantsRequest, QueryGranterGrantsResponse, QueryGrantsRequest,
            QueryGrantsResponse,
        },
        bank::v1beta1::{MsgSend, SendAuthorization},
        base::abci::v1beta1::TxMsgData,
        feegrant::v1beta1::BasicAllowance,
        staking::v1beta1::{
            AuthorizationType, MsgBeginRedelegate, MsgUndelegate, StakeAuthorization,
            stake_authorization::{Policy, Validators},
        },
    },
    prost::{Message, Name},
    registry::{MsgLeave, MsgLeaveResponse, MsgRegister, MsgUpdate},
};

use crate::{
    gov::submit,
    yard::{CASH, FEE, TRAIN, Yard, address, delegate},
};

fn yard() -> Yard {
    Yard::new(&["alice", "bob", "hot"], &[("v1", 500 * TRAIN)], |_| ())
}

fn grant(granter: &str, grantee: &str, authorization: Any, expiration: Option<u64>) -> MsgGrant {
    MsgGrant {
        granter: address(granter).to_string(),
        grantee: address(grantee).to_string(),
        grant: Some(Grant {
            authorization: Some(authorization),
            expiration: expiration.map(timestamp),
        }),
    }
}

fn generic<M: Name>() -> Any {
    any::pack(&GenericAuthorization {
        msg: any::type_url::<M>(),
    })
}

fn sends(limit: u64, to: &[&str]) -> Any {
    any::pack(&SendAuthorization {
        spend_limit: vec![coin::utrain(limit)],
        allow_list: to.iter().map(|name| address(name).to_string()).collect(),
    })
}

fn send(from: &str, to: &str, amount: u64) -> Any {
    any::pack(&MsgSend {
        from_address: address(from).to_string(),
        to_address: address(to).to_string(),
        amount: vec![coin::utrain(amount)],
    })
}

fn exec(grantee: &str, msgs: Vec<Any>) -> MsgExec {
    MsgExec {
        grantee: address(grantee).to_string(),
        msgs,
    }
}

fn revoke<M: Name>(granter: &str, grantee: &str) -> MsgRevoke {
    MsgRevoke {
        granter: address(granter).to_string(),
        grantee: address(grantee).to_string(),
        msg_type_url: any::type_url::<M>(),
    }
}

fn received(yard: &Yard, grantee: &str) -> usize {
    let request = QueryGranteeGrantsRequest {
        grantee: address(grantee).to_string(),
        pagination: None,
    };
    let response: QueryGranteeGrantsResponse = yard
        .query("/cosmos.authz.v1beta1.Query/GranteeGrants", &request)
        .unwrap();
    response.grants.len()
}

#[test]
fn a_hot_key_acts_for_an_operator_in_named_messages() {
    let mut yard = yard();
    let register = MsgRegister {
        owner: address("alice").to_string(),
        roles: vec![1],
        bond: Some(coin::utrain(100 * TRAIN)),
        peer_id: "12D3KooW".to_string() + &"a".repeat(44),
        x25519_key: vec![1; 32],
        capability_hash: vec![2; 32],
        ..MsgRegister::default()
    };
    yard.ok("alice", &register);
    let update = MsgUpdate {
        owner: address("alice").to_string(),
        capability_hash: vec![3; 32],
        ..MsgUpdate::default()
    };
    let leave = MsgLeave {
        owner: address("alice").to_string(),
    };
    let updates = exec("hot", vec![any::pack(&update)]);
    yard.refused(
        "hot",
        &updates,
        ("authz", 2),
        "has not granted /trainyard.registry.v1.MsgUpdate",
    );
    let result = yard.ok("alice", &grant("alice", "hot", generic::<MsgUpdate>(), None));
    let event = result
        .events
        .iter()
        .find(|e| e.kind == "cosmos.authz.v1beta1.EventGrant")
        .unwrap();
    assert_eq!(
        event.get("msg_type_url").as_deref(),
        Some("\"/trainyard.registry.v1.MsgUpdate\"")
    );
    yard.export();

    let done = yard.ok("hot", &updates);
    assert!(
        done.events
            .iter()
            .any(|e| e.kind == "node_updated" && e.get("authz_msg_index").as_deref() == Some("0"))
    );
    yard.refused("hot", &exec("hot", vec![any::pack(&leave)]), ("authz", 2), "MsgLeave");
    yard.refused("bob", &exec("bob", vec![any::pack(&update)]), ("authz", 2), "MsgUpdate");
    // All or none: the first message is undone with the second.
    let renamed = MsgUpdate {
        moniker: "renamed".into(),
        ..update.clone()
    };
    let both = exec("hot", vec![any::pack(&renamed), any::pack(&leave)]);
    yard.refused("hot", &both, ("authz", 2), "MsgLeave");
    assert_eq!(yard.export().registry.nodes[0].moniker, "");

    yard.ok("alice", &grant("alice", "hot", generic::<MsgLeave>(), None));
    let done = yard.ok("hot", &exec("hot", vec![any::pack(&leave)]));
    let data = TxMsgData::decode(done.data.as_slice()).unwrap();
    let response = MsgExecResponse::decode(data.msg_responses[0].value.as_slice()).unwrap();
    let left = MsgLeaveResponse::decode(response.results[0].as_slice()).unwrap();
    assert!(left.completes_at > yard.block.height);

    yard.ok("alice", &revoke::<MsgUpdate>("alice", "hot"));
    yard.refused("hot", &updates, ("authz", 2), "has not granted");
    yard.refused(
        "alice",
        &revoke::<MsgUpdate>("alice", "hot"),
        ("authz", 2),
        "has not granted",
    );
    assert_eq!(received(&yard, "hot"), 1);
}

#[test]
fn sending_is_limited_in_amount_and_recipients() {
    let mut yard = yard();
    yard.ok("alice", &grant("alice", "hot", sends(10 * TRAIN, &["bob"]), None));
    let sending = |to: &str, amount: u64| exec("hot", vec![send("alice", to, amount)]);
    yard.refused("hot", &sending("v1", 1), ("sdk", 4), "not among the recipients");
    yard.refused(
        "hot",
        &sending("bob", 10 * TRAIN + 1),
        ("sdk", 4),
        "grant is for 10000000utrain",
    );
    yard.ok("hot", &sending("bob", 4 * TRAIN));
    let request = QueryGrantsRequest {
        granter: address("alice").to_string(),
        grantee: address("hot").to_string(),
        ..QueryGrantsRequest::default()
    };
    let list =
        |yard: &Yard| -> QueryGrantsResponse { yard.query("/cosmos.authz.v1beta1.Query/Grants", &request).unwrap() };
    assert_eq!(list(&yard).grants[0].authorization, Some(sends(6 * TRAIN, &["bob"])));
    yard.export();
    yard.refused("hot", &sending("bob", 7 * TRAIN), ("sdk", 4), "6000000utrain");
    yard.ok("hot", &sending("bob", 6 * TRAIN));
    assert!(list(&yard).grants.is_empty(), "a used-up grant is forgotten");
    yard.refused("hot", &sending("bob", 1), ("authz", 2), "has not granted");
    assert_eq!(yard.worth("alice"), CASH - 10 * TRAIN);
    // One's own messages need nobody's permission.
    yard.ok("hot", &exec("hot", vec![send("hot", "bob", TRAIN)]));
    // A grant replaces the one before it.
    yard.ok("alice", &grant("alice", "hot", sends(TRAIN, &[]), None));
    yard.ok("alice", &grant("alice", "hot", sends(2 * TRAIN, &[]), None));
    yard.ok("hot", &sending("v1", 2 * TRAIN));
}

#[test]
fn stake_is_moved_with_listed_validators_up_to_a_limit() {
    let mut yard = Yard::new(&["alice", "hot"], &[("v1", 500 * TRAIN), ("v2", 500 * TRAIN)], |_| ());
    let stake = |kind: AuthorizationType, most: Option<u64>, validators: Option<Policy>| {
        any::pack(&StakeAuthorization {
            max_tokens: most.map(coin::utrain),
            authorization_type: kind.into(),
            validators,
        })
    };
    let listed = |names: &[&str]| Validators {
        address: names.iter().map(|name| address(name).operator()).collect(),
    };
    let only_v1 = || Some(Policy::AllowList(listed(&["v1"])));
    let delegating = |to: &str, amount| exec("hot", vec![any::pack(&delegate("alice", to, amount))]);
    let permitted = stake(AuthorizationType::Delegate, Some(10 * TRAIN), only_v1());
    yard.ok("alice", &grant("alice", "hot", permitted, None));
    yard.refused("hot", &delegating("v2", 1), ("sdk", 4), "does not allow the validator");
    yard.refused(
        "hot",
        &delegating("v1", 11 * TRAIN),
        ("sdk", 4),
        "the grant is for 10000000utrain",
    );
    yard.ok("hot", &delegating("v1", 4 * TRAIN));
    yard.export();
    yard.refused("hot", &delegating("v1", 7 * TRAIN), ("sdk", 4), "6000000utrain");
    // It is for delegating, not for taking back.
    let back = MsgUndelegate {
        delegator_address: address("alice").to_string(),
        validator_address: address("v1").operator(),
        amount: Some(coin::utrain(TRAIN)),
    };
    let taking = exec("hot", vec![any::pack(&back)]);
    yard.refused("hot", &taking, ("authz", 2), "has not granted");
    yard.ok("hot", &delegating("v1", 6 * TRAIN));
    yard.refused("hot", &delegating("v1", 1), ("authz", 2), "has not granted");
    // Without a limit, and with all validators but those listed.
    let but_v2 = Some(Policy::DenyList(listed(&["v2"])));
    yard.ok(
        "alice",
        &grant("alice", "hot", stake(AuthorizationType::Undelegate, None, but_v2), None),
    );
    yard.ok("hot", &taking);
    yard.ok("hot", &taking);
    // A redelegation is judged by where it goes.
    let moving = |from: &str, to: &str| {
        let message = MsgBeginRedelegate {
            delegator_address: address("alice").to_string(),
            validator_src_address: address(from).operator(),
            validator_dst_address: address(to).operator(),
            amount: Some(coin::utrain(TRAIN)),
        };
        exec("hot", vec![any::pack(&message)])
    };
    let permitted = stake(
        AuthorizationType::Redelegate,
        None,
        Some(Policy::AllowList(listed(&["v2"]))),
    );
    yard.ok("alice", &grant("alice", "hot", permitted, None));
    yard.refused("hot", &moving("v2", "v1"), ("sdk", 4), "does not allow the validator");
    yard.ok("hot", &moving("v1", "v2"));
    for (wrong, words) in [
        (stake(AuthorizationType::Unspecified, None, None), "type 0"),
        (stake(AuthorizationType::Delegate, Some(0), None), "limit of zero"),
        (
            stake(AuthorizationType::Delegate, None, Some(Policy::AllowList(listed(&[])))),
            "lists 0 validators",
        ),
        (
            stake(
                AuthorizationType::Delegate,
                None,
                Some(Policy::DenyList(listed(&["v1", "v1"]))),
            ),
            "twice",
        ),
    ] {
        yard.refused("alice", &grant("alice", "hot", wrong, None), ("authz", 4), words);
    }
}

#[test]
fn grants_end() {
    let mut yard = yard();
    let now = yard.block.time;
    yard.refused(
        "alice",
        &grant("alice", "hot", sends(TRAIN, &[]), Some(now)),
        ("authz", 3),
        "expected after",
    );
    yard.ok("alice", &grant("alice", "hot", sends(TRAIN, &[]), Some(now + 100)));
    yard.ok("alice", &grant("alice", "bob", sends(TRAIN, &[]), Some(now + 100)));
    // Replaced by one that lives on: the old end no longer counts.
    yard.ok("alice", &grant("alice", "bob", sends(TRAIN, &[]), Some(now + 500)));
    yard.export();
    assert_eq!((received(&yard, "hot"), received(&yard, "bob")), (1, 1));
    // Void from the very second on, even in the block that forgets it.
    let late = yard.tx("hot", vec![any::pack(&exec("hot", vec![send("alice", "bob", 1)]))]);
    let wait = now + 100 - yard.block.time;
    let error = yard.after(wait, &[late]).remove(0).error.unwrap();
    assert_eq!((error.codespace, error.code), ("authz", 6));
    assert_eq!((received(&yard, "hot"), received(&yard, "bob")), (0, 1));
    yard.after(500, &[]);
    assert_eq!(received(&yard, "bob"), 0);
    let genesis = yard.export();
    assert!(genesis.authz.grants.is_empty());
}

#[test]
fn what_is_no_permission() {
    let mut yard = yard();
    let unknown = any::pack(&GenericAuthorization {
        msg: "/cosmos.none.v1.MsgNone".into(),
    });
    let limitless = any::pack(&SendAuthorization::default());
    let foreign = any::pack(&BasicAllowance::default());
    let twice = sends(TRAIN, &["bob", "bob"]);
    for (authorization, failure, words) in [
        (unknown, ("sdk", 6), "unable to resolve"),
        (generic::<MsgExec>(), ("authz", 4), "not passed on"),
        (limitless, ("authz", 4), "spend limit of zero"),
        (foreign, ("authz", 4), "expected a GenericAuthorization"),
        (twice, ("authz", 4), "twice"),
    ] {
        yard.refused("alice", &grant("alice", "hot", authorization, None), failure, words);
    }
    let to_itself = grant("alice", "alice", sends(1, &[]), None);
    yard.refused("alice", &to_itself, ("authz", 7), "are both");
    let none = MsgGrant {
        grant: None,
        ..grant("alice", "hot", sends(1, &[]), None)
    };
    yard.refused("alice", &none, ("authz", 4), "is missing");
    yard.refused(
        "hot",
        &grant("alice", "hot", sends(1, &[]), None),
        ("sdk", 8),
        "does not belong",
    );

    yard.refused("hot", &exec("hot", Vec::new()), ("sdk", 18), "0 messages");
    yard.refused(
        "hot",
        &exec("hot", vec![send("hot", "bob", 1); 65]),
        ("sdk", 18),
        "65 messages",
    );
    let nested = exec("hot", vec![any::pack(&exec("hot", vec![send("hot", "bob", 1)]))]);
    yard.refused("hot", &nested, ("sdk", 18), "does not carry");
    yard.refused("hot", &exec("hot", vec![send("hot", "bob", 0)]), ("sdk", 10), "zero");
    // Proposals by permission are proposals of the granter, and cannot carry more of the kind.
    let carried = submit(
        "alice",
        vec![any::pack(&exec("alice", vec![send("alice", "bob", 1)]))],
        100 * TRAIN,
    );
    yard.refused(
        "hot",
        &exec("hot", vec![any::pack(&carried)]),
        ("gov", 12),
        "carries other",
    );
    // Governance's account has granted nothing to anybody.
    let spend = trainyard_proto::cosmos::distribution::v1beta1::MsgCommunityPoolSpend {
        authority: Address::of_module(bank::GOV).to_string(),
        recipient: address("hot").to_string(),
        amount: vec![coin::utrain(1)],
    };
    yard.refused(
        "hot",
        &exec("hot", vec![any::pack(&spend)]),
        ("authz", 2),
        "has not granted",
    );
}

#[test]
fn a_new_key_gets_an_account_and_lists_are_paged() {
    let mut yard = yard();
    let fresh = "never seen";
    yard.ok("alice", &grant("alice", fresh, sends(TRAIN, &[]), None));
    yard.ok(
        "alice",
        &grant(
            "alice",
            fresh,
            generic::<trainyard_proto::cosmos::staking::v1beta1::MsgDelegate>(),
            None,
        ),
    );
    yard.ok("bob", &grant("bob", fresh, sends(TRAIN, &[]), None));
    let (number, sequence) = yard.account(address(fresh));
    assert!(number > 0 && sequence == 0);
    assert_eq!(received(&yard, fresh), 3);
    let request = QueryGranterGrantsRequest {
        granter: address("alice").to_string(),
        pagination: None,
    };
    let given: QueryGranterGrantsResponse = yard
        .query("/cosmos.authz.v1beta1.Query/GranterGrants", &request)
        .unwrap();
    assert!(given.grants.len() == 2 && given.grants.iter().all(|g| g.grantee == address(fresh).to_string()));
    yard.ok(
        "alice",
        &trainyard_proto::cosmos::bank::v1beta1::MsgSend {
            from_address: address("alice").to_string(),
            to_address: address(fresh).to_string(),
            amount: vec![coin::utrain(10 * FEE)],
        },
    );
    yard.ok(fresh, &exec(fresh, vec![any::pack(&delegate("alice", "v1", TRAIN))]));
}
