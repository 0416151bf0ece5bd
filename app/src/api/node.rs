//! `cosmos.base.node` and `cosmos.base.tendermint`: the node, its blocks and validators.

use tendermint::block::Height;
use tendermint::validator::Info;
use tendermint_proto::v0_38::abci;
use tendermint_proto::v0_38::p2p::{DefaultNodeInfo, DefaultNodeInfoOther, ProtocolVersion};
use tendermint_rpc::endpoint::{block, validators};
use tonic::Status;
use trainyard_proto::address::Address;
use trainyard_proto::any::{Any, pack};
use trainyard_proto::cosmos::base::node::v1beta1 as node;
use trainyard_proto::cosmos::base::query::v1beta1::{PageRequest, PageResponse};
use trainyard_proto::cosmos::base::tendermint::v1beta1::{
    AbciQueryRequest, AbciQueryResponse, Block, GetBlockByHeightRequest, GetBlockByHeightResponse,
    GetLatestBlockRequest, GetLatestBlockResponse, GetLatestValidatorSetRequest, GetLatestValidatorSetResponse,
    GetNodeInfoRequest, GetNodeInfoResponse, GetSyncingRequest, GetSyncingResponse, GetValidatorSetByHeightRequest,
    GetValidatorSetByHeightResponse, Header, Module, ProofOp, ProofOps, Validator, VersionInfo,
};
use trainyard_proto::cosmos::crypto::ed25519::PubKey;

use super::{Api, unanswered};

/// The version of the Cosmos SDK whose messages and queries these are, for tools that choose by it.
const SDK_VERSION: &str = "v0.50.13";
/// Most validators on a page.
const MAX_PAGE: usize = 100;

pub(super) async fn config(api: &Api, _: node::ConfigRequest) -> Result<node::ConfigResponse, Status> {
    let settings = &api.settings;
    Ok(node::ConfigResponse {
        minimum_gas_price: api.app.gas_price().map_err(|e| Status::internal(e.log))?,
        pruning_keep_recent: settings.keep_recent.to_string(),
        pruning_interval: "1".into(),
        halt_height: settings.halt_height,
    })
}

pub(super) async fn status(api: &Api, _: node::StatusRequest) -> Result<node::StatusResponse, Status> {
    let block = api.app.last_block();
    let block = block.ok_or_else(|| Status::unavailable("there is no state before block 1"))?;
    let latest = api.app.store().latest();
    let validators = api.comet.block(None).await.map_err(|e| unanswered(&e))?;
    Ok(node::StatusResponse {
        earliest_store_height: api.app.store().oldest().unwrap_or(block.height),
        height: block.height,
        timestamp: Some(tendermint_proto::google::protobuf::Timestamp {
            seconds: i64::try_from(block.time).unwrap_or(i64::MAX),
            nanos: 0,
        }),
        app_hash: latest.map_or_else(Vec::new, |committed| committed.app_hash.to_vec()),
        validator_hash: validators.block.header.next_validators_hash.as_bytes().to_vec(),
    })
}

pub(super) async fn info(api: &Api, _: GetNodeInfoRequest) -> Result<GetNodeInfoResponse, Status> {
    let node = api.comet.status().await.map_err(|e| unanswered(&e))?.node_info;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(GetNodeInfoResponse {
        default_node_info: Some(DefaultNodeInfo {
            protocol_version: Some(ProtocolVersion {
                p2p: node.protocol_version.p2p,
                block: node.protocol_version.block,
                app: node.protocol_version.app,
            }),
            default_node_id: node.id.to_string(),
            listen_addr: node.listen_addr.to_string(),
            network: node.network.to_string(),
            version: node.version.to_string(),
            channels: hex::decode(node.channels.to_string()).unwrap_or_default(),
            moniker: node.moniker.to_string(),
            other: Some(DefaultNodeInfoOther {
                tx_index: if node.other.tx_index.into() { "on" } else { "off" }.into(),
                rpc_address: node.other.rpc_address,
            }),
        }),
        application_version: Some(VersionInfo {
            name: "trainyard".into(),
            app_name: "trainyard".into(),
            version,
            cosmos_sdk_version: SDK_VERSION.into(),
            // Relayers look up here what they have to speak.
            build_deps: vec![
                Module {
                    path: "github.com/cosmos/cosmos-sdk".into(),
                    version: SDK_VERSION.into(),
                    ..Module::default()
                },
                Module {
                    path: "github.com/cometbft/cometbft".into(),
                    version: format!("v{}", node.version),
                    ..Module::default()
                },
            ],
            ..VersionInfo::default()
        }),
    })
}

pub(super) async fn syncing(api: &Api, _: GetSyncingRequest) -> Result<GetSyncingResponse, Status> {
    let status = api.comet.status().await.map_err(|e| unanswered(&e))?;
    Ok(GetSyncingResponse {
        syncing: status.sync_info.catching_up,
    })
}

/// A height that must be one of a block.
pub(super) fn block_height(height: i64) -> Result<u64, Status> {
    let height = u64::try_from(height).ok().filter(|height| *height > 0);
    height.ok_or_else(|| Status::invalid_argument("the height is below 1"))
}

/// The block as the SDK adds it beside CometBFT's: the proposer's address in bech32.
fn sdk_block(block: &tendermint::Block) -> Block {
    let raw: tendermint_proto::v0_38::types::Block = block.clone().into();
    let header = raw.header.map(|h| Header {
        version: h.version,
        chain_id: h.chain_id,
        height: h.height,
        time: h.time,
        last_block_id: h.last_block_id,
        last_commit_hash: h.last_commit_hash,
        data_hash: h.data_hash,
        validators_hash: h.validators_hash,
        next_validators_hash: h.next_validators_hash,
        consensus_hash: h.consensus_hash,
        app_hash: h.app_hash,
        last_results_hash: h.last_results_hash,
        evidence_hash: h.evidence_hash,
        proposer_address: consensus_address(&h.proposer_address),
    });
    Block {
        header,
        data: raw.data,
        evidence: raw.evidence,
        last_commit: raw.last_commit,
    }
}

fn consensus_address(bytes: &[u8]) -> String {
    <[u8; 20]>::try_from(bytes).map_or_else(|_| String::new(), |bytes| Address(bytes).consensus())
}

pub(super) async fn latest_block(api: &Api, _: GetLatestBlockRequest) -> Result<GetLatestBlockResponse, Status> {
    let block::Response { block_id, block } = api.comet.block(None).await.map_err(|e| unanswered(&e))?;
    Ok(GetLatestBlockResponse {
        block_id: Some(block_id.into()),
        sdk_block: Some(sdk_block(&block)),
        block: Some(block.into()),
    })
}

pub(super) async fn block_by_height(
    api: &Api,
    request: GetBlockByHeightRequest,
) -> Result<GetBlockByHeightResponse, Status> {
    let height = block_height(request.height)?;
    let block::Response { block_id, block } = api.comet.block(Some(height)).await.map_err(|e| unanswered(&e))?;
    Ok(GetBlockByHeightResponse {
        block_id: Some(block_id.into()),
        sdk_block: Some(sdk_block(&block)),
        block: Some(block.into()),
    })
}

fn validator(info: &Info) -> Validator {
    let key: Option<Any> = info.pub_key.ed25519().map(|key| {
        pack(&PubKey {
            key: key.as_bytes().to_vec(),
        })
    });
    Validator {
        address: consensus_address(info.address.as_bytes()),
        pub_key: key,
        voting_power: i64::try_from(info.power()).unwrap_or(i64::MAX),
        proposer_priority: info.proposer_priority.value(),
    }
}

/// A page of a list that is all there: its start and its length, and what is told of it.
pub(super) fn page(request: Option<&PageRequest>, total: usize) -> (usize, usize, PageResponse) {
    let (offset, limit) = request.map_or((0, 0), |page| (page.offset, page.limit));
    let start = usize::try_from(offset).unwrap_or(total).min(total);
    let length = match usize::try_from(limit).unwrap_or(MAX_PAGE) {
        0 => MAX_PAGE,
        limit => limit.min(MAX_PAGE),
    };
    let response = PageResponse {
        next_key: Vec::new(),
        total: total as u64,
    };
    (start, length.min(total - start), response)
}

fn validators_page(answer: &validators::Response, request: Option<&PageRequest>) -> (Vec<Validator>, PageResponse) {
    let (start, length, page) = page(request, answer.validators.len());
    let shown = answer.validators.iter().skip(start).take(length);
    (shown.map(validator).collect(), page)
}

fn signed(height: Height) -> i64 {
    i64::try_from(height.value()).unwrap_or(i64::MAX)
}

pub(super) async fn latest_validators(
    api: &Api,
    request: GetLatestValidatorSetRequest,
) -> Result<GetLatestValidatorSetResponse, Status> {
    let latest = api
        .comet
        .block(None)
        .await
        .map_err(|e| unanswered(&e))?
        .block
        .header
        .height;
    let answer = api.comet.validators(latest.value()).await.map_err(|e| unanswered(&e))?;
    let (validators, page) = validators_page(&answer, request.pagination.as_ref());
    Ok(GetLatestValidatorSetResponse {
        block_height: signed(answer.block_height),
        validators,
        pagination: Some(page),
    })
}

pub(super) async fn validators_by_height(
    api: &Api,
    request: GetValidatorSetByHeightRequest,
) -> Result<GetValidatorSetByHeightResponse, Status> {
    let height = block_height(request.height)?;
    let answer = api.comet.validators(height).await.map_err(|e| unanswered(&e))?;
    let (validators, page) = validators_page(&answer, request.pagination.as_ref());
    Ok(GetValidatorSetByHeightResponse {
        block_height: signed(answer.block_height),
        validators,
        pagination: Some(page),
    })
}

pub(super) async fn abci_query(api: &Api, request: AbciQueryRequest) -> Result<AbciQueryResponse, Status> {
    let query = abci::RequestQuery {
        data: request.data.into(),
        path: request.path,
        height: request.height,
        prove: request.prove,
    };
    let app = std::sync::Arc::clone(&api.app);
    // Not what is about the node: a query in a query in a query would hold a thread each.
    let answered = tokio::task::spawn_blocking(move || app.query_state(&query)).await;
    let answered = answered.map_err(|e| Status::internal(e.to_string()))?;
    let op = |op: tendermint_proto::v0_38::crypto::ProofOp| ProofOp {
        r#type: op.r#type,
        key: op.key,
        data: op.data,
    };
    Ok(AbciQueryResponse {
        code: answered.code,
        log: answered.log,
        info: answered.info,
        index: answered.index,
        key: answered.key.to_vec(),
        value: answered.value.to_vec(),
        proof_ops: answered.proof_ops.map(|proof| ProofOps {
            ops: proof.ops.into_iter().map(op).collect(),
        }),
        height: answered.height,
        codespace: answered.codespace,
    })
}
