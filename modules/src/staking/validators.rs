//! Messages of operators.

use trainyard_proto::{
    address::Address,
    coin,
    cosmos::staking::v1beta1::{
        BondStatus, Commission, CommissionRates, Description, MsgCreateValidator, MsgCreateValidatorResponse, Validator,
    },
    dec::Dec,
    tendermint_proto::google::protobuf::Timestamp,
};

use super::{
    BY_CONSENSUS, PARAMS, StakingError, VALIDATORS, consensus_key, delegations::delegate, positive, set_stake,
    timestamp,
};
use crate::{
    context::{Ctx, Event, Handler},
    distribution,
    error::{Error, SdkError},
    state::State,
};

/// Longest moniker, bytes.
const MAX_MONIKER: usize = 70;
/// Longest of the other texts that describe a validator, bytes.
const MAX_TEXT: usize = 280;

impl Handler for MsgCreateValidator {
    type Response = MsgCreateValidatorResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(Address::parse_operator(&self.validator_address)?)
    }

    fn validate(&self) -> Result<(), Error> {
        consensus_key(self.pubkey.as_ref())?;
        positive(self.value.as_ref())?;
        let Description {
            moniker,
            identity,
            website,
            security_contact,
            details,
        } = self.description.clone().unwrap_or_default();
        if moniker.is_empty() {
            let log = format!("moniker has 0 bytes, expected 1 to {MAX_MONIKER}");
            return Err(SdkError::InvalidRequest(log).into());
        }
        check_texts(&moniker, [&identity, &website, &security_contact, &details])?;
        Rates::read(self.commission.as_ref(), &self.validator_address).map(drop)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgCreateValidatorResponse, Error> {
        let operator = self.signer()?;
        if VALIDATORS.get(ctx.state, &operator)?.is_some() {
            return Err(StakingError::ValidatorExists(operator.operator()).into());
        }
        let consensus = Address::of_consensus_key(&consensus_key(self.pubkey.as_ref())?);
        if BY_CONSENSUS.get(ctx.state, &consensus)?.is_some() {
            return Err(StakingError::KeyInUse(operator.operator()).into());
        }
        let rates = Rates::read(self.commission.as_ref(), &self.validator_address)?;
        rates.check_least(ctx.state, &self.validator_address)?;
        BY_CONSENSUS.set(ctx.state, &consensus, &operator.0.to_vec())?;
        let mut validator = Validator {
            operator_address: operator.operator(),
            consensus_pubkey: self.pubkey.clone(),
            status: BondStatus::Unbonded.into(),
            description: self.description.clone(),
            unbonding_time: Some(Timestamp::default()),
            commission: Some(Commission {
                commission_rates: Some(rates.wire()),
                update_time: Some(timestamp(ctx.block.time)),
            }),
            min_self_delegation: "1".into(),
            ..Validator::default()
        };
        set_stake(&mut validator, 0, Dec::ZERO);
        VALIDATORS.set(ctx.state, &operator, &validator)?;
        distribution::open(ctx.state, &operator)?;
        let amount = positive(self.value.as_ref())?;
        ctx.emit(
            Event::new("create_validator")
                .with("validator", operator.operator())
                .with("amount", format!("{amount}{}", coin::DENOM)),
        );
        delegate(ctx, operator, operator, amount)?;
        Ok(MsgCreateValidatorResponse {})
    }
}

fn check_texts(moniker: &str, others: [&String; 4]) -> Result<(), Error> {
    let found = moniker.len();
    if found > MAX_MONIKER {
        return Err(SdkError::InvalidRequest(format!("moniker has {found} bytes, expected 1 to {MAX_MONIKER}")).into());
    }
    if let Some(text) = others.into_iter().find(|text| text.len() > MAX_TEXT) {
        let found = text.len();
        return Err(SdkError::InvalidRequest(format!("a description has {found} bytes, at most {MAX_TEXT}")).into());
    }
    Ok(())
}

/// Rates of a commission, each a part of 1.
struct Rates {
    rate: Dec,
    max_rate: Dec,
    max_change_rate: Dec,
}

impl Rates {
    /// Reads rates from the wire; without any there is no commission.
    fn read(wire: Option<&CommissionRates>, validator: &str) -> Result<Self, Error> {
        let CommissionRates {
            rate,
            max_rate,
            max_change_rate,
        } = wire.cloned().unwrap_or_default();
        let read =
            |text: &str| Dec::from_atomics(text).map_err(|e| SdkError::InvalidRequest(format!("commission: {e}")));
        let rates = Self {
            rate: read(&rate)?,
            max_rate: read(&max_rate)?,
            max_change_rate: read(&max_change_rate)?,
        };
        for (what, found, most) in [
            ("highest commission", rates.max_rate, Dec::ONE),
            ("commission", rates.rate, rates.max_rate),
            ("change of commission in a day", rates.max_change_rate, rates.max_rate),
        ] {
            if found > most {
                let validator = validator.into();
                return Err(StakingError::CommissionTooHigh {
                    what,
                    validator,
                    found,
                    most,
                }
                .into());
            }
        }
        Ok(rates)
    }

    fn check_least(&self, state: &mut State<'_>, validator: &str) -> Result<(), Error> {
        let least =
            Dec::from_atomics(&PARAMS.get(state)?.min_commission_rate).map_err(|e| Error::fatal(e.to_string()))?;
        if self.rate < least {
            let (validator, found) = (validator.into(), self.rate);
            return Err(StakingError::CommissionTooLow {
                validator,
                found,
                least,
            }
            .into());
        }
        Ok(())
    }

    fn wire(&self) -> CommissionRates {
        CommissionRates {
            rate: self.rate.atomics(),
            max_rate: self.max_rate.atomics(),
            max_change_rate: self.max_change_rate.atomics(),
        }
    }
}
