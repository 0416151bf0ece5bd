//! Who may not send which message, and when: a row for each message of the router. A message without one fails
//! [`every_message_has_its_row`].
//!
//! Of each the rightful message with a stranger's signature is refused, and then what its row lists: the wrong sender, and the
//! wrong state. [`assert_message_refused`] holds that nothing else has changed in the whole state than, where the ante passed,
//! one account's fee and sequence. What the words of the refusals are is told in the `bad_…` files.

use std::collections::BTreeSet;

use trainyard_app::testing::{Chain, TRAIN, VALIDATOR, address, create_validator, send};
use trainyard_modules::{bank, governed::authority, machine};
use trainyard_proto::{
    address::Address,
    any::{self, Any},
    job::DataSplit,
    registry::Role,
};

use crate::{
    distribution::{create_charging, give, withdraw, withdraw_commission, withdraw_to},
    gov::{
        cancel_proposal, deposit, governed, legacy_deposit, legacy_vote, legacy_vote_weighted, submit, submit_text,
        vote_weighted, vote_yes,
    },
    grants::{exec, forbid_sends, pay_fees, pay_no_fees, permit_sends},
    registry::{leave_registry, renew, unbond, unjail_node, update},
    slashing::unjail,
    staking::{delegate, undelegate},
    staking_moves::{cancel_unbonding, edit, redelegate},
    support::*,
};

/// Who sends what, and with which codespace and code it is refused.
type Wrong = (&'static str, Any, (&'static str, u32));

struct Row {
    /// Somebody who may send it, at some time.
    sender: &'static str,
    message: Any,
    wrong: Vec<Wrong>,
}

fn row<M: trainyard_proto::prost::Message + trainyard_proto::prost::Name>(
    sender: &'static str,
    message: &M,
    wrong: Vec<Wrong>,
) -> Row {
    let message = any::pack(message);
    Row { sender, message, wrong }
}

/// A job in each state that a message could need, and what its parties would send.
pub(crate) struct Jobs {
    pub(crate) open: u64,
    pub(crate) keys: u64,
    pub(crate) training: u64,
    pub(crate) evaluating: u64,
    pub(crate) settled: u64,
}

pub(crate) fn jobs(chain: &mut Chain) -> Jobs {
    let open = post(chain, &calm(plain()), BUDGET);
    chain.ok("w1", &join("w1", open));
    let keys = started(chain, &calm(spec()));
    let training = started(chain, &calm(plain()));
    let evaluating = evaluating(chain, &calm(plain()));
    let settled = settled(chain);
    Jobs {
        open,
        keys,
        training,
        evaluating,
        settled,
    }
}

/// A job that is over.
fn settled(chain: &mut Chain) -> u64 {
    let id = evaluating(chain, &calm(plain()));
    score(chain, id, [("e1", 5), ("e2", 5)]);
    id
}

/// The chain that the rows are about: a validator beside the first, jobs, a proposal, a permission and an allowance.
fn chain() -> (Chain, Jobs) {
    let mut chain = calm_yard();
    chain.ok("other", &create_charging("other", 10 * TRAIN));
    chain.ok("other", &submit("other", Vec::new(), 50 * TRAIN));
    let until = chain.time() + 100_000;
    chain.ok(CLIENT, &permit_sends(CLIENT, "w1", TRAIN, until));
    chain.ok(CLIENT, &pay_fees(CLIENT, "w1", TRAIN, until));
    let jobs = jobs(&mut chain);
    (chain, jobs)
}

fn money(chain: &Chain) -> Vec<Row> {
    let treasury = Address::of_module(bank::TREASURY).to_string();
    let mut to_module = send(CLIENT, "other", 1);
    to_module.to_address.clone_from(&treasury);
    let mut redirect = withdraw_to(CLIENT, "other");
    redirect.withdraw_address = treasury;
    let began = chain.height();
    vec![
        row(
            CLIENT,
            &send(CLIENT, "other", 1),
            vec![
                (CLIENT, any::pack(&send(CLIENT, "other", CASH)), ("sdk", 5)),
                (CLIENT, any::pack(&to_module), ("sdk", 4)),
            ],
        ),
        row(
            CLIENT,
            &create_validator(CLIENT, TRAIN),
            vec![
                ("other", any::pack(&create_validator("other", TRAIN)), ("staking", 4)),
                (CLIENT, any::pack(&create_validator(CLIENT, CASH)), ("sdk", 5)),
            ],
        ),
        row(
            "other",
            &edit("other"),
            vec![("w1", any::pack(&edit("w1")), ("staking", 3))],
        ),
        row(
            CLIENT,
            &delegate(CLIENT, VALIDATOR, TRAIN),
            vec![
                (CLIENT, any::pack(&delegate(CLIENT, "w1", TRAIN)), ("staking", 3)),
                (CLIENT, any::pack(&delegate(CLIENT, VALIDATOR, CASH)), ("sdk", 5)),
            ],
        ),
        row(
            "other",
            &undelegate("other", "other", TRAIN),
            vec![
                ("w1", any::pack(&undelegate("w1", "other", TRAIN)), ("staking", 24)),
                (
                    "other",
                    any::pack(&undelegate("other", "other", 11 * TRAIN)),
                    ("staking", 24),
                ),
            ],
        ),
        row(
            "other",
            &cancel_unbonding("other", "other", TRAIN, began),
            vec![(
                "w1",
                any::pack(&cancel_unbonding("w1", "other", TRAIN, began)),
                ("staking", 26),
            )],
        ),
        row(
            "other",
            &redelegate("other", "other", VALIDATOR, TRAIN),
            vec![
                (
                    "w1",
                    any::pack(&redelegate("w1", "other", VALIDATOR, TRAIN)),
                    ("staking", 24),
                ),
                (
                    "other",
                    any::pack(&redelegate("other", "other", "other", TRAIN)),
                    ("staking", 29),
                ),
            ],
        ),
        row(
            "other",
            &unjail("other"),
            vec![
                ("w1", any::pack(&unjail("w1")), ("slashing", 2)),
                ("other", any::pack(&unjail("other")), ("slashing", 5)),
            ],
        ),
        row(
            "other",
            &withdraw("other", "other"),
            vec![("w1", any::pack(&withdraw("w1", "other")), ("distribution", 13))],
        ),
        row(
            "other",
            &withdraw_commission("other"),
            vec![
                ("w1", any::pack(&withdraw_commission("w1")), ("distribution", 7)),
                ("other", any::pack(&withdraw_commission("other")), ("distribution", 7)),
            ],
        ),
        row(
            CLIENT,
            &withdraw_to(CLIENT, "other"),
            vec![(CLIENT, any::pack(&redirect), ("sdk", 4))],
        ),
        row(
            CLIENT,
            &give(CLIENT, TRAIN),
            vec![(CLIENT, any::pack(&give(CLIENT, CASH)), ("sdk", 5))],
        ),
    ]
}

fn nodes() -> Vec<Row> {
    let stranger = |message: Any| (CLIENT, message, ("registry", 3));
    vec![
        row(
            CLIENT,
            &register(CLIENT, Role::Worker, 100 * TRAIN),
            vec![
                (
                    "w1",
                    any::pack(&register("w1", Role::Worker, 100 * TRAIN)),
                    ("registry", 2),
                ),
                (
                    CLIENT,
                    any::pack(&register(CLIENT, Role::Evaluator, 100 * TRAIN)),
                    ("registry", 4),
                ),
            ],
        ),
        row("w1", &update("w1"), vec![stranger(any::pack(&update(CLIENT)))]),
        row("w1", &renew("w1"), vec![stranger(any::pack(&renew(CLIENT)))]),
        row(
            "w1",
            &unbond("w1", 1),
            vec![
                stranger(any::pack(&unbond(CLIENT, 1))),
                ("w1", any::pack(&unbond("w1", 1)), ("registry", 4)),
            ],
        ),
        row(
            "w1",
            &unjail_node("w1"),
            vec![
                stranger(any::pack(&unjail_node(CLIENT))),
                ("w1", any::pack(&unjail_node("w1")), ("registry", 11)),
            ],
        ),
        row(
            "w1",
            &leave_registry("w1"),
            vec![
                stranger(any::pack(&leave_registry(CLIENT))),
                ("w1", any::pack(&leave_registry("w1")), ("registry", 7)),
            ],
        ),
    ]
}

fn work(chain: &Chain, jobs: &Jobs) -> Vec<Row> {
    let workers = WORKERS.map(address);
    let keys = |id| grant(id, DataSplit::Train, &workers);
    let mut stolen = keys(jobs.keys);
    stolen.client = address("other").to_string();
    let judge = |name, id| evaluation(chain, name, id, 5);
    vec![
        row(
            CLIENT,
            &post_msg(CLIENT, &plain(), BUDGET),
            vec![(CLIENT, any::pack(&post_msg(CLIENT, &plain(), CASH)), ("sdk", 5))],
        ),
        row(
            CLIENT,
            &cancel(CLIENT, jobs.open),
            vec![
                ("other", any::pack(&cancel("other", jobs.open)), ("job", 5)),
                (CLIENT, any::pack(&cancel(CLIENT, jobs.training)), ("job", 4)),
                (CLIENT, any::pack(&cancel(CLIENT, jobs.settled)), ("job", 4)),
            ],
        ),
        row(
            CLIENT,
            &top_up(CLIENT, jobs.open, TRAIN),
            vec![
                ("other", any::pack(&top_up("other", jobs.open, TRAIN)), ("job", 5)),
                (CLIENT, any::pack(&top_up(CLIENT, jobs.evaluating, TRAIN)), ("job", 4)),
                (CLIENT, any::pack(&top_up(CLIENT, jobs.settled, TRAIN)), ("job", 4)),
            ],
        ),
        row(
            CLIENT,
            &repost(CLIENT, jobs.open, TRAIN),
            vec![
                ("other", any::pack(&repost("other", jobs.open, TRAIN)), ("job", 5)),
                (CLIENT, any::pack(&repost(CLIENT, jobs.open, TRAIN)), ("job", 4)),
                (CLIENT, any::pack(&repost(CLIENT, jobs.settled, TRAIN)), ("job", 4)),
            ],
        ),
        row(
            CLIENT,
            &keys(jobs.keys),
            vec![
                ("other", any::pack(&stolen), ("job", 5)),
                (CLIENT, any::pack(&keys(jobs.open)), ("job", 4)),
                (CLIENT, any::pack(&keys(jobs.training)), ("job", 12)),
                (CLIENT, any::pack(&keys(jobs.settled)), ("job", 4)),
            ],
        ),
        row(
            "w2",
            &join("w2", jobs.open),
            vec![
                ("other", any::pack(&join("other", jobs.open)), ("registry", 3)),
                ("e1", any::pack(&join("e1", jobs.open)), ("registry", 8)),
                ("w1", any::pack(&join("w1", jobs.open)), ("job", 8)),
                ("w2", any::pack(&join("w2", jobs.training)), ("job", 4)),
                ("w2", any::pack(&join("w2", jobs.settled)), ("job", 4)),
            ],
        ),
        row(
            "w1",
            &leave("w1", jobs.open),
            vec![
                ("w2", any::pack(&leave("w2", jobs.open)), ("job", 6)),
                (CLIENT, any::pack(&leave(CLIENT, jobs.training)), ("job", 6)),
                ("w1", any::pack(&leave("w1", jobs.evaluating)), ("job", 4)),
            ],
        ),
        row(
            "w1",
            &trace(chain, "w1", jobs.training),
            vec![
                ("e1", any::pack(&trace(chain, "e1", jobs.training)), ("job", 6)),
                ("w1", any::pack(&trace(chain, "w1", jobs.open)), ("job", 4)),
                ("w1", any::pack(&trace(chain, "w1", jobs.keys)), ("job", 12)),
                ("w1", any::pack(&trace(chain, "w1", jobs.settled)), ("job", 4)),
            ],
        ),
        row(
            "w1",
            &vote(chain, "w1", jobs.training),
            vec![
                ("e1", any::pack(&vote(chain, "e1", jobs.training)), ("job", 6)),
                ("w1", any::pack(&vote(chain, "w1", jobs.training)), ("job", 12)),
                ("w1", any::pack(&vote(chain, "w1", jobs.evaluating)), ("job", 4)),
            ],
        ),
        row(
            "w1",
            &result(chain, "w1", jobs.training),
            vec![
                ("e1", any::pack(&result(chain, "e1", jobs.training)), ("job", 6)),
                ("w1", any::pack(&result(chain, "w1", jobs.training)), ("job", 12)),
                ("w1", any::pack(&result(chain, "w1", jobs.evaluating)), ("job", 4)),
            ],
        ),
        row(
            "e1",
            &judge("e1", jobs.evaluating).0,
            vec![
                ("w1", any::pack(&judge("w1", jobs.evaluating).0), ("job", 7)),
                ("e1", any::pack(&judge("e1", jobs.training).0), ("job", 4)),
                ("e1", any::pack(&judge("e1", jobs.settled).0), ("job", 4)),
            ],
        ),
        row(
            "e1",
            &judge("e1", jobs.evaluating).1,
            vec![
                ("w1", any::pack(&judge("w1", jobs.evaluating).1), ("job", 7)),
                ("e1", any::pack(&judge("e1", jobs.evaluating).1), ("job", 4)),
                ("e1", any::pack(&judge("e1", jobs.settled).1), ("job", 4)),
            ],
        ),
    ]
}

fn decisions() -> Vec<Row> {
    let none = 99;
    // A proposal runs governance's own messages, and nobody else's.
    let other = any::pack(&send("other", CLIENT, 1));
    vec![
        row(
            CLIENT,
            &submit(CLIENT, governed(CLIENT), 10 * TRAIN),
            vec![
                (CLIENT, any::pack(&submit(CLIENT, vec![other], 10 * TRAIN)), ("gov", 13)),
                (CLIENT, any::pack(&submit(CLIENT, Vec::new(), TRAIN)), ("gov", 16)),
            ],
        ),
        row(
            CLIENT,
            &deposit(CLIENT, 1, 10 * TRAIN),
            vec![(CLIENT, any::pack(&deposit(CLIENT, none, 10 * TRAIN)), ("gov", 17))],
        ),
        row(
            VALIDATOR,
            &vote_yes(VALIDATOR, 1),
            vec![
                (CLIENT, any::pack(&vote_yes(CLIENT, none)), ("gov", 17)),
                // It waits for its deposit still.
                (VALIDATOR, any::pack(&vote_yes(VALIDATOR, 1)), ("gov", 3)),
            ],
        ),
        row(
            VALIDATOR,
            &vote_weighted(VALIDATOR, 1),
            vec![
                (CLIENT, any::pack(&vote_weighted(CLIENT, none)), ("gov", 17)),
                (VALIDATOR, any::pack(&vote_weighted(VALIDATOR, 1)), ("gov", 3)),
            ],
        ),
        row(
            CLIENT,
            &submit_text(CLIENT, 10 * TRAIN),
            vec![(CLIENT, any::pack(&submit_text(CLIENT, TRAIN)), ("gov", 16))],
        ),
        row(
            CLIENT,
            &legacy_deposit(CLIENT, 1, 10 * TRAIN),
            vec![(
                CLIENT,
                any::pack(&legacy_deposit(CLIENT, none, 10 * TRAIN)),
                ("gov", 17),
            )],
        ),
        row(
            VALIDATOR,
            &legacy_vote(VALIDATOR, 1),
            vec![(VALIDATOR, any::pack(&legacy_vote(VALIDATOR, 1)), ("gov", 3))],
        ),
        row(
            VALIDATOR,
            &legacy_vote_weighted(VALIDATOR, 1),
            vec![(VALIDATOR, any::pack(&legacy_vote_weighted(VALIDATOR, 1)), ("gov", 3))],
        ),
        row(
            "other",
            &cancel_proposal("other", 1),
            vec![
                (CLIENT, any::pack(&cancel_proposal(CLIENT, 1)), ("gov", 18)),
                (CLIENT, any::pack(&cancel_proposal(CLIENT, none)), ("gov", 17)),
            ],
        ),
    ]
}

fn permits(chain: &Chain) -> Vec<Row> {
    let until = chain.time() + 100_000;
    vec![
        row(
            CLIENT,
            &permit_sends(CLIENT, "w2", TRAIN, until),
            vec![
                (
                    CLIENT,
                    any::pack(&permit_sends(CLIENT, CLIENT, TRAIN, until)),
                    ("authz", 7),
                ),
                (CLIENT, any::pack(&permit_sends(CLIENT, "w2", TRAIN, 1)), ("authz", 3)),
            ],
        ),
        row(
            CLIENT,
            &forbid_sends(CLIENT, "w1"),
            vec![
                ("other", any::pack(&forbid_sends("other", "w1")), ("authz", 2)),
                (CLIENT, any::pack(&forbid_sends(CLIENT, "w2")), ("authz", 2)),
            ],
        ),
        row(
            "w1",
            &exec("w1", any::pack(&send(CLIENT, "w2", 1))),
            vec![
                (
                    "w2",
                    any::pack(&exec("w2", any::pack(&send(CLIENT, "w2", 1)))),
                    ("authz", 2),
                ),
                ("w1", any::pack(&exec("w1", any::pack(&give(CLIENT, 1)))), ("authz", 2)),
                (
                    "w1",
                    any::pack(&exec("w1", any::pack(&send(CLIENT, "w2", 2 * TRAIN)))),
                    ("sdk", 4),
                ),
            ],
        ),
        row(
            CLIENT,
            &pay_fees(CLIENT, "w2", TRAIN, until),
            vec![
                (CLIENT, any::pack(&pay_fees(CLIENT, CLIENT, TRAIN, until)), ("sdk", 7)),
                (
                    CLIENT,
                    any::pack(&pay_fees(CLIENT, "w1", TRAIN, until)),
                    ("feegrant", 9),
                ),
            ],
        ),
        row(
            CLIENT,
            &pay_no_fees(CLIENT, "w1"),
            vec![
                ("other", any::pack(&pay_no_fees("other", "w1")), ("feegrant", 5)),
                (CLIENT, any::pack(&pay_no_fees(CLIENT, "w2")), ("feegrant", 5)),
            ],
        ),
    ]
}

fn rows(chain: &Chain, jobs: &Jobs) -> Vec<Row> {
    let parts = [money(chain), nodes(), work(chain, jobs), decisions(), permits(chain)];
    parts.into_iter().flatten().collect()
}

#[test]
fn every_message_has_its_row() {
    let (chain, jobs) = chain();
    let rows = rows(&chain, &jobs);
    let urls = rows.iter().map(|row| row.message.type_url.clone());
    let governed = governed(CLIENT).into_iter().map(|message| message.type_url);
    let listed: BTreeSet<String> = urls.chain(governed).collect();
    let routed: BTreeSet<String> = machine::message_urls().collect();
    assert_eq!(listed, routed);
    assert!(rows.iter().all(|row| !row.wrong.is_empty()));
}

/// The key decides, not the name in the message.
#[test]
fn nobody_signs_for_another() {
    let (mut chain, jobs) = chain();
    for Row { sender, message, .. } in rows(&chain, &jobs) {
        println!("{} by a stranger", message.type_url);
        let tx = chain.craft(sender, vec![message]).signed_by("stranger").sign();
        let failure = ("sdk", 8);
        let words = &["does not belong to signer"];
        assert_refused(
            &mut chain,
            tx,
            &Refusal {
                failure,
                words,
                payer: None,
            },
        );
    }
}

#[test]
fn the_wrong_sender_and_the_wrong_time() {
    let (mut chain, jobs) = chain();
    for Row { wrong, .. } in rows(&chain, &jobs) {
        for (signer, message, failure) in wrong {
            println!("{} by {signer}", message.type_url);
            assert_message_refused(&mut chain, signer, message, failure, &[]);
        }
    }
}

/// Every authority is the first field of its message.
fn claimed_by(message: &Any, name: &str) -> Any {
    let (governance, claimant) = (authority().to_string(), address(name).to_string());
    assert_eq!(
        message.value[2..2 + governance.len()],
        *governance.as_bytes(),
        "{}",
        message.type_url
    );
    let mut claimed = message.clone();
    claimed.value[2..2 + claimant.len()].copy_from_slice(claimant.as_bytes());
    claimed
}

/// Neither in governance's name, whose account nobody has a key of, nor in one's own; nor by a permission.
#[test]
fn governance_alone() {
    let (mut chain, _) = chain();
    for message in governed(CLIENT) {
        for name in [CLIENT, VALIDATOR] {
            println!("{} by {name}", message.type_url);
            assert_message_refused(&mut chain, name, message.clone(), ("sdk", 9), &[]);
            let claimed = claimed_by(&message, name);
            assert_message_refused(&mut chain, name, claimed, ("sdk", 4), &["expected governance"]);
            let carried = any::pack(&exec(name, message.clone()));
            assert_message_refused(&mut chain, name, carried, ("authz", 2), &[]);
        }
    }
}
