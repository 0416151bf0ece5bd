//! Messages of operators.

use trainyard_proto::{
    address::Address,
    coin,
    cosmos::staking::v1beta1::{
        BondStatus, Commission, CommissionRates, Description, MsgCreateValidator, MsgCreateValidatorResponse,
        MsgEditValidator, MsgEditValidatorResponse, Validator,
    },
    dec::Dec,
    tendermint_proto::google::protobuf::Timestamp,
};

use super::{
    BARRED, BY_CONSENSUS, PARAMS, StakingError, VALIDATORS, commission_rate, commission_rates, consensus_key,
    delegations::delegate, positive, self_delegation, set_stake, store, timestamp, validator,
};
use crate::{
    context::{Ctx, Event, Handler, Value, unix_seconds},
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
        let (own, least) = (positive(self.value.as_ref())?, promised(&self.min_self_delegation)?);
        if own < least {
            let validator = self.validator_address.clone();
            return Err(StakingError::SelfDelegationTooLow { validator, own, least }.into());
        }
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
        if BARRED.get(ctx.state, &consensus)?.is_some() {
            return Err(StakingError::KeyBarred(operator.operator()).into());
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
            min_self_delegation: self.min_self_delegation.clone(),
            ..Validator::default()
        };
        set_stake(&mut validator, 0, Dec::ZERO);
        store(ctx.state, &operator, &validator)?;
        distribution::open(ctx.state, &operator)?;
        let amount = positive(self.value.as_ref())?;
        ctx.emit(
            Event::new("create_validator")
                .with("validator", operator.operator())
                .with("amount", Value::Utrain(amount)),
        );
        delegate(ctx, operator, operator, amount)?;
        Ok(MsgCreateValidatorResponse {})
    }
}

/// utrain that an operator promises to keep delegated to itself.
fn promised(text: &str) -> Result<u64, Error> {
    let amount = coin::parse_amount(text).map_err(|e| SdkError::InvalidRequest(format!("min_self_delegation: {e}")))?;
    if amount == 0 {
        return Err(SdkError::InvalidRequest("min_self_delegation is 0, expected at least 1".into()).into());
    }
    Ok(amount)
}

/// A text of a description that an edit leaves as it is.
const KEEP: &str = "[do-not-modify]";
/// Seconds between two changes of a commission.
const COMMISSION_WAIT: u64 = 24 * 3600;

impl Handler for MsgEditValidator {
    type Response = MsgEditValidatorResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(Address::parse_operator(&self.validator_address)?)
    }

    fn validate(&self) -> Result<(), Error> {
        let Description {
            moniker,
            identity,
            website,
            security_contact,
            details,
        } = self.description.clone().unwrap_or_default();
        check_texts(&moniker, [&identity, &website, &security_contact, &details])?;
        if !self.commission_rate.is_empty() {
            rate(&self.commission_rate)?;
        }
        if !self.min_self_delegation.is_empty() {
            promised(&self.min_self_delegation)?;
        }
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgEditValidatorResponse, Error> {
        let operator = self.signer()?;
        let mut validator = validator(ctx.state, &operator)?;
        let old = validator.description.clone().unwrap_or_default();
        let new = self.description.clone().unwrap_or_default();
        let text = |old: String, new: String| if new == KEEP { old } else { new };
        let description = Description {
            // A validator without a name would be none to people.
            moniker: text(
                old.moniker.clone(),
                if new.moniker.is_empty() {
                    old.moniker
                } else {
                    new.moniker
                },
            ),
            identity: text(old.identity, new.identity),
            website: text(old.website, new.website),
            security_contact: text(old.security_contact, new.security_contact),
            details: text(old.details, new.details),
        };
        validator.description = Some(description);
        if !self.commission_rate.is_empty() {
            change_commission(ctx, &mut validator, rate(&self.commission_rate)?)?;
        }
        if !self.min_self_delegation.is_empty() {
            let new = promised(&self.min_self_delegation)?;
            let (own, old) = self_delegation(ctx.state, &operator, &validator)?;
            let name = self.validator_address.clone();
            if new < old {
                let validator = name;
                return Err(StakingError::SelfDelegationLowered { validator, old, new }.into());
            }
            if own < new {
                let (validator, least) = (name, new);
                return Err(StakingError::SelfDelegationTooLow { validator, own, least }.into());
            }
            validator.min_self_delegation = new.to_string();
        }
        store(ctx.state, &operator, &validator)?;
        ctx.emit(
            Event::new("edit_validator")
                .with("commission_rate", commission_rate(&validator)?.to_string())
                .with("min_self_delegation", &validator.min_self_delegation),
        );
        Ok(MsgEditValidatorResponse {})
    }
}

/// At most once a day, by at most the promised step, within the promised and the chain's bounds.
fn change_commission(ctx: &mut Ctx<'_, '_>, validator: &mut Validator, rate: Dec) -> Result<(), Error> {
    let name = validator.operator_address.clone();
    let (now, last) = (
        ctx.block.time,
        validator.commission.as_ref().and_then(|c| c.update_time),
    );
    let last = unix_seconds(last.as_ref());
    if now < last.saturating_add(COMMISSION_WAIT) {
        let validator = name;
        return Err(StakingError::CommissionTooSoon { validator, last, now }.into());
    }
    let mut rates = Rates::read(Some(&commission_rates(validator)), &name)?;
    let step = rate.saturating_sub(rates.rate).max(rates.rate.saturating_sub(rate));
    if step > rates.max_change_rate {
        return Err(StakingError::CommissionTooHigh {
            what: "change of commission in a day",
            validator: name,
            found: step,
            most: rates.max_change_rate,
        }
        .into());
    }
    rates.rate = rate;
    let rates = Rates::read(Some(&rates.wire()), &name)?;
    rates.check_least(ctx.state, &name)?;
    validator.commission = Some(Commission {
        commission_rates: Some(rates.wire()),
        update_time: Some(timestamp(now)),
    });
    Ok(())
}

fn rate(text: &str) -> Result<Dec, Error> {
    Dec::from_atomics(text).map_err(|e| SdkError::InvalidRequest(format!("commission: {e}")).into())
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
        let rates = Self {
            rate: self::rate(&rate)?,
            max_rate: self::rate(&max_rate)?,
            max_change_rate: self::rate(&max_change_rate)?,
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
