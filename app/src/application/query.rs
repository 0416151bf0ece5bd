//! Queries by path through the state machine's table or the node's, and raw keys with ICS23 proofs under `/store/…/key`.

use ics23::CommitmentProof;
use prost::Message;
use tendermint_proto::v0_38::{
    abci::{RequestQuery, ResponseQuery},
    crypto::{ProofOp, ProofOps},
};
use trainyard_modules::{
    context::Block,
    error::{Error, SdkError},
    gas::Gas,
    machine,
    state::State,
};

use trainyard_proto::cosmos::base::node::v1beta1::ConfigResponse;

use super::{Application, Committed, convert};
use crate::store::StoreError;

/// Kind of the one operation in a proof; the root of the tree it proves against is the app hash.
const PROOF_KIND: &str = "ics23:jmt";

/// What wallets ask a node itself, not the chain; answered here too, so that an application alone has a price of gas.
const NODE_CONFIG: &str = "/cosmos.base.node.v1beta1.Service/Config";

/// What a single query may read, in gas: bounds its time.
const QUERY_GAS: u64 = 300_000_000;

/// Answers a query about the node or the state, as [`of_state`].
pub(super) fn answer(app: &Application, request: &RequestQuery) -> ResponseQuery {
    let about_node = app.node_queries.get();
    let Some(answer) = about_node.and_then(|queries| queries(&request.path, &request.data)) else {
        return of_state(app, request);
    };
    let height = app.last_block().map_or(0, |last| last.height);
    match answer {
        Ok(value) => ResponseQuery {
            value: value.into(),
            height: convert::signed(height),
            ..ResponseQuery::default()
        },
        Err(error) => failure(&error, height),
    }
}

/// Answers a query about the state; never fails, the response carries what was wrong. Always returns the height it was answered at.
pub(super) fn of_state(app: &Application, request: &RequestQuery) -> ResponseQuery {
    let Some(last) = app.last_block() else {
        let height = app.store().latest().map_or(0, |c| c.height);
        return failure(
            &SdkError::InvalidRequest("there is no state before block 1".into()).into(),
            height,
        );
    };
    let height = if request.height <= 0 {
        last.height
    } else {
        convert::unsigned(request.height)
    };
    // Relayers leave the first slash out.
    let path = request.path.strip_prefix('/').unwrap_or(&request.path);
    let answered = if path.starts_with("store/") || path == "key" {
        raw_key(app, request, height)
    } else if request.path == NODE_CONFIG {
        node_config(app)
    } else {
        by_path(app, request, height, &last)
    };
    answered.unwrap_or_else(|error| failure(&error, height))
}

fn failure(error: &Error, height: u64) -> ResponseQuery {
    ResponseQuery {
        code: error.code,
        codespace: error.codespace.into(),
        log: error.log.clone(),
        height: convert::signed(height),
        ..ResponseQuery::default()
    }
}

fn from_store(error: StoreError) -> Error {
    if error.is_fatal() {
        Error::fatal(error.to_string())
    } else {
        SdkError::InvalidRequest(error.to_string()).into()
    }
}

fn by_path(app: &Application, request: &RequestQuery, height: u64, last: &Block) -> Result<ResponseQuery, Error> {
    let snapshot = app.store().at(height).map_err(from_store)?;
    let base = Committed::new(&snapshot);
    let block = Block { height, ..last.clone() };
    let mut state = State::new(&base, Gas::new(QUERY_GAS));
    let value = machine::query(&mut state, &block, &request.path, &request.data)?;
    Ok(ResponseQuery {
        value: value.into(),
        height: convert::signed(height),
        ..ResponseQuery::default()
    })
}

/// What a transaction must pay here, and when the node stops.
fn node_config(app: &Application) -> Result<ResponseQuery, Error> {
    let answer = ConfigResponse {
        minimum_gas_price: app.gas_price()?,
        halt_height: app.config.halt_height,
        ..ConfigResponse::default()
    };
    Ok(ResponseQuery {
        value: answer.encode_to_vec().into(),
        height: convert::signed(app.last_block().map_or(0, |last| last.height)),
        ..ResponseQuery::default()
    })
}

/// A key's value, or its absence, with a proof against the app hash of `height`, which the header of `height + 1` carries.
fn raw_key(app: &Application, request: &RequestQuery, height: u64) -> Result<ResponseQuery, Error> {
    let key = &request.data;
    if key.is_empty() {
        return Err(SdkError::InvalidRequest("the key is empty, expected at least one byte".into()).into());
    }
    let (value, proof) = if request.prove {
        let (value, proof) = app.store().prove(key, height).map_err(from_store)?;
        (value, Some(proof_ops(key, &proof)))
    } else {
        (
            app.store().at(height).and_then(|s| s.get(key)).map_err(from_store)?,
            None,
        )
    };
    Ok(ResponseQuery {
        key: key.clone(),
        value: value.unwrap_or_default().into(),
        proof_ops: proof,
        height: convert::signed(height),
        ..ResponseQuery::default()
    })
}

fn proof_ops(key: &[u8], proof: &CommitmentProof) -> ProofOps {
    let op = ProofOp {
        r#type: PROOF_KIND.into(),
        key: key.to_vec(),
        data: proof.encode_to_vec(),
    };
    ProofOps { ops: vec![op] }
}
