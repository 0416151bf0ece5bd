//! Messages of staking.

use trainyard_proto::{
    address::Address,
    coin,
    cosmos::staking::v1beta1::{
        BondStatus, Commission, CommissionRates, MsgCreateValidator, MsgCreateValidatorResponse, MsgDelegate,
        MsgDelegateResponse, MsgUndelegate, MsgUndelegateResponse, UnbondingDelegationEntry, Validator,
    },
    tendermint_proto::google::protobuf::Timestamp,
};

use super::{
    BY_CONSENSUS, DELEGATIONS, DELEGATORS, PARAMS, QUEUE, StakingError, UNBONDING, VALIDATORS, consensus_key,
    set_tokens, tokens,
};
use crate::{
    bank::{self, transfer},
    context::{Ctx, Event, Handler},
    error::{Error, SdkError},
    page,
};

/// Longest moniker, bytes.
const MAX_MONIKER: usize = 70;
/// Longest of the other texts that describe a validator, bytes.
const MAX_TEXT: usize = 280;

fn positive(coin: Option<&trainyard_proto::cosmos::base::v1beta1::Coin>) -> Result<u64, Error> {
    match coin::parse_utrain(coin)? {
        0 => Err(SdkError::InvalidCoins("the amount is zero".into()).into()),
        amount => Ok(amount),
    }
}

impl Handler for MsgCreateValidator {
    type Response = MsgCreateValidatorResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(Address::parse_operator(&self.validator_address)?)
    }

    fn validate(&self) -> Result<(), Error> {
        consensus_key(self.pubkey.as_ref())?;
        positive(self.value.as_ref())?;
        let description = self.description.clone().unwrap_or_default();
        let texts = [
            &description.identity,
            &description.website,
            &description.security_contact,
            &description.details,
        ];
        if description.moniker.is_empty() || description.moniker.len() > MAX_MONIKER {
            let found = description.moniker.len();
            return Err(
                SdkError::InvalidRequest(format!("moniker has {found} bytes, expected 1 to {MAX_MONIKER}")).into(),
            );
        }
        if let Some(text) = texts.into_iter().find(|text| text.len() > MAX_TEXT) {
            let found = text.len();
            return Err(
                SdkError::InvalidRequest(format!("a description has {found} bytes, at most {MAX_TEXT}")).into(),
            );
        }
        Ok(())
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
        BY_CONSENSUS.set(ctx.state, &consensus, &operator.0.to_vec())?;
        let mut validator = Validator {
            operator_address: operator.operator(),
            consensus_pubkey: self.pubkey.clone(),
            status: BondStatus::Unbonded.into(),
            description: self.description.clone(),
            unbonding_time: Some(Timestamp::default()),
            commission: Some(Commission {
                commission_rates: Some(self.commission.clone().unwrap_or_else(no_commission)),
                update_time: Some(now(ctx)),
            }),
            min_self_delegation: "1".into(),
            ..Validator::default()
        };
        set_tokens(&mut validator, 0);
        VALIDATORS.set(ctx.state, &operator, &validator)?;
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

fn no_commission() -> CommissionRates {
    CommissionRates {
        rate: "0".into(),
        max_rate: "0".into(),
        max_change_rate: "0".into(),
    }
}

fn now(ctx: &Ctx<'_, '_>) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(ctx.block.time).unwrap_or(i64::MAX),
        nanos: 0,
    }
}

fn validator(ctx: &mut Ctx<'_, '_>, operator: &Address) -> Result<Validator, Error> {
    Ok(VALIDATORS
        .get(ctx.state, operator)?
        .ok_or_else(|| StakingError::NoValidator(operator.operator()))?)
}

fn set_delegation(ctx: &mut Ctx<'_, '_>, delegator: Address, operator: Address, amount: u64) -> Result<(), Error> {
    if amount == 0 {
        DELEGATIONS.remove(ctx.state, &(delegator, operator))?;
        return DELEGATORS.remove(ctx.state, &(operator, delegator));
    }
    DELEGATIONS.set(ctx.state, &(delegator, operator), &amount)?;
    DELEGATORS.set(ctx.state, &(operator, delegator), &amount)
}

/// Moves `amount` utrain of `delegator` under a validator.
fn delegate(ctx: &mut Ctx<'_, '_>, delegator: Address, operator: Address, amount: u64) -> Result<(), Error> {
    let mut validator = validator(ctx, &operator)?;
    transfer(ctx, delegator, Address::of_module(bank::BONDED_POOL), amount)?;
    let before = DELEGATIONS.get(ctx.state, &(delegator, operator))?.unwrap_or(0);
    // Sums of what exists: below the supply, which is below i64::MAX.
    set_delegation(ctx, delegator, operator, before.saturating_add(amount))?;
    let sum = tokens(&validator)?.saturating_add(amount);
    set_tokens(&mut validator, sum);
    VALIDATORS.set(ctx.state, &operator, &validator)
}

impl Handler for MsgDelegate {
    type Response = MsgDelegateResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.delegator_address.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        Address::parse_operator(&self.validator_address)?;
        positive(self.amount.as_ref()).map(drop)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgDelegateResponse, Error> {
        let amount = positive(self.amount.as_ref())?;
        let delegator = self.signer()?;
        delegate(
            ctx,
            delegator,
            Address::parse_operator(&self.validator_address)?,
            amount,
        )?;
        ctx.emit(
            Event::new("delegate")
                .with("validator", &self.validator_address)
                .with("delegator", delegator)
                .with("amount", format!("{amount}{}", coin::DENOM))
                .with("new_shares", super::decimal(amount)),
        );
        Ok(MsgDelegateResponse {})
    }
}

impl Handler for MsgUndelegate {
    type Response = MsgUndelegateResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.delegator_address.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        Address::parse_operator(&self.validator_address)?;
        positive(self.amount.as_ref()).map(drop)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgUndelegateResponse, Error> {
        let need = positive(self.amount.as_ref())?;
        let delegator = self.signer()?;
        let operator = Address::parse_operator(&self.validator_address)?;
        let mut validator = validator(ctx, &operator)?;
        let have = DELEGATIONS.get(ctx.state, &(delegator, operator))?.unwrap_or(0);
        let Some(left) = have.checked_sub(need) else {
            let validator = operator.operator();
            return Err(StakingError::NotEnoughDelegated {
                delegator,
                validator,
                have,
                need,
            }
            .into());
        };
        let bonded = bank::balance(ctx.state, &Address::of_module(bank::BONDED_POOL))?;
        let params = PARAMS.get(ctx.state)?;
        let remains = tokens(&validator)?.saturating_sub(need);
        set_tokens(&mut validator, remains);
        VALIDATORS.set(ctx.state, &operator, &validator)?;
        // CometBFT stops when a validator set becomes empty, so the last stake cannot leave.
        if bonded.saturating_sub(need) < super::POWER_REDUCTION || super::block::total_power(ctx.state, &params)? == 0 {
            return Err(StakingError::LastPower(need).into());
        }
        set_delegation(ctx, delegator, operator, left)?;
        let entries = UNBONDING.under(ctx.state, &(delegator, operator), page::MAX_LIMIT)?;
        if entries.len() >= usize::try_from(params.max_entries).unwrap_or(usize::MAX) {
            let (found, max) = (entries.len(), params.max_entries);
            let validator = operator.operator();
            return Err(StakingError::TooManyEntries {
                delegator,
                validator,
                found,
                max,
            }
            .into());
        }
        let wait = params
            .unbonding_time
            .map_or(0, |d| u64::try_from(d.seconds).unwrap_or(0));
        let completes = ctx.block.time.saturating_add(wait);
        let key = (delegator, operator, ctx.block.height);
        let so_far = UNBONDING
            .get(ctx.state, &key)?
            .map_or(Ok(0), |entry| coin::parse_amount(&entry.balance))?;
        let balance = so_far.saturating_add(need).to_string();
        let seconds = i64::try_from(completes).unwrap_or(i64::MAX);
        let completion_time = Timestamp { seconds, nanos: 0 };
        let entry = UnbondingDelegationEntry {
            creation_height: i64::try_from(ctx.block.height).unwrap_or(i64::MAX),
            completion_time: Some(completion_time),
            initial_balance: balance.clone(),
            balance,
            ..Default::default()
        };
        UNBONDING.set(ctx.state, &key, &entry)?;
        QUEUE.set(ctx.state, &(completes, key), &true)?;
        let (bonded, not_bonded) = (
            Address::of_module(bank::BONDED_POOL),
            Address::of_module(bank::NOT_BONDED_POOL),
        );
        transfer(ctx, bonded, not_bonded, need)?;
        ctx.emit(
            Event::new("unbond")
                .with("validator", &self.validator_address)
                .with("delegator", delegator)
                .with("amount", format!("{need}{}", coin::DENOM))
                .with("completion_time", seconds),
        );
        Ok(MsgUndelegateResponse {
            completion_time: Some(completion_time),
            amount: Some(coin::utrain(need)),
        })
    }
}
