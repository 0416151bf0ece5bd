//! What a unit of gas stands for: `scripts/bench gas`.
//!
//! Measures what the gas schedule (`modules/src/gas.rs`) charges for on the real store with many keys, and whole transactions
//! of each kind in blocks of the real state machine. Every row says nanoseconds, the gas that is charged for them, and
//! nanoseconds per gas. Time is what all threads have computed, so that a busy machine disturbs little. The state lies in memory
//! (`/dev/shm`), so that the disk's flush, one per block, is left out.

use std::{hint::black_box, time::Duration};

use prost::Message;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use trainyard_app::{
    store::{Options, Snapshot, Store},
    testing::{Chain, TRAIN, VALIDATOR, VALIDATOR_STAKE, address, cpu_time, key, send},
};
use trainyard_modules::{
    error::Error,
    gas::{self, Gas},
    machine::ante::{Direct, Tx, Verifier},
    state::{Map, Pairs, Reader, State},
};
use trainyard_proto::{
    any::{self, Any},
    coin,
    cosmos::{
        authz::v1beta1::{GenericAuthorization, Grant, MsgExec, MsgGrant},
        bank::v1beta1::MsgSend,
        distribution::v1beta1::MsgWithdrawDelegatorReward,
        feegrant::v1beta1::{BasicAllowance, MsgGrantAllowance},
        gov::v1::{MsgDeposit, MsgSubmitProposal, MsgVote},
        staking::v1beta1::{MsgDelegate, MsgUndelegate},
    },
    job::{DataSplit, JobState, RoundPhase},
    registry::Role,
};

#[allow(dead_code)] // A bench needs half of what tests do.
#[path = "../tests/chain/support.rs"]
mod support;

use support::*;

/// Rows, and the largest and smallest ratio among them.
struct Table {
    filter: Option<String>,
    json: Vec<serde_json::Value>,
}

impl Table {
    fn new(filter: Option<String>) -> Self {
        println!("{:<44} {:>12} {:>10} {:>8}", "what", "ns", "gas", "ns/gas");
        Self {
            filter,
            json: Vec::new(),
        }
    }

    fn row(&mut self, name: &str, nanos: f64, gas: f64) {
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| !name.contains(filter.as_str()))
        {
            return;
        }
        let ratio = nanos / gas;
        println!("{name:<44} {nanos:>12.1} {gas:>10.1} {ratio:>8.2}");
        self.json.push(serde_json::json!({
            "name": format!("gas/{name}"), "unit": "ns", "ours": nanos, "peer": gas, "ratio": ratio,
        }));
    }
}

/// A committed version, as the state machine reads it.
struct Committed(Snapshot);

impl Reader for Committed {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(key).map_err(|e| Error::fatal(e.to_string()))
    }

    fn range(&self, start: &[u8], end: Option<&[u8]>, reverse: bool) -> Result<Pairs<'_>, Error> {
        let range = self.0.range(start, end, reverse);
        let range = range.map_err(|e| Error::fatal(e.to_string()))?;
        Ok(Box::new(
            range.map(|pair| pair.map_err(|e| Error::fatal(e.to_string()))),
        ))
    }
}

const SMALL: Map<u64, Vec<u8>> = Map::new("bench/small/");
const LARGE: Map<u64, Vec<u8>> = Map::new("bench/large/");
/// Bytes of values that differ in nothing but their length.
const LENGTHS: [usize; 2] = [64, 16 << 10];
/// How many values of the large length there are, and how many changes a measured block makes.
const BLOCK: u64 = 500;

/// A store of `keys` small values and some large ones, at some height.
struct Disk {
    store: Store,
    keys: u64,
    height: u64,
    turn: u64,
    _dir: TempDir,
}

impl Disk {
    fn new(keys: u64) -> Self {
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
        let dir = dir.expect("a temporary directory");
        let store = Store::open(dir.path(), &Options::default()).expect("the store opens");
        let mut disk = Self {
            store,
            keys,
            height: 0,
            turn: 1,
            _dir: dir,
        };
        for from in (0..keys).step_by(10_000) {
            disk.block(|state| {
                for number in from..(from + 10_000).min(keys) {
                    SMALL.set(state, &number, &value(number, LENGTHS[0]))?;
                }
                Ok(())
            });
        }
        disk.block(|state| (0..BLOCK).try_for_each(|number| LARGE.set(state, &number, &value(number, LENGTHS[1]))));
        disk
    }

    /// Any of the keys, never in order.
    fn any(&mut self) -> u64 {
        self.turn = self
            .turn
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.turn >> 33) % self.keys
    }

    /// Executes and commits; how long that took, and the gas it was charged.
    fn block(&mut self, change: impl FnOnce(&mut State<'_>) -> Result<(), Error>) -> (f64, u64) {
        let base = Committed(self.store.snapshot());
        let start = cpu_time();
        let mut state = State::new(&base, Gas::unlimited());
        change(&mut state).expect("the store works");
        let gas = state.gas.used();
        self.height += 1;
        let batch = self.store.prepare(self.height, state.into_changes());
        self.store.commit(batch.expect("it fits")).expect("the store works");
        (nanos(cpu_time().saturating_sub(start)), gas)
    }

    /// Reads only.
    fn read(&self, read: impl FnOnce(&mut State<'_>) -> Result<(), Error>) -> (f64, u64) {
        let base = Committed(self.store.snapshot());
        let mut state = State::new(&base, Gas::unlimited());
        let start = cpu_time();
        read(&mut state).expect("the store works");
        (nanos(cpu_time().saturating_sub(start)), state.gas.used())
    }
}

fn value(number: u64, length: usize) -> Vec<u8> {
    let seed = Sha256::digest(number.to_be_bytes());
    seed.iter().copied().cycle().take(length).collect()
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// The median of some runs, each a time and a gas, per `count` of what they did.
fn median(count: u64, runs: usize, mut run: impl FnMut() -> (f64, u64)) -> (f64, f64) {
    let mut found: Vec<(f64, u64)> = (0..runs).map(|_| run()).collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (time, gas) = found[runs / 2];
    (time / count as f64, gas as f64 / count as f64)
}

/// What the store does for its gas.
fn storage(table: &mut Table, keys: u64, runs: usize) {
    let mut disk = Disk::new(keys);
    let some: Vec<u64> = (0..BLOCK).map(|_| disk.any()).collect();
    let (time, gas) = median(BLOCK, runs, || {
        let some: Vec<u64> = (0..BLOCK).map(|_| disk.any()).collect();
        disk.read(|state| {
            some.iter()
                .try_for_each(|key| SMALL.get(state, key).map(|found| drop(black_box(found))))
        })
    });
    table.row("read a value of 64 bytes", time, gas);
    let missing: Vec<u64> = some.iter().map(|key| key + (1 << 40)).collect();
    let absent = median(BLOCK, runs, || {
        disk.read(|state| missing.iter().try_for_each(|key| SMALL.get(state, key).map(drop)))
    });
    table.row("read what is not there", absent.0, absent.1);
    let large = median(BLOCK, runs, || {
        disk.read(|state| (0..BLOCK).try_for_each(|key| LARGE.get(state, &key).map(|found| drop(black_box(found)))))
    });
    let bytes = (LENGTHS[1] - LENGTHS[0]) as f64;
    table.row("a byte read", (large.0 - time) / bytes, (large.1 - gas) / bytes);
    let steps = median(keys, runs.min(5), || {
        disk.read(|state| SMALL.all(state).map(|found| drop(black_box(found))))
    });
    table.row("a step over a value of 64 bytes", steps.0, steps.1);
    let opened = median(BLOCK, runs, || {
        disk.read(|state| {
            some.iter()
                .try_for_each(|key| SMALL.from(state, Some(key), 1).map(drop))
        })
    });
    table.row("a range of one value", opened.0, opened.1);

    let mut round = 0;
    let (time, gas) = median(BLOCK, runs, || {
        round += 1;
        let some: Vec<u64> = (0..BLOCK).map(|_| disk.any()).collect();
        disk.block(|state| {
            some.iter()
                .try_for_each(|key| SMALL.set(state, key, &value(key + round, LENGTHS[0])))
        })
    });
    table.row("write over a value of 64 bytes", time, gas);
    let new = median(BLOCK, runs, || {
        round += 1;
        let some: Vec<u64> = (0..BLOCK).map(|_| disk.any() + (round << 40)).collect();
        disk.block(|state| {
            some.iter()
                .try_for_each(|key| SMALL.set(state, key, &value(*key, LENGTHS[0])))
        })
    });
    table.row("write a new value of 64 bytes", new.0, new.1);
    let large = median(BLOCK, runs, || {
        round += 1;
        disk.block(|state| (0..BLOCK).try_for_each(|key| LARGE.set(state, &key, &value(key + round, LENGTHS[1]))))
    });
    table.row("a byte written", (large.0 - time) / bytes, (large.1 - gas) / bytes);
    let mut next = 0;
    let deleted = median(BLOCK, runs, || {
        next += BLOCK;
        disk.block(|state| (next - BLOCK..next).try_for_each(|key| SMALL.remove(state, &(key * 37 % keys))))
    });
    table.row("delete a value", deleted.0, deleted.1);
}

/// What every transaction costs before it does anything.
fn transactions(table: &mut Table, runs: usize) {
    let chain = Chain::builder().fund("alice", TRAIN).build();
    let of = |count: u64| {
        let messages = (0..count).map(|_| any::pack(&send("alice", "bob", 1))).collect();
        chain.craft("alice", messages).sign()
    };
    let decode = |tx: &[u8]| {
        let start = cpu_time();
        for _ in 0..100 {
            black_box(Sha256::digest(tx));
            black_box(Tx::decode(tx).expect("it decodes"));
        }
        (
            nanos(cpu_time().saturating_sub(start)),
            100 * gas::TX_BYTE * tx.len() as u64,
        )
    };
    let (one, many) = (of(1), of(64));
    let few = median(100, runs, || decode(&one));
    let all = median(100, runs, || decode(&many));
    table.row("decode a transaction of one send", few.0, few.1);
    let bytes = (many.len() - one.len()) as f64;
    table.row(
        "a byte of a transaction",
        (all.0 - few.0) / bytes,
        (all.1 - few.1) / bytes,
    );
    let (digest, public) = ([7; 32], key("alice").public_key());
    let signature = key("alice").sign_digest(&digest);
    let verified = median(100, runs, || {
        let start = cpu_time();
        for _ in 0..100 {
            assert!(black_box(Direct.verify(&digest, &signature, &public)));
        }
        (nanos(cpu_time().saturating_sub(start)), 100 * gas::SIGNATURE)
    });
    table.row("verify a signature", verified.0, verified.1);
}

/// A chain with many accounts, and what its blocks took.
struct Yard<'a> {
    chain: Chain,
    table: &'a mut Table,
    users: usize,
    next: usize,
}

impl Yard<'_> {
    /// The next user in turn.
    fn user(&mut self) -> String {
        self.next = (self.next + 7_919) % self.users;
        format!("u{}", self.next)
    }

    /// One block of transactions, all of which succeed; and what it took beyond an empty one, per transaction.
    fn block(&mut self, name: &str, messages: Vec<(String, Vec<Any>)>) {
        let count = messages.len() as f64;
        let txs: Vec<_> = messages
            .into_iter()
            .map(|(signer, all)| self.chain.tx(&signer, all))
            .collect();
        // Unchecked, so that the signatures are verified in the block.
        let outcomes = self.chain.block_unchecked(txs);
        let took = nanos(self.chain.took());
        let mut gas = 0;
        for outcome in outcomes {
            assert!(outcome.is_ok(), "{name}: {outcome:?}");
            gas += outcome.gas_used;
        }
        self.chain.skip(1);
        let empty = nanos(self.chain.took());
        self.table
            .row(name, (took - empty).max(0.0) / count, gas as f64 / count);
    }

    /// As [`Self::block`], of one message each from users in turn.
    fn each<M: Message + prost::Name>(&mut self, name: &str, count: usize, message: impl Fn(&str) -> M) {
        let messages = (0..count).map(|_| {
            let user = self.user();
            let message = any::pack(&message(&user));
            (user, vec![message])
        });
        let messages = messages.collect();
        self.block(name, messages);
    }
}

/// Whole transactions: checked, executed and committed.
fn messages(table: &mut Table, users: usize, count: usize) {
    let mut builder = builder().epoch_blocks(100_000).restart_every(0).genesis(|genesis| {
        genesis.job.params.commit_blocks = 5_000;
        genesis.job.params.reveal_blocks = 5_000;
    });
    for user in 0..users {
        builder = builder.fund(&format!("u{user}"), 1_000 * TRAIN);
    }
    let chain = builder.validator(VALIDATOR, VALIDATOR_STAKE).build();
    let mut yard = Yard {
        chain,
        table,
        users,
        next: 0,
    };
    let operator = address(VALIDATOR).operator();
    yard.chain.skip(1);
    yard.each("MsgSend", count, |user| send(user, "client", 5));
    yard.each("MsgSend to a new account", count, |user| {
        send(user, &format!("new {user}"), 5)
    });
    let many = (0..4).map(|_| {
        let user = yard.user();
        let all = (0..64)
            .map(|to| any::pack(&send(&user, &format!("u{to}"), 5)))
            .collect();
        (user, all)
    });
    let many = many.collect();
    yard.block("MsgSend, 64 in one transaction", many);
    let at = yard.next;
    yard.each("MsgDelegate", count, |user| MsgDelegate {
        delegator_address: address(user).to_string(),
        validator_address: operator.clone(),
        amount: Some(coin::utrain(100 * TRAIN)),
    });
    yard.next = at;
    yard.each("MsgWithdrawDelegatorReward", count, |user| MsgWithdrawDelegatorReward {
        delegator_address: address(user).to_string(),
        validator_address: operator.clone(),
    });
    yard.each("MsgSubmitProposal", count.min(50), |user| MsgSubmitProposal {
        proposer: address(user).to_string(),
        title: "a proposal".into(),
        summary: "what it proposes".into(),
        metadata: "more".into(),
        initial_deposit: vec![coin::utrain(50 * TRAIN)],
        ..MsgSubmitProposal::default()
    });
    yard.each("MsgDeposit", count, |user| MsgDeposit {
        proposal_id: 1,
        depositor: address(user).to_string(),
        amount: vec![coin::utrain(100 * TRAIN)],
    });
    yard.next = at;
    yard.each("MsgVote", count, |user| MsgVote {
        proposal_id: 1,
        voter: address(user).to_string(),
        option: 1,
        metadata: String::new(),
    });
    yard.next = at;
    yard.each("MsgUndelegate", count, |user| MsgUndelegate {
        delegator_address: address(user).to_string(),
        validator_address: operator.clone(),
        amount: Some(coin::utrain(TRAIN)),
    });
    let at = yard.next;
    yard.each("MsgGrant", count, |user| MsgGrant {
        granter: address(user).to_string(),
        grantee: address("other").to_string(),
        grant: Some(Grant {
            authorization: Some(any::pack(&GenericAuthorization {
                msg: any::type_url::<MsgSend>(),
            })),
            expiration: None,
        }),
    });
    yard.next = at;
    let execs = (0..count).map(|_| {
        let user = yard.user();
        let exec = MsgExec {
            grantee: address("other").to_string(),
            msgs: vec![any::pack(&send(&user, "client", 5))],
        };
        ("other".to_string(), vec![any::pack(&exec)])
    });
    let execs = execs.collect();
    yard.block("MsgExec of a MsgSend", execs);
    yard.each("MsgGrantAllowance", count, |user| MsgGrantAllowance {
        granter: address(user).to_string(),
        grantee: address("other").to_string(),
        allowance: Some(any::pack(&BasicAllowance::default())),
    });
    yard.each("MsgRegister", count, |user| register(user, Role::Worker, 100 * TRAIN));
    jobs(&mut yard, count.min(25) as u64);
}

/// The life of jobs that run beside each other.
fn jobs(yard: &mut Yard<'_>, count: u64) {
    let parties = WORKERS.map(|name| (name, Role::Worker, 100));
    let parties = parties
        .into_iter()
        .chain(EVALUATORS.map(|name| (name, Role::Evaluator, 1000)));
    for (name, role, bond) in parties {
        yard.chain.ok(name, &register(name, role, bond * TRAIN));
    }
    let post = any::pack(&post_msg(CLIENT, &calm(spec()), 2 * TRAIN));
    yard.block(
        "MsgPostJob",
        (0..count).map(|_| (CLIENT.to_string(), vec![post.clone()])).collect(),
    );
    for (worker, name) in WORKERS
        .into_iter()
        .zip(["MsgJoinJob", "", "MsgJoinJob, the last one: the draw"])
    {
        let joins = (1..=count).map(|id| (worker.to_string(), vec![any::pack(&join(worker, id))]));
        let joins: Vec<_> = joins.collect();
        if name.is_empty() {
            let txs: Vec<_> = joins
                .into_iter()
                .map(|(signer, all)| yard.chain.tx(&signer, all))
                .collect();
            all_ok(&mut yard.chain, txs);
        } else {
            yard.block(name, joins);
        }
    }
    let ids = 1..=count;
    let keys = |split, to: &dyn Fn(u64) -> Vec<_>| -> Vec<_> {
        ids.clone()
            .map(|id| (CLIENT.to_string(), vec![any::pack(&grant(id, split, &to(id)))]))
            .collect()
    };
    let granted = keys(DataSplit::Train, &|_| WORKERS.map(address).to_vec());
    yard.block("MsgGrantKeys to three", granted);
    let by = |yard: &Yard<'_>, names: &[&str], message: &dyn Fn(&Chain, &str, u64) -> Any| -> Vec<_> {
        let each = names.iter().flat_map(|name| ids.clone().map(move |id| (*name, id)));
        each.map(|(name, id)| (name.to_string(), vec![message(&yard.chain, name, id)]))
            .collect()
    };
    let commit = |chain: &Chain, name: &str, id| any::pack(&trace(chain, name, id));
    let merge = |chain: &Chain, name: &str, id| any::pack(&vote(chain, name, id));
    let traces = by(yard, &WORKERS, &commit);
    yard.block("MsgCommitTrace", traces);
    let votes = by(yard, &WORKERS, &merge);
    yard.block("MsgRoundResult", votes);
    for id in 1..=count {
        while yard.chain.job(id).round_phase() == RoundPhase::Train {
            commit_all(&mut yard.chain, id, &WORKERS);
            vote_all(&mut yard.chain, id, &WORKERS);
        }
    }
    let results = by(yard, &WORKERS, &|chain, name, id| any::pack(&result(chain, name, id)));
    yard.block("MsgSubmitResult", results);
    for id in 1..=count {
        grant_test(&mut yard.chain, id);
        assert_eq!(yard.chain.job(id).state(), JobState::Evaluating);
    }
    let commits = by(yard, &EVALUATORS, &|chain, name, id| {
        any::pack(&evaluation(chain, name, id, 970_000).0)
    });
    yard.block("MsgCommitEvaluation", commits);
    let reveals = by(yard, &EVALUATORS, &|chain, name, id| {
        any::pack(&evaluation(chain, name, id, 970_000).1)
    });
    yard.block("MsgRevealEvaluation, half of them settle", reveals);
}

fn main() {
    let (mut quick, mut json, mut filter) = (false, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--json" => json = arguments.next(),
            "--bench" => {} // Cargo says so to every benchmark.
            other => filter = Some(other.to_string()),
        }
    }
    let mut table = Table::new(filter);
    let (keys, runs, count) = if quick { (10_000, 5, 20) } else { (100_000, 15, 70) };
    storage(&mut table, keys, runs);
    transactions(&mut table, runs);
    messages(&mut table, usize::try_from(keys).expect("it fits"), count);
    if let Some(path) = json {
        let lines: String = table.json.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(path, lines).expect("the file can be written");
    }
}
