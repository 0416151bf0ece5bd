//! Messages of slashing.

use trainyard_proto::{
    address::Address,
    cosmos::slashing::v1beta1::{self as sdk, MsgUnjail, MsgUnjailResponse, MsgUpdateParams, MsgUpdateParamsResponse},
    dec::Dec,
    tendermint_proto::google::protobuf::Duration,
};

use super::{INFOS, PARAMS, Params, SlashingError, clear_window};
use crate::{
    context::{Ctx, Event, Handler, whole_seconds},
    error::{Error, SdkError},
    governed::{given, only_governance},
    staking::{self, VALIDATORS, consensus_key},
};

impl Handler for MsgUnjail {
    type Response = MsgUnjailResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(Address::parse_operator(&self.validator_addr)?)
    }

    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgUnjailResponse, Error> {
        let operator = self.signer()?;
        let name = || self.validator_addr.clone();
        let found = VALIDATORS.get(ctx.state, &operator)?;
        let validator = found.ok_or_else(|| SlashingError::NoValidator(name()))?;
        if !validator.jailed {
            return Err(SlashingError::NotJailed(name()).into());
        }
        let (own, least) = staking::self_delegation(ctx.state, &operator, &validator)?;
        if own < least {
            let validator = name();
            return Err(SlashingError::SelfDelegationTooLow { validator, own, least }.into());
        }
        let consensus = Address::of_consensus_key(&consensus_key(validator.consensus_pubkey.as_ref())?);
        let info = INFOS.get(ctx.state, &consensus)?.unwrap_or_default();
        if info.tombstoned {
            return Err(SlashingError::Tombstoned(name()).into());
        }
        let (until, now) = (info.jailed_until, ctx.block.time);
        if now < until {
            let validator = name();
            return Err(SlashingError::StillJailed { validator, until, now }.into());
        }
        staking::unjail(ctx.state, &operator)?;
        ctx.emit(Event::new("unjail").with("validator", &self.validator_addr));
        Ok(MsgUnjailResponse {})
    }
}

fn text(part: Dec) -> Vec<u8> {
    part.atomics().into_bytes()
}

fn part(name: &str, bytes: &[u8]) -> Result<Dec, Error> {
    let text = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| Dec::from_atomics(text).ok());
    text.ok_or_else(|| SdkError::InvalidRequest(format!("slashing {name} is no decimal as on the wire")).into())
}

/// As the SDK writes them.
impl From<Params> for sdk::Params {
    fn from(params: Params) -> Self {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Self {
            signed_blocks_window: signed(params.signed_blocks_window),
            min_signed_per_window: text(params.min_signed_per_window),
            downtime_jail_duration: Some(Duration {
                seconds: signed(params.downtime_jail_seconds),
                nanos: 0,
            }),
            slash_fraction_double_sign: text(params.slash_fraction_double_sign),
            slash_fraction_downtime: text(params.slash_fraction_downtime),
        }
    }
}

fn read(message: &MsgUpdateParams) -> Result<Params, Error> {
    let sdk::Params {
        signed_blocks_window,
        min_signed_per_window,
        downtime_jail_duration,
        slash_fraction_double_sign,
        slash_fraction_downtime,
    } = given(message.params.as_ref())?;
    let params = Params {
        signed_blocks_window: u64::try_from(*signed_blocks_window).unwrap_or(0),
        min_signed_per_window: part("min_signed_per_window", min_signed_per_window)?,
        downtime_jail_seconds: whole_seconds(downtime_jail_duration.as_ref()),
        slash_fraction_double_sign: part("slash_fraction_double_sign", slash_fraction_double_sign)?,
        slash_fraction_downtime: part("slash_fraction_downtime", slash_fraction_downtime)?,
    };
    params.check()?;
    Ok(params)
}

impl Handler for MsgUpdateParams {
    type Response = MsgUpdateParamsResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.authority.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        read(self).map(drop)
    }

    /// Another window begins empty.
    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgUpdateParamsResponse, Error> {
        only_governance(self.signer()?)?;
        let params = read(self)?;
        if params.signed_blocks_window != PARAMS.get(ctx.state)?.signed_blocks_window {
            for (consensus, mut info) in INFOS.all(ctx.state)? {
                clear_window(ctx.state, &consensus)?;
                info.missed = 0;
                INFOS.set(ctx.state, &consensus, &info)?;
            }
        }
        PARAMS.set(ctx.state, &params)?;
        Ok(MsgUpdateParamsResponse {})
    }
}
