//! A chain in one process, for tests: the real application over the real store, without CometBFT and without a socket.
//!
//! ```
//! use trainyard_app::testing::{Chain, TRAIN, address, send};
//!
//! let mut chain = Chain::builder().fund("alice", 10 * TRAIN).build();
//! let outcome = chain.deliver("alice", &send("alice", "bob", TRAIN));
//! assert!(outcome.is_ok());
//! assert_eq!(chain.balance(address("bob")), TRAIN);
//! ```
//!
//! Every block goes the way it goes under CometBFT: `CheckTx` for each transaction, `PrepareProposal`, `ProcessProposal`,
//! `FinalizeBlock`, `Commit`. At every block the chain asserts that
//!
//! - `ProcessProposal` accepts what `PrepareProposal` made,
//! - there is one result per transaction,
//! - a second node that sees nothing but `FinalizeBlock` and `Commit` answers the same and reaches the same app hash,
//! - that second node, where it is dropped between the two calls and opened again ([`Builder::restart_every`]), comes back
//!   with the committed height and hash and then reaches the same app hash,
//! - CometBFT could carry out the changes of the validator set and of the consensus parameters,
//! - all invariants hold (every few blocks where [`Builder::check_every`] says so), and the supply is the genesis' less
//!   what was burned.
//!
//! A broken assertion panics. Accounts are named; a name's key is a function of the name ([`key`]).
//!
//! | file | what |
//! |---|---|
//! | `builder.rs` | what a chain starts from |
//! | `node.rs` | one node: store, application, restart |
//! | `queries.rs` | what a chain can be asked |
//! | `shared.rs` | accounts of several keys |
//! | `tx.rs` | keys by name, crafted transactions, what became of them |
//! | `network.rs` | beside it, real nodes as processes |
//! | `prometheus.rs` | reads what nodes tell Prometheus |

mod builder;
pub mod network;
mod node;
pub mod prometheus;
mod queries;
mod shared;
mod tx;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use prost::Message;
use sha2::{Digest, Sha256};
use tendermint_proto::{
    google::protobuf::Timestamp,
    v0_38::{
        abci::{self, response_process_proposal::ProposalStatus},
        crypto::public_key::Sum,
        types::{BlockIdFlag, ConsensusParams},
    },
};
use trainyard_modules::{consensus, error::Error, machine::Genesis, pouw, state::State, upgrade::Binary};
use trainyard_proto::{address::Address, any};

pub use builder::{Builder, VALIDATOR, VALIDATOR_STAKE, consensus_key, create_validator};
pub use queries::QueryError;
pub use tx::{Craft, Outcome, address, key, peer_id, send};

use crate::application::Application;
use node::Node;

/// utrain in one TRAIN.
pub const TRAIN: u64 = trainyard_proto::coin::UTRAIN_PER_TRAIN;
/// Most bytes of a block's transactions, as CometBFT is configured by default.
const MAX_BLOCK_BYTES: i64 = 4 << 20;

/// A running chain; see the [module](self).
pub struct Chain {
    chain_id: String,
    init: abci::RequestInitChain,
    /// Sees every call.
    main: Node,
    /// Sees `InitChain`, `FinalizeBlock` and `Commit` only.
    witness: Node,
    restart_every: u64,
    check_every: u64,
    height: u64,
    time: u64,
    block_seconds: u64,
    proposer: Vec<u8>,
    validators: BTreeMap<Vec<u8>, i64>,
    /// Those of the last block: its commit is theirs.
    voters: BTreeMap<Vec<u8>, i64>,
    /// Consensus keys that do not sign.
    absent: BTreeSet<Vec<u8>>,
    /// What the next block brings proof of.
    misbehavior: Vec<abci::Misbehavior>,
    supply: u64,
    /// [`cpu_time`] of the last block.
    took: Duration,
    events: Vec<abci::Event>,
    updates: Vec<abci::ValidatorUpdate>,
    /// What the application has told CometBFT to hold the next block to, when it did last.
    params: Option<ConsensusParams>,
    /// Whether that was with the last block.
    params_changed: bool,
    /// Transactions signed by each account since the last block.
    signed: BTreeMap<Address, u64>,
}

impl Chain {
    /// What a chain starts from.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A chain from a genesis, its first height and its time in Unix seconds: to continue an exported one.
    ///
    /// # Panics
    /// The genesis is refused.
    #[must_use]
    pub fn from_genesis(chain_id: &str, genesis: &Genesis, first_height: u64, time: u64) -> Self {
        Builder::default().chain_id(chain_id).start(genesis, first_height, time)
    }

    fn start(builder: &Builder, genesis: &Genesis, first_height: u64, time: u64) -> Self {
        let init = abci::RequestInitChain {
            time: Some(timestamp(time)),
            chain_id: builder.chain_id.clone(),
            app_state_bytes: serde_json::to_vec(genesis).expect("a genesis is JSON").into(),
            initial_height: i64::try_from(first_height).expect("a height"),
            ..abci::RequestInitChain::default()
        };
        let (main, witness) = (Node::new(builder.config.clone()), Node::new(builder.config.clone()));
        let mut chain = Self {
            chain_id: builder.chain_id.clone(),
            init,
            main,
            witness,
            restart_every: builder.restart_every,
            check_every: builder.check_every,
            height: first_height - 1,
            time,
            block_seconds: 1,
            proposer: Vec::new(),
            validators: BTreeMap::new(),
            voters: BTreeMap::new(),
            absent: BTreeSet::new(),
            misbehavior: Vec::new(),
            supply: genesis.bank.balances.iter().map(|b| b.amount).sum(),
            took: Duration::ZERO,
            events: Vec::new(),
            updates: Vec::new(),
            params: None,
            params_changed: false,
            signed: BTreeMap::new(),
        };
        let response = chain
            .main
            .app()
            .init_chain(chain.init.clone())
            .expect("the genesis is accepted");
        // InitChain persists nothing: a node that is dropped here begins anew.
        chain
            .witness
            .app()
            .init_chain(chain.init.clone())
            .expect("the genesis is accepted");
        chain.witness.restart();
        let again = chain
            .witness
            .app()
            .init_chain(chain.init.clone())
            .expect("the genesis is accepted again");
        assert_eq!(response, again, "InitChain answers differently after a restart");
        chain.apply_updates(response.validators);
        chain.apply_params(response.consensus_params);
        if first_height > 1 {
            chain.voters.clone_from(&chain.validators);
        }
        chain.proposer = Address::of_consensus_key(chain.validators.keys().next().expect("a validator"))
            .0
            .to_vec();
        chain
    }

    /// The chain's id.
    #[must_use]
    pub fn chain_id(&self) -> &str {
        &self.chain_id
    }

    /// The last committed height; one below the first before there is any.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Time of the last block, Unix seconds.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.time
    }

    /// Lets `seconds` pass before the next block, beside the one second that every block takes.
    pub fn pass_time(&mut self, seconds: u64) {
        self.time += seconds;
    }

    /// Whether the validator `name` signs blocks from now on.
    pub fn signs(&mut self, name: &str, signs: bool) {
        let key = consensus_key(name).to_vec();
        if signs {
            self.absent.remove(&key);
        } else {
            self.absent.insert(key);
        }
    }

    /// The next block brings proof that the validator `name` voted twice at `height`, with the power it has now.
    ///
    /// # Panics
    /// It is no validator.
    pub fn votes_twice(&mut self, name: &str, height: u64) {
        let key = consensus_key(name).to_vec();
        let power = self.validators[&key];
        self.misbehavior.push(abci::Misbehavior {
            r#type: abci::MisbehaviorType::DuplicateVote.into(),
            validator: Some(voter(&key, power)),
            height: i64::try_from(height).expect("a height"),
            time: Some(timestamp(self.time)),
            total_voting_power: self.validators.values().sum(),
        });
    }

    fn last_commit(&self) -> abci::CommitInfo {
        let flag = |key| {
            if self.absent.contains(key) {
                BlockIdFlag::Absent
            } else {
                BlockIdFlag::Commit
            }
        };
        let votes = self.voters.iter().map(|(key, power)| abci::VoteInfo {
            validator: Some(voter(key, *power)),
            block_id_flag: flag(key).into(),
        });
        abci::CommitInfo {
            round: 0,
            votes: votes.collect(),
        }
    }

    /// Replaces the program of both nodes, as operators do between two blocks.
    pub fn install(&mut self, binary: &'static Binary) {
        self.main.install(binary);
        self.witness.install(binary);
    }

    /// The application that sees every call.
    #[must_use]
    pub fn app(&self) -> &Application {
        self.main.app()
    }

    /// Root of the state after the last block.
    ///
    /// # Panics
    /// Nothing is committed yet.
    #[must_use]
    pub fn app_hash(&self) -> [u8; 32] {
        self.app().store().latest().expect("a committed height").app_hash
    }

    /// [`cpu_time`] that a node took to execute and commit the last block.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Events of the last block that belong to no transaction.
    #[must_use]
    pub fn events(&self) -> &[abci::Event] {
        &self.events
    }

    /// Changes of the validator set after the last block: key and power.
    #[must_use]
    pub fn validator_updates(&self) -> Vec<(Vec<u8>, i64)> {
        self.updates.iter().map(key_and_power).collect()
    }

    /// What CometBFT was told with the last block, or with the genesis before it, to hold the next one to.
    #[must_use]
    pub fn consensus_update(&self) -> Option<&ConsensusParams> {
        self.params.as_ref().filter(|_| self.params_changed)
    }

    /// The validator set as CometBFT has it: powers by consensus key.
    #[must_use]
    pub fn validators(&self) -> &BTreeMap<Vec<u8>, i64> {
        &self.validators
    }

    /// The whole state as a genesis.
    ///
    /// # Panics
    /// The state cannot be exported.
    #[must_use]
    pub fn export(&self) -> Genesis {
        self.app().export().expect("the state can be exported")
    }

    /// Reads the state that the next block executes on.
    ///
    /// # Panics
    /// It cannot be read.
    pub fn read<T>(&self, body: impl FnOnce(&mut State<'_>) -> Result<T, Error>) -> T {
        self.app().read(body).expect("the state can be read")
    }

    /// Begins a transaction of `signer`, to be bent before it is signed.
    #[must_use]
    pub fn craft(&self, signer: &str, messages: Vec<any::Any>) -> Craft {
        let account = self.account(address(signer)).unwrap_or_default();
        let signed = self.signed.get(&address(signer)).copied().unwrap_or(0);
        Craft::new(
            signer,
            messages,
            &self.chain_id,
            account.account_number,
            account.sequence + signed,
        )
    }

    /// A signed transaction of `signer`. Several before one block are given sequences one after another.
    pub fn tx(&mut self, signer: &str, messages: Vec<any::Any>) -> Vec<u8> {
        let tx = self.craft(signer, messages).sign();
        *self.signed.entry(address(signer)).or_default() += 1;
        tx
    }

    /// Asks whether a transaction may enter the mempool, as CometBFT does when it comes.
    ///
    /// # Panics
    /// The node would stop.
    pub fn check(&self, tx: &[u8]) -> Outcome {
        let request = abci::RequestCheckTx {
            tx: tx.to_vec().into(),
            r#type: abci::CheckTxType::New.into(),
        };
        Outcome::refused(self.app().check_tx(&request).expect("CheckTx does not stop the node"))
    }

    /// One block. What `CheckTx` refuses stays out; its outcome is the refusal.
    pub fn block(&mut self, txs: impl IntoIterator<Item = Vec<u8>>) -> Vec<Outcome> {
        let checked: Vec<_> = txs.into_iter().map(|tx| (self.check(&tx), tx)).collect();
        let accepted = checked
            .iter()
            .filter(|(outcome, _)| outcome.is_ok())
            .map(|(_, tx)| tx.clone());
        let mut executed = self.propose(&accepted.collect::<Vec<_>>()).into_iter();
        let outcome = |(refused, _): (Outcome, Vec<u8>)| {
            if refused.is_ok() {
                executed.next().expect("an outcome per transaction")
            } else {
                refused
            }
        };
        checked.into_iter().map(outcome).collect()
    }

    /// One block with transactions that no mempool checked, as a hostile proposer could make it.
    pub fn block_unchecked(&mut self, txs: impl IntoIterator<Item = Vec<u8>>) -> Vec<Outcome> {
        self.propose(&txs.into_iter().collect::<Vec<_>>())
    }

    /// `count` blocks without transactions.
    pub fn skip(&mut self, count: u64) {
        for _ in 0..count {
            self.block([]);
        }
    }

    /// Empty blocks until `height` is committed.
    pub fn skip_to(&mut self, height: u64) {
        self.skip(height.saturating_sub(self.height));
    }

    /// A block with one transaction of one message.
    pub fn deliver<M: Message + prost::Name>(&mut self, signer: &str, message: &M) -> Outcome {
        let tx = self.tx(signer, vec![any::pack(message)]);
        self.block([tx]).remove(0)
    }

    /// As [`Chain::deliver`], for what must succeed.
    ///
    /// # Panics
    /// It failed.
    pub fn ok<M: Message + prost::Name>(&mut self, signer: &str, message: &M) -> Outcome {
        let outcome = self.deliver(signer, message);
        assert!(
            outcome.is_ok(),
            "{} by {signer} at height {}: {outcome:?}",
            M::NAME,
            self.height
        );
        outcome
    }

    fn propose(&mut self, txs: &[Vec<u8>]) -> Vec<Outcome> {
        self.height += 1;
        self.time += self.block_seconds;
        self.signed.clear();
        let height = i64::try_from(self.height).expect("a height");
        let time = Some(timestamp(self.time));
        let proposed = self.main.app().prepare_proposal(abci::RequestPrepareProposal {
            max_tx_bytes: self.params.as_ref().map_or(MAX_BLOCK_BYTES, max_bytes),
            txs: txs.iter().cloned().map(Into::into).collect(),
            height,
            time,
            proposer_address: self.proposer.clone().into(),
            ..abci::RequestPrepareProposal::default()
        });
        let block: Vec<Vec<u8>> = proposed
            .expect("a proposal")
            .txs
            .into_iter()
            .map(|tx| tx.to_vec())
            .collect();
        assert!(
            block.first().is_some_and(|tx| pouw::is_header(tx)),
            "a block begins with its header"
        );
        assert_eq!(
            self.process(&block),
            ProposalStatus::Accept,
            "the proposal of height {height} is refused"
        );

        let mut hash = Sha256::new().chain_update(self.height.to_be_bytes());
        for tx in &block {
            hash.update(Sha256::digest(tx));
        }
        let request = abci::RequestFinalizeBlock {
            txs: block.iter().cloned().map(Into::into).collect(),
            hash: hash.finalize().to_vec().into(),
            height,
            time,
            proposer_address: self.proposer.clone().into(),
            decided_last_commit: Some(self.last_commit()),
            misbehavior: std::mem::take(&mut self.misbehavior),
            ..abci::RequestFinalizeBlock::default()
        };
        let start = cpu_time();
        let response = self
            .main
            .app()
            .finalize_block(request.clone())
            .expect("FinalizeBlock does not stop the node");
        self.took = cpu_time().saturating_sub(start);
        assert_eq!(response.tx_results.len(), block.len(), "one result per transaction");
        self.witness_block(&request, &response);
        let start = cpu_time();
        self.main.app().commit().expect("Commit does not stop the node");
        self.took += cpu_time().saturating_sub(start);
        assert_eq!(
            self.main.info(),
            (self.height, response.app_hash.to_vec()),
            "what was committed"
        );
        if self.height.is_multiple_of(self.check_every) {
            self.main
                .app()
                .check_invariants()
                .unwrap_or_else(|e| panic!("after height {height}: {e}"));
        }
        self.supply -= burned(&response);
        assert_eq!(
            self.query_supply(),
            self.supply,
            "the supply has changed at height {height}"
        );
        self.voters.clone_from(&self.validators);
        self.apply_updates(response.validator_updates);
        self.apply_params(response.consensus_param_updates);
        self.events = response.events;
        outcomes(txs, &block, response.tx_results)
    }

    /// The second node sees the block, if need be after it forgot that it had seen it before.
    fn witness_block(&mut self, request: &abci::RequestFinalizeBlock, expected: &abci::ResponseFinalizeBlock) {
        let height = self.height;
        if self.restart_every > 0 && height.is_multiple_of(self.restart_every) {
            let before = self.witness.info();
            let first = self
                .witness
                .app()
                .finalize_block(request.clone())
                .expect("FinalizeBlock at the witness");
            assert_eq!(&first, expected, "two nodes answer differently at height {height}");
            self.witness.restart();
            assert_eq!(
                self.witness.info(),
                before,
                "a restart lost or added a height at {height}"
            );
            if before.0 == 0 {
                self.witness
                    .app()
                    .init_chain(self.init.clone())
                    .expect("the genesis is accepted again");
            }
        }
        let response = self
            .witness
            .app()
            .finalize_block(request.clone())
            .expect("FinalizeBlock at the witness");
        assert_eq!(&response, expected, "two nodes answer differently at height {height}");
        self.witness.app().commit().expect("Commit at the witness");
        assert_eq!(
            self.witness.info(),
            (height, expected.app_hash.to_vec()),
            "what the witness committed"
        );
    }

    /// What `ProcessProposal` says about a block at the next height (or, while a block is made, at that height).
    ///
    /// # Panics
    /// The node would stop.
    #[must_use]
    pub fn process(&self, block: &[Vec<u8>]) -> ProposalStatus {
        let next = self
            .app()
            .last_block()
            .map_or(self.height.max(1), |last| last.height + 1);
        let request = abci::RequestProcessProposal {
            txs: block.iter().cloned().map(Into::into).collect(),
            height: i64::try_from(next).expect("a height"),
            time: Some(timestamp(self.time)),
            proposer_address: self.proposer.clone().into(),
            ..abci::RequestProcessProposal::default()
        };
        self.app()
            .process_proposal(&request)
            .expect("ProcessProposal does not stop the node")
            .status()
    }

    fn apply_params(&mut self, params: Option<ConsensusParams>) {
        self.params_changed = params.is_some();
        if let Some(params) = params {
            consensus::check(&params).unwrap_or_else(|e| panic!("CometBFT stops on its parameters: {e}"));
            self.params = Some(params);
        }
    }

    fn apply_updates(&mut self, updates: Vec<abci::ValidatorUpdate>) {
        for (key, power) in updates.iter().map(key_and_power) {
            assert!(power >= 0, "CometBFT stops on the negative power {power}");
            if power > 0 {
                self.validators.insert(key, power);
            } else {
                assert!(
                    self.validators.remove(&key).is_some(),
                    "CometBFT stops when an unknown validator is removed"
                );
            }
        }
        assert!(!self.validators.is_empty(), "CometBFT stops on an empty validator set");
        self.updates = updates;
    }
}

fn max_bytes(params: &ConsensusParams) -> i64 {
    params.block.map_or(MAX_BLOCK_BYTES, |block| block.max_bytes)
}

fn voter(key: &[u8], power: i64) -> abci::Validator {
    abci::Validator {
        address: Address::of_consensus_key(key).0.to_vec().into(),
        power,
    }
}

fn key_and_power(update: &abci::ValidatorUpdate) -> (Vec<u8>, i64) {
    match update.pub_key.as_ref().and_then(|key| key.sum.as_ref()) {
        Some(Sum::Ed25519(key)) => (key.clone(), update.power),
        other => panic!("CometBFT is told of a validator with the key {other:?}"),
    }
}

/// utrain that a block's events say were burned.
fn burned(response: &abci::ResponseFinalizeBlock) -> u64 {
    let events = response.tx_results.iter().flat_map(|r| &r.events);
    let burns = events.chain(&response.events).filter(|e| e.r#type == "burn");
    let amounts = burns.flat_map(|e| &e.attributes).filter(|a| a.key == "amount");
    amounts
        .map(|a| trainyard_proto::coin::parse_human(&a.value).expect("an amount"))
        .sum()
}

/// How long this process has computed, on all its threads: unlike a clock, it does not go on while the machine does something
/// else.
///
/// # Panics
/// The system has no such clock.
#[must_use]
pub fn cpu_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .expect("a clock of this process")
        .into()
}

fn timestamp(seconds: u64) -> Timestamp {
    let seconds = i64::try_from(seconds).expect("a time");
    Timestamp { seconds, nanos: 0 }
}

/// Outcomes of `txs`, of which those in `block`, in the same order behind the header, were executed.
fn outcomes(txs: &[Vec<u8>], block: &[Vec<u8>], results: Vec<abci::ExecTxResult>) -> Vec<Outcome> {
    let mut executed = block.iter().zip(results).skip(1).peekable();
    let all = txs
        .iter()
        .map(|tx| match executed.next_if(|(in_block, _)| *in_block == tx) {
            Some((_, result)) => Outcome::executed(result),
            None => Outcome::left_out(),
        });
    let all: Vec<_> = all.collect();
    assert!(executed.next().is_none(), "a proposal added or reordered transactions");
    all
}
