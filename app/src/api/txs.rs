//! `cosmos.tx`: send, find and read transactions. Simulation is a query of the state.

use std::collections::BTreeMap;

use prost::Message as _;
use tendermint::abci::types::ExecTxResult;
use tendermint_rpc::endpoint::{block, tx};
use tonic::Status;
use trainyard_client::rpc;
use trainyard_client::tx::hash;
use trainyard_modules::pouw;
use trainyard_proto::any::pack;
use trainyard_proto::cosmos::base::abci::v1beta1::TxResponse;
use trainyard_proto::cosmos::tx::v1beta1::{
    BroadcastMode, BroadcastTxRequest, BroadcastTxResponse, GetBlockWithTxsRequest, GetBlockWithTxsResponse,
    GetTxRequest, GetTxResponse, GetTxsEventRequest, GetTxsEventResponse, OrderBy, Tx, TxDecodeRequest,
    TxDecodeResponse, TxEncodeRequest, TxEncodeResponse,
};

use super::node::{block_height, page};
use super::{Api, unanswered};

/// Transactions on a page of a search when none are asked for, and at most.
const DEFAULT_LIMIT: u64 = 30;
const MAX_LIMIT: u64 = 100;
/// The SDK's error for a transaction that the node knows already.
const IN_MEMPOOL: (&str, u32) = ("sdk", 19);

pub(super) async fn broadcast(api: &Api, request: BroadcastTxRequest) -> Result<BroadcastTxResponse, Status> {
    if request.tx_bytes.is_empty() {
        return Err(Status::invalid_argument("tx_bytes is empty"));
    }
    let txhash = rpc::show_hash(&hash(&request.tx_bytes));
    let sent = match request.mode() {
        BroadcastMode::Async => api.comet.broadcast_unchecked(request.tx_bytes).await,
        BroadcastMode::Sync | BroadcastMode::Unspecified => api.comet.broadcast(request.tx_bytes).await.map(drop),
        BroadcastMode::Block => {
            let why = "BROADCAST_MODE_BLOCK is gone; send with BROADCAST_MODE_SYNC and ask for the transaction";
            return Err(Status::invalid_argument(why));
        }
    };
    let failed = |codespace: &str, code, log: String| TxResponse {
        codespace: codespace.into(),
        code,
        raw_log: log,
        ..TxResponse::default()
    };
    let response = match sent {
        Ok(()) => TxResponse::default(),
        Err(rpc::Error::Rejected {
            code, codespace, log, ..
        }) => failed(&codespace, code, log),
        Err(rpc::Error::Duplicate { .. }) => failed(IN_MEMPOOL.0, IN_MEMPOOL.1, "tx already in mempool".into()),
        Err(other) => return Err(unanswered(&other)),
    };
    let tx_response = Some(TxResponse { txhash, ..response });
    Ok(BroadcastTxResponse { tx_response })
}

/// A transaction in a block as the SDK shows it; `time` is the block's.
fn response(tx: &Tx, hash: &[u8; 32], height: u64, result: ExecTxResult, time: String) -> TxResponse {
    use base64::Engine as _;
    // The RPC library leaves the base64 text of JSON as it is.
    let data = base64::engine::general_purpose::STANDARD
        .decode(&result.data)
        .unwrap_or_default();
    TxResponse {
        height: i64::try_from(height).unwrap_or(i64::MAX),
        txhash: rpc::show_hash(hash),
        codespace: result.codespace,
        code: result.code.value(),
        data: hex::encode_upper(data),
        raw_log: result.log,
        info: result.info,
        gas_wanted: result.gas_wanted,
        gas_used: result.gas_used,
        tx: Some(pack(tx)),
        timestamp: time,
        events: result.events.into_iter().map(Into::into).collect(),
        ..TxResponse::default()
    }
}

fn undecodable(e: &prost::DecodeError) -> Status {
    Status::invalid_argument(format!("the transaction does not decode: {e}"))
}

async fn time_of(api: &Api, height: u64) -> Result<String, Status> {
    let block = api.comet.block(Some(height)).await.map_err(|e| unanswered(&e))?;
    Ok(block.block.header.time.to_rfc3339())
}

pub(super) async fn get(api: &Api, request: GetTxRequest) -> Result<GetTxResponse, Status> {
    let shown: String = request.hash.chars().take(80).collect();
    let mut hash = [0; 32];
    hex::decode_to_slice(request.hash.trim_start_matches("0x"), &mut hash)
        .map_err(|_| Status::invalid_argument(format!("{shown:?} is not a transaction's hash: 64 hex digits")))?;
    let found = api.comet.indexed_tx(hash).await.map_err(|e| unanswered(&e))?;
    let found = found.ok_or_else(|| Status::not_found(format!("tx not found: {shown}")))?;
    let time = time_of(api, found.height.value()).await?;
    let tx = Tx::decode(found.tx.as_slice()).map_err(|e| undecodable(&e))?;
    Ok(GetTxResponse {
        tx_response: Some(response(&tx, &hash, found.height.value(), found.tx_result, time)),
        tx: Some(tx),
    })
}

pub(super) async fn search(api: &Api, request: GetTxsEventRequest) -> Result<GetTxsEventResponse, Status> {
    let newest_first = request.order_by() == OrderBy::Desc;
    #[allow(deprecated)] // `events` was the name before 0.50, and tools still send it.
    let query = if request.query.is_empty() {
        request.events.join(" AND ")
    } else {
        request.query.clone()
    };
    if query.trim().is_empty() {
        return Err(Status::invalid_argument(
            "query is empty, expected as message.sender='train1…'",
        ));
    }
    // Pages were asked for by offset before 0.50.
    #[allow(deprecated)]
    let older = request.pagination.clone().unwrap_or_default();
    let limit = match request.limit.max(older.limit) {
        0 => DEFAULT_LIMIT,
        limit => limit.min(MAX_LIMIT),
    };
    let number = request.page.max(older.offset / limit + 1);
    let (number, limit) = (
        u32::try_from(number).unwrap_or(u32::MAX),
        u8::try_from(limit).unwrap_or(u8::MAX),
    );
    let found = match api.comet.search_txs(&query, number, limit, newest_first).await {
        Ok(found) => found,
        // CometBFT refuses a page behind the last one, also the first page of nothing.
        Err(rpc::Error::Refused { reason, .. }) if reason.contains("page should be within") => {
            return Ok(GetTxsEventResponse::default());
        }
        Err(other) => return Err(unanswered(&other)),
    };
    let mut times: BTreeMap<u64, String> = BTreeMap::new();
    let (mut txs, mut tx_responses) = (Vec::new(), Vec::new());
    for tx::Response {
        height,
        tx_result,
        tx: bytes,
        ..
    } in found.txs
    {
        let Ok(tx) = Tx::decode(bytes.as_slice()) else { continue };
        let height = height.value();
        let time = match times.get(&height) {
            Some(time) => time.clone(),
            None => time_of(api, height).await?,
        };
        times.insert(height, time.clone());
        tx_responses.push(response(&tx, &hash(&bytes), height, tx_result, time));
        txs.push(tx);
    }
    Ok(GetTxsEventResponse {
        txs,
        tx_responses,
        total: found.total,
        ..GetTxsEventResponse::default()
    })
}

pub(super) async fn block(api: &Api, request: GetBlockWithTxsRequest) -> Result<GetBlockWithTxsResponse, Status> {
    let height = block_height(request.height)?;
    let block::Response { block_id, block } = api.comet.block(Some(height)).await.map_err(|e| unanswered(&e))?;
    // What stands first in a block is its header of useful work, no transaction of anybody.
    let all: Vec<&Vec<u8>> = block.data.iter().filter(|tx| !pouw::is_header(tx)).collect();
    let (start, length, page) = page(request.pagination.as_ref(), all.len());
    let shown = all.into_iter().skip(start).take(length);
    let txs: Result<Vec<_>, _> = shown.map(|tx| Tx::decode(tx.as_slice())).collect();
    Ok(GetBlockWithTxsResponse {
        txs: txs.map_err(|e| undecodable(&e))?,
        block_id: Some(block_id.into()),
        block: Some(block.into()),
        pagination: Some(page),
    })
}

pub(super) async fn decode(_: &Api, request: TxDecodeRequest) -> Result<TxDecodeResponse, Status> {
    let tx = Tx::decode(request.tx_bytes.as_slice()).map_err(|e| undecodable(&e))?;
    Ok(TxDecodeResponse { tx: Some(tx) })
}

pub(super) async fn encode(_: &Api, request: TxEncodeRequest) -> Result<TxEncodeResponse, Status> {
    let tx = request.tx.ok_or_else(|| Status::invalid_argument("tx is missing"))?;
    Ok(TxEncodeResponse {
        tx_bytes: tx.encode_to_vec(),
    })
}
