//! The application behind ABCI: the state machine of `trainyard-modules` over the store.
//!
//! ```text
//! mod.rs       the calls of ABCI 2.0, each a short function
//! execution.rs a block's transactions, one after another, and what threads can do beside that
//! verifier.rs  signatures are verified once: CheckTx remembers for FinalizeBlock
//! reads.rs     the committed state as the state machine reads it
//! snapshots.rs snapshots of the state: taken, offered, restored
//! convert.rs   between the state machine's types and tendermint's
//! gauges.rs    what an operator watches of the state
//! query.rs     queries by path, and raw keys with ICS23 proofs
//! ```
//!
//! `FinalizeBlock` always executes from the last committed state; nothing that an earlier call computed is reused, so that
//! a replayed block cannot come out differently. `InitChain` persists nothing: its state is committed with block 1.

mod convert;
mod execution;
mod gauges;
mod query;
mod reads;
mod snapshots;
mod verifier;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use tendermint_proto::v0_38::{abci, types::ConsensusParams};
use trainyard_modules::{
    consensus,
    context::{Block, Texts},
    error::Error,
    fees,
    gas::Gas,
    machine::{self, Decoded, Genesis, Mode, ante::gas_limit},
    pouw,
    state::{Changes, Empty, Reader, State},
    upgrade::{self, Binary, Plan, Refusal},
};

use self::{execution::Executed, reads::Committed, snapshots::Snapshots, verifier::Remembering};
pub use self::{gauges::Gauge, snapshots::SnapshotConfig};
use crate::{
    abci::{self as abci_server, FatalError},
    store::{Batch, Store, StoreError},
};

/// Name of the store's note about the last block.
const BLOCK_NOTE: &str = "block";
/// Name of its note about the block before.
const BEFORE_NOTE: &str = "block before";

/// The node cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state machine failed, or met a genesis it cannot use.
    #[error("{0}")]
    Machine(#[from] Error),
    /// CometBFT asked for something that cannot be.
    #[error("{0}")]
    Protocol(String),
}

/// What an operator sets for a node, and which program it is; none of it is agreed by consensus.
#[derive(Clone)]
pub struct Config {
    /// Least price of gas for the mempool, in millionths of a utrain.
    pub min_gas_price_micro: u64,
    /// The node stops after committing this height; 0 never.
    pub halt_height: u64,
    /// Blocks that CometBFT keeps for others, at least; 0 keeps all.
    pub min_retain_blocks: u64,
    /// The chain that snapshots must be of; none takes any.
    pub chain_id: Option<String>,
    /// Snapshots to take and to offer.
    pub snapshots: Option<SnapshotConfig>,
    /// Which upgrades the program can carry out, and which form of state it works on.
    pub binary: &'static Binary,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_gas_price_micro: 0,
            halt_height: 0,
            min_retain_blocks: 0,
            chain_id: None,
            snapshots: None,
            binary: &upgrade::THIS,
        }
    }
}

/// State that is computed and not committed yet.
#[derive(Default)]
struct Pending {
    /// Of `InitChain`, until block 1 commits it.
    genesis: Option<(Changes, Block)>,
    /// Of `FinalizeBlock`, until `Commit` writes it.
    batch: Option<(Batch, Block)>,
}

/// The state that waiting transactions are checked on: the last committed one, and what those before them changed.
#[derive(Default)]
struct CheckState {
    changes: Changes,
    /// The block that they are checked for; none before the first of them.
    next: Option<Block>,
}

/// Answers a query about the node rather than the state; nothing, where the path is none of its.
pub type NodeQueries = Box<dyn Fn(&str, &[u8]) -> Option<Result<Vec<u8>, Error>> + Send + Sync>;

/// The application. Calls may come from several threads.
pub struct Application {
    node_queries: OnceLock<NodeQueries>,
    store: Store,
    config: Config,
    pending: Mutex<Pending>,
    check: Mutex<CheckState>,
    last: RwLock<Option<Arc<Block>>>,
    verifier: Remembering,
    snapshots: Snapshots,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in a handler stops the node; until it has stopped, the others may still read.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl abci_server::Application for Application {
    fn info(&self, request: abci::RequestInfo) -> Result<abci::ResponseInfo, FatalError> {
        Ok(self.info(&request))
    }
    fn init_chain(&self, request: abci::RequestInitChain) -> Result<abci::ResponseInitChain, FatalError> {
        self.init_chain(request).map_err(FatalError::new)
    }
    fn query(&self, request: abci::RequestQuery) -> Result<abci::ResponseQuery, FatalError> {
        Ok(self.query(&request))
    }
    fn check_tx(&self, request: abci::RequestCheckTx) -> Result<abci::ResponseCheckTx, FatalError> {
        self.check_tx(&request).map_err(FatalError::new)
    }
    fn prepare_proposal(
        &self,
        request: abci::RequestPrepareProposal,
    ) -> Result<abci::ResponsePrepareProposal, FatalError> {
        self.prepare_proposal(request).map_err(FatalError::new)
    }
    fn process_proposal(
        &self,
        request: abci::RequestProcessProposal,
    ) -> Result<abci::ResponseProcessProposal, FatalError> {
        self.process_proposal(&request).map_err(FatalError::new)
    }
    fn finalize_block(&self, request: abci::RequestFinalizeBlock) -> Result<abci::ResponseFinalizeBlock, FatalError> {
        self.finalize_block(request).map_err(FatalError::new)
    }
    fn commit(&self, _: abci::RequestCommit) -> Result<abci::ResponseCommit, FatalError> {
        self.commit().map_err(FatalError::new)
    }
    fn list_snapshots(&self, _: abci::RequestListSnapshots) -> Result<abci::ResponseListSnapshots, FatalError> {
        Ok(self.list_snapshots())
    }
    fn offer_snapshot(&self, request: abci::RequestOfferSnapshot) -> Result<abci::ResponseOfferSnapshot, FatalError> {
        self.offer_snapshot(&request).map_err(FatalError::new)
    }
    fn load_snapshot_chunk(
        &self,
        request: abci::RequestLoadSnapshotChunk,
    ) -> Result<abci::ResponseLoadSnapshotChunk, FatalError> {
        Ok(self.load_snapshot_chunk(&request))
    }
    fn apply_snapshot_chunk(
        &self,
        request: abci::RequestApplySnapshotChunk,
    ) -> Result<abci::ResponseApplySnapshotChunk, FatalError> {
        self.apply_snapshot_chunk(&request).map_err(FatalError::new)
    }
}

impl Application {
    /// The application over an opened store.
    ///
    /// # Errors
    /// The store's note about its last block is damaged.
    pub fn new(store: Store, config: Config) -> Result<Self, Fatal> {
        let last = match store.note(BLOCK_NOTE)? {
            Some(note) => Some(Arc::new(convert::decode_block(&note)?)),
            None => None,
        };
        Ok(Self {
            node_queries: OnceLock::new(),
            store,
            config,
            pending: Mutex::default(),
            check: Mutex::default(),
            last: RwLock::new(last),
            verifier: Remembering::default(),
            snapshots: Snapshots::default(),
        })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Lets `Query` answer what only the node around the application knows. The first to say so stays.
    pub fn answer_for_node(&self, queries: NodeQueries) {
        // A second one would be another node's.
        let _ = self.node_queries.set(queries);
    }

    /// The last committed block.
    #[must_use]
    pub fn last_block(&self) -> Option<Arc<Block>> {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs `body` on the state that the next block executes on: the last committed one, or the genesis before block 1.
    fn on_base<T>(&self, body: impl FnOnce(&dyn Reader, &Block) -> Result<T, Error>) -> Result<T, Error> {
        if let Some(last) = self.last_block() {
            return body(&Committed::new(&self.store.snapshot()), &last);
        }
        let genesis = lock(&self.pending).genesis.clone();
        let (changes, block) = genesis.ok_or_else(|| Error::fatal("there is no state before InitChain"))?;
        body(&State::resume(&Empty, changes, Gas::unlimited()), &block)
    }

    /// `Info`.
    pub fn info(&self, _: &abci::RequestInfo) -> abci::ResponseInfo {
        let committed = self.store.latest();
        abci::ResponseInfo {
            data: "trainyard".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            app_version: 1,
            last_block_height: committed.map_or(0, |c| convert::signed(c.height)),
            last_block_app_hash: committed.map_or_else(Vec::new, |c| c.app_hash.to_vec()).into(),
        }
    }

    /// `InitChain`: builds the state of a new chain; block 1 commits it.
    pub fn init_chain(&self, request: abci::RequestInitChain) -> Result<abci::ResponseInitChain, Fatal> {
        let mut genesis: Genesis = serde_json::from_slice(&request.app_state_bytes)
            .map_err(|e| Fatal::Protocol(format!("app_state of the genesis: {e}")))?;
        // An exported state has its own, which CometBFT then goes on with.
        let own = genesis.consensus.params.map(ConsensusParams::from);
        if let (None, Some(params)) = (&own, &request.consensus_params) {
            consensus::check(params)?;
            genesis.consensus.params = Some(params.into());
        }
        let initial = convert::unsigned(request.initial_height.max(1));
        let block = Block {
            chain_id: request.chain_id,
            height: initial - 1,
            time: request.time.map_or(0, |t| convert::unsigned(t.seconds)),
            proposer: Vec::new(),
            hash: Vec::new(),
        };
        let mut state = State::new(&Empty, Gas::unlimited());
        let powers = machine::init_genesis(&mut state, &block, &genesis, self.config.binary, &mut Vec::new())?;
        lock(&self.pending).genesis = Some((state.into_changes(), block));
        Ok(abci::ResponseInitChain {
            consensus_params: own,
            validators: powers.iter().map(convert::validator).collect(),
            app_hash: Store::empty_root().to_vec().into(),
        })
    }

    /// The least price of gas at which this node takes a transaction into its mempool, as wallets write it: its operator's,
    /// or the chain's base fee where that is more.
    ///
    /// # Errors
    /// The store failed.
    pub fn gas_price(&self) -> Result<String, Error> {
        let base_fee = self.on_base(|base, _| fees::BASE_FEE.get(&mut State::new(base, Gas::unlimited())))?;
        Ok(fees::price(base_fee.max(self.config.min_gas_price_micro)))
    }

    /// `CheckTx`.
    pub fn check_tx(&self, request: &abci::RequestCheckTx) -> Result<abci::ResponseCheckTx, Fatal> {
        let again = request.r#type() == abci::CheckTxType::Recheck;
        let mode = Mode::Check {
            min_gas_price_micro: self.config.min_gas_price_micro,
            again,
        };
        let mut check = lock(&self.check);
        let result = self.on_base(|base, last| {
            let CheckState { changes, next } = &mut *check;
            let next = next.get_or_insert_with(|| next_block(last));
            let mut state = State::resume(base, std::mem::take(changes), Gas::unlimited());
            let result = machine::run_tx(&mut state, next, &request.tx, mode, &self.verifier);
            *changes = state.into_changes();
            result
        })?;
        Ok(convert::check_response(&result))
    }

    /// `PrepareProposal`: the header of useful work first, then transactions in order while bytes and gas fit.
    pub fn prepare_proposal(
        &self,
        request: abci::RequestPrepareProposal,
    ) -> Result<abci::ResponsePrepareProposal, Fatal> {
        let header = self.header(convert::unsigned(request.height))?;
        let mut room = convert::unsigned(request.max_tx_bytes).saturating_sub(framed(&header));
        let mut gas = self.max_gas()?;
        let mut txs = vec![header.into()];
        for tx in request.txs {
            let (bytes, wanted) = (framed(&tx), gas_limit(&tx));
            if pouw::is_header(&tx) || bytes > room || wanted > gas {
                continue;
            }
            room -= bytes;
            gas -= wanted;
            txs.push(tx);
        }
        Ok(abci::ResponsePrepareProposal { txs })
    }

    /// `ProcessProposal`: the header is the one that every node computes, and gas fits.
    pub fn process_proposal(
        &self,
        request: &abci::RequestProcessProposal,
    ) -> Result<abci::ResponseProcessProposal, Fatal> {
        let header = self.header(convert::unsigned(request.height))?;
        let gas: u64 = request.txs.iter().map(|tx| gas_limit(tx)).fold(0, u64::saturating_add);
        let sound = request.txs.first().is_some_and(|first| *first == header)
            && !request.txs[1..].iter().any(|tx| pouw::is_header(tx))
            && gas <= self.max_gas()?;
        use abci::response_process_proposal::ProposalStatus;
        let status = if sound {
            ProposalStatus::Accept
        } else {
            ProposalStatus::Reject
        };
        Ok(abci::ResponseProcessProposal { status: status.into() })
    }

    /// Gas of all transactions of the next block, at most.
    fn max_gas(&self) -> Result<u64, Error> {
        self.on_base(|base, _| consensus::max_gas(&mut State::new(base, Gas::unlimited())))
    }

    fn header(&self, height: u64) -> Result<Vec<u8>, Fatal> {
        let header = self.on_base(|base, _| pouw::header(&mut State::new(base, Gas::unlimited()), height))?;
        Ok(pouw::encode(&header))
    }

    /// `FinalizeBlock`: executes from the last committed state and computes the app hash; writes nothing.
    pub fn finalize_block(&self, request: abci::RequestFinalizeBlock) -> Result<abci::ResponseFinalizeBlock, Fatal> {
        let height = convert::unsigned(request.height);
        let executed = if let Some(last) = self.last_block() {
            let base = self.store.snapshot();
            let ahead = |txs: &[bytes::Bytes]| self.look_ahead(&base, &last, txs);
            self.execute(&Committed::new(&base), &last, &request, ahead)?
        } else {
            let ahead = |txs: &[bytes::Bytes]| Ok(txs.iter().map(|tx| Decoded::new(tx)).collect());
            self.on_base(|base, last| self.execute(base, last, &request, ahead))?
        };
        let Executed {
            changes,
            block,
            results,
            events,
            powers,
            params,
        } = executed;
        let mut pending = lock(&self.pending);
        let changes = match (&pending.genesis, self.store.latest()) {
            // Block 1 commits the genesis with its own changes over it.
            (Some((genesis, _)), None) => {
                let mut all = genesis.clone();
                all.extend(changes);
                all
            }
            _ => changes,
        };
        let mut batch = self.store.prepare(height, changes)?;
        if let Some(before) = self.last_block() {
            batch.put_note(BEFORE_NOTE, convert::encode_block(&before));
        }
        batch.put_note(BLOCK_NOTE, convert::encode_block(&block));
        let app_hash = batch.committed().app_hash.to_vec();
        pending.batch = Some((batch, block));
        let mut texts = Texts::default();
        Ok(abci::ResponseFinalizeBlock {
            events: events.iter().map(|event| event.to_abci(&mut texts)).collect(),
            tx_results: results,
            validator_updates: powers.iter().map(convert::validator).collect(),
            consensus_param_updates: params,
            app_hash: app_hash.into(),
        })
    }

    /// `Commit`: makes what `FinalizeBlock` computed the last committed state, and has it written in one atomic write.
    pub fn commit(&self) -> Result<abci::ResponseCommit, Fatal> {
        let mut check = lock(&self.check);
        let mut pending = lock(&self.pending);
        let (batch, block) = pending
            .batch
            .take()
            .ok_or_else(|| Fatal::Protocol("Commit without a FinalizeBlock before it".into()))?;
        self.store.commit(batch)?;
        pending.genesis = None;
        let height = block.height;
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(block));
        *check = CheckState::default();
        self.snapshot_if_due(height);
        let retain = match self.config.min_retain_blocks {
            0 => 0,
            blocks => (height + 1).saturating_sub(blocks),
        };
        Ok(abci::ResponseCommit {
            retain_height: convert::signed(retain),
        })
    }

    /// Goes on after a block that was not executed here.
    fn start_from(&self, block: Block) {
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(block));
        *lock(&self.check) = CheckState::default();
        *lock(&self.pending) = Pending::default();
    }

    /// Takes back the last block, once: the one before that is not noted any more. For a node that is not running.
    ///
    /// # Errors
    /// There is no block to go back to, or the store failed.
    pub fn rollback(&self) -> Result<Block, Fatal> {
        let before = self.store.note(BEFORE_NOTE)?;
        let before = before.ok_or_else(|| Fatal::Protocol("no block to go back to is noted".into()))?;
        let block = convert::decode_block(&before)?;
        self.store
            .rollback(&[(BLOCK_NOTE, Some(before)), (BEFORE_NOTE, None)])?;
        self.start_from(block.clone());
        Ok(block)
    }

    /// Whether this program may execute the next block.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check_version(&self) -> Result<(), Refusal> {
        let Some(last) = self.last_block() else {
            return Ok(()); // A genesis is written in the form of the program that reads it.
        };
        let snapshot = self.store.snapshot();
        let base = Committed::new(&snapshot);
        let mut state = State::new(&base, Gas::unlimited());
        upgrade::check(&mut state, last.height + 1, self.config.binary).map(drop)
    }

    /// The plan that the next block needs another program for.
    #[must_use]
    pub fn needed_upgrade(&self) -> Option<Plan> {
        let last = self.last_block()?;
        // Asked around every block, and therefore of single keys: more would wait for the block before to be written.
        self.read(|state| upgrade::needed(state, last.height + 1, self.config.binary))
            .ok()
            .flatten()
    }

    /// Whether the height to halt after has been committed, or the last one before another program is needed.
    #[must_use]
    pub fn halted(&self) -> bool {
        let height = self.last_block().map_or(0, |b| b.height);
        (self.config.halt_height > 0 && height >= self.config.halt_height) || self.needed_upgrade().is_some()
    }

    /// `Query`.
    #[must_use]
    pub fn query(&self, request: &abci::RequestQuery) -> abci::ResponseQuery {
        query::answer(self, request)
    }

    /// `Query` of the state alone.
    #[must_use]
    pub fn query_state(&self, request: &abci::RequestQuery) -> abci::ResponseQuery {
        query::of_state(self, request)
    }

    /// The whole state as a genesis, at a height that is still there.
    ///
    /// # Errors
    /// The height is pruned, or the store failed.
    pub fn export(&self) -> Result<Genesis, Fatal> {
        let snapshot = self.store.snapshot();
        let base = Committed::new(&snapshot);
        Ok(machine::export(&mut State::new(&base, Gas::unlimited()))?)
    }

    /// Reads the state that the next block executes on.
    ///
    /// # Errors
    /// There is none yet, or what `body` says.
    pub fn read<T>(&self, body: impl FnOnce(&mut State<'_>) -> Result<T, Error>) -> Result<T, Error> {
        self.on_base(|base, _| body(&mut State::new(base, Gas::unlimited())))
    }

    /// Checks all invariants on the committed state.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check_invariants(&self) -> Result<(), Fatal> {
        let snapshot = self.store.snapshot();
        let base = Committed::new(&snapshot);
        Ok(machine::invariants(&mut State::new(&base, Gas::unlimited()))?)
    }
}

/// The block that would follow, as far as it is known: for checks and simulations.
fn next_block(last: &Block) -> Block {
    Block {
        height: last.height + 1,
        ..last.clone()
    }
}

/// Bytes that a transaction takes in a block: itself, its field's tag and its length.
fn framed(tx: &[u8]) -> u64 {
    (tx.len() + 1 + prost::length_delimiter_len(tx.len())) as u64
}
