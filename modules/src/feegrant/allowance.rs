//! The kinds of allowances: up to a limit, up to a limit in each period, and either of them for named messages only.

use trainyard_proto::{
    any::{self, Any},
    coin,
    cosmos::{
        base::v1beta1::Coin,
        feegrant::v1beta1::{AllowedMsgAllowance, BasicAllowance, PeriodicAllowance},
    },
    prost::{DecodeError, Message, Name},
};

use super::FeegrantError;
use crate::{
    context::{timestamp, unix_seconds, whole_seconds},
    error::Error,
    machine::router,
};

/// Kinds of messages of one allowance, at most.
const MAX_MESSAGES: usize = 64;

/// What may be spent.
#[derive(Debug, Clone, PartialEq)]
enum Limits {
    Basic(BasicAllowance),
    Periodic(PeriodicAllowance),
}

/// An allowance.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Allowance {
    limits: Limits,
    /// Type URLs of the messages it is for; `None` for all.
    messages: Option<Vec<String>>,
}

fn wrong(log: impl Into<String>) -> Error {
    FeegrantError::Allowance(log.into()).into()
}

fn decode<M: Message + Default + Name>(any: &Any) -> Result<M, Error> {
    M::decode(any.value.as_slice()).map_err(|e: DecodeError| wrong(format!("{}: {e}", M::NAME)))
}

/// utrain of a limit; `None` where nothing limits.
fn limit(coins: &[Coin]) -> Result<Option<u64>, Error> {
    if coins.is_empty() {
        return Ok(None);
    }
    Ok(Some(coin::parse_utrain_list(coins)?))
}

fn coins(amount: u64) -> Vec<Coin> {
    if amount == 0 {
        Vec::new()
    } else {
        vec![coin::utrain(amount)]
    }
}

impl Limits {
    fn read(any: Option<&Any>) -> Result<Self, Error> {
        let any = any.ok_or_else(|| wrong("is missing"))?;
        let limits = if any.type_url == any::type_url::<BasicAllowance>() {
            Self::Basic(decode(any)?)
        } else if any.type_url == any::type_url::<PeriodicAllowance>() {
            Self::Periodic(decode(any)?)
        } else {
            let shown: String = any.type_url.chars().take(100).collect();
            return Err(wrong(format!("{shown:?} is no basic, periodic or allowed-message one")));
        };
        if limit(&limits.basic().spend_limit)? == Some(0) {
            return Err(wrong("the spend limit is zero"));
        }
        if let Self::Periodic(periodic) = &limits {
            let seconds = periodic.period.as_ref().map_or(0, |p| p.seconds);
            if whole_seconds(periodic.period.as_ref()) == 0 {
                return Err(FeegrantError::Period(seconds).into());
            }
            let each = limit(&periodic.period_spend_limit)?.unwrap_or(0);
            limit(&periodic.period_can_spend)?;
            if each == 0 {
                return Err(wrong("the spend limit of a period is zero"));
            }
        }
        Ok(limits)
    }

    fn pack(&self) -> Any {
        match self {
            Self::Basic(basic) => any::pack(basic),
            Self::Periodic(periodic) => any::pack(periodic),
        }
    }

    fn basic(&self) -> BasicAllowance {
        match self {
            Self::Basic(basic) => basic.clone(),
            Self::Periodic(periodic) => periodic.basic.clone().unwrap_or_default(),
        }
    }
}

/// Takes a fee off a limit; true when something is left, or nothing limits.
fn take(limited: &mut Vec<Coin>, need: u64) -> Result<bool, Error> {
    let Some(have) = limit(limited)? else {
        return Ok(true);
    };
    let left = have.checked_sub(need).ok_or(FeegrantError::Exceeded { have, need })?;
    *limited = coins(left);
    Ok(left > 0)
}

impl Allowance {
    /// Reads an allowance and checks what needs no state.
    pub(super) fn read(any: Option<&Any>) -> Result<Self, Error> {
        let of_messages = any.filter(|any| any.type_url == any::type_url::<AllowedMsgAllowance>());
        let Some(outer) = of_messages else {
            let limits = Limits::read(any)?;
            return Ok(Self { limits, messages: None });
        };
        let AllowedMsgAllowance {
            allowance,
            allowed_messages,
        } = decode(outer)?;
        if allowed_messages.is_empty() {
            return Err(FeegrantError::NoMessages.into());
        }
        if allowed_messages.len() > MAX_MESSAGES {
            let found = allowed_messages.len();
            return Err(wrong(format!("it names {found} messages, at most {MAX_MESSAGES}")));
        }
        for url in &allowed_messages {
            router::find(url)?;
        }
        Ok(Self {
            limits: Limits::read(allowance.as_ref())?,
            messages: Some(allowed_messages),
        })
    }

    pub(super) fn pack(&self) -> Any {
        let inner = self.limits.pack();
        match &self.messages {
            None => inner,
            Some(messages) => any::pack(&AllowedMsgAllowance {
                allowance: Some(inner),
                allowed_messages: messages.clone(),
            }),
        }
    }

    /// Its end in Unix seconds; `None` where it has none.
    pub(super) fn end(&self) -> Option<u64> {
        let end = self.limits.basic().expiration;
        end.map(|end| unix_seconds(Some(&end)))
    }

    /// Checks of one that is new: later the whole limit may well be below a period's.
    pub(super) fn check_new(&self) -> Result<(), Error> {
        if let Limits::Periodic(periodic) = &self.limits {
            let each = limit(&periodic.period_spend_limit)?.unwrap_or(0);
            if limit(&self.limits.basic().spend_limit)?.is_some_and(|all| all < each) {
                return Err(wrong(format!(
                    "a period's spend limit of {each}utrain is above the whole one"
                )));
            }
        }
        Ok(())
    }

    /// Begins the first period where the granter did not say when it ends.
    pub(super) fn begin(&mut self, now: u64) {
        if let Limits::Periodic(periodic) = &mut self.limits
            && unix_seconds(periodic.period_reset.as_ref()) == 0
        {
            let period = whole_seconds(periodic.period.as_ref());
            periodic.period_can_spend.clone_from(&periodic.period_spend_limit);
            periodic.period_reset = Some(timestamp(now.saturating_add(period)));
        }
    }

    /// Takes a fee off; false when nothing is left of the allowance afterwards.
    pub(super) fn spend(&mut self, fee: u64, now: u64, messages: &[Any]) -> Result<bool, Error> {
        if let Some(end) = self.end().filter(|end| *end <= now) {
            return Err(FeegrantError::Expired(end).into());
        }
        if let Some(allowed) = &self.messages
            && let Some(other) = messages.iter().find(|m| !allowed.contains(&m.type_url))
        {
            return Err(FeegrantError::NotAllowed(other.type_url.clone()).into());
        }
        match &mut self.limits {
            Limits::Basic(basic) => take(&mut basic.spend_limit, fee),
            Limits::Periodic(periodic) => {
                renew(periodic, now)?;
                // No coin in here is an empty purse, not a missing limit.
                let have = limit(&periodic.period_can_spend)?.unwrap_or(0);
                let left = have
                    .checked_sub(fee)
                    .ok_or(FeegrantError::Exceeded { have, need: fee })?;
                periodic.period_can_spend = coins(left);
                let basic = periodic.basic.get_or_insert_default();
                take(&mut basic.spend_limit, fee)
            }
        }
    }
}

/// Begins a new period when the last one is over: what is not spent in a period does not carry over.
fn renew(periodic: &mut PeriodicAllowance, now: u64) -> Result<(), Error> {
    let reset = unix_seconds(periodic.period_reset.as_ref());
    if now < reset {
        return Ok(());
    }
    let each = limit(&periodic.period_spend_limit)?.unwrap_or(0);
    let all = limit(&periodic.basic.clone().unwrap_or_default().spend_limit)?;
    periodic.period_can_spend = coins(all.map_or(each, |all| all.min(each)));
    let period = whole_seconds(periodic.period.as_ref());
    let next = reset.saturating_add(period);
    periodic.period_reset = Some(timestamp(if next <= now { now.saturating_add(period) } else { next }));
    Ok(())
}
