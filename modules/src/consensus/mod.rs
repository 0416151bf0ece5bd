//! What CometBFT holds blocks to: their size and gas, how old evidence may be, which keys validators have.
//!
//! | key | value |
//! |---|---|
//! | `consensus/params` | [`ConsensusParams`], as CometBFT was last told them |
//!
//! Messages: by governance `UpdateParams`. The application tells CometBFT of a change with the block that makes it, and both hold
//! the next block to it.
//!
//! A chain starts with the parameters in the genesis document. Those that would stop it for good are refused: a block must have
//! room for any transaction, also beside all the evidence that one may carry, for otherwise CometBFT or governance itself
//! could not go on.

use serde::{Deserialize, Serialize};
use trainyard_proto::{
    address::Address,
    consensus::{MsgUpdateParams, MsgUpdateParamsResponse, QueryParamsRequest, QueryParamsResponse},
    tendermint_proto::{
        google::protobuf::Duration,
        v0_38::types::{AbciParams, BlockParams, ConsensusParams, EvidenceParams, ValidatorParams},
    },
};

use crate::{
    context::{Ctx, Event, Handler},
    error::{Error, SdkError},
    governed::only_governance,
    machine::ante::MAX_GAS,
    state::{Item, State},
};

/// The parameters.
pub const PARAMS: Item<ConsensusParams> = Item::new("consensus/params");

/// Gas of all transactions of a block, at most, where the parameters leave it open.
pub const MAX_BLOCK_GAS: u64 = 400_000_000;
/// The least and the most that the gas of a block may be bounded by: one transaction, and a hundred times the ordinary.
const GAS_BOUNDS: (u64, u64) = (MAX_GAS, 100 * MAX_BLOCK_GAS);
/// CometBFT's bounds of a block's size, bytes; the lower one is ours.
const BYTES_BOUNDS: (i64, i64) = (1 << 20, 100 << 20);
/// Bytes of a block beside its evidence, at least: the largest transaction, the header, the votes of all validators.
const BESIDE_EVIDENCE: i64 = 512 << 10;
/// The keys that validators have.
const KEY_TYPE: &str = "ed25519";

fn bad(what: &str, found: impl std::fmt::Display, bound: impl std::fmt::Display) -> Error {
    SdkError::InvalidRequest(format!("consensus {what} is {found}, expected {bound}")).into()
}

/// Parameters with every part given, or why CometBFT or this chain cannot live with them.
///
/// # Errors
/// The first that is missing or out of bounds, with its value and the bound.
pub fn check(params: &ConsensusParams) -> Result<(), Error> {
    let (Some(block), Some(evidence), Some(validator)) = (&params.block, &params.evidence, &params.validator) else {
        let log = "the message lacks parameters: block, evidence and validator are all needed";
        return Err(SdkError::InvalidRequest(log.into()).into());
    };
    let BlockParams { max_bytes, max_gas } = *block;
    let (least, most) = BYTES_BOUNDS;
    if !(least..=most).contains(&max_bytes) {
        return Err(bad("block.max_bytes", max_bytes, format!("{least} to {most}")));
    }
    let (least, most) = GAS_BOUNDS;
    let bounded = u64::try_from(max_gas).is_ok_and(|gas| (least..=most).contains(&gas));
    if max_gas != -1 && !bounded {
        let bound = format!("{least} to {most}, or -1 for {MAX_BLOCK_GAS}");
        return Err(bad("block.max_gas", max_gas, bound));
    }
    let EvidenceParams {
        max_age_num_blocks,
        max_age_duration,
        max_bytes: evidence_bytes,
    } = *evidence;
    if max_age_num_blocks < 1 {
        return Err(bad("evidence.max_age_num_blocks", max_age_num_blocks, "at least 1"));
    }
    let age = max_age_duration.unwrap_or_default();
    if age.seconds < 1 || !(0..1_000_000_000).contains(&age.nanos) {
        let found = format!("{} s and {} ns", age.seconds, age.nanos);
        return Err(bad("evidence.max_age_duration", found, "at least 1 s"));
    }
    let most = max_bytes - BESIDE_EVIDENCE;
    if !(0..=most).contains(&evidence_bytes) {
        let bound = format!("0 to {most}, which leaves {BESIDE_EVIDENCE} of the block's {max_bytes} to all else");
        return Err(bad("evidence.max_bytes", evidence_bytes, bound));
    }
    if validator.pub_key_types != [KEY_TYPE] {
        let found = format!("{:?}", validator.pub_key_types);
        let found: String = found.chars().take(100).collect();
        return Err(bad("validator.pub_key_types", found, format!("[{KEY_TYPE:?}]")));
    }
    let height = params.abci.map_or(0, |abci| abci.vote_extensions_enable_height);
    if height != 0 {
        let bound = "0: this chain's votes have no extensions";
        return Err(bad("abci.vote_extensions_enable_height", height, bound));
    }
    Ok(())
}

/// What [`crate::machine::init_genesis`] starts with where nothing is said: CometBFT's, with evidence as old as two days.
#[must_use]
pub fn default_params() -> ConsensusParams {
    ConsensusParams {
        block: Some(BlockParams {
            max_bytes: 4 << 20,
            max_gas: -1,
        }),
        evidence: Some(EvidenceParams {
            max_age_num_blocks: 100_000,
            max_age_duration: Some(Duration {
                seconds: 48 * 3600,
                nanos: 0,
            }),
            max_bytes: 1 << 20,
        }),
        validator: Some(ValidatorParams {
            pub_key_types: vec![KEY_TYPE.into()],
        }),
        version: None,
        abci: Some(AbciParams::default()),
    }
}

/// The gas of all transactions of the next block, at most.
///
/// # Errors
/// The store failed.
pub fn max_gas(state: &mut State<'_>) -> Result<u64, Error> {
    let block = PARAMS.get(state)?.block.unwrap_or(BlockParams {
        max_bytes: 0,
        max_gas: -1,
    });
    Ok(u64::try_from(block.max_gas).unwrap_or(MAX_BLOCK_GAS))
}

/// As it is kept: the version is CometBFT's own, and no vote has extensions.
fn kept(params: &ConsensusParams) -> ConsensusParams {
    ConsensusParams {
        version: None,
        abci: Some(AbciParams::default()),
        ..params.clone()
    }
}

impl Handler for MsgUpdateParams {
    type Response = MsgUpdateParamsResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.authority.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        check(&given(self))
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgUpdateParamsResponse, Error> {
        only_governance(self.signer()?)?;
        let params = kept(&given(self));
        PARAMS.set(ctx.state, &params)?;
        let block = params.block.unwrap_or_default();
        ctx.emit(
            Event::new("consensus_params")
                .with("max_bytes", block.max_bytes)
                .with("max_gas", block.max_gas),
        );
        Ok(MsgUpdateParamsResponse {})
    }
}

fn given(message: &MsgUpdateParams) -> ConsensusParams {
    ConsensusParams {
        block: message.block,
        evidence: message.evidence,
        validator: message.validator.clone(),
        version: None,
        abci: message.abci,
    }
}

/// `/cosmos.consensus.v1.Query/Params`.
///
/// # Errors
/// The store failed.
pub fn query_params(state: &mut State<'_>, _: QueryParamsRequest) -> Result<QueryParamsResponse, Error> {
    Ok(QueryParamsResponse {
        params: Some(PARAMS.get(state)?),
    })
}

/// The parameters at genesis. A new chain has none here: those of the genesis document hold, which CometBFT sends. An exported
/// one has those that were decided last, and CometBFT is told them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// The parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Params>,
}

/// [`ConsensusParams`] as a genesis has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Bytes of a block, at most.
    pub max_bytes: i64,
    /// Gas of a block, at most; -1 for [`MAX_BLOCK_GAS`].
    pub max_gas: i64,
    /// Blocks after which nobody is punished any more, where the time has passed as well.
    pub evidence_max_age_blocks: i64,
    /// The time.
    pub evidence_max_age_seconds: i64,
    /// Beside its seconds.
    #[serde(default)]
    pub evidence_max_age_nanos: i32,
    /// Bytes of a block's evidence, at most.
    pub evidence_max_bytes: i64,
}

impl From<&ConsensusParams> for Params {
    fn from(params: &ConsensusParams) -> Self {
        let (block, evidence) = (params.block.unwrap_or_default(), params.evidence.unwrap_or_default());
        let age = evidence.max_age_duration.unwrap_or_default();
        Self {
            max_bytes: block.max_bytes,
            max_gas: block.max_gas,
            evidence_max_age_blocks: evidence.max_age_num_blocks,
            evidence_max_age_seconds: age.seconds,
            evidence_max_age_nanos: age.nanos,
            evidence_max_bytes: evidence.max_bytes,
        }
    }
}

impl From<Params> for ConsensusParams {
    fn from(params: Params) -> Self {
        Self {
            block: Some(BlockParams {
                max_bytes: params.max_bytes,
                max_gas: params.max_gas,
            }),
            evidence: Some(EvidenceParams {
                max_age_num_blocks: params.evidence_max_age_blocks,
                max_age_duration: Some(Duration {
                    seconds: params.evidence_max_age_seconds,
                    nanos: params.evidence_max_age_nanos,
                }),
                max_bytes: params.evidence_max_bytes,
            }),
            ..default_params()
        }
    }
}

/// Writes the parameters.
///
/// # Errors
/// What is not valid.
pub fn init(state: &mut State<'_>, genesis: &Genesis) -> Result<(), Error> {
    let params = genesis.params.map_or_else(default_params, Into::into);
    check(&params)?;
    PARAMS.set(state, &kept(&params))
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    Ok(Genesis {
        params: Some((&PARAMS.get(state)?).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::{ConsensusParams, GAS_BOUNDS, check, default_params};

    #[test]
    fn what_would_stop_the_chain_is_refused() {
        check(&default_params()).unwrap();
        let refused = |change: &dyn Fn(&mut ConsensusParams)| {
            let mut params = default_params();
            change(&mut params);
            check(&params).unwrap_err().log
        };
        for (change, words) in [
            (
                &(|p: &mut ConsensusParams| p.block = None) as &dyn Fn(&mut ConsensusParams),
                "block, evidence and validator are all needed",
            ),
            (&|p| p.evidence = None, "are all needed"),
            (&|p| p.validator = None, "are all needed"),
            (
                &|p| p.block.as_mut().unwrap().max_bytes = -1,
                "block.max_bytes is -1, expected 1048576 to 104857600",
            ),
            (&|p| p.block.as_mut().unwrap().max_bytes = 104_857_601, "104857601"),
            (
                &|p| p.block.as_mut().unwrap().max_gas = 49_999_999,
                "block.max_gas is 49999999, expected 50000000 to 40000000000, or -1 for 400000000",
            ),
            (&|p| p.block.as_mut().unwrap().max_gas = -2, "block.max_gas is -2"),
            (
                &|p| p.evidence.as_mut().unwrap().max_age_num_blocks = 0,
                "evidence.max_age_num_blocks is 0, expected at least 1",
            ),
            (
                &|p| p.evidence.as_mut().unwrap().max_age_duration = None,
                "evidence.max_age_duration is 0 s and 0 ns, expected at least 1 s",
            ),
            (
                &|p| p.evidence.as_mut().unwrap().max_bytes = (4 << 20) - (512 << 10) + 1,
                "evidence.max_bytes is 3670017, expected 0 to 3670016, which leaves 524288 of the block's 4194304 to all else",
            ),
            (
                &|p| p.evidence.as_mut().unwrap().max_bytes = -1,
                "evidence.max_bytes is -1",
            ),
            (
                &|p| p.validator.as_mut().unwrap().pub_key_types = vec!["secp256k1".into()],
                "validator.pub_key_types is [\"secp256k1\"], expected [\"ed25519\"]",
            ),
            (
                &|p| p.validator.as_mut().unwrap().pub_key_types.clear(),
                "validator.pub_key_types is []",
            ),
            (
                &|p| p.abci.as_mut().unwrap().vote_extensions_enable_height = 7,
                "abci.vote_extensions_enable_height is 7, expected 0",
            ),
        ] {
            let log = refused(change);
            assert!(log.contains(words), "{log:?} lacks {words:?}");
        }
        let gas = |max_gas| {
            let mut params = default_params();
            params.block.as_mut().unwrap().max_gas = max_gas;
            check(&params)
        };
        gas(i64::try_from(GAS_BOUNDS.0).unwrap()).unwrap();
        gas(i64::try_from(GAS_BOUNDS.1).unwrap()).unwrap();
    }
}
