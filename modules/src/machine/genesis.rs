//! Genesis and export.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use trainyard_proto::{any, cosmos::staking::v1beta1::MsgCreateValidator};

use super::{
    Mode,
    ante::{Direct, Tx},
    run::run_tx,
};
use crate::{
    auth, authz, bank, consensus,
    context::{self, Block, EPOCH, EPOCH_BLOCKS, EPOCH_FIRST, Epoch, Event},
    distribution,
    error::{Error, SdkError},
    feegrant, fees, gov, job, pouw, registry, slashing,
    staking::{self, Power},
    state::State,
    upgrade::{self, Binary},
};

/// `app_state` of the genesis file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Of no single module.
    pub core: Core,
    /// Accounts.
    #[serde(default)]
    pub auth: auth::Genesis,
    /// Money.
    pub bank: bank::Genesis,
    /// Rewards.
    #[serde(default)]
    pub distribution: distribution::Genesis,
    /// Stake.
    #[serde(default)]
    pub staking: staking::Genesis,
    /// Votes.
    #[serde(default)]
    pub slashing: slashing::Genesis,
    /// Workers and evaluators.
    #[serde(default)]
    pub registry: registry::Genesis,
    /// Jobs.
    #[serde(default)]
    pub job: job::Genesis,
    /// Useful work.
    #[serde(default)]
    pub pouw: pouw::Genesis,
    /// Proposals.
    #[serde(default)]
    pub gov: gov::Genesis,
    /// Permissions.
    #[serde(default)]
    pub authz: authz::Genesis,
    /// Allowances for fees.
    #[serde(default)]
    pub feegrant: feegrant::Genesis,
    /// The price of gas.
    #[serde(default)]
    pub fees: fees::Genesis,
    /// The planned upgrade.
    #[serde(default)]
    pub upgrade: upgrade::Genesis,
    /// What CometBFT holds blocks to.
    #[serde(default)]
    pub consensus: consensus::Genesis,
    /// Signed transactions that create the first validators.
    #[serde(default)]
    pub genutil: Genutil,
}

/// What belongs to no single module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Core {
    /// Blocks of an epoch.
    pub epoch_blocks: u64,
    /// Number of the epoch that the first block lies in.
    #[serde(default)]
    pub epoch: u64,
    /// Its first height; 0 is that of the first block.
    #[serde(default)]
    pub epoch_first: u64,
    /// The beacon, hex (32 bytes); empty starts a chain of its own from the chain id.
    #[serde(default)]
    pub beacon: String,
}

impl Default for Core {
    fn default() -> Self {
        Self {
            epoch_blocks: 100,
            epoch: 0,
            epoch_first: 0,
            beacon: String::new(),
        }
    }
}

/// Transactions of the genesis.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genutil {
    /// Each a signed transaction with one `MsgCreateValidator`, base64.
    #[serde(default)]
    pub gen_txs: Vec<String>,
}

/// Builds the state of a new chain, run by `binary`, and its first validator set.
///
/// # Errors
/// What in the genesis is not valid.
pub fn init_genesis(
    state: &mut State<'_>,
    block: &Block,
    genesis: &Genesis,
    binary: &Binary,
    events: &mut Vec<Event>,
) -> Result<Vec<Power>, Error> {
    let Genesis {
        core,
        auth,
        bank,
        distribution,
        staking,
        slashing,
        registry,
        job,
        pouw,
        gov,
        authz,
        feegrant,
        fees,
        upgrade,
        consensus,
        genutil,
    } = genesis;
    set_epoch(state, core, block.height.saturating_add(1))?;
    let beacon = if core.beacon.is_empty() {
        Sha256::digest(format!("trainyard/genesis/v1\0{}", block.chain_id)).into()
    } else {
        let bytes = hex::decode(&core.beacon)
            .ok()
            .and_then(|b| <[u8; 32]>::try_from(b).ok());
        let wrong = || SdkError::InvalidRequest(format!("core beacon {:?} is not 32 bytes in hex", core.beacon));
        bytes.ok_or_else(wrong)?
    };
    context::set_beacon(state, beacon)?;
    auth::init(state, auth)?;
    bank::init(state, bank)?;
    distribution::init(state, distribution)?;
    staking::init(state, staking)?;
    slashing::init(state, slashing)?;
    registry::init(state, registry)?;
    job::init(state, job)?;
    pouw::init(state, pouw)?;
    gov::init(state, gov)?;
    authz::init(state, authz)?;
    feegrant::init(state, feegrant)?;
    upgrade::init(state, upgrade, binary)?;
    consensus::init(state, consensus)?;
    for (index, text) in genutil.gen_txs.iter().enumerate() {
        gentx(state, block, text, events).map_err(|mut error| {
            error.log = format!("gentx {index}: {}", error.log);
            error
        })?;
    }
    // After the transactions of the genesis, which need not pay.
    fees::init(state, fees)?;
    super::invariants(state)?;
    let exported = staking.validators.iter().any(|v| v.power > 0);
    let mut ctx = context::Ctx { state, block, events };
    let updates = if exported {
        // A chain that continues another's state goes on in the middle of its epoch: nobody is paid, and CometBFT is told
        // the whole set as it stands.
        staking::powers(ctx.state)?
    } else {
        staking::end_epoch(&mut ctx)?
    };
    if updates.is_empty() {
        let log = "genesis has no validator with at least 1 TRAIN of stake; add one with `trainyard genesis gentx`";
        return Err(SdkError::InvalidRequest(log.into()).into());
    }
    Ok(updates)
}

/// Writes the epoch that the block of the height `first` lies in.
fn set_epoch(state: &mut State<'_>, core: &Core, first: u64) -> Result<(), Error> {
    pouw::check_epoch_blocks(core.epoch_blocks)?;
    let began = if core.epoch_first == 0 { first } else { core.epoch_first };
    let epoch = Epoch {
        number: core.epoch,
        first: began,
        blocks: core.epoch_blocks,
    };
    if !(began..=epoch.last()).contains(&first) {
        let log = format!(
            "core epoch {} has the heights {began} to {}, expected the first block's, {first}, among them",
            core.epoch,
            epoch.last()
        );
        return Err(SdkError::InvalidRequest(log).into());
    }
    EPOCH_BLOCKS.set(state, &epoch.blocks)?;
    EPOCH.set(state, &epoch.number)?;
    EPOCH_FIRST.set(state, &epoch.first)
}

fn gentx(state: &mut State<'_>, block: &Block, text: &str, events: &mut Vec<Event>) -> Result<(), Error> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|e| SdkError::TxDecode(format!("not base64: {e}")))?;
    let tx = Tx::decode(&bytes)?;
    let expected = any::type_url::<MsgCreateValidator>();
    if tx.messages().len() != 1 || tx.messages()[0].type_url != expected {
        return Err(SdkError::InvalidRequest(format!("expected one message of type {expected}")).into());
    }
    let result = run_tx(state, block, &bytes, Mode::Deliver, &Direct)?;
    events.extend(result.events);
    result.error.map_or(Ok(()), Err)
}

/// The whole state as a genesis: a new chain started from it continues this one.
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    Ok(Genesis {
        core: Core {
            epoch_blocks: EPOCH_BLOCKS.get(state)?,
            epoch: EPOCH.get(state)?,
            epoch_first: EPOCH_FIRST.get(state)?,
            beacon: hex::encode(context::beacon(state)?),
        },
        auth: auth::export(state)?,
        bank: bank::export(state)?,
        distribution: distribution::export(state)?,
        staking: staking::export(state)?,
        slashing: slashing::export(state)?,
        registry: registry::export(state)?,
        job: job::export(state)?,
        pouw: pouw::export(state)?,
        gov: gov::export(state)?,
        authz: authz::export(state)?,
        feegrant: feegrant::export(state)?,
        fees: fees::export(state)?,
        upgrade: upgrade::export(state)?,
        consensus: consensus::export(state)?,
        genutil: Genutil::default(),
    })
}
