//! Nodes: registration, bonds, peer ids, leaving.

use trainyard_app::testing::{Chain, TRAIN, address, peer_id};
use trainyard_modules::bank;
use trainyard_proto::{
    any,
    coin::utrain,
    registry::{
        MsgLeave, MsgRenew, MsgUnbond, MsgUnjail, MsgUpdate, QueryNodeByPeerRequest, QueryNodeResponse,
        QueryNodesRequest, QueryNodesResponse, QueryUnbondingRequest, QueryUnbondingResponse, Role, VerificationClass,
    },
};

use crate::support::*;

pub(crate) fn leave_registry(name: &str) -> MsgLeave {
    MsgLeave {
        owner: address(name).to_string(),
    }
}

pub(crate) fn unbond(name: &str, amount: u64) -> MsgUnbond {
    MsgUnbond {
        owner: address(name).to_string(),
        amount: Some(utrain(amount)),
    }
}

pub(crate) fn renew(name: &str) -> MsgRenew {
    MsgRenew {
        owner: address(name).to_string(),
        ..MsgRenew::default()
    }
}

pub(crate) fn unjail_node(name: &str) -> MsgUnjail {
    MsgUnjail {
        owner: address(name).to_string(),
    }
}

pub(crate) fn update(name: &str) -> MsgUpdate {
    MsgUpdate {
        owner: address(name).to_string(),
        ..MsgUpdate::default()
    }
}

fn by_peer(chain: &Chain, peer: &str) -> Option<String> {
    let request = QueryNodeByPeerRequest { peer_id: peer.into() };
    let response: Result<QueryNodeResponse, _> = chain.query("/trainyard.registry.v1.Query/NodeByPeer", &request);
    Some(response.ok()?.node?.owner)
}

#[test]
fn a_bond_returns_after_the_unbonding_blocks() {
    let mut chain = builder().build();
    chain.ok("w1", &register("w1", Role::Worker, 150 * TRAIN));
    let node = chain.node("w1").unwrap();
    assert_eq!((node.bond, node.reputation, node.engagements), (150 * TRAIN, 50, 0));
    assert_eq!(node.operator, address("w1").to_string());
    assert_eq!(held(&chain, bank::NODE_BONDS), 150 * TRAIN);
    chain.ok("w1", &leave_registry("w1"));
    assert!(chain.node("w1").is_none());
    let left = chain.height();
    chain.skip_to(left + 4);
    assert_eq!(worth(&chain, "w1"), CASH - 150 * TRAIN);
    chain.skip(1);
    assert_eq!(worth(&chain, "w1"), CASH);
    assert!(chain.events().iter().any(|e| e.r#type == "bond_returned"));
    assert_eq!(held(&chain, bank::NODE_BONDS), 0);
    // Free to come back, under the same peer id.
    chain.ok("w1", &register("w1", Role::Worker, 100 * TRAIN));
}

#[test]
fn leaving_twice_in_one_block_with_a_return_between_adds_up() {
    let mut chain = builder().build();
    chain.ok("w1", &register("w1", Role::Worker, 100 * TRAIN));
    let messages = vec![
        any::pack(&leave_registry("w1")),
        any::pack(&register("w1", Role::Worker, 200 * TRAIN)),
        any::pack(&leave_registry("w1")),
    ];
    let tx = chain.tx("w1", messages);
    all_ok(&mut chain, vec![tx]);
    assert_eq!(worth(&chain, "w1"), CASH - 300 * TRAIN);
    chain.skip(5);
    assert_eq!(worth(&chain, "w1"), CASH);
}

#[test]
fn what_is_given_is_updated_and_the_rest_stays() {
    let mut chain = yard();
    let before = chain.node("w1").unwrap();
    let mut change = update("w1");
    change.peer_id = peer_id("w1's new key");
    change.add_bond = Some(utrain(900 * TRAIN));
    change.roles = vec![Role::Worker.into(), Role::Evaluator.into()];
    change.classes = vec![VerificationClass::Tolerant.into()];
    chain.ok("w1", &change);
    let after = chain.node("w1").unwrap();
    assert_eq!(
        (after.bond, after.roles.len(), &after.peer_id),
        (1000 * TRAIN, 2, &change.peer_id)
    );
    assert_eq!(
        (after.x25519_key, after.capability_hash, after.moniker),
        (before.x25519_key, before.capability_hash, before.moniker)
    );
    assert_eq!(by_peer(&chain, &change.peer_id), Some(address("w1").to_string()));
    assert_eq!(by_peer(&chain, &peer_id("w1")), None, "the old peer id is free");
    let mut claim = update("w2");
    claim.peer_id = peer_id("w1");
    chain.ok("w2", &claim);
    assert_eq!(by_peer(&chain, &peer_id("w1")), Some(address("w2").to_string()));
}

#[test]
fn a_part_of_the_bond_returns_and_the_rest_stays() {
    let mut chain = yard();
    let mut more = update("w1");
    more.add_bond = Some(utrain(50 * TRAIN));
    chain.ok("w1", &more);
    chain.ok("w1", &unbond("w1", 30 * TRAIN));
    chain.ok("w1", &unbond("w1", 20 * TRAIN));
    assert_eq!(
        (bond(&chain, "w1"), worth(&chain, "w1")),
        (100 * TRAIN, CASH - 150 * TRAIN)
    );
    let request = QueryUnbondingRequest {
        owner: address("w1").to_string(),
    };
    let answer: QueryUnbondingResponse = chain.query("/trainyard.registry.v1.Query/Unbonding", &request).unwrap();
    let amounts: Vec<u64> = answer.unbonding.iter().map(|u| u.amount).collect();
    assert_eq!(amounts, [30 * TRAIN, 20 * TRAIN]);
    assert_eq!(answer.unbonding[0].completes_at, chain.height() + 4);
    chain.skip(4);
    assert_eq!(worth(&chain, "w1"), CASH - 120 * TRAIN);
    chain.skip(1);
    assert_eq!(worth(&chain, "w1"), CASH - 100 * TRAIN);
}

#[test]
fn nodes_are_listed_by_role_and_page() {
    use trainyard_proto::cosmos::base::query::v1beta1::PageRequest;
    let chain = yard();
    let ask = |role: Role, key: Vec<u8>, limit| -> QueryNodesResponse {
        let pagination = Some(PageRequest {
            key,
            limit,
            ..PageRequest::default()
        });
        chain
            .query(
                "/trainyard.registry.v1.Query/Nodes",
                &QueryNodesRequest {
                    role: role.into(),
                    pagination,
                },
            )
            .unwrap()
    };
    assert_eq!(ask(Role::Unspecified, Vec::new(), 0).nodes.len(), 5);
    assert_eq!(ask(Role::Evaluator, Vec::new(), 0).nodes.len(), 2);
    let (mut seen, mut key) = (Vec::new(), Vec::new());
    loop {
        let page = ask(Role::Worker, key, 2);
        seen.extend(page.nodes.into_iter().map(|n| n.moniker));
        key = page.pagination.unwrap().next_key;
        if key.is_empty() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, WORKERS);
}

#[test]
fn what_the_registry_refuses() {
    let mut chain = yard();
    let id = post(&mut chain, &calm(spec()), BUDGET);
    chain.ok("w1", &join("w1", id));
    let fresh = || register("other", Role::Worker, 100 * TRAIN);
    let change = |edit: &dyn Fn(&mut trainyard_proto::registry::MsgRegister)| {
        let mut message = fresh();
        edit(&mut message);
        any::pack(&message)
    };
    let taken = peer_id("w2");
    let of_w2 = [taken.as_str(), "belongs to"];
    let mut lower = update("e1");
    lower.peer_id.clone_from(&taken);
    let mut greedy = update("w2");
    greedy.roles = vec![Role::Evaluator.into()];
    let mut rich = update("w2");
    rich.add_bond = Some(utrain(2 * CASH));
    let cases: Vec<Case<'_>> = vec![
        (
            "w2",
            any::pack(&register("w2", Role::Worker, 100 * TRAIN)),
            ("registry", 2),
            vec!["is registered already"],
        ),
        (
            "other",
            any::pack(&update("other")),
            ("registry", 3),
            vec!["is not registered"],
        ),
        (
            "other",
            any::pack(&leave_registry("other")),
            ("registry", 3),
            vec!["is not registered"],
        ),
        (
            "other",
            change(&|m| m.bond = Some(utrain(100 * TRAIN - 1))),
            ("registry", 4),
            vec!["99999999utrain", "100000000utrain"],
        ),
        (
            "other",
            change(&|m| m.roles = vec![2]),
            ("registry", 4),
            vec!["100000000utrain", "1000000000utrain"],
        ),
        (
            "w2",
            any::pack(&greedy),
            ("registry", 4),
            vec!["100000000utrain", "1000000000utrain"],
        ),
        (
            "other",
            change(&|m| m.peer_id = peer_id("w2")),
            ("registry", 5),
            of_w2.to_vec(),
        ),
        ("e1", any::pack(&lower), ("registry", 5), of_w2.to_vec()),
        (
            "other",
            change(&|m| m.peer_id = "x".repeat(31)),
            ("registry", 6),
            vec!["xxx", "32 to 96 letters and digits"],
        ),
        (
            "other",
            change(&|m| m.peer_id = "../".repeat(20)),
            ("registry", 6),
            vec!["../", "32 to 96 letters and digits"],
        ),
        (
            "other",
            change(&|m| m.x25519_key = vec![1; 31]),
            ("registry", 6),
            vec!["X25519 key has 31 bytes", "expected 32"],
        ),
        (
            "other",
            change(&|m| m.capability_hash = vec![]),
            ("registry", 6),
            vec!["capability hash has 0 bytes", "expected 32"],
        ),
        (
            "other",
            change(&|m| m.roles = vec![]),
            ("registry", 6),
            vec!["roles []", "worker (1) and evaluator (2)"],
        ),
        (
            "other",
            change(&|m| m.roles = vec![1, 1]),
            ("registry", 6),
            vec!["roles [1, 1]"],
        ),
        (
            "other",
            change(&|m| m.roles = vec![9]),
            ("registry", 6),
            vec!["roles [9]"],
        ),
        (
            "other",
            change(&|m| m.classes = vec![0]),
            ("registry", 6),
            vec!["classes [0]", "1, 2 and 3"],
        ),
        (
            "other",
            change(&|m| m.classes = vec![1, 2, 3, 1]),
            ("registry", 6),
            vec!["up to three"],
        ),
        (
            "other",
            change(&|m| m.moniker = "x".repeat(65)),
            ("registry", 6),
            vec!["moniker has 65 bytes", "at most 64"],
        ),
        (
            "other",
            change(&|m| m.bond = Some(utrain(2 * CASH))),
            ("sdk", 5),
            vec!["20000000000utrain"],
        ),
        ("other", change(&|m| m.bond = None), ("sdk", 10), vec!["no amount"]),
        (
            "other",
            change(&|m| m.operator = "nobody".into()),
            ("sdk", 7),
            vec!["nobody"],
        ),
        ("w2", any::pack(&rich), ("sdk", 5), vec!["20000000000utrain"]),
        (
            "w2",
            any::pack(&unbond("w2", 1)),
            ("registry", 4),
            vec!["99999999utrain", "100000000utrain"],
        ),
        (
            "w2",
            any::pack(&unbond("w2", 100 * TRAIN + 1)),
            ("registry", 4),
            vec!["0utrain", "100000000utrain"],
        ),
        (
            "other",
            any::pack(&unbond("other", TRAIN)),
            ("registry", 3),
            vec!["is not registered"],
        ),
        (
            "other",
            any::pack(&unjail_node("other")),
            ("registry", 3),
            vec!["is not registered"],
        ),
        (
            "w2",
            any::pack(&unjail_node("w2")),
            ("registry", 11),
            vec!["is not jailed"],
        ),
        (
            "w1",
            any::pack(&leave_registry("w1")),
            ("registry", 7),
            vec!["engaged in 1 unfinished job(s)"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
}

/// A score weighs what the bond was at the draw. Unbonding ends long before many a job does, so what is taken back in one would
/// be out of reach of a slash.
#[test]
fn an_engaged_node_takes_back_its_bond_when_its_job_is_over() {
    let mut chain = yard();
    for name in ["w1", "e1"] {
        let mut more = update(name);
        more.add_bond = Some(utrain(500 * TRAIN));
        chain.ok(name, &more);
    }
    let id = started(&mut chain, &spec());
    assert!(chain.job(id).evaluators.iter().any(|e| e.weight == 1_500 * TRAIN));
    for name in ["w1", "e1"] {
        assert_eq!(chain.deliver(name, &leave_registry(name)).failure(), ("registry", 7));
        let refused = chain.deliver(name, &unbond(name, 500 * TRAIN));
        assert_eq!(refused.failure(), ("registry", 7), "{refused:?}");
        assert!(refused.log.contains("is engaged in 1 unfinished job(s)"), "{refused:?}");
    }
    chain.skip_to(chain.job(id).deadline);
    for name in ["w1", "e1"] {
        chain.ok(name, &unbond(name, 500 * TRAIN));
        chain.ok(name, &leave_registry(name));
    }
    chain.skip(5);
    assert_eq!((worth(&chain, "w1"), worth(&chain, "e1")), (CASH, CASH));
}
