//! Penalties of nodes, what is left of them, and how they come back.

use trainyard_modules::{
    bank,
    registry::{self, RegistryError},
};
use trainyard_proto::{
    coin::utrain,
    registry::{
        MsgLeave, MsgRegister, MsgRenew, MsgUnbond, MsgUnjail, MsgUpdate, Node, Penalty, PenaltyKind, QueryNodeRequest,
        QueryNodeResponse, QueryPenaltiesRequest, QueryPenaltiesResponse, Role,
    },
};

use crate::yard::{CASH, TRAIN, Yard, address};

fn yard() -> Yard {
    let mut yard = Yard::new(&["node", "other"], &[("v1", 500 * TRAIN)], |genesis| {
        let params = &mut genesis.registry.params;
        params.unbonding_blocks = 20;
        params.missed_window = 10;
        params.jail_blocks = 6;
        params.capability_epochs = 100;
    });
    yard.ok("node", &register(1_000_000_001));
    yard
}

fn register(bond: u64) -> MsgRegister {
    MsgRegister {
        owner: address("node").to_string(),
        roles: vec![Role::Worker.into(), Role::Evaluator.into()],
        bond: Some(utrain(bond)),
        peer_id: "n".repeat(40),
        x25519_key: vec![1; 32],
        capability_hash: vec![2; 32],
        ..MsgRegister::default()
    }
}

fn owner() -> String {
    address("node").to_string()
}

fn node(yard: &Yard) -> Node {
    yard.read(|state| registry::node(state, &address("node")))
}

fn miss(yard: &mut Yard) -> u64 {
    yard.act(|ctx| registry::miss(ctx, &address("node"), "job 7: round 3"))
}

fn slash(yard: &mut Yard, share_bp: u32) -> u64 {
    yard.act(|ctx| registry::slash(ctx, &address("node"), share_bp, "job 7: a forged trace"))
}

fn history(yard: &Yard) -> Vec<Penalty> {
    let request = QueryPenaltiesRequest {
        owner: owner(),
        pagination: None,
    };
    let answer: QueryPenaltiesResponse = yard.query("/trainyard.registry.v1.Query/Penalties", &request).unwrap();
    answer.penalties
}

fn works(yard: &Yard) -> Result<(), u32> {
    let height = yard.block.height;
    let found = yard.try_read(|state| registry::node_with_role(state, height, &address("node"), Role::Worker));
    found.map(drop).map_err(|error| error.code)
}

fn top_up(amount: u64) -> MsgUpdate {
    MsgUpdate {
        owner: owner(),
        add_bond: Some(utrain(amount)),
        ..MsgUpdate::default()
    }
}

fn unjail() -> MsgUnjail {
    MsgUnjail { owner: owner() }
}

#[test]
fn a_missed_duty_costs_a_hundredth_of_the_bond_and_ten_of_reputation() {
    let mut yard = yard();
    assert_eq!(miss(&mut yard), 10_000_000);
    assert_eq!(
        yard.event("node_missed_duty", "burned").as_deref(),
        Some("10000000utrain")
    );
    let after = node(&yard);
    assert_eq!((after.bond, after.reputation, after.missed), (990_000_001, 40, 1));
    assert_eq!(yard.held(bank::NODE_BONDS), 990_000_001);
    // Of what is left, rounded down.
    assert_eq!(miss(&mut yard), 9_900_000);
    let history = history(&yard);
    let record = |number, amount, before, after| Penalty {
        owner: owner(),
        number,
        kind: PenaltyKind::MissedDuty.into(),
        height: yard.block.height,
        amount,
        share_bp: 100,
        reason: "job 7: round 3".into(),
        reputation_before: before,
        reputation_after: after,
        jailed_until: 0,
    };
    assert_eq!(history, [record(0, 10_000_000, 50, 40), record(1, 9_900_000, 40, 30)]);
    // Below the least bond of an evaluator it takes on no work; a top-up in steps lets it back.
    assert_eq!(works(&yard), Err(4));
    yard.ok("node", &top_up(19_899_998));
    assert_eq!(works(&yard), Err(4));
    yard.ok("node", &top_up(1));
    assert_eq!(works(&yard), Ok(()));
    yard.export();
}

#[test]
fn the_third_missed_duty_of_a_window_jails() {
    let mut yard = yard();
    yard.ok("node", &top_up(100 * TRAIN));
    for _ in 0..2 {
        miss(&mut yard);
    }
    // The window begins with the first; after it counting begins anew.
    for _ in 0..10 {
        yard.block(&[]);
    }
    miss(&mut yard);
    miss(&mut yard);
    assert_eq!((node(&yard).missed, works(&yard)), (2, Ok(())));
    miss(&mut yard);
    let until = yard.block.height + 6;
    assert_eq!((node(&yard).jailed_until, node(&yard).missed), (until, 0));
    assert_eq!(
        yard.event("node_jailed", "until").as_deref(),
        Some(until.to_string()).as_deref()
    );
    assert_eq!(history(&yard)[4].jailed_until, until);
    assert_eq!(works(&yard), Err(10));
    let candidates = yard.read(|state| registry::candidates(state, yard.block.height, Role::Evaluator));
    assert!(candidates.is_empty());
    yard.refused("node", &unjail(), ("registry", 12), "stays jailed until height");
    while yard.block.height + 1 < until {
        yard.block(&[]);
    }
    yard.ok("node", &unjail());
    assert_eq!(works(&yard), Ok(()));
    yard.refused("node", &unjail(), ("registry", 11), "is not jailed");
    yard.refused(
        "other",
        &MsgUnjail {
            owner: address("other").to_string(),
        },
        ("registry", 3),
        "not registered",
    );
}

#[test]
fn only_the_owner_unjails_and_unbonds() {
    let mut yard = yard();
    slash(&mut yard, 1);
    let leave = MsgLeave {
        owner: address("other").to_string(),
    };
    yard.refused("other", &leave, ("registry", 3), "not registered");
    yard.refused("other", &unjail(), ("sdk", 8), "does not belong");
    let unbond = MsgUnbond {
        owner: owner(),
        amount: Some(utrain(1)),
    };
    yard.refused("other", &unbond, ("sdk", 8), "does not belong");
}

#[test]
fn a_slash_takes_its_share_and_all_reputation_and_jails() {
    let mut yard = yard();
    assert_eq!(slash(&mut yard, 3_000), 300_000_000);
    let after = node(&yard);
    assert_eq!((after.bond, after.reputation), (700_000_001, 0));
    assert_eq!(after.jailed_until, yard.block.height + 6);
    for _ in 0..6 {
        yard.block(&[]);
    }
    yard.refused("node", &unjail(), ("registry", 4), "700000001utrain");
    assert_eq!(slash(&mut yard, 10_000), 700_000_001);
    assert_eq!((node(&yard).bond, yard.held(bank::NODE_BONDS)), (0, 0));
    // Nothing more to take; the history goes on.
    assert_eq!((slash(&mut yard, 10_000), miss(&mut yard)), (0, 0));
    let kinds: Vec<i32> = history(&yard).iter().map(|p| p.kind).collect();
    let (slash, miss): (i32, i32) = (PenaltyKind::Slash.into(), PenaltyKind::MissedDuty.into());
    assert_eq!(kinds, [slash, slash, slash, miss]);
    yard.export();
}

#[test]
fn a_penalty_reaches_what_is_on_its_way_back() {
    let mut yard = yard();
    yard.ok("node", &top_up(200_000_001));
    for amount in [100_000_000, 99_999_999] {
        yard.ok(
            "node",
            &MsgUnbond {
                owner: owner(),
                amount: Some(utrain(amount)),
            },
        );
    }
    assert_eq!(node(&yard).bond, 1_000_000_003);
    // Half of each part, rounded down.
    assert_eq!(slash(&mut yard, 5_000), 500_000_001 + 50_000_000 + 49_999_999);
    yard.export();
    yard.ok("node", &MsgLeave { owner: owner() });
    assert_eq!(slash(&mut yard, 10_000), 500_000_002 + 50_000_000 + 50_000_000);
    assert_eq!(yard.held(bank::NODE_BONDS), 0);
    for _ in 0..21 {
        yard.block(&[]);
    }
    assert_eq!(yard.worth("node"), CASH - 1_200_000_002);
}

#[test]
fn who_comes_back_is_who_left() {
    let mut yard = yard();
    slash(&mut yard, 1_000);
    yard.ok("node", &MsgLeave { owner: owner() });
    assert_eq!(history(&yard).len(), 1);
    miss(&mut yard);
    yard.export();
    yard.ok("node", &register(1_000 * TRAIN));
    let back = node(&yard);
    assert_eq!((back.reputation, back.penalties, back.bond), (0, 2, 1_000 * TRAIN));
    assert_eq!(works(&yard), Err(10));
    assert_eq!(history(&yard).len(), 2);
    // Someone who never was here has no history, and cannot be penalized.
    let nobody = yard.act(|ctx| registry::slash(ctx, &address("other"), 10_000, "nothing"));
    assert_eq!(nobody, 0);
}

#[test]
fn the_first_duty_of_a_clean_epoch_raises_the_reputation() {
    let mut yard = yard();
    let fulfil = |yard: &mut Yard| yard.act(|ctx| registry::fulfil(ctx, &address("node")));
    for _ in 0..3 {
        fulfil(&mut yard);
    }
    assert_eq!(node(&yard).reputation, 51);
    // The epochs of the yard have five blocks.
    for _ in 0..5 {
        yard.block(&[]);
    }
    fulfil(&mut yard);
    assert_eq!(node(&yard).reputation, 52);
    for _ in 0..5 {
        yard.block(&[]);
    }
    miss(&mut yard);
    fulfil(&mut yard);
    assert_eq!(
        node(&yard).reputation,
        42,
        "no reward in an epoch in which a duty was missed"
    );
    let full = Node {
        reputation: 100,
        reputation_epoch: 0,
        ..node(&yard)
    };
    yard.act(|ctx| registry::NODES.set(ctx.state, &address("node"), &full));
    fulfil(&mut yard);
    assert_eq!(node(&yard).reputation, 100);
}

#[test]
fn a_capability_hash_that_is_not_renewed_lapses() {
    let mut yard = Yard::new(&["node", "other"], &[("v1", 500 * TRAIN)], |_| ());
    // Epochs of five blocks: heights 1 to 5 are the first.
    yard.ok("node", &register(1_000 * TRAIN));
    let shown = |yard: &Yard| {
        let request = QueryNodeRequest { owner: owner() };
        let answer: QueryNodeResponse = yard.query("/trainyard.registry.v1.Query/Node", &request).unwrap();
        (answer.renew_from, answer.lapses_at)
    };
    assert_eq!(shown(&yard), (6, 11));
    while yard.block.height < 10 {
        assert_eq!(works(&yard), Ok(()));
        yard.block(&[]);
    }
    assert_eq!(works(&yard), Ok(()));
    yard.block(&[]);
    assert_eq!(works(&yard), Err(14));
    let height = yard.block.height;
    assert!(
        yard.read(|state| registry::candidates(state, height, Role::Evaluator))
            .is_empty()
    );
    let renew = |hash: Vec<u8>| MsgRenew {
        owner: owner(),
        capability_hash: hash,
    };
    yard.refused("node", &renew(vec![1; 31]), ("registry", 6), "31 bytes");
    let stranger = MsgRenew {
        owner: address("other").to_string(),
        ..MsgRenew::default()
    };
    yard.refused("other", &stranger, ("registry", 3), "is not registered");
    yard.refused("other", &renew(Vec::new()), ("sdk", 8), "does not belong");
    let before = node(&yard);
    yard.ok("node", &renew(Vec::new()));
    assert_eq!(
        (works(&yard), node(&yard).capability_hash),
        (Ok(()), before.capability_hash)
    );
    assert_eq!(shown(&yard), (16, 21));
    while yard.block.height < 16 {
        yard.block(&[]);
    }
    yard.ok("node", &renew(vec![9; 32]));
    assert_eq!((shown(&yard), node(&yard).capability_hash), ((21, 26), vec![9; 32]));
    yard.export();
}

#[test]
fn a_jailed_node_is_told_why() {
    let mut yard = yard();
    miss(&mut yard);
    slash(&mut yard, 3_000);
    let lines = yard.read(|state| registry::explain_node(state, yard.block.height, &address("node")));
    let text = lines.join("\n");
    for sentence in [
        "runs a node as worker and evaluator, registered at height 1, with a bond of 693.000001 TRAIN; its roles need at least \
         1000 TRAIN.",
        "It takes on no new work: bond is 693000001utrain",
        "is jailed until height 7",
        "Its reputation is 0 of 100.",
        "At height 1 it missed a duty (job 7: round 3): 1 % of all it had bonded was burned, 10 TRAIN; its reputation went from \
         50 to 40.",
        "At height 1 it was slashed for an offence (job 7: a forged trace): 30 % of all it had bonded was burned, 297 TRAIN; its \
         reputation went from 40 to 0, and it was jailed until height 7.",
    ] {
        assert!(text.contains(sentence), "{text:?} lacks {sentence:?}");
    }
}

#[test]
fn at_most_seven_parts_are_on_their_way_back() {
    let mut yard = yard();
    yard.ok("node", &top_up(100 * TRAIN));
    let unbond = MsgUnbond {
        owner: owner(),
        amount: Some(utrain(TRAIN)),
    };
    for _ in 0..7 {
        yard.ok("node", &unbond);
    }
    yard.refused("node", &unbond, ("registry", 13), "has 7 parts");
    yard.refused("node", &MsgLeave { owner: owner() }, ("registry", 13), "at most 7");
    for _ in 0..15 {
        yard.block(&[]);
    }
    yard.ok("node", &MsgLeave { owner: owner() });
    let error: trainyard_modules::error::Error = RegistryError::NotRegistered(address("node")).into();
    assert_eq!(yard.try_read(|s| registry::node(s, &address("node"))), Err(error));
}
