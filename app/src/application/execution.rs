//! Executing a block. Transactions run one after another; what does not depend on their order is done in parallel: before them,
//! decoding them, verifying their signatures and reading what they will read; after them, writing out their results.

use bytes::Bytes;
use rayon::prelude::*;
use tendermint_proto::v0_38::{abci, types::ConsensusParams};
use trainyard_modules::{
    consensus,
    context::{Block, Event, Texts},
    error::Error,
    gas::Gas,
    machine::{self, Decoded, Mode, ante},
    pouw,
    staking::Power,
    state::{Changes, Reader, State},
};

use super::{Application, convert, reads::Committed};
use crate::store::Snapshot;

/// Transactions that a thread takes at a time.
const PORTION: usize = 32;

/// What a block does, computed and not prepared yet.
pub(super) struct Executed {
    pub(super) changes: Changes,
    pub(super) block: Block,
    pub(super) results: Vec<abci::ExecTxResult>,
    pub(super) events: Vec<Event>,
    pub(super) powers: Vec<Power>,
    /// Where they have changed.
    pub(super) params: Option<ConsensusParams>,
}

impl Application {
    /// Executes a block on the state before it. `ahead` decodes some of its transactions, and does what it can for them before
    /// their turn.
    pub(super) fn execute(
        &self,
        base: &dyn Reader,
        last: &Block,
        request: &abci::RequestFinalizeBlock,
        ahead: impl Fn(&[Bytes]) -> Result<Vec<Decoded>, Error> + Sync + Send,
    ) -> Result<Executed, Error> {
        let block = Block {
            chain_id: last.chain_id.clone(),
            height: convert::unsigned(request.height),
            time: request
                .time
                .as_ref()
                .map_or(last.time, |t| convert::unsigned(t.seconds)),
            proposer: request.proposer_address.to_vec(),
            hash: request.hash.to_vec(),
        };
        let portions: Result<Vec<_>, Error> = request.txs.par_chunks(PORTION).map(ahead).collect();
        let txs: Vec<Decoded> = portions?.into_iter().flatten().collect();

        let mut state = State::new(base, Gas::unlimited());
        let mut events = Vec::new();
        let commit = convert::last_commit(request);
        machine::begin_block(&mut state, &block, &commit, self.config.binary, &mut events)?;
        let mut gas: u64 = 0;
        let mut results = Vec::with_capacity(txs.len());
        for (index, tx) in txs.iter().enumerate() {
            if index == 0 && pouw::is_header(&request.txs[0]) {
                results.push(None);
                continue;
            }
            let result = machine::run_decoded(&mut state, &block, tx, Mode::Deliver, &self.verifier)?;
            if result.paid {
                gas = gas.saturating_add(result.gas_wanted);
            }
            results.push(Some(result));
        }
        rayon::spawn(move || drop(txs)); // A great many small pieces.
        let powers = machine::end_block(&mut state, &block, gas, &mut events)?;
        let before = consensus::PARAMS.get(&mut State::new(base, Gas::unlimited()))?;
        let params = Some(consensus::PARAMS.get(&mut state)?).filter(|after| *after != before);
        // To write them out takes a fifth of the time that executing took.
        let results = results.into_par_iter().with_min_len(PORTION);
        let results = results.map_init(Texts::default, |texts, result| match result {
            Some(result) => convert::tx_result(result, texts),
            None => convert::header_result(),
        });
        let results = results.collect();
        Ok(Executed {
            changes: state.into_changes(),
            block,
            results,
            events,
            powers,
            params,
        })
    }

    /// Decodes transactions; verifies their signatures for the verifier to remember, and reads what they will read for the store
    /// to remember.
    pub(super) fn look_ahead(&self, base: &Snapshot, last: &Block, txs: &[Bytes]) -> Result<Vec<Decoded>, Error> {
        let base = Committed::new(base);
        let txs: Vec<Decoded> = txs.iter().map(|tx| Decoded::new(tx)).collect();
        for tx in txs.iter().filter_map(Decoded::tx) {
            let mut state = State::new(&base, Gas::unlimited());
            ante::look_ahead(&mut state, &last.chain_id, tx, &self.verifier)?;
        }
        Ok(txs)
    }
}
