//! What must not change unnoticed: the app hash over every message, the raw keys, what an export holds.
//!
//! A change here breaks running chains. Where it is meant, `INSTA_UPDATE=always cargo test -p trainyard-app --test chain`
//! writes the new values.

use std::{collections::BTreeSet, fmt::Write as _};

use trainyard_app::testing::{Chain, TRAIN, VALIDATOR, address, peer_id, send};
use trainyard_modules::{
    auth, authz, bank, consensus,
    context::{Block, EPOCH, EPOCH_BLOCKS, EPOCH_FIRST},
    distribution as rewards, feegrant, fees,
    gas::Gas,
    gov, job,
    machine::{self, Genesis},
    pouw, registry, slashing, staking,
    state::{Empty, State},
    upgrade,
};
use trainyard_proto::{
    address::Address,
    any::{self, Any},
    coin::utrain,
    job::{DataSplit, JobState, RoundPhase},
    registry::{Node, Role},
};

use crate::{
    contest_support::{contest, findings, hand_in, join_variant, run},
    distribution::{create_charging, give, withdraw, withdraw_commission, withdraw_to},
    gov::{
        cancel_proposal, deposit, governed, legacy_deposit, legacy_vote, legacy_vote_weighted, short_votes, submit,
        submit_text, vote_weighted, vote_yes,
    },
    grants::{exec, forbid_sends, pay_fees, pay_no_fees, permit_sends},
    registry::{leave_registry, renew, unbond, unjail_node, update},
    slashing::unjail,
    staking::{delegate, undelegate},
    staking_moves::{cancel_unbonding, edit, redelegate},
    support::*,
};

/// A chain that notes its app hash and the messages that succeeded, block by block.
struct Story {
    chain: Chain,
    text: String,
    seen: BTreeSet<String>,
}

impl Story {
    /// One block with one transaction per message, all of which succeed.
    fn block(&mut self, messages: Vec<(&str, Any)>) {
        let mut names = Vec::new();
        let mut txs = Vec::new();
        for (signer, message) in messages {
            names.push(message.type_url.rsplit('.').next().unwrap().to_string());
            self.seen.insert(message.type_url.clone());
            txs.push(self.chain.tx(signer, vec![message]));
        }
        all_ok(&mut self.chain, txs);
        let hash = hex::encode(self.chain.app_hash());
        writeln!(self.text, "{:>3} {hash} {}", self.chain.height(), names.join(" ")).unwrap();
    }

    fn all(&mut self, names: &[&'static str], message: impl Fn(&Chain, &str) -> Any) {
        let messages = names.iter().map(|name| (*name, message(&self.chain, name))).collect();
        self.block(messages);
    }

    /// Messages that a proposal carried out in the last block.
    fn see_carried_out(&mut self) {
        let actions = self.chain.events().iter().filter(|e| e.r#type == "message");
        let actions = actions.flat_map(|e| &e.attributes).filter(|a| a.key == "action");
        self.seen.extend(actions.map(|a| a.value.clone()));
    }
}

#[test]
fn the_app_hash_over_every_message() {
    let chain = builder().epoch_blocks(10).genesis(short_votes).genesis(|genesis| {
        genesis.registry.nodes.push(Node {
            owner: address("other").to_string(),
            peer_id: peer_id("other"),
            roles: vec![Role::Worker.into()],
            jailed_until: 1,
            ..Node::default()
        });
    });
    let chain = chain.build();
    let (text, seen) = (String::new(), BTreeSet::new());
    let mut story = Story { chain, text, seen };
    story.all(&WORKERS, |_, name| {
        any::pack(&register(name, Role::Worker, 100 * TRAIN))
    });
    story.all(&EVALUATORS, |_, name| {
        any::pack(&register(name, Role::Evaluator, 1000 * TRAIN))
    });
    let mut renamed = update("w1");
    renamed.moniker = "first".into();
    let mut more = update("other");
    more.add_bond = Some(utrain(101 * TRAIN));
    story.block(vec![
        ("w1", any::pack(&renamed)),
        ("other", any::pack(&more)),
        ("other", any::pack(&unjail_node("other"))),
        ("other", any::pack(&renew("other"))),
        ("other", any::pack(&unbond("other", TRAIN))),
        ("other", any::pack(&send("other", "stranger", 5 * TRAIN))),
        ("other", any::pack(&create_charging("other", 10 * TRAIN))),
        ("other", any::pack(&delegate("other", VALIDATOR, 7 * TRAIN))),
    ]);
    story.block(vec![
        ("other", any::pack(&undelegate("other", VALIDATOR, 3 * TRAIN))),
        (CLIENT, any::pack(&post_msg(CLIENT, &spec(), BUDGET))),
        (CLIENT, any::pack(&post_msg(CLIENT, &plain(), 2 * TRAIN))),
    ]);
    story.block(vec![
        ("w1", any::pack(&join("w1", 1))),
        ("w2", any::pack(&join("w2", 1))),
        ("w2", any::pack(&leave("w2", 1))),
        (CLIENT, any::pack(&cancel(CLIENT, 2))),
        (CLIENT, any::pack(&top_up(CLIENT, 1, TRAIN))),
    ]);
    story.all(&WORKERS[1..], |_, name| any::pack(&join(name, 1)));
    story.block(vec![(CLIENT, any::pack(&repost(CLIENT, 2, TRAIN)))]);
    let keys = WORKERS.map(address);
    story.block(vec![(CLIENT, any::pack(&grant(1, DataSplit::Train, &keys)))]);
    for _ in 0..2 {
        story.all(&WORKERS, |chain, name| any::pack(&trace(chain, name, 1)));
        story.all(&WORKERS, |chain, name| any::pack(&vote(chain, name, 1)));
    }
    story.all(&WORKERS, |chain, name| any::pack(&result(chain, name, 1)));
    let keys = drawn(&story.chain.job(1));
    story.block(vec![(CLIENT, any::pack(&grant(1, DataSplit::Test, &keys)))]);
    story.all(&EVALUATORS, |chain, name| {
        any::pack(&evaluation(chain, name, 1, 970_000).0)
    });
    story.all(&EVALUATORS, |chain, name| {
        any::pack(&evaluation(chain, name, 1, 970_000).1)
    });
    assert_eq!(story.chain.job(1).state(), JobState::Settled);
    // The same three in a contest.
    story.block(vec![(CLIENT, any::pack(&post_msg(CLIENT, &contest(), BUDGET)))]);
    let joins = WORKERS.into_iter().zip(0..);
    story.block(
        joins
            .map(|(w, index)| (w, any::pack(&join_variant(w, 4, index))))
            .collect(),
    );
    for _ in 0..2 {
        story.all(&WORKERS, |chain, name| any::pack(&run(chain, name, 4)));
    }
    story.all(&WORKERS, |chain, name| any::pack(&hand_in(chain, name, 4)));
    let found = [("w1", Some(500_000)), ("w2", Some(600_000)), ("w3", None)];
    story.all(&EVALUATORS, |chain, name| {
        any::pack(&findings(chain, name, 4, &found).0)
    });
    story.all(&EVALUATORS, |chain, name| {
        any::pack(&findings(chain, name, 4, &found).1)
    });
    assert_eq!(story.chain.job(4).state(), JobState::Settled);
    story.block(vec![("w3", any::pack(&leave_registry("w3")))]);
    let until = story.chain.time() + 1_000;
    story.block(vec![
        (CLIENT, any::pack(&permit_sends(CLIENT, "other", TRAIN, until))),
        (CLIENT, any::pack(&pay_fees(CLIENT, "other", TRAIN, until))),
        (CLIENT, any::pack(&permit_sends(CLIENT, "w1", TRAIN, until))),
        (CLIENT, any::pack(&pay_fees(CLIENT, "w1", TRAIN, until))),
    ]);
    story.block(vec![
        ("other", any::pack(&exec("other", any::pack(&send(CLIENT, "w2", 7))))),
        (CLIENT, any::pack(&forbid_sends(CLIENT, "w1"))),
        (CLIENT, any::pack(&pay_no_fees(CLIENT, "w1"))),
    ]);
    // What governance alone may send is carried out by a proposal that passes.
    story.block(vec![
        (CLIENT, any::pack(&submit(CLIENT, governed(CLIENT), 90 * TRAIN))),
        ("other", any::pack(&submit("other", Vec::new(), 50 * TRAIN))),
        ("other", any::pack(&submit_text("other", 90 * TRAIN))),
    ]);
    story.block(vec![
        (CLIENT, any::pack(&deposit(CLIENT, 1, 10 * TRAIN))),
        ("other", any::pack(&cancel_proposal("other", 2))),
        ("other", any::pack(&legacy_deposit("other", 3, 10 * TRAIN))),
    ]);
    story.block(vec![
        (VALIDATOR, any::pack(&vote_yes(VALIDATOR, 1))),
        ("other", any::pack(&vote_weighted("other", 1))),
        (VALIDATOR, any::pack(&legacy_vote(VALIDATOR, 3))),
        ("other", any::pack(&legacy_vote_weighted("other", 3))),
    ]);
    story.chain.pass_time(60);
    story.block(Vec::new());
    story.see_carried_out();
    story.block(vec![
        ("other", any::pack(&give("other", TRAIN))),
        ("other", any::pack(&withdraw_to("other", "stranger"))),
        ("other", any::pack(&withdraw("other", VALIDATOR))),
        ("other", any::pack(&withdraw_commission("other"))),
    ]);
    story.block(vec![
        ("other", any::pack(&redelegate("other", VALIDATOR, "other", TRAIN))),
        ("other", any::pack(&undelegate("other", VALIDATOR, 2 * TRAIN))),
        ("other", any::pack(&edit("other"))),
    ]);
    let began = story.chain.height();
    story.chain.signs(VALIDATOR, false);
    story.block(vec![
        ("other", any::pack(&cancel_unbonding("other", VALIDATOR, TRAIN, began))),
        ("other", any::pack(&undelegate("other", "other", 11 * TRAIN))),
        ("other", any::pack(&delegate("other", "other", 5 * TRAIN))),
        ("other", any::pack(&unjail("other"))),
    ]);
    story.chain.votes_twice("other", began);
    while story.chain.height() < 30 {
        story.block(Vec::new());
    }
    let every: BTreeSet<String> = machine::message_urls().collect();
    assert_eq!(story.seen, every, "every message has its place in this story");
    assert_keys_are_listed(&story.chain);
    insta::assert_snapshot!("app_hash", story.text);
}

/// Every item and map with a raw key, as text.
fn keys() -> Vec<(&'static str, Vec<u8>)> {
    let (a, b) = (Address([0xaa; 20]), Address([0xbb; 20]));
    let denom = || "utrain".to_string();
    vec![
        ("context::EPOCH_BLOCKS", EPOCH_BLOCKS.raw_key()),
        ("context::EPOCH", EPOCH.raw_key()),
        ("context::EPOCH_FIRST", EPOCH_FIRST.raw_key()),
        ("context::BEACON (private)", b"core/beacon".to_vec()),
        ("auth::ACCOUNTS", auth::ACCOUNTS.raw_key(&a)),
        ("auth::NEXT_NUMBER", auth::NEXT_NUMBER.raw_key()),
        ("bank::BALANCES", bank::BALANCES.raw_key(&(a, denom()))),
        ("bank::SUPPLY", bank::SUPPLY.raw_key(&denom())),
        ("distribution::REWARDS", rewards::REWARDS.raw_key(&a)),
        ("distribution::SINCE", rewards::SINCE.raw_key(&(a, b))),
        ("distribution::WITHDRAW", rewards::WITHDRAW.raw_key(&a)),
        ("distribution::DUST", rewards::DUST.raw_key()),
        ("distribution::SLASHES", rewards::SLASHES.raw_key(&(a, 7, 1))),
        ("distribution::PARAMS", rewards::PARAMS.raw_key()),
        ("staking::VALIDATORS", staking::VALIDATORS.raw_key(&a)),
        ("staking::BY_CONSENSUS", staking::BY_CONSENSUS.raw_key(&a)),
        ("staking::BARRED", staking::BARRED.raw_key(&a)),
        ("staking::DELEGATIONS", staking::DELEGATIONS.raw_key(&(a, b))),
        ("staking::DELEGATORS", staking::DELEGATORS.raw_key(&(a, b))),
        ("staking::RANK", staking::RANK.raw_key(&(u64::MAX - 7, a))),
        ("staking::UNBONDING", staking::UNBONDING.raw_key(&(a, b, 7))),
        ("staking::UNBONDING_FROM", staking::UNBONDING_FROM.raw_key(&(b, 7))),
        ("staking::QUEUE", staking::QUEUE.raw_key(&(1_700_000_000, (a, b, 7)))),
        (
            "staking::REDELEGATIONS",
            staking::REDELEGATIONS.raw_key(&(a, b, (a, 7))),
        ),
        ("staking::REDELEGATED_FROM", staking::REDELEGATED_FROM.raw_key(&(a, 7))),
        (
            "staking::REDELEGATION_QUEUE",
            staking::REDELEGATION_QUEUE.raw_key(&(1_700_000_000, (a, b, (a, 7)))),
        ),
        (
            "staking::VALIDATOR_QUEUE",
            staking::VALIDATOR_QUEUE.raw_key(&(1_700_000_000, a)),
        ),
        ("staking::LAST_ID", staking::LAST_ID.raw_key()),
        ("staking::HISTORY", staking::HISTORY.raw_key(&7)),
        ("staking::POWERS", staking::POWERS.raw_key(&a)),
        ("staking::PARAMS", staking::PARAMS.raw_key()),
        ("slashing::INFOS", slashing::INFOS.raw_key(&a)),
        ("slashing::MISSED", slashing::MISSED.raw_key(&(a, 7))),
        ("slashing::SLASHED", slashing::SLASHED.raw_key(&(a, 7, 1))),
        ("slashing::PARAMS", slashing::PARAMS.raw_key()),
        ("registry::NODES", registry::NODES.raw_key(&a)),
        ("registry::PEERS", registry::PEERS.raw_key(&"12D3KooW".to_string())),
        ("registry::UNBONDING", registry::UNBONDING.raw_key(&(7, a))),
        ("registry::UNBONDING_OF", registry::UNBONDING_OF.raw_key(&(a, 7))),
        ("registry::LEFT", registry::LEFT.raw_key(&a)),
        ("registry::BY_ROLE", registry::BY_ROLE.raw_key(&(1, a))),
        ("registry::PENALTIES", registry::PENALTIES.raw_key(&(a, 1))),
        ("registry::PARAMS", registry::PARAMS.raw_key()),
        ("job::JOBS", job::JOBS.raw_key(&1)),
        ("job::SPECS", job::SPECS.raw_key(&1)),
        ("job::ROUNDS", job::ROUNDS.raw_key(&(1, 2))),
        ("job::GRANTS", job::GRANTS.raw_key(&(1, 2, a))),
        ("job::BY_STATE", job::BY_STATE.raw_key(&(1, 2))),
        ("job::BY_CLIENT", job::BY_CLIENT.raw_key(&(a, 2))),
        ("job::BY_MEMBER", job::BY_MEMBER.raw_key(&(a, 2))),
        ("job::DEADLINES", job::DEADLINES.raw_key(&(7, 1))),
        ("job::COMMIT_LOG", job::COMMIT_LOG.raw_key(&1)),
        ("job::MODEL_LOG", job::MODEL_LOG.raw_key(&1)),
        ("job::LOG_COMMITS", job::LOG_COMMITS.raw_key()),
        ("job::LOG_MODELS", job::LOG_MODELS.raw_key()),
        ("job::LOG_UNITS", job::LOG_UNITS.raw_key()),
        ("job::LAST_ID", job::LAST_ID.raw_key()),
        ("job::PARAMS", job::PARAMS.raw_key()),
        ("registry::MEMBERS", registry::MEMBERS.raw_key(&a)),
        ("gov::PROPOSALS", gov::PROPOSALS.raw_key(&1)),
        ("gov::LAST_ID", gov::LAST_ID.raw_key()),
        ("gov::DEPOSITS", gov::DEPOSITS.raw_key(&(1, a))),
        ("gov::VOTES", gov::VOTES.raw_key(&(1, a))),
        ("gov::INACTIVE", gov::INACTIVE.raw_key(&(1_700_000_000, 1))),
        ("gov::ACTIVE", gov::ACTIVE.raw_key(&(1_700_000_000, 1))),
        ("gov::PARAMS", gov::PARAMS.raw_key()),
        ("consensus::PARAMS", consensus::PARAMS.raw_key()),
        ("authz::GRANTS", authz::GRANTS.raw_key(&(a, b, "/m".to_string()))),
        ("authz::RECEIVED", authz::RECEIVED.raw_key(&(b, a, "/m".to_string()))),
        ("authz::EXPIRY", authz::EXPIRY.raw_key(&(7, (a, b, "/m".to_string())))),
        ("feegrant::ALLOWANCES", feegrant::ALLOWANCES.raw_key(&(b, a))),
        ("feegrant::GIVEN", feegrant::GIVEN.raw_key(&(a, b))),
        ("feegrant::EXPIRY", feegrant::EXPIRY.raw_key(&(7, (b, a)))),
        ("fees::BASE_FEE", fees::BASE_FEE.raw_key()),
        ("fees::PARAMS", fees::PARAMS.raw_key()),
        ("upgrade::PLAN", upgrade::PLAN.raw_key()),
        ("upgrade::APPLIED", upgrade::APPLIED.raw_key(&"v2".to_string())),
        ("upgrade::LAST", upgrade::LAST.raw_key()),
        ("upgrade::VERSIONS", upgrade::VERSIONS.raw_key(&"bank".to_string())),
        ("pouw::CHECKPOINTS", pouw::CHECKPOINTS.raw_key(&3)),
        ("pouw::EPOCHS", pouw::EPOCHS.raw_key()),
    ]
}

#[test]
fn the_raw_keys() {
    let mut text = String::new();
    for (name, key) in keys() {
        writeln!(text, "{name:<26} {}", key.escape_ascii()).unwrap();
    }
    insta::assert_snapshot!("raw_keys", text);
}

/// Module and name of a key: up to and with the second slash.
fn family(key: &[u8]) -> Vec<u8> {
    let ends = key
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at + 1);
    key[..ends.take(2).nth(1).unwrap_or(key.len())].to_vec()
}

fn assert_keys_are_listed(chain: &Chain) {
    let listed: BTreeSet<Vec<u8>> = keys().iter().map(|(_, key)| family(key)).collect();
    for pair in chain.app().store().snapshot().range(b"", None, false).unwrap() {
        let key = pair.unwrap().0;
        assert!(listed.contains(&family(&key)), "{} is in no list", key.escape_ascii());
    }
}

/// A chain in the middle of everything: a job in every state, stake and bonds on their way back, fees not paid out.
fn busy() -> Chain {
    let patient = builder().fund("late", CASH).epoch_blocks(1_000).genesis(|genesis| {
        genesis.job.params.commit_blocks = 50;
        genesis.job.params.reveal_blocks = 50;
        genesis.registry.params.unbonding_blocks = 100;
    });
    let mut chain = register_everybody(patient.build());
    chain.ok("other", &create_charging("other", 10 * TRAIN));
    chain.ok("late", &withdraw_to("late", "other"));
    chain.ok("late", &delegate("late", VALIDATOR, 7 * TRAIN));
    chain.ok("late", &undelegate("late", VALIDATOR, 2 * TRAIN));
    chain.ok("late", &redelegate("late", VALIDATOR, "other", TRAIN));
    chain.ok("late", &register("late", Role::Worker, 100 * TRAIN));
    chain.ok("late", &leave_registry("late"));
    chain.ok("late", &submit("late", Vec::new(), 50 * TRAIN));
    chain.ok("late", &submit("late", Vec::new(), 100 * TRAIN));
    chain.ok("late", &vote_weighted("late", 2));
    let until = chain.time() + 300;
    chain.ok("late", &permit_sends("late", "w1", TRAIN, until));
    chain.ok("late", &pay_fees("late", "w1", TRAIN, until));
    let mut long = spec();
    let deadlines = long.deadlines.as_mut().unwrap();
    (deadlines.open, deadlines.grant, deadlines.round, deadlines.submit) = (100, 100, 100, 100);
    let small = |chain: &mut Chain| {
        let id = post(chain, &long, 30 * TRAIN);
        join_all(chain, id, &WORKERS);
        id
    };
    post(&mut chain, &long, 30 * TRAIN);
    small(&mut chain);
    let tracing = small(&mut chain);
    grant_train(&mut chain, tracing);
    commit_all(&mut chain, tracing, &WORKERS[..1]);
    let merging = small(&mut chain);
    grant_train(&mut chain, merging);
    commit_all(&mut chain, merging, &WORKERS);
    vote_all(&mut chain, merging, &WORKERS[..1]);
    let submitted = small(&mut chain);
    train(&mut chain, submitted, &WORKERS);
    let settled = small(&mut chain);
    train(&mut chain, settled, &WORKERS);
    grant_test(&mut chain, settled);
    score(&mut chain, settled, [("e1", 5), ("e2", 6)]);
    let (evaluating, revealing) = (small(&mut chain), small(&mut chain));
    for id in [evaluating, revealing] {
        train(&mut chain, id, &WORKERS);
        grant_test(&mut chain, id);
    }
    chain.ok("e2", &evaluation(&chain, "e2", evaluating, 9).0);
    for name in EVALUATORS {
        chain.ok(name, &evaluation(&chain, name, revealing, 9).0);
    }
    let mut contest = contest();
    contest.deadlines = long.deadlines;
    let contested = post(&mut chain, &contest, 30 * TRAIN);
    for (worker, index) in WORKERS.into_iter().zip(0..) {
        chain.ok(worker, &join_variant(worker, contested, index));
    }
    for worker in WORKERS {
        chain.ok(worker, &run(&chain, worker, contested));
    }
    chain.ok("w1", &run(&chain, "w1", contested));
    chain
}

fn states(chain: &Chain) -> Vec<(JobState, RoundPhase)> {
    chain
        .export()
        .job
        .jobs
        .iter()
        .map(|job| (job.state(), job.round_phase()))
        .collect()
}

#[test]
fn an_imported_chain_goes_on_as_the_exported_one() {
    let mut chain = busy();
    let in_flight = states(&chain);
    for state in [
        (JobState::Open, RoundPhase::Unspecified),
        (JobState::Training, RoundPhase::Keys),
        (JobState::Training, RoundPhase::Train),
        (JobState::Training, RoundPhase::Merge),
        (JobState::Submitted, RoundPhase::Unspecified),
        (JobState::Evaluating, RoundPhase::Unspecified),
        (JobState::Revealing, RoundPhase::Unspecified),
        (JobState::Settled, RoundPhase::Unspecified),
    ] {
        assert!(in_flight.contains(&state), "{state:?} is not in {in_flight:?}");
    }

    // Through text, as a file.
    let exported = chain.export();
    let text = serde_json::to_string(&exported).unwrap();
    let read: Genesis = serde_json::from_str(&text).unwrap();
    assert_eq!(read, exported);
    let block = Block {
        chain_id: chain.chain_id().into(),
        height: chain.height(),
        time: chain.time(),
        proposer: Vec::new(),
        hash: Vec::new(),
    };
    let mut state = State::new(&Empty, Gas::unlimited());
    let powers = machine::init_genesis(&mut state, &block, &read, &upgrade::THIS, &mut Vec::new()).unwrap();
    assert_eq!(machine::export(&mut state).unwrap(), exported);
    assert_eq!(powers.len(), 1, "the second validator joins at the epoch's end");

    // The same blocks on both make the same state, to the app hash.
    let mut twin = Chain::from_genesis(chain.chain_id(), &read, chain.height() + 1, chain.time());
    for chain in [&mut chain, &mut twin] {
        chain.skip(1);
        let revealing = find(chain, JobState::Revealing);
        for name in EVALUATORS {
            chain.ok(name, &evaluation(chain, name, revealing, 9).1);
        }
        let submitted = find(chain, JobState::Submitted);
        grant_test(chain, submitted);
        chain.ok(CLIENT, &cancel(CLIENT, 1));
        chain.pass_time(22 * 24 * 3600);
        chain.skip(350);
    }
    assert_eq!(twin.height(), chain.height());
    assert_eq!(twin.export(), chain.export());
    assert_eq!(twin.app_hash(), chain.app_hash());
    assert!(
        states(&chain)
            .iter()
            .all(|(state, _)| { matches!(state, JobState::Settled | JobState::Cancelled | JobState::Failed) })
    );
    assert_eq!(held(&chain, bank::ESCROW), 0);
    assert_eq!(
        (held(&chain, bank::NOT_BONDED_POOL), worth(&chain, "late")),
        (11 * TRAIN, CASH - 5 * TRAIN)
    );
    assert_eq!(held(&chain, bank::GOV_DEPOSITS), 0);
}

fn find(chain: &Chain, state: JobState) -> u64 {
    chain
        .export()
        .job
        .jobs
        .iter()
        .find(|job| job.state() == state)
        .unwrap()
        .id
}
