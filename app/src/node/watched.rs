//! The application, observed on its way to CometBFT: a log line per block, metrics, and halting.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tendermint_proto::v0_38::abci;
use tokio::sync::oneshot;
use trainyard_modules::upgrade::{Plan, Refusal};

use super::metrics::Metrics;
use super::notify::Notify;
use crate::abci::{Application as Calls, FatalError};
use crate::application::Application;
use crate::store::StoreError;

/// A block between `FinalizeBlock` and `Commit`.
struct Executed {
    height: i64,
    /// Transactions, the header of useful work left out.
    txs: usize,
    app_hash: String,
    since: Instant,
}

/// How long a node goes on after its last block: its peers may still need its votes for that block to commit it as well.
const FAREWELL: Duration = Duration::from_secs(3);

/// Passes every call on. A little after the height to halt at, or the last one before another program is needed, is
/// committed it says so; it accepts and executes no block after that one.
pub(super) struct Watched {
    app: Arc<Application>,
    metrics: Arc<Metrics>,
    notify: Arc<Notify>,
    executed: Mutex<Option<Executed>>,
    halt: Arc<Mutex<Option<oneshot::Sender<()>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells who listens that there is nothing left to do.
fn tell(halt: &Mutex<Option<oneshot::Sender<()>>>) {
    if let Some(halt) = lock(halt).take() {
        let _ = halt.send(()); // Nobody listens to a node that is stopping already.
    }
}

impl Watched {
    /// The application and what hears of its halt.
    pub(super) fn new(app: Arc<Application>) -> (Self, oneshot::Receiver<()>) {
        let (halt, halted) = oneshot::channel();
        let watched = Self {
            app,
            metrics: Arc::default(),
            notify: Arc::new(Notify::from_environment()),
            executed: Mutex::default(),
            halt: Arc::new(Mutex::new(Some(halt))),
        };
        (watched, halted)
    }

    /// Who is told how it is.
    pub(super) fn notify(&self) -> &Arc<Notify> {
        &self.notify
    }

    /// What it counts.
    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Answers a call and counts it.
    fn counted<T>(&self, name: &'static str, call: impl FnOnce() -> Result<T, FatalError>) -> Result<T, FatalError> {
        let since = Instant::now();
        let answer = call();
        self.metrics.call(name, since.elapsed());
        answer
    }

    /// Waits until its last block is on disk.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.app.store().flush()
    }

    /// The upgrade that it has stopped before.
    pub(super) fn needed_upgrade(&self) -> Option<Plan> {
        self.app.needed_upgrade()
    }

    /// The height it has halted at.
    pub(super) fn halted(&self) -> Option<u64> {
        self.app.last_block().filter(|_| self.app.halted()).map(|b| b.height)
    }
}

impl Calls for Watched {
    fn info(&self, request: abci::RequestInfo) -> Result<abci::ResponseInfo, FatalError> {
        // The first thing that CometBFT asks when it starts; others ask it through RPC.
        self.notify.ready();
        self.counted("Info", || Calls::info(&*self.app, request))
    }
    fn init_chain(&self, request: abci::RequestInitChain) -> Result<abci::ResponseInitChain, FatalError> {
        tracing::info!(target: "node", chain_id = request.chain_id, "new chain");
        self.counted("InitChain", || Calls::init_chain(&*self.app, request))
    }
    fn query(&self, request: abci::RequestQuery) -> Result<abci::ResponseQuery, FatalError> {
        self.counted("Query", || Calls::query(&*self.app, request))
    }
    fn check_tx(&self, request: abci::RequestCheckTx) -> Result<abci::ResponseCheckTx, FatalError> {
        let again = request.r#type() == abci::CheckTxType::Recheck;
        let response = self.counted("CheckTx", || Calls::check_tx(&*self.app, request))?;
        self.metrics.checked(again, &response);
        Ok(response)
    }
    fn prepare_proposal(
        &self,
        request: abci::RequestPrepareProposal,
    ) -> Result<abci::ResponsePrepareProposal, FatalError> {
        self.counted("PrepareProposal", || Calls::prepare_proposal(&*self.app, request))
    }
    fn process_proposal(
        &self,
        request: abci::RequestProcessProposal,
    ) -> Result<abci::ResponseProcessProposal, FatalError> {
        if self.app.halted() {
            let status = abci::response_process_proposal::ProposalStatus::Reject.into();
            return Ok(abci::ResponseProcessProposal { status });
        }
        self.counted("ProcessProposal", || Calls::process_proposal(&*self.app, request))
    }

    fn finalize_block(&self, request: abci::RequestFinalizeBlock) -> Result<abci::ResponseFinalizeBlock, FatalError> {
        if let Some(plan) = self.needed_upgrade() {
            return Err(FatalError::new(Refusal::Needed(plan.into())));
        }
        if let Some(height) = self.halted() {
            return Err(FatalError::new(format!("halted at height {height}, as asked")));
        }
        let (since, height, txs) = (Instant::now(), request.height, request.txs.len().saturating_sub(1));
        let response = self.counted("FinalizeBlock", || Calls::finalize_block(&*self.app, request))?;
        self.metrics.executed(&response);
        *lock(&self.executed) = Some(Executed {
            height,
            txs,
            app_hash: hex::encode_upper(&response.app_hash[..response.app_hash.len().min(6)]),
            since,
        });
        Ok(response)
    }

    fn commit(&self, request: abci::RequestCommit) -> Result<abci::ResponseCommit, FatalError> {
        let response = self.counted("Commit", || Calls::commit(&*self.app, request))?;
        if let Some(block) = lock(&self.executed).take() {
            let took = block.since.elapsed();
            self.metrics.committed(block.height, took);
            self.notify.status(&format!("height {}", block.height));
            tracing::info!(
                target: "node",
                height = block.height,
                txs = block.txs,
                app_hash = block.app_hash,
                ms = took.as_millis(),
                "block"
            );
        }
        if self.app.halted() {
            // Another program goes on from here: it must not be asked for this height again.
            self.flush().map_err(FatalError::new)?;
            let halt = Arc::clone(&self.halt);
            thread::spawn(move || {
                thread::sleep(FAREWELL);
                tell(&halt);
            });
        }
        Ok(response)
    }

    fn list_snapshots(&self, request: abci::RequestListSnapshots) -> Result<abci::ResponseListSnapshots, FatalError> {
        self.counted("ListSnapshots", || Calls::list_snapshots(&*self.app, request))
    }
    fn offer_snapshot(&self, request: abci::RequestOfferSnapshot) -> Result<abci::ResponseOfferSnapshot, FatalError> {
        self.counted("OfferSnapshot", || Calls::offer_snapshot(&*self.app, request))
    }
    fn load_snapshot_chunk(
        &self,
        request: abci::RequestLoadSnapshotChunk,
    ) -> Result<abci::ResponseLoadSnapshotChunk, FatalError> {
        self.counted("LoadSnapshotChunk", || Calls::load_snapshot_chunk(&*self.app, request))
    }
    fn apply_snapshot_chunk(
        &self,
        request: abci::RequestApplySnapshotChunk,
    ) -> Result<abci::ResponseApplySnapshotChunk, FatalError> {
        self.counted("ApplySnapshotChunk", || {
            Calls::apply_snapshot_chunk(&*self.app, request)
        })
    }
}
