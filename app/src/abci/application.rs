//! The calls an application answers.

use std::fmt::Display;

use tendermint_proto::v0_38::abci::{
    RequestApplySnapshotChunk, RequestCheckTx, RequestCommit, RequestEcho, RequestExtendVote, RequestFinalizeBlock,
    RequestInfo, RequestInitChain, RequestListSnapshots, RequestLoadSnapshotChunk, RequestOfferSnapshot,
    RequestPrepareProposal, RequestProcessProposal, RequestQuery, RequestVerifyVoteExtension,
    ResponseApplySnapshotChunk, ResponseCheckTx, ResponseCommit, ResponseEcho, ResponseExtendVote,
    ResponseFinalizeBlock, ResponseFlush, ResponseInfo, ResponseInitChain, ResponseListSnapshots,
    ResponseLoadSnapshotChunk, ResponseOfferSnapshot, ResponsePrepareProposal, ResponseProcessProposal, ResponseQuery,
    ResponseVerifyVoteExtension, request, response, response_apply_snapshot_chunk, response_offer_snapshot,
    response_verify_vote_extension,
};

/// The application cannot go on: its state can no longer be read or written, or consensus asked for the impossible.
/// The server passes the text to CometBFT as an exception and stops.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FatalError(String);

impl FatalError {
    /// A fatal error with the text of `reason`.
    pub fn new(reason: impl Display) -> Self {
        Self(reason.to_string())
    }
}

/// An application behind CometBFT. One method per call; what each must do is in CometBFT's ABCI specification.
///
/// CometBFT opens four connections (consensus, mempool, query, snapshots), each served by its own thread: calls of one
/// connection come one after another, calls of different connections at the same time.
///
/// Every `Err` stops the server. What is wrong with a transaction or a query is said in the reply.
pub trait Application: Send + Sync + 'static {
    /// The last committed height and app hash, for CometBFT to find out what to replay.
    fn info(&self, request: RequestInfo) -> Result<ResponseInfo, FatalError>;
    /// Builds the genesis state.
    fn init_chain(&self, request: RequestInitChain) -> Result<ResponseInitChain, FatalError>;
    /// Answers a question about the committed state.
    fn query(&self, request: RequestQuery) -> Result<ResponseQuery, FatalError>;
    /// Whether a transaction may enter, or stay in, the mempool.
    fn check_tx(&self, request: RequestCheckTx) -> Result<ResponseCheckTx, FatalError>;
    /// Chooses the transactions of a block this node proposes.
    fn prepare_proposal(&self, request: RequestPrepareProposal) -> Result<ResponsePrepareProposal, FatalError>;
    /// Whether a proposed block is valid.
    fn process_proposal(&self, request: RequestProcessProposal) -> Result<ResponseProcessProposal, FatalError>;
    /// Executes a decided block.
    fn finalize_block(&self, request: RequestFinalizeBlock) -> Result<ResponseFinalizeBlock, FatalError>;
    /// Makes the executed block durable.
    fn commit(&self, request: RequestCommit) -> Result<ResponseCommit, FatalError>;

    /// The snapshots this node offers; by default none.
    fn list_snapshots(&self, _request: RequestListSnapshots) -> Result<ResponseListSnapshots, FatalError> {
        Ok(ResponseListSnapshots::default())
    }
    /// Whether to restore from a snapshot; by default no.
    fn offer_snapshot(&self, _request: RequestOfferSnapshot) -> Result<ResponseOfferSnapshot, FatalError> {
        Ok(ResponseOfferSnapshot {
            result: response_offer_snapshot::Result::Reject.into(),
        })
    }
    /// A chunk of a snapshot this node offered.
    fn load_snapshot_chunk(&self, _request: RequestLoadSnapshotChunk) -> Result<ResponseLoadSnapshotChunk, FatalError> {
        Ok(ResponseLoadSnapshotChunk::default())
    }
    /// Takes in a chunk of the snapshot that was accepted.
    fn apply_snapshot_chunk(
        &self,
        _request: RequestApplySnapshotChunk,
    ) -> Result<ResponseApplySnapshotChunk, FatalError> {
        let result = response_apply_snapshot_chunk::Result::Abort.into();
        Ok(ResponseApplySnapshotChunk {
            result,
            ..Default::default()
        })
    }
    /// What to add to a precommit; asked only where the consensus parameters enable vote extensions. By default nothing.
    fn extend_vote(&self, _request: RequestExtendVote) -> Result<ResponseExtendVote, FatalError> {
        Ok(ResponseExtendVote::default())
    }
    /// Whether another validator's vote extension is valid; by default only an empty one.
    fn verify_vote_extension(
        &self,
        request: RequestVerifyVoteExtension,
    ) -> Result<ResponseVerifyVoteExtension, FatalError> {
        use response_verify_vote_extension::VerifyStatus;
        let status = if request.vote_extension.is_empty() {
            VerifyStatus::Accept
        } else {
            VerifyStatus::Reject
        };
        Ok(ResponseVerifyVoteExtension { status: status.into() })
    }
}

/// Routes a request to its method. Echo and Flush are the server's own.
pub(super) fn dispatch<A: Application>(app: &A, request: request::Value) -> Result<response::Value, FatalError> {
    use request::Value as Q;
    use response::Value as R;
    Ok(match request {
        Q::Echo(RequestEcho { message }) => R::Echo(ResponseEcho { message }),
        Q::Flush(_) => R::Flush(ResponseFlush {}),
        Q::Info(request) => R::Info(app.info(request)?),
        Q::InitChain(request) => R::InitChain(app.init_chain(request)?),
        Q::Query(request) => R::Query(app.query(request)?),
        Q::CheckTx(request) => R::CheckTx(app.check_tx(request)?),
        Q::PrepareProposal(request) => R::PrepareProposal(app.prepare_proposal(request)?),
        Q::ProcessProposal(request) => R::ProcessProposal(app.process_proposal(request)?),
        Q::FinalizeBlock(request) => R::FinalizeBlock(app.finalize_block(request)?),
        Q::Commit(request) => R::Commit(app.commit(request)?),
        Q::ListSnapshots(request) => R::ListSnapshots(app.list_snapshots(request)?),
        Q::OfferSnapshot(request) => R::OfferSnapshot(app.offer_snapshot(request)?),
        Q::LoadSnapshotChunk(request) => R::LoadSnapshotChunk(app.load_snapshot_chunk(request)?),
        Q::ApplySnapshotChunk(request) => R::ApplySnapshotChunk(app.apply_snapshot_chunk(request)?),
        Q::ExtendVote(request) => R::ExtendVote(app.extend_vote(request)?),
        Q::VerifyVoteExtension(request) => R::VerifyVoteExtension(app.verify_vote_extension(request)?),
    })
}

/// The name of a call, for logs and errors.
pub(super) fn name(request: &request::Value) -> &'static str {
    use request::Value as Q;
    match request {
        Q::Echo(_) => "Echo",
        Q::Flush(_) => "Flush",
        Q::Info(_) => "Info",
        Q::InitChain(_) => "InitChain",
        Q::Query(_) => "Query",
        Q::CheckTx(_) => "CheckTx",
        Q::PrepareProposal(_) => "PrepareProposal",
        Q::ProcessProposal(_) => "ProcessProposal",
        Q::FinalizeBlock(_) => "FinalizeBlock",
        Q::Commit(_) => "Commit",
        Q::ListSnapshots(_) => "ListSnapshots",
        Q::OfferSnapshot(_) => "OfferSnapshot",
        Q::LoadSnapshotChunk(_) => "LoadSnapshotChunk",
        Q::ApplySnapshotChunk(_) => "ApplySnapshotChunk",
        Q::ExtendVote(_) => "ExtendVote",
        Q::VerifyVoteExtension(_) => "VerifyVoteExtension",
    }
}
