//! Random messages, valid and not, over many blocks; and garbage in every place that decodes bytes from outside.
//!
//! The randomness is a fixed function of the seed. [`Chain`] asserts at every block what must always hold.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use trainyard_app::testing::{Chain, TRAIN, VALIDATOR, address, consensus_key, peer_id, send};
use trainyard_modules::machine::{self, ante::Tx};
use trainyard_proto::{
    address::Address,
    any::{self, Any},
    coin::utrain,
    cosmos::staking::v1beta1::MsgCancelUnbondingDelegation,
    job::{DataSplit, Job, JobSpec, JobState, RoundPhase},
    registry::Role,
};

use crate::{
    distribution::{create_charging, give, withdraw, withdraw_commission, withdraw_to},
    gov::{cancel_proposal, deposit, governed, short_votes, submit, vote_weighted, vote_yes},
    grants::{exec, forbid_sends, pay_fees, pay_no_fees, permit_sends},
    registry::{leave_registry, unbond, update},
    slashing::unjail,
    staking::{delegate, undelegate},
    staking_moves::{edit, redelegate},
    support::*,
};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn amount(&mut self) -> u64 {
        match self.below(10) {
            0 => 0,
            1 => self.next(),
            2 => CASH,
            3 => self.below(10),
            _ => self.below(500 * TRAIN),
        }
    }
}

const ACTORS: [&str; 10] = ["client", "other", "w1", "w2", "w3", "e1", "e2", "x", "y", VALIDATOR];

struct Simulation {
    chain: Chain,
    random: Random,
    succeeded: BTreeSet<String>,
    refused: BTreeMap<(String, u32), u64>,
    sent: u64,
}

fn name_of(text: &str) -> &'static str {
    ACTORS
        .into_iter()
        .find(|name| address(name).to_string() == text)
        .unwrap()
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let builder = builder()
            .fund_all(["x", "y"], CASH)
            .epoch_blocks(20)
            .restart_every(50)
            .genesis(|genesis| {
                let time = &mut genesis.staking.params.unbonding_time;
                time.as_mut().unwrap().seconds = 30;
                genesis.registry.params.unbonding_blocks = 20;
                genesis.slashing.params.signed_blocks_window = 12;
                genesis.slashing.params.downtime_jail_seconds = 20;
                short_votes(genesis);
            });
        Self {
            chain: builder.build(),
            random: Random(seed),
            succeeded: BTreeSet::new(),
            refused: BTreeMap::new(),
            sent: 0,
        }
    }

    fn actor(&mut self) -> &'static str {
        self.random.pick(&ACTORS)
    }

    fn run(&mut self, blocks: u64) {
        for _ in 0..blocks {
            let mut txs = Vec::new();
            for _ in 0..self.random.below(7) {
                let (signer, message) = self.message();
                txs.push(self.bent(signer, message));
            }
            if self.random.percent(10) {
                self.chain.pass_time(self.random.below(20));
            }
            self.misconduct();
            let kinds: Vec<_> = txs.iter().map(|tx| first_kind(tx)).collect();
            self.sent += txs.len() as u64;
            let outcomes = if self.random.percent(30) {
                self.chain.block_unchecked(txs)
            } else {
                self.chain.block(txs)
            };
            let carried_out = self.chain.events().iter().filter(|e| e.r#type == "message");
            let carried_out = carried_out.flat_map(|e| &e.attributes).filter(|a| a.key == "action");
            self.succeeded.extend(carried_out.map(|a| a.value.clone()));
            for (kind, outcome) in kinds.into_iter().zip(outcomes) {
                if outcome.is_ok() {
                    self.succeeded.insert(kind);
                } else {
                    assert_ne!(outcome.codespace, "fatal", "{outcome:?}");
                    *self.refused.entry((outcome.codespace, outcome.code)).or_default() += 1;
                }
            }
        }
    }

    /// A transaction, now and then a wrong one.
    fn bent(&mut self, signer: &str, message: Any) -> Vec<u8> {
        if self.random.percent(95) {
            return self.chain.tx(signer, vec![message]);
        }
        let other = self.actor();
        let craft = self.chain.craft(signer, vec![message.clone(), message]);
        let mut tx = match self.random.below(6) {
            0 => craft.sequence_offset(1),
            1 => craft.chain_id("elsewhere-1"),
            2 => craft.signed_by(other),
            3 => craft.gas(self.random.below(40_000)),
            4 => craft.fee(self.random.amount()),
            _ => craft,
        }
        .sign();
        if self.random.percent(30) {
            let at = self.random.below(tx.len() as u64);
            tx[usize::try_from(at).unwrap()] ^= self.random.next().to_le_bytes()[0];
        }
        tx
    }

    fn message(&mut self) -> (&'static str, Any) {
        let (who, to) = (self.actor(), self.actor());
        let amount = self.random.amount();
        let message = match self.random.below(100) {
            0..4 => any::pack(&send(who, to, amount)),
            4..14 => {
                let role = self.random.pick(&[Role::Worker, Role::Evaluator]);
                let bond = if role == Role::Worker {
                    100 * TRAIN
                } else {
                    1000 * TRAIN
                };
                let mut message = register(who, role, bond - self.random.below(2) * self.random.below(2));
                if self.random.percent(20) {
                    message.roles = vec![1, 2];
                }
                if self.random.percent(20) {
                    message.operator = address(to).to_string();
                }
                any::pack(&message)
            }
            14..16 => {
                let mut message = update(who);
                message.peer_id = if self.random.percent(50) {
                    peer_id(to)
                } else {
                    String::new()
                };
                message.add_bond = self.random.percent(50).then(|| utrain(amount));
                any::pack(&message)
            }
            16..17 => any::pack(&leave_registry(who)),
            17..18 => any::pack(&unbond(who, amount)),
            18..21 => any::pack(&delegate(who, to, amount)),
            21..24 => return self.stake(),
            24..25 => any::pack(&create_charging(who, amount)),
            25..29 => match self.random.below(6) {
                0 => any::pack(&give(who, amount)),
                1 => any::pack(&withdraw_to(who, to)),
                2 => any::pack(&withdraw_commission(who)),
                _ => any::pack(&withdraw(who, to)),
            },
            29..33 => any::pack(&post_msg(who, &self.spec(), amount.min(1_000 * TRAIN))),
            33..35 => any::pack(&cancel(who, self.random.below(40))),
            35..37 => any::pack(&leave(who, self.random.below(40))),
            37..45 => return self.governance(),
            45..52 => return self.grants(),
            _ => {
                return self
                    .step()
                    .unwrap_or_else(|| (who, any::pack(&join(who, self.random.below(40)))));
            }
        };
        (who, message)
    }

    /// Permissions and allowances, used and taken back.
    fn grants(&mut self) -> (&'static str, Any) {
        let (who, to) = (self.actor(), self.actor());
        let (amount, kind) = (self.random.amount(), self.random.below(6));
        let until = self.chain.time() + self.random.below(60);
        let given = self.chain.app().last_block().map(|_| {
            let genesis = self.chain.export();
            let permitted = genesis
                .authz
                .grants
                .last()
                .map(|g| (name_of(&g.granter), name_of(&g.grantee)));
            let allowed = genesis
                .feegrant
                .allowances
                .last()
                .map(|g| (name_of(&g.granter), name_of(&g.grantee)));
            (permitted, allowed)
        });
        let (permitted, allowed) = given.unwrap_or_default();
        match (kind, permitted, allowed) {
            (0, _, _) => (who, any::pack(&permit_sends(who, to, amount, until))),
            (1, _, _) => (who, any::pack(&pay_fees(who, to, amount, until))),
            (2, Some((granter, grantee)), _) => (granter, any::pack(&forbid_sends(granter, grantee))),
            (3, _, Some((granter, grantee))) => (granter, any::pack(&pay_no_fees(granter, grantee))),
            (4, Some((granter, grantee)), _) => {
                let send = send(granter, to, self.random.below(TRAIN));
                (grantee, any::pack(&exec(grantee, any::pack(&send))))
            }
            _ => (who, any::pack(&exec(who, any::pack(&send(to, who, 1))))),
        }
    }

    /// Proposals, and what is done with the latest of them.
    fn governance(&mut self) -> (&'static str, Any) {
        let (who, to) = (self.actor(), self.actor());
        let voter = self.random.pick(&[who, VALIDATOR]);
        let proposals = self.chain.app().last_block().map(|_| self.chain.export().gov.proposals);
        let latest: Vec<_> = proposals.unwrap_or_default().into_iter().rev().take(2).collect();
        let kind = self.random.below(10);
        let Some(proposal) = (kind > 2 && !latest.is_empty())
            .then(|| &latest[usize::try_from(self.random.below(latest.len() as u64)).unwrap()])
        else {
            let one = usize::try_from(self.random.below(10)).unwrap();
            let messages = governed(to).into_iter().skip(one).take(3).collect();
            return (
                who,
                any::pack(&submit(who, messages, (98 + self.random.below(10)) * TRAIN)),
            );
        };
        let id = proposal.id;
        match kind {
            3 => (who, any::pack(&deposit(who, id, self.random.amount()))),
            4 => (voter, any::pack(&vote_weighted(voter, id))),
            5 => {
                let who = self.random.pick(&[who, name_of(&proposal.proposer)]);
                (who, any::pack(&cancel_proposal(who, id)))
            }
            _ => (voter, any::pack(&vote_yes(voter, id))),
        }
    }

    /// Validators come and go, and now and then one votes twice.
    fn misconduct(&mut self) {
        let who = self.actor();
        if self.random.percent(10) {
            let signs = self.random.percent(70);
            self.chain.signs(who, signs);
        }
        let votes = self.chain.validators().contains_key(consensus_key(who).as_slice());
        if votes && self.random.percent(2) {
            let height = self.chain.height().saturating_sub(self.random.below(20));
            self.chain.votes_twice(who, height);
        }
    }

    /// Stake that is there moves on, back, or round; or somebody's that is not.
    fn stake(&mut self) -> (&'static str, Any) {
        let (who, to) = (self.actor(), self.actor());
        let none = (who, any::pack(&edit(who)));
        if self.chain.app().last_block().is_none() {
            return none;
        }
        let staking = self.chain.export().staking;
        let amount = 1 + self.random.amount() / 50;
        if self.random.percent(30) && !staking.unbonding.is_empty() {
            let index = self.random.below(staking.unbonding.len() as u64);
            let back = &staking.unbonding[usize::try_from(index).unwrap()];
            let who = name_of(&back.delegator);
            let message = MsgCancelUnbondingDelegation {
                delegator_address: back.delegator.clone(),
                validator_address: back.operator.clone(),
                amount: Some(utrain(amount)),
                creation_height: back.entry.creation_height,
            };
            return (who, any::pack(&message));
        }
        let jailed = staking.validators.iter().map(|v| &v.validator).filter(|v| v.jailed);
        let jailed: Vec<_> = jailed.map(|v| v.operator_address.clone()).collect();
        if self.random.percent(30) && !jailed.is_empty() {
            let index = usize::try_from(self.random.below(jailed.len() as u64)).unwrap();
            let who = name_of(&Address::parse_operator(&jailed[index]).unwrap().to_string());
            return (who, any::pack(&unjail(who)));
        }
        let all = staking.validators.iter();
        let all: Vec<_> = all
            .flat_map(|v| {
                v.delegations
                    .iter()
                    .map(|(who, _)| (who, &v.validator.operator_address))
            })
            .collect();
        let (delegator, operator) = self.random.pick(&all);
        let who = name_of(delegator);
        let (mut away, mut back) = (redelegate(who, to, to, amount), undelegate(who, to, amount));
        away.validator_src_address.clone_from(operator);
        back.validator_address.clone_from(operator);
        match self.random.below(4) {
            0 => none,
            1 => (who, any::pack(&away)),
            _ => (who, any::pack(&back)),
        }
    }

    fn spec(&mut self) -> JobSpec {
        let mut spec = if self.random.percent(50) { spec() } else { plain() };
        let requirements = spec.requirements.as_mut().unwrap();
        requirements.max_workers = 1 + u32::try_from(self.random.below(3)).unwrap();
        requirements.min_workers = 1;
        requirements.evaluators = 1 + u32::try_from(self.random.below(2)).unwrap();
        requirements.min_reputation = if self.random.percent(10) { 50 } else { 0 };
        spec.rounds = u32::try_from(self.random.below(4)).unwrap();
        spec.partial_share_bp = u32::try_from(self.random.below(10_001)).unwrap();
        let deadlines = spec.deadlines.as_mut().unwrap();
        for blocks in [
            &mut deadlines.open,
            &mut deadlines.grant,
            &mut deadlines.round,
            &mut deadlines.submit,
        ] {
            *blocks = 3 + u32::try_from(self.random.below(12)).unwrap();
        }
        spec
    }

    /// What an unfinished job waits for, mostly done right and by the right one.
    fn step(&mut self) -> Option<(&'static str, Any)> {
        self.chain.app().last_block()?;
        let jobs = self.chain.export().job.jobs;
        let open = |job: &&Job| job.deadline > 0;
        let jobs: Vec<&Job> = jobs.iter().filter(open).collect();
        if jobs.is_empty() {
            return None;
        }
        let job = self.random.pick(&jobs);
        let id = job.id;
        let client = name_of(&job.client);
        let (stranger, changes_mind) = (self.random.percent(5), self.random.percent(5));
        let mut among = |members: Vec<&str>| {
            if stranger || members.is_empty() {
                self.random.pick(&ACTORS)
            } else {
                name_of(self.random.pick(&members))
            }
        };
        let workers = || {
            job.workers
                .iter()
                .filter(|w| w.active)
                .map(|w| w.address.as_str())
                .collect()
        };
        let evaluators = || job.evaluators.iter().map(|e| e.address.as_str()).collect();
        let grants = |split, to: &mut dyn Iterator<Item = &String>| {
            let mut message = grant(id, split, &to.map(|a| a.parse().unwrap()).collect::<Vec<_>>());
            message.client.clone_from(&job.client);
            any::pack(&message)
        };
        // The same for one job most of the time, so that commitments can be revealed.
        let score = u32::try_from(id * 1_000 % 1_000_000).unwrap() + u32::from(stranger);
        let chain = &self.chain;
        Some(match (job.state(), job.round_phase()) {
            (JobState::Open, _) if changes_mind && job.workers.is_empty() => (client, any::pack(&cancel(client, id))),
            (JobState::Training | JobState::Open, _) if changes_mind => {
                let who = among(workers());
                (who, any::pack(&leave(who, id)))
            }
            (JobState::Open, _) => {
                let who = among(Vec::new());
                (who, any::pack(&join(who, id)))
            }
            (JobState::Training, RoundPhase::Keys) => (
                client,
                grants(
                    DataSplit::Train,
                    &mut job.workers.iter().filter(|w| w.active).map(|w| &w.address),
                ),
            ),
            (JobState::Training, RoundPhase::Train) => {
                let who = among(workers());
                let mut message = trace(chain, who, id);
                if stranger {
                    message.round += 1;
                }
                message.samples = 1 + self.random.below(321);
                (who, any::pack(&message))
            }
            (JobState::Training, RoundPhase::Merge) => {
                let who = among(workers());
                let mut message = vote(chain, who, id);
                if self.random.percent(10) {
                    message.end_root = root(who);
                }
                (who, any::pack(&message))
            }
            (JobState::Training, _) => {
                let who = among(workers());
                let mut message = result(chain, who, id);
                if self.random.percent(10) {
                    message.artifact.as_mut().unwrap().model_sha256 = root(who);
                }
                (who, any::pack(&message))
            }
            (JobState::Submitted, _) => (
                client,
                grants(DataSplit::Test, &mut job.evaluators.iter().map(|e| &e.address)),
            ),
            (JobState::Evaluating, _) => {
                let who = among(evaluators());
                (who, any::pack(&evaluation(chain, who, id, score).0))
            }
            _ => {
                let who = among(evaluators());
                let reveal = evaluation(chain, who, id, score).1;
                (who, any::pack(&reveal))
            }
        })
    }
}

fn first_kind(tx: &[u8]) -> String {
    Tx::decode(tx).map_or_else(|_| "none".into(), |tx| tx.messages[0].type_url.clone())
}

/// Several seeds, a few thousand messages: every kind succeeds somewhere and fails in many ways; at the end the state can
/// be exported, imported, and goes on alike.
#[test]
fn random_messages() {
    let (mut succeeded, mut refused, mut sent, mut ends) = (BTreeSet::new(), BTreeSet::new(), 0, BTreeSet::new());
    for seed in 5..=9 {
        let mut simulation = Simulation::new(seed);
        simulation.run(300);
        let Simulation { mut chain, .. } = simulation;
        // The twin's first block brings the commit of a full set.
        ACTORS.into_iter().for_each(|name| chain.signs(name, true));
        chain.skip(1);
        let exported = chain.export();
        let mut twin = Chain::from_genesis(chain.chain_id(), &exported, chain.height() + 1, chain.time());
        for chain in [&mut chain, &mut twin] {
            chain.skip(30);
        }
        assert_eq!(twin.app_hash(), chain.app_hash(), "seed {seed}");
        ends.extend(exported.job.jobs.iter().map(Job::state));
        succeeded.extend(simulation.succeeded);
        refused.extend(simulation.refused.into_keys());
        sent += simulation.sent;
    }
    let mut every: BTreeSet<String> = machine::message_urls().collect();
    every.retain(|url| !succeeded.contains(url));
    // Nodes go to jail only for what no job holds against them yet.
    every.remove("/trainyard.registry.v1.MsgUnjail");
    assert!(every.is_empty(), "never succeeded: {every:?}");
    for end in [JobState::Settled, JobState::Cancelled, JobState::Failed] {
        assert!(ends.contains(&end), "no job is {end:?}");
    }
    assert!(
        sent > 3_000 && refused.len() > 20,
        "{sent} sent, refused in {} ways: {refused:?}",
        refused.len()
    );
}

/// Every kind of message with random content, properly signed by whoever it names or not: nothing panics, nothing is fatal.
#[test]
fn garbage_in_messages() {
    let mut random = Random(99);
    let mut chain = yard();
    let urls: Vec<String> = machine::message_urls().collect();
    for _ in 0..60 {
        let mut txs = Vec::new();
        for url in &urls {
            // Field 1, the signer, is right; the rest is random.
            let mut value = vec![0x0a, 44];
            let signer = random.pick(&ACTORS[..7]);
            let text = address(signer).to_string();
            value[1] = u8::try_from(text.len()).unwrap();
            value.extend(text.as_bytes());
            for _ in 0..random.below(6) {
                let field = 2 + random.below(8);
                let content = random.bytes(40);
                if random.percent(50) {
                    value.push(u8::try_from(field << 3).unwrap());
                    prost::encoding::encode_varint(random.next() >> random.below(64), &mut value);
                } else {
                    value.push(u8::try_from(field << 3 | 2).unwrap());
                    prost::encoding::encode_varint(content.len() as u64, &mut value);
                    value.extend(content);
                }
            }
            let message = Any {
                type_url: url.clone(),
                value,
            };
            txs.push(chain.craft(signer, vec![message]).sign());
        }
        for outcome in chain.block_unchecked(txs) {
            assert_ne!(outcome.codespace, "fatal", "{outcome:?}");
        }
    }
}

#[test]
fn garbage_in_queries() {
    let mut random = Random(7);
    let mut chain = yard();
    let id = started(&mut chain, &spec());
    grant_train(&mut chain, id);
    for path in machine::query_paths().chain(["/store/main/key", "/key", "", "/"]) {
        for _ in 0..60 {
            let data = if random.percent(50) {
                random.bytes(60)
            } else {
                // A field that exists nearly everywhere, with a number or a text.
                [[8, random.next().to_le_bytes()[0] & 0x7f].to_vec(), random.bytes(4)].concat()
            };
            let height = i64::try_from(random.below(9)).unwrap() - 3;
            let response = chain.abci_query(path, data, height, random.percent(50));
            assert_ne!(response.codespace, "fatal", "{path}: {response:?}");
            let _ = response.encoded_len();
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_are_too_strange_to_decode(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = Tx::decode(&bytes);
    }

    #[test]
    fn a_bent_transaction_is_refused_or_read(
        at in proptest::prelude::any::<proptest::sample::Index>(),
        with in proptest::prelude::any::<u8>(),
        cut in 0usize..40,
    ) {
        let mut tx = TX.clone();
        let position = at.index(tx.len());
        tx[position] = with;
        tx.truncate(tx.len() - cut);
        let _ = Tx::decode(&tx);
    }
}

/// A transaction with a long message.
static TX: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
    let chain = Chain::builder().build();
    chain
        .craft(CLIENT, vec![any::pack(&post_msg(CLIENT, &spec(), BUDGET))])
        .sign()
});
