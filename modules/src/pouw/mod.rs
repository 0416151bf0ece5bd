//! Proof of useful work, first slice: the header in front of every block and the checkpoint at the end of every epoch.
//!
//! | key | value |
//! |---|---|
//! | `pouw/checkpoint/{epoch}` | [`EpochCheckpoint`], provable with ICS23 against the next header |
//! | `pouw/latest` | epoch of the last checkpoint, plus one |
//!
//! Messages: by governance `UpdateParams`, which changes how long epochs are ([`crate::context::Epoch`]).
//!
//! Every tenth height is a slot: its header names the root of the traces committed so far in the epoch and the model that
//! settled last. Receipts, lots and rewards take the place of this when audits exist (PROTOCOL §4).

use serde::{Deserialize, Serialize};
use trainyard_exact::merkle;
use trainyard_proto::{
    address::Address,
    any::{self, Any},
    job::MsgSubmitResult,
    pouw::{
        EpochCheckpoint, MsgUpdateParams, MsgUpdateParamsResponse, Params, PouwHeader, QueryBeaconRequest,
        QueryBeaconResponse, QueryCheckpointRequest, QueryCheckpointResponse, QueryEpochRequest, QueryEpochResponse,
        QueryParamsRequest, QueryParamsResponse,
    },
    prost::Message,
};

use crate::{
    context::{Ctx, EPOCH_BLOCKS, Epoch, Event, Handler, beacon},
    error::{Error, SdkError},
    governed::{given, only_governance},
    job::{COMMIT_LOG, LOG_COMMITS, LOG_MODELS, LOG_UNITS, MODEL_LOG},
    state::{Item, Map, State},
};

/// Checkpoints by epoch.
pub const CHECKPOINTS: Map<u64, EpochCheckpoint> = Map::new("pouw/checkpoint/");
/// Epochs that have a checkpoint.
pub const EPOCHS: Item<u64> = Item::new("pouw/epochs");

/// Heights from slot to slot.
pub const SLOT_BLOCKS: u64 = 10;

/// The header of the block at `height`, from the state after the block before: the same on every validator.
///
/// # Errors
/// The store failed.
pub fn header(state: &mut State<'_>, height: u64) -> Result<PouwHeader, Error> {
    if !height.is_multiple_of(SLOT_BLOCKS) {
        return Ok(PouwHeader::default());
    }
    let leaves: Vec<Vec<u8>> = COMMIT_LOG.all(state)?.into_iter().map(|(_, leaf)| leaf).collect();
    let models = LOG_MODELS.get(state)?;
    let last = if models == 0 {
        None
    } else {
        MODEL_LOG.get(state, &(models - 1))?
    };
    let last = last.map(|leaf| MsgSubmitResult::decode(leaf.as_slice())).transpose();
    let last = last
        .map_err(|e| Error::fatal(format!("damaged model log: {e}")))?
        .unwrap_or_default();
    Ok(PouwHeader {
        beacon_proof: Vec::new(),
        task_id: last.job_id,
        work_proof: merkle::root(&leaves).to_vec(),
        model_hash: last.artifact.unwrap_or_default().model_sha256,
    })
}

/// The header as the first transaction of a block.
#[must_use]
pub fn encode(header: &PouwHeader) -> Vec<u8> {
    any::pack(header).encode_to_vec()
}

/// Whether these bytes are a header: only a proposer may put one, and only in front.
#[must_use]
pub fn is_header(tx: &[u8]) -> bool {
    Any::decode(tx).is_ok_and(|any| any.type_url == any::type_url::<PouwHeader>())
}

/// Writes the checkpoint of an epoch that ends and empties its logs.
///
/// # Errors
/// The store failed.
pub fn end_epoch(ctx: &mut Ctx<'_, '_>, epoch: &Epoch) -> Result<(), Error> {
    let Epoch {
        number: epoch, first, ..
    } = *epoch;
    let commits = COMMIT_LOG.all(ctx.state)?;
    let models = MODEL_LOG.all(ctx.state)?;
    let root = |log: &[(u64, Vec<u8>)]| {
        let leaves: Vec<Vec<u8>> = log.iter().map(|(_, leaf)| leaf.clone()).collect();
        merkle::root(&leaves).to_vec()
    };
    let checkpoint = EpochCheckpoint {
        epoch,
        first_height: first,
        last_height: ctx.block.height,
        commits_root: root(&commits),
        models_root: root(&models),
        units: LOG_UNITS.get(ctx.state)?,
        commits: commits.len() as u64,
        models: models.len() as u64,
    };
    for (number, _) in commits {
        COMMIT_LOG.remove(ctx.state, &number)?;
    }
    for (number, _) in models {
        MODEL_LOG.remove(ctx.state, &number)?;
    }
    LOG_COMMITS.set(ctx.state, &0)?;
    LOG_MODELS.set(ctx.state, &0)?;
    LOG_UNITS.set(ctx.state, &0)?;
    CHECKPOINTS.set(ctx.state, &epoch, &checkpoint)?;
    EPOCHS.set(ctx.state, &epoch.saturating_add(1))?;
    ctx.emit(
        Event::new("epoch_checkpoint")
            .with("epoch", epoch)
            .with("units", checkpoint.units),
    );
    Ok(())
}

/// Blocks of an epoch, at most.
const MAX_EPOCH_BLOCKS: u64 = 1_000_000;

/// Checks how long epochs are to be.
///
/// # Errors
/// They cannot be so long.
pub fn check_epoch_blocks(blocks: u64) -> Result<(), Error> {
    if (1..=MAX_EPOCH_BLOCKS).contains(&blocks) {
        return Ok(());
    }
    let log = format!("core epoch_blocks is {blocks}, expected 1 to {MAX_EPOCH_BLOCKS}");
    Err(SdkError::InvalidRequest(log).into())
}

impl Handler for MsgUpdateParams {
    type Response = MsgUpdateParamsResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.authority.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        check_epoch_blocks(given(self.params.as_ref())?.epoch_blocks)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgUpdateParamsResponse, Error> {
        only_governance(self.signer()?)?;
        let Params { epoch_blocks } = given(self.params.as_ref())?;
        EPOCH_BLOCKS.set(ctx.state, epoch_blocks)?;
        ctx.emit(Event::new("epoch_blocks").with("blocks", *epoch_blocks));
        Ok(MsgUpdateParamsResponse {})
    }
}

/// `/trainyard.pouw.v1.Query/Params`.
///
/// # Errors
/// The store failed.
pub fn query_params(state: &mut State<'_>, _: QueryParamsRequest) -> Result<QueryParamsResponse, Error> {
    let epoch_blocks = EPOCH_BLOCKS.get(state)?;
    Ok(QueryParamsResponse {
        params: Some(Params { epoch_blocks }),
    })
}

/// `/trainyard.pouw.v1.Query/Epoch`: that of the next block.
///
/// # Errors
/// The store failed.
pub fn query_epoch(state: &mut State<'_>, _: QueryEpochRequest) -> Result<QueryEpochResponse, Error> {
    let epoch = Epoch::read(state)?;
    Ok(QueryEpochResponse {
        epoch: epoch.number,
        first_height: epoch.first,
        last_height: epoch.last(),
    })
}

/// `/trainyard.pouw.v1.Query/Beacon`.
///
/// # Errors
/// The store failed.
pub fn query_beacon(state: &mut State<'_>, height: u64, _: QueryBeaconRequest) -> Result<QueryBeaconResponse, Error> {
    Ok(QueryBeaconResponse {
        height,
        beacon: beacon(state)?.to_vec(),
    })
}

/// `/trainyard.pouw.v1.Query/Checkpoint`.
///
/// # Errors
/// No such epoch yet.
pub fn query_checkpoint(
    state: &mut State<'_>,
    request: QueryCheckpointRequest,
) -> Result<QueryCheckpointResponse, Error> {
    let epochs = EPOCHS.get(state)?;
    let epoch = if request.epoch == 0 {
        epochs.saturating_sub(1)
    } else {
        request.epoch
    };
    let checkpoint = CHECKPOINTS.get(state, &epoch)?;
    let missing = || {
        SdkError::NotFound(format!(
            "checkpoint of epoch {epoch} not found, {epochs} epochs are complete"
        ))
    };
    Ok(QueryCheckpointResponse {
        checkpoint: Some(checkpoint.ok_or_else(missing)?),
    })
}

/// Checkpoints at genesis.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// Checkpoints.
    pub checkpoints: Vec<EpochCheckpoint>,
}

/// Writes the checkpoints.
///
/// # Errors
/// An epoch that no chain reaches.
pub fn init(state: &mut State<'_>, genesis: &Genesis) -> Result<(), Error> {
    let mut epochs = 0;
    for checkpoint in &genesis.checkpoints {
        let epoch = checkpoint.epoch;
        let next = epoch.checked_add(1).ok_or_else(|| {
            SdkError::InvalidRequest(format!("pouw genesis has a checkpoint of epoch {epoch}, expected less"))
        })?;
        CHECKPOINTS.set(state, &epoch, checkpoint)?;
        epochs = epochs.max(next);
    }
    EPOCHS.set(state, &epochs)
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    Ok(Genesis {
        checkpoints: CHECKPOINTS
            .all(state)?
            .into_iter()
            .map(|(_, checkpoint)| checkpoint)
            .collect(),
    })
}
