//! One transaction: decode → ante → messages.

use trainyard_proto::{any::Any, cosmos::base::abci::v1beta1::TxMsgData, prost::Message};

use super::{
    ante::{MAX_GAS, Tx, Verifier, ante},
    router,
};
use crate::{
    context::{Block, Ctx, Event},
    error::{Error, SdkError},
    gas::Gas,
    pouw,
    state::State,
};

/// Why a transaction is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For the mempool: ante only, with the node's own price of gas in millionths of a utrain.
    Check {
        /// Least price accepted.
        min_gas_price_micro: u64,
        /// Seen before and still waiting: its signature was verified then.
        again: bool,
    },
    /// To learn what it would use: signatures may be missing.
    Simulate,
    /// In a block.
    Deliver,
}

impl Mode {
    pub(super) fn verifies(self) -> bool {
        matches!(self, Self::Deliver | Self::Check { again: false, .. })
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TxResult {
    /// `(codespace, code)` and text when it failed.
    pub error: Option<Error>,
    /// Encoded `TxMsgData`: one response per message; empty when it failed.
    pub data: Vec<u8>,
    /// Gas limit.
    pub gas_wanted: u64,
    /// Gas used.
    pub gas_used: u64,
    /// Whether it paid its fee: the ante passed.
    pub paid: bool,
    /// Events: those of the ante always, those of the messages when all succeeded.
    pub events: Vec<Event>,
}

/// A transaction as it came, decoded once: what is wrong with it is said when it is run.
pub struct Decoded {
    tx: Result<Tx, Error>,
    /// Its length.
    bytes: usize,
}

impl Decoded {
    /// Decodes a transaction and checks all that needs no state.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let tx = if pouw::is_header(bytes) {
            let log = "a header of useful work is the proposer's to put in front of its block";
            Err(SdkError::UnknownRequest(log.into()).into())
        } else {
            Tx::decode(bytes)
        };
        let bytes = bytes.len();
        Self { tx, bytes }
    }

    /// The transaction, where it can be run.
    #[must_use]
    pub fn tx(&self) -> Option<&Tx> {
        self.tx.as_ref().ok()
    }
}

/// Runs a transaction on `state`, as [`run_decoded`].
///
/// # Errors
/// Only fatal ones: the node must stop. What is wrong with the transaction is in the result.
pub fn run_tx(
    state: &mut State<'_>,
    block: &Block,
    bytes: &[u8],
    mode: Mode,
    verifier: &dyn Verifier,
) -> Result<TxResult, Error> {
    run_decoded(state, block, &Decoded::new(bytes), mode, verifier)
}

/// Runs a transaction on `state`, which afterwards holds what remains of it: nothing when the ante failed, fee and sequence
/// when a message failed, everything when all succeeded.
///
/// # Errors
/// Only fatal ones: the node must stop. What is wrong with the transaction is in the result.
pub fn run_decoded(
    state: &mut State<'_>,
    block: &Block,
    decoded: &Decoded,
    mode: Mode,
    verifier: &dyn Verifier,
) -> Result<TxResult, Error> {
    let mut result = TxResult::default();
    if let Err(error) = run(state, block, decoded, mode, verifier, &mut result) {
        if error.is_fatal() {
            return Err(error);
        }
        result.data.clear();
        result.error = Some(error);
    }
    if result.events.is_empty() {
        // tendermint-rpc drops results without events on the way to its websocket clients.
        result.events.push(Event::new("tx").with("accepted", false));
    }
    Ok(result)
}

fn run(
    state: &mut State<'_>,
    block: &Block,
    decoded: &Decoded,
    mode: Mode,
    verifier: &dyn Verifier,
    result: &mut TxResult,
) -> Result<(), Error> {
    let tx = decoded.tx.as_ref().map_err(Clone::clone)?;
    result.gas_wanted = tx.gas_limit();
    let limit = if mode == Mode::Simulate {
        MAX_GAS
    } else {
        tx.gas_limit()
    };
    let mut events = Vec::new();
    let (changes, gas) = {
        let mut over = State::new(state, Gas::new(limit));
        let mut ctx = Ctx {
            state: &mut over,
            block,
            events: &mut events,
        };
        let outcome = ante(&mut ctx, tx, decoded.bytes, mode, verifier);
        result.gas_used = over.gas.used();
        outcome?;
        let gas = over.gas;
        (over.into_changes(), gas)
    };
    state.apply(changes);
    result.paid = true;
    result.events.append(&mut events);
    if matches!(mode, Mode::Check { .. }) {
        return Ok(());
    }
    let (changes, responses) = {
        let mut over = State::new(state, gas);
        let outcome = run_messages(&mut over, block, tx, &mut events);
        result.gas_used = over.gas.used();
        let responses = outcome?;
        (over.into_changes(), responses)
    };
    state.apply(changes);
    result.events.append(&mut events);
    result.data = TxMsgData {
        msg_responses: responses,
        ..TxMsgData::default()
    }
    .encode_to_vec();
    Ok(())
}

fn run_messages(state: &mut State<'_>, block: &Block, tx: &Tx, events: &mut Vec<Event>) -> Result<Vec<Any>, Error> {
    let mut responses = Vec::new();
    for (index, (message, sender)) in tx.messages().iter().zip(&tx.senders).enumerate() {
        let route = router::find(&message.type_url)?;
        let mut own = vec![Event::of_message(&message.type_url, sender)];
        let mut ctx = Ctx {
            state: &mut *state,
            block,
            events: &mut own,
        };
        let response = (route.execute)(&mut ctx, &message.value).map_err(|mut error| {
            if !error.is_fatal() {
                error.log = format!("failed to execute message; message index: {index}: {}", error.log);
            }
            error
        })?;
        responses.push(response);
        // The SDK's clients tell by `msg_index` which message an event belongs to.
        events.extend(own.into_iter().map(|event| event.with("msg_index", index)));
    }
    Ok(responses)
}
