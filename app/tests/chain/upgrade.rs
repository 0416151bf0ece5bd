//! An upgrade decided by governance, from one program to the next. What plans may say is tested in `modules`.

use tendermint_proto::v0_38::abci;
use trainyard_app::testing::{Chain, TRAIN, VALIDATOR};
use trainyard_modules::{
    governed::authority,
    registry,
    upgrade::{Binary, Migration, Plan, Refusal, THIS},
};
use trainyard_proto::{any, cosmos::upgrade::v1beta1::MsgSoftwareUpgrade, registry::Role};

use crate::{
    gov::{short_votes, submit, vote_yes},
    support::*,
};

const HEIGHT: u64 = 20;

/// As this program, but that reputations are counted from 1000.
static NEXT: Binary = Binary {
    versions: &NEXT_VERSIONS,
    upgrades: &["thousand"],
    migrations: &[Migration {
        module: "registry",
        from: 1,
        run: |state, _| {
            for (owner, mut node) in registry::NODES.all(state)? {
                node.reputation *= 10;
                registry::NODES.set(state, &owner, &node)?;
            }
            Ok(())
        },
    }],
};

static NEXT_VERSIONS: [(&str, u64); THIS.versions.len()] = {
    let mut versions = [("", 1); THIS.versions.len()];
    let mut at = 0;
    while at < versions.len() {
        versions[at] = THIS.versions[at];
        // Constants cannot compare texts.
        if let b"registry" = versions[at].0.as_bytes() {
            versions[at].1 += 1;
        }
        at += 1;
    }
    versions
};

fn finalize_next(chain: &Chain) -> String {
    let request = abci::RequestFinalizeBlock {
        height: i64::try_from(chain.height() + 1).unwrap(),
        ..abci::RequestFinalizeBlock::default()
    };
    chain.app().finalize_block(request).unwrap_err().to_string()
}

#[test]
fn a_chain_goes_from_one_program_to_the_next() {
    let mut chain = register_everybody(builder().epoch_blocks(10).genesis(short_votes).build());
    let job = started(&mut chain, &calm(spec()));
    let plan = MsgSoftwareUpgrade {
        authority: authority().to_string(),
        plan: Some(Plan {
            name: "thousand".into(),
            height: i64::try_from(HEIGHT).unwrap(),
            info: "see the release".into(),
            ..Plan::default()
        }),
    };
    chain.ok("other", &submit("other", vec![any::pack(&plan)], 100 * TRAIN));
    chain.ok(VALIDATOR, &vote_yes(VALIDATOR, 1));
    chain.pass_time(60);
    chain.skip(1);
    assert_eq!(chain.app().check_version(), Ok(()));

    // The next program is refused before its time; this one stops right before it.
    chain.install(&NEXT);
    assert!(matches!(chain.app().check_version(), Err(Refusal::Early { .. })));
    assert!(finalize_next(&chain).contains("BINARY UPDATED BEFORE TRIGGER"));
    chain.install(&THIS);
    chain.skip_to(HEIGHT - 2);
    assert_eq!((chain.app().needed_upgrade(), chain.app().halted()), (None, false));
    chain.skip(1);
    assert_eq!(chain.app().needed_upgrade(), plan.plan);
    assert!(chain.app().halted());
    let needed = "UPGRADE \"thousand\" NEEDED at height: 20: see the release";
    assert_eq!(finalize_next(&chain), needed);
    assert_eq!(chain.height(), HEIGHT - 1);

    let before = reputation(&chain, "w1");
    chain.install(&NEXT);
    assert_eq!(chain.app().check_version(), Ok(()));
    chain.skip(1);
    assert_eq!(reputation(&chain, "w1"), before * 10);
    // The job goes on where it was.
    grant_train(&mut chain, job);
    commit_all(&mut chain, job, &WORKERS);
    chain.skip(5);
    assert_eq!(chain.node("w1").unwrap().roles, [i32::from(Role::Worker)]);

    chain.install(&THIS);
    assert_eq!(chain.app().check_version(), Err(Refusal::Late("thousand".into())));
    assert!(finalize_next(&chain).contains("does not know it"));
}
