//! Upgrades.

use trainyard_modules::{
    bank,
    context::Event,
    governed::authority,
    job, registry,
    upgrade::{self, Binary, Migration, Plan, Refusal, THIS},
};
use trainyard_proto::{
    address::Address,
    any, coin,
    cosmos::{
        gov::v1::ProposalStatus,
        upgrade::v1beta1::{
            MsgCancelUpgrade, MsgSoftwareUpgrade, QueryAppliedPlanRequest, QueryAppliedPlanResponse,
            QueryCurrentPlanRequest, QueryCurrentPlanResponse, QueryModuleVersionsRequest, QueryModuleVersionsResponse,
        },
    },
    registry::MsgRegister,
};

use crate::{
    gov::{decide, submit, yard},
    yard::{TRAIN, Yard, address, delegate},
};

/// The next program: nodes get a name, jobs shorter commits, and there is a new module.
static NEXT: Binary = Binary {
    versions: &NEXT_VERSIONS,
    upgrades: &["v2"],
    migrations: &[
        Migration {
            module: "job",
            from: 1,
            run: |state, _| {
                let mut params = job::PARAMS.get(state)?;
                params.commit_blocks = 7;
                job::PARAMS.set(state, &params)
            },
        },
        Migration {
            module: "registry",
            from: 2,
            run: |state, block| rename(state, &format!("+3@{}", block.height)),
        },
        Migration {
            module: "registry",
            from: 1,
            run: |state, _| rename(state, "+2"),
        },
        Migration {
            module: "lottery",
            from: 0,
            run: |state, _| upgrade::VERSIONS.set(state, &"bought tickets".to_string(), &0),
        },
    ],
};

static NEXT_VERSIONS: [(&str, u64); THIS.versions.len() + 1] = {
    let mut versions = [("lottery", 1); THIS.versions.len() + 1];
    let mut at = 0;
    while at < THIS.versions.len() {
        let (module, version) = THIS.versions[at];
        // Constants cannot compare texts.
        versions[at] = match module.as_bytes() {
            b"registry" => (module, version + 2),
            b"job" => (module, version + 1),
            _ => (module, version),
        };
        at += 1;
    }
    versions
};

/// The same, without a way for the registry.
static BROKEN: Binary = Binary {
    migrations: &[],
    ..NEXT
};

fn rename(state: &mut trainyard_modules::state::State<'_>, with: &str) -> Result<(), trainyard_modules::error::Error> {
    for (owner, mut node) in registry::NODES.all(state)? {
        node.moniker += with;
        registry::NODES.set(state, &owner, &node)?;
    }
    Ok(())
}

fn plan(name: &str, height: i64) -> MsgSoftwareUpgrade {
    MsgSoftwareUpgrade {
        authority: authority().to_string(),
        plan: Some(Plan {
            name: name.into(),
            height,
            info: "{\"binaries\":{}}".into(),
            ..Plan::default()
        }),
    }
}

fn cancel() -> MsgCancelUpgrade {
    MsgCancelUpgrade {
        authority: authority().to_string(),
    }
}

/// What a program is told before the next block.
fn check(yard: &Yard, binary: &Binary) -> Result<bool, Refusal> {
    let next = yard.block.height + 1;
    let mut outcome = Ok(false);
    yard.read(|state| {
        outcome = upgrade::check(state, next, binary);
        Ok(())
    });
    outcome
}

fn planned(yard: &Yard) -> Option<Plan> {
    let path = "/cosmos.upgrade.v1beta1.Query/CurrentPlan";
    let response: QueryCurrentPlanResponse = yard.query(path, &QueryCurrentPlanRequest {}).unwrap();
    response.plan
}

/// Nodes, delegations, money on its way, an open proposal.
fn populated() -> Yard {
    let mut yard = yard();
    for name in ["alice", "bob"] {
        yard.ok(
            name,
            &MsgRegister {
                owner: address(name).to_string(),
                roles: vec![1],
                bond: Some(coin::utrain(100 * TRAIN)),
                peer_id: format!("12D3KooW{name:a<44}"),
                x25519_key: vec![1; 32],
                capability_hash: vec![2; 32],
                moniker: name.into(),
                ..MsgRegister::default()
            },
        );
        yard.ok(name, &delegate(name, "v1", 50 * TRAIN));
    }
    yard
}

#[test]
fn governance_upgrades_a_populated_chain() {
    let mut yard = populated();
    let height = yard.block.height + 20;
    let passed = decide(&mut yard, vec![any::pack(&plan("v2", i64::try_from(height).unwrap()))]);
    assert_eq!(passed.status(), ProposalStatus::Passed, "{}", passed.failed_reason);
    assert_eq!(planned(&yard).unwrap().height, i64::try_from(height).unwrap());
    yard.ok("carol", &submit("carol", Vec::new(), 10 * TRAIN));
    yard.export();

    // Too early for the new program, until the very height.
    while yard.block.height < height - 1 {
        assert_eq!(check(&yard, &THIS), Ok(false));
        let early = check(&yard, &NEXT).unwrap_err();
        assert!(
            matches!(&early, Refusal::Early { next, .. } if *next == yard.block.height + 1),
            "{early}"
        );
        assert!(early.to_string().contains("BINARY UPDATED BEFORE TRIGGER"), "{early}");
        yard.block(&[]);
    }
    // Too late for the old one from there on.
    let needed = check(&yard, &THIS).unwrap_err();
    let expected = format!("UPGRADE \"v2\" NEEDED at height: {height}: {{\"binaries\":{{}}}}");
    assert_eq!(needed.to_string(), expected);
    assert_eq!(check(&yard, &NEXT), Ok(true));

    let before = yard.read(trainyard_modules::machine::export);
    yard.binary = &NEXT;
    yard.block(&[]);
    assert_eq!(yard.event("upgrade_applied", "name").as_deref(), Some("v2"));
    let after = yard.read(trainyard_modules::machine::export);
    for (was, is) in before.registry.nodes.iter().zip(&after.registry.nodes) {
        assert_eq!(is.moniker, format!("{}+2+3@{height}", was.moniker));
    }
    assert_eq!(after.job.params.commit_blocks, 7);
    assert_eq!(
        (&after.staking.validators, &after.gov.proposals, &after.bank),
        (&before.staking.validators, &before.gov.proposals, &before.bank),
        "what does not migrate stays"
    );
    assert_eq!((planned(&yard), &after.upgrade.last), (None, &"v2".to_string()));
    let applied = |name: &str| -> i64 {
        let name = name.to_string();
        let path = "/cosmos.upgrade.v1beta1.Query/AppliedPlan";
        let response: QueryAppliedPlanResponse = yard.query(path, &QueryAppliedPlanRequest { name }).unwrap();
        response.height
    };
    assert_eq!((applied("v2"), applied("v3")), (i64::try_from(height).unwrap(), 0));
    let versions = |module: &str| -> Vec<u64> {
        let path = "/cosmos.upgrade.v1beta1.Query/ModuleVersions";
        let request = QueryModuleVersionsRequest {
            module_name: module.into(),
        };
        let response: Result<QueryModuleVersionsResponse, _> = yard.query(path, &request);
        response.map_or_else(
            |_| Vec::new(),
            |r| r.module_versions.iter().map(|m| m.version).collect(),
        )
    };
    assert_eq!(
        (versions("registry"), versions("lottery"), versions("none")),
        (vec![3], vec![1], vec![])
    );

    // Life goes on, and the old program cannot join it.
    yard.ok("alice", &delegate("alice", "v2", TRAIN));
    assert_eq!(check(&yard, &NEXT), Ok(false));
    let late = check(&yard, &THIS).unwrap_err();
    assert_eq!(late, Refusal::Late("v2".into()));
    // Nor is an upgrade carried out twice.
    let again = decide(&mut yard, vec![any::pack(&plan("v2", 1_000))]);
    assert_eq!(
        (again.status(), again.failed_reason.as_str()),
        (ProposalStatus::Failed, "upgrade code 7")
    );
}

#[test]
fn plans_are_replaced_cancelled_and_bounded() {
    let mut yard = yard();
    decide(&mut yard, vec![any::pack(&plan("v2", 100))]);
    let passed = decide(&mut yard, vec![any::pack(&plan("v3", 200))]);
    assert_eq!(passed.status(), ProposalStatus::Passed);
    assert_eq!(planned(&yard).unwrap().name, "v3");
    decide(&mut yard, vec![any::pack(&cancel())]);
    assert_eq!(planned(&yard), None);
    assert_eq!(yard.event("upgrade_cancelled", "name").as_deref(), Some("v3"));
    yard.export();
    let nothing = decide(&mut yard, vec![any::pack(&cancel())]);
    assert_eq!(nothing.failed_reason, "upgrade code 3");
    let past = decide(&mut yard, vec![any::pack(&plan("v4", 3))]);
    assert_eq!(past.failed_reason, "upgrade code 8");

    let dated = MsgSoftwareUpgrade {
        #[allow(deprecated)]
        plan: Some(Plan {
            time: Some(Default::default()),
            ..plan("v2", 100).plan.unwrap()
        }),
        ..plan("v2", 100)
    };
    let long = MsgSoftwareUpgrade {
        plan: Some(Plan {
            info: "x".repeat(4097),
            ..plan("v2", 100).plan.unwrap()
        }),
        ..plan("v2", 100)
    };
    let none = MsgSoftwareUpgrade {
        plan: None,
        ..plan("v2", 100)
    };
    for (message, words) in [
        (plan("", 100), "name"),
        (plan("../v2", 100), "letters"),
        (plan(".v2", 100), "a dot never first"),
        (plan(&"v".repeat(101), 100), "1 to 100"),
        (plan("v2", 0), "at least 1"),
        (plan("v2", -5), "at least 1"),
        (dated, "give a height"),
        (long, "4097 bytes"),
        (none, "none in the message"),
    ] {
        let message = submit("alice", vec![any::pack(&message)], 100 * TRAIN);
        yard.refused("alice", &message, ("gov", 12), words);
    }
    for (authority, failure) in [(authority(), ("sdk", 9)), (address("alice"), ("sdk", 4))] {
        let authority = authority.to_string();
        let own = MsgSoftwareUpgrade {
            authority: authority.clone(),
            ..plan("v2", 100)
        };
        yard.refused("alice", &own, failure, &authority);
        yard.refused("alice", &MsgCancelUpgrade { authority }, failure, "");
    }
}

#[test]
fn a_program_without_a_way_stops_before_it_changes_anything() {
    let mut yard = populated();
    let height = yard.block.height + 10;
    decide(&mut yard, vec![any::pack(&plan("v2", i64::try_from(height).unwrap()))]);
    while yard.block.height < height - 1 {
        yard.block(&[]);
    }
    yard.block.height += 1;
    let block = yard.block.clone();
    let error = yard
        .try_read(|state| {
            let mut events: Vec<Event> = Vec::new();
            trainyard_modules::machine::begin_block(
                state,
                &block,
                &trainyard_modules::slashing::LastCommit::default(),
                &BROKEN,
                &mut events,
            )
        })
        .unwrap_err();
    assert!(
        error.is_fatal() && error.log.contains("nothing leads registry from version 1 to 3"),
        "{error}"
    );
    assert_eq!(yard.held(bank::GOV_DEPOSITS), 0);
    let held: u64 = yard.balance(Address::of_module(bank::NODE_BONDS));
    assert_eq!(held, 200 * TRAIN);
}

#[test]
fn a_state_of_another_form_is_refused() {
    let yard = yard();
    static NEWER: Binary = Binary { upgrades: &[], ..NEXT };
    let refusal = check(&yard, &NEWER).unwrap_err();
    assert!(
        matches!(&refusal, Refusal::Version { module, found: 1, expected: 2 } if module == "job"),
        "{refusal}"
    );
}
