//! A transfer's way through the application, in this process, over states of several sizes.

use std::path::Path;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tendermint_proto::google::protobuf::Timestamp;
use tendermint_proto::v0_38::abci;
use tendermint_proto::v0_38::types::Header;
use trainyard_app::application::{Application, Config};
use trainyard_app::store::{Changes, Options, Store};
use trainyard_app::testing::{Chain, TRAIN, VALIDATOR, consensus_key, key};
use trainyard_client::keys::PrivateKey;
use trainyard_client::tx::{Draft, SignerData};
use trainyard_modules::gas::Gas;
use trainyard_modules::state::{Empty, State};
use trainyard_modules::{auth, bank};
use trainyard_proto::address::Address;
use trainyard_proto::prost::Message as _;
use trainyard_proto::{any, coin, cosmos::auth::v1beta1::BaseAccount, cosmos::bank::v1beta1::MsgSend};

use crate::report::Report;

const CHAIN_ID: &str = "trainyard-bench";
/// Accounts of one height while the state is filled.
const PORTION: u64 = 100_000;
/// Numbers of the accounts that are put there start here, above those of the genesis.
const FIRST_NUMBER: u64 = 1_000;

pub(crate) fn run(report: &mut Report, sizes: &[u64], quick: bool) {
    let (blocks, txs) = if quick { (2, 1_000) } else { (5, 4_000) };
    let mut first = None;
    for &size in sizes {
        let started = Instant::now();
        let dir = TempDir::new().expect("a folder");
        let mut bench = Bench::new(dir.path(), size, txs);
        eprintln!("{size} accounts put there in {:.1?}", started.elapsed());
        bench.block(true); // Warms up, and leaves the senders' public keys on file.
        let before = disk(dir.path());
        let mut total = Times::default();
        for _ in 0..blocks {
            total.add(&bench.block(true));
        }
        let mut cold = Times::default();
        for _ in 0..blocks {
            cold.add(&bench.block(false));
        }
        let count = (blocks * txs) as f64;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / count;
        let mut add = |what: &str, time: Spent, peer: Option<Spent>| {
            let name = format!("{what}, {size} accounts");
            report.add(&name, "µs/tx", each(time.wall), peer.map(|peer| each(peer.wall)));
            report.add(
                &format!("CPU of {name}"),
                "µs/tx",
                each(time.cpu),
                peer.map(|peer| each(peer.cpu)),
            );
        };
        add("CheckTx", total.check, None);
        add("PrepareProposal + ProcessProposal", total.propose, None);
        add("FinalizeBlock", total.finalize, None);
        add("Commit", total.commit, None);
        let execute = total.finalize + total.commit;
        // The growth is beside the smallest state.
        add("FinalizeBlock + Commit", execute, first);
        first.get_or_insert(execute);
        add(
            "FinalizeBlock + Commit of unseen transactions",
            cold.finalize + cold.commit,
            None,
        );
        let name = |what: &str| format!("{what}, {size} accounts");
        let grown = disk(dir.path()).saturating_sub(before) as f64 / (2.0 * count);
        report.add(&name("disk"), "B/tx", grown, None);
        report.add(&name("memory"), "MB", memory() as f64 / 1e6, None);
    }
}

/// Time on the clock, and on the processors by all threads.
#[derive(Clone, Copy, Default)]
struct Spent {
    wall: Duration,
    cpu: Duration,
}

impl std::ops::Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            wall: self.wall + other.wall,
            cpu: self.cpu + other.cpu,
        }
    }
}

impl Spent {
    fn on<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let (start, cpu) = (Instant::now(), cpu());
        let done = work();
        let spent = Self {
            wall: start.elapsed(),
            cpu: self::cpu().saturating_sub(cpu),
        };
        (done, spent)
    }
}

/// What the threads of this process have spent on processors.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    tasks.filter_map(spent).sum()
}

#[derive(Default)]
struct Times {
    check: Spent,
    propose: Spent,
    finalize: Spent,
    commit: Spent,
}

impl Times {
    fn add(&mut self, other: &Self) {
        self.check = self.check + other.check;
        self.propose = self.propose + other.propose;
        self.finalize = self.finalize + other.finalize;
        self.commit = self.commit + other.commit;
    }
}

struct Bench {
    app: Application,
    size: u64,
    senders: Vec<PrivateKey>,
    sequence: u64,
    height: u64,
}

fn timestamp(height: u64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: 1_700_000_000 + i64::try_from(height).expect("a height"),
        nanos: 0,
    })
}

/// Address of the account number `index` that nobody has the key of.
fn stranger(index: u64) -> Address {
    let hash: [u8; 32] = Sha256::digest(index.to_be_bytes()).into();
    Address(hash[..20].try_into().expect("20 bytes"))
}

impl Bench {
    /// A chain with `size` accounts, `txs` of which send.
    fn new(dir: &Path, size: u64, txs: usize) -> Self {
        let open = || Store::open(dir, &Options::default()).expect("the store opens");
        let genesis = Chain::builder().chain_id(CHAIN_ID).fund("spare", TRAIN).to_genesis();
        let app = Application::new(open(), Config::default()).expect("the application starts");
        app.init_chain(abci::RequestInitChain {
            time: timestamp(0),
            chain_id: CHAIN_ID.into(),
            app_state_bytes: serde_json::to_vec(&genesis).expect("JSON").into(),
            initial_height: 1,
            ..abci::RequestInitChain::default()
        })
        .expect("the genesis is accepted");
        let senders: Vec<PrivateKey> = (0..txs).into_par_iter().map(|i| key(&format!("sender{i}"))).collect();
        let mut bench = Self {
            app,
            size,
            senders,
            sequence: 0,
            height: 0,
        };
        bench.execute(Vec::new());
        // The rest is put into the store directly: a genesis of this size would not fit into memory twice.
        let store = bench.app.store().clone();
        let owners = bench.senders.iter().map(PrivateKey::address);
        let mut owners = owners.chain((txs as u64..size).map(stranger)).zip(0..).peekable();
        while owners.peek().is_some() {
            let mut state = State::new(&Empty, Gas::unlimited());
            for (owner, index) in owners.by_ref().take(usize::try_from(PORTION).expect("fits")) {
                put(&mut state, owner, index);
            }
            bench.height += 1;
            let changes: Changes = state.into_changes();
            let mut batch = store.prepare(bench.height, changes).expect("it prepares");
            let block = Header {
                chain_id: CHAIN_ID.into(),
                height: i64::try_from(bench.height).expect("a height"),
                time: timestamp(bench.height),
                ..Header::default()
            };
            batch.put_note("block", block.encode_to_vec());
            store.commit(batch).expect("it commits");
        }
        drop(store);
        let Bench {
            app, senders, height, ..
        } = bench;
        drop(app);
        let store = open();
        // No chain has grown as fast as this one: what is left to be put in order would be measured as well.
        store.settle().expect("it settles");
        Self {
            app: Application::new(store, Config::default()).expect("the application starts"),
            size,
            senders,
            sequence: 0,
            height,
        }
    }

    /// A block in which every sender sends to someone; `checked` says whether the mempool saw the transactions.
    fn block(&mut self, checked: bool) -> Times {
        let (sequence, height, size) = (self.sequence, self.height, self.size);
        let senders = self.senders.len() as u64;
        let txs: Vec<Vec<u8>> = self
            .senders
            .par_iter()
            .enumerate()
            .map(|(index, key)| {
                let index = index as u64;
                let seed = Sha256::digest([height.to_be_bytes(), index.to_be_bytes()].concat());
                let to = u64::from_be_bytes(seed[..8].try_into().expect("8 bytes"));
                // Any account that is no sender.
                let to = senders + to % (size - senders);
                let message = MsgSend {
                    from_address: key.address().to_string(),
                    to_address: stranger(to).to_string(),
                    amount: vec![coin::utrain(1)],
                };
                let draft = Draft {
                    messages: vec![any::pack(&message)],
                    fee: 200,
                    gas_limit: 90_000,
                    ..Draft::default()
                };
                let data = SignerData {
                    chain_id: CHAIN_ID,
                    account_number: FIRST_NUMBER + index,
                    sequence,
                };
                draft.sign(key, data)
            })
            .collect();
        self.sequence += 1;
        let check = || {
            for tx in txs.iter().filter(|_| checked) {
                let request = abci::RequestCheckTx {
                    tx: tx.clone().into(),
                    ..abci::RequestCheckTx::default()
                };
                let answer = self.app.check_tx(&request).expect("it checks");
                assert_eq!(answer.code, 0, "{}", answer.log);
            }
        };
        let ((), check) = Spent::on(check);
        let txs = txs.into_iter().map(Into::into).collect();
        Times {
            check,
            ..self.execute(txs)
        }
    }

    fn execute(&mut self, txs: Vec<bytes::Bytes>) -> Times {
        let count = txs.len();
        self.height += 1;
        let height = i64::try_from(self.height).expect("a height");
        let propose = || {
            let proposal = abci::RequestPrepareProposal {
                max_tx_bytes: 64 << 20,
                txs,
                height,
                time: timestamp(self.height),
                ..abci::RequestPrepareProposal::default()
            };
            let proposal = self.app.prepare_proposal(proposal).expect("it proposes");
            let process = abci::RequestProcessProposal {
                txs: proposal.txs.clone(),
                height,
                time: timestamp(self.height),
                ..abci::RequestProcessProposal::default()
            };
            let processed = self.app.process_proposal(&process).expect("it processes");
            assert_eq!(processed.status, 1);
            proposal.txs
        };
        let (txs, propose) = Spent::on(propose);
        assert_eq!(txs.len(), count + 1);
        let request = abci::RequestFinalizeBlock {
            txs,
            height,
            time: timestamp(self.height),
            proposer_address: Address::of_consensus_key(&consensus_key(VALIDATOR)).0.to_vec().into(),
            ..abci::RequestFinalizeBlock::default()
        };
        let (response, finalize) = Spent::on(|| self.app.finalize_block(request).expect("it executes"));
        if let Some(failed) = response.tx_results.iter().find(|result| result.code != 0) {
            panic!("{}", failed.log);
        }
        let (_, commit) = Spent::on(|| self.app.commit().expect("it commits"));
        Times {
            check: Spent::default(),
            propose,
            finalize,
            commit,
        }
    }
}

fn put(state: &mut State<'_>, owner: Address, index: u64) {
    let account = BaseAccount {
        address: owner.to_string(),
        pub_key: None,
        account_number: FIRST_NUMBER + index,
        sequence: 0,
    };
    auth::ACCOUNTS.set(state, &owner, &account).expect("no gas is counted");
    let balance = (owner, coin::DENOM.to_string());
    bank::BALANCES.set(state, &balance, &TRAIN).expect("no gas is counted");
}

fn disk(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    entries.map(|entry| entry.metadata().map_or(0, |data| data.len())).sum()
}

/// Resident memory of this process, bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    kib * 1024
}
