//! Messages, authorizations and allowances as Amino's JSON, under the names and with the omissions of the SDK.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::{Message, Name};
use tendermint_proto::google::protobuf::{Duration, Timestamp};

use super::{AminoError, Json, list, own};
use crate::{
    any::Any,
    cosmos::{
        authz::v1beta1 as authz,
        bank::v1beta1 as bank,
        base::v1beta1::Coin,
        crypto::ed25519,
        distribution::v1beta1 as distribution,
        feegrant::v1beta1 as feegrant,
        gov::{v1 as gov, v1beta1 as legacy},
        slashing::v1beta1 as slashing,
        staking::v1beta1::{
            self as staking,
            stake_authorization::{Policy, Validators},
        },
    },
    dec::Dec,
};

/// How a kind of message is written.
type Write = fn(&[u8]) -> Result<Json, AminoError>;

/// Decodes a message and writes it under Amino's name.
fn typed<M: Message + Name + Default>(
    bytes: &[u8],
    name: &str,
    write: impl FnOnce(M) -> Result<Json, AminoError>,
) -> Result<Json, AminoError> {
    let message = M::decode(bytes).map_err(|e| AminoError::Decode(format!("{}: {e}", M::NAME)))?;
    if message.encode_to_vec() != bytes {
        return Err(AminoError::Decode(format!("{} is not canonically encoded", M::NAME)));
    }
    Ok(Json::typed(name, write(message)?))
}

/// A line of the table: type, Amino's name, how it is written.
macro_rules! forms {
    ($($type:ty, $name:literal, $write:expr;)*) => {
        &[$((<$type>::PACKAGE, <$type>::NAME, |bytes| typed::<$type>(bytes, $name, $write)),)*]
    };
}

#[allow(deprecated)] // The SDK's message to create a validator still has a delegator's address in its text.
static MESSAGES: &[(&str, &str, Write)] = forms! {
    bank::MsgSend, "cosmos-sdk/MsgSend", |m| Ok(Json::object([
        ("from_address", some(m.from_address)),
        ("to_address", some(m.to_address)),
        ("amount", Some(coins(&m.amount))),
    ]));
    staking::MsgCreateValidator, "cosmos-sdk/MsgCreateValidator", |m| {
        let rates = m.commission.unwrap_or_default();
        Ok(Json::object([
            ("description", Some(description(m.description))),
            ("commission", Some(Json::object([
                ("rate", Some(decimal(&rates.rate)?)),
                ("max_rate", Some(decimal(&rates.max_rate)?)),
                ("max_change_rate", Some(decimal(&rates.max_change_rate)?)),
            ]))),
            ("min_self_delegation", some(m.min_self_delegation)),
            ("delegator_address", some(m.delegator_address)),
            ("validator_address", some(m.validator_address)),
            ("pubkey", m.pubkey.map(|key| find(KEYS, &key)).transpose()?),
            ("value", Some(coin_of(m.value))),
        ]))
    };
    staking::MsgEditValidator, "cosmos-sdk/MsgEditValidator", |m| Ok(Json::object([
        ("description", Some(description(m.description))),
        ("validator_address", some(m.validator_address)),
        ("commission_rate", if m.commission_rate.is_empty() { None } else { Some(decimal(&m.commission_rate)?) }),
        ("min_self_delegation", some(m.min_self_delegation)),
    ]));
    staking::MsgCancelUnbondingDelegation, "cosmos-sdk/MsgCancelUnbondingDelegation", |m| Ok(Json::object([
        ("delegator_address", some(m.delegator_address)),
        ("validator_address", some(m.validator_address)),
        ("amount", Some(coin_of(m.amount))),
        ("creation_height", (m.creation_height != 0).then(|| Json::text(m.creation_height))),
    ]));
    slashing::MsgUnjail, "cosmos-sdk/MsgUnjail", |m| Ok(Json::object([("address", Some(Json::Text(m.validator_addr)))]));
    staking::MsgDelegate, "cosmos-sdk/MsgDelegate", |m| Ok(Json::object([
        ("delegator_address", some(m.delegator_address)),
        ("validator_address", some(m.validator_address)),
        ("amount", Some(coin_of(m.amount))),
    ]));
    staking::MsgUndelegate, "cosmos-sdk/MsgUndelegate", |m| Ok(Json::object([
        ("delegator_address", some(m.delegator_address)),
        ("validator_address", some(m.validator_address)),
        ("amount", Some(coin_of(m.amount))),
    ]));
    staking::MsgBeginRedelegate, "cosmos-sdk/MsgBeginRedelegate", |m| Ok(Json::object([
        ("delegator_address", some(m.delegator_address)),
        ("validator_src_address", some(m.validator_src_address)),
        ("validator_dst_address", some(m.validator_dst_address)),
        ("amount", Some(coin_of(m.amount))),
    ]));
    distribution::MsgWithdrawDelegatorReward, "cosmos-sdk/MsgWithdrawDelegationReward", |m| Ok(Json::object([
        ("delegator_address", some(m.delegator_address)),
        ("validator_address", some(m.validator_address)),
    ]));
    distribution::MsgWithdrawValidatorCommission, "cosmos-sdk/MsgWithdrawValCommission", |m| Ok(Json::object([
        ("validator_address", some(m.validator_address)),
    ]));
    distribution::MsgSetWithdrawAddress, "cosmos-sdk/MsgModifyWithdrawAddress", |m| Ok(Json::object([
        ("delegator_address", some(m.delegator_address)),
        ("withdraw_address", some(m.withdraw_address)),
    ]));
    distribution::MsgFundCommunityPool, "cosmos-sdk/MsgFundCommunityPool", |m| Ok(Json::object([
        ("amount", Some(coins(&m.amount))),
        ("depositor", some(m.depositor)),
    ]));
    gov::MsgDeposit, "cosmos-sdk/v1/MsgDeposit", |m| Ok(Json::object([
        ("proposal_id", Some(Json::text(m.proposal_id))),
        ("depositor", some(m.depositor)),
        ("amount", Some(coins(&m.amount))),
    ]));
    gov::MsgVote, "cosmos-sdk/v1/MsgVote", |m| Ok(Json::object([
        ("proposal_id", Some(Json::text(m.proposal_id))),
        ("voter", some(m.voter)),
        ("option", number(m.option)),
        ("metadata", some(m.metadata)),
    ]));
    gov::MsgVoteWeighted, "cosmos-sdk/v1/MsgVoteWeighted", |m| Ok(Json::object([
        ("proposal_id", Some(Json::text(m.proposal_id))),
        ("voter", some(m.voter)),
        ("options", some_list(m.options.into_iter().map(|o| Json::object([
            ("option", number(o.option)),
            ("weight", some(o.weight)),
        ])))),
        ("metadata", some(m.metadata)),
    ]));
    gov::MsgSubmitProposal, "cosmos-sdk/v1/MsgSubmitProposal", |m| Ok(Json::object([
        ("messages", if m.messages.is_empty() { None } else { Some(list(&m.messages)?) }),
        ("initial_deposit", Some(coins(&m.initial_deposit))),
        ("proposer", some(m.proposer)),
        ("metadata", some(m.metadata)),
        ("title", some(m.title)),
        ("summary", some(m.summary)),
        ("expedited", m.expedited.then_some(Json::True)),
    ]));
    gov::MsgCancelProposal, "cosmos-sdk/v1/MsgCancelProposal", |m| Ok(Json::object([
        ("proposal_id", Some(Json::text(m.proposal_id))),
        ("proposer", some(m.proposer)),
    ]));
    legacy::MsgSubmitProposal, "cosmos-sdk/MsgSubmitProposal", |m| Ok(Json::object([
        ("content", m.content.map(|content| find(CONTENTS, &content)).transpose()?),
        ("initial_deposit", Some(coins(&m.initial_deposit))),
        ("proposer", some(m.proposer)),
    ]));
    legacy::MsgDeposit, "cosmos-sdk/MsgDeposit", |m| Ok(Json::object([
        ("proposal_id", Some(Json::text(m.proposal_id))),
        ("depositor", some(m.depositor)),
        ("amount", Some(coins(&m.amount))),
    ]));
    legacy::MsgVote, "cosmos-sdk/MsgVote", |m| Ok(Json::object([
        ("proposal_id", Some(Json::text(m.proposal_id))),
        ("voter", some(m.voter)),
        ("option", number(m.option)),
    ]));
    legacy::MsgVoteWeighted, "cosmos-sdk/MsgVoteWeighted", |m| {
        let mut options = Vec::new();
        for part in m.options {
            options.push(Json::object([("option", number(part.option)), ("weight", Some(decimal(&part.weight)?))]));
        }
        Ok(Json::object([
            ("proposal_id", Some(Json::text(m.proposal_id))),
            ("voter", some(m.voter)),
            ("options", some_list(options.into_iter())),
        ]))
    };
    distribution::MsgCommunityPoolSpend, "cosmos-sdk/distr/MsgCommunityPoolSpend", |m| Ok(Json::object([
        ("authority", some(m.authority)),
        ("recipient", some(m.recipient)),
        ("amount", Some(coins(&m.amount))),
    ]));
    authz::MsgGrant, "cosmos-sdk/MsgGrant", |m| {
        let grant = m.grant.unwrap_or_default();
        let authorization = grant.authorization.map(|a| find(AUTHORIZATIONS, &a)).transpose()?;
        Ok(Json::object([
            ("granter", some(m.granter)),
            ("grantee", some(m.grantee)),
            ("grant", Some(Json::object([
                ("authorization", authorization),
                ("expiration", grant.expiration.map(time)),
            ]))),
        ]))
    };
    authz::MsgRevoke, "cosmos-sdk/MsgRevoke", |m| Ok(Json::object([
        ("granter", some(m.granter)),
        ("grantee", some(m.grantee)),
        ("msg_type_url", some(m.msg_type_url)),
    ]));
    authz::MsgExec, "cosmos-sdk/MsgExec", |m| Ok(Json::object([
        ("grantee", some(m.grantee)),
        ("msgs", if m.msgs.is_empty() { None } else { Some(list(&m.msgs)?) }),
    ]));
    feegrant::MsgGrantAllowance, "cosmos-sdk/MsgGrantAllowance", |m| Ok(Json::object([
        ("granter", some(m.granter)),
        ("grantee", some(m.grantee)),
        ("allowance", m.allowance.map(|a| find(ALLOWANCES, &a)).transpose()?),
    ]));
    feegrant::MsgRevokeAllowance, "cosmos-sdk/MsgRevokeAllowance", |m| Ok(Json::object([
        ("granter", some(m.granter)),
        ("grantee", some(m.grantee)),
    ]));
};

static AUTHORIZATIONS: &[(&str, &str, Write)] = forms! {
    authz::GenericAuthorization, "cosmos-sdk/GenericAuthorization", |m| Ok(Json::object([("msg", some(m.msg))]));
    bank::SendAuthorization, "cosmos-sdk/SendAuthorization", |m| Ok(Json::object([
        ("spend_limit", Some(coins(&m.spend_limit))),
        ("allow_list", some_list(m.allow_list.into_iter().map(Json::Text))),
    ]));
    staking::StakeAuthorization, "cosmos-sdk/StakeAuthorization", |m| {
        let listed = |name: &str, field: &'static str, list: Validators| {
            let addresses = some_list(list.address.into_iter().map(Json::Text));
            Json::typed(name, Json::object([(field, Some(Json::object([("address", addresses)])))]))
        };
        let validators = m.validators.map(|validators| match validators {
            Policy::AllowList(list) => listed("cosmos-sdk/StakeAuthorization/AllowList", "allow_list", list),
            Policy::DenyList(list) => listed("cosmos-sdk/StakeAuthorization/DenyList", "deny_list", list),
        });
        Ok(Json::object([
            ("max_tokens", m.max_tokens.as_ref().map(coin)),
            ("authorization_type", number(m.authorization_type)),
            ("Validators", validators),
        ]))
    };
};

/// What a proposal of v1beta1 may hold.
static CONTENTS: &[(&str, &str, Write)] = forms! {
    legacy::TextProposal, "cosmos-sdk/TextProposal", |m| Ok(Json::object([
        ("title", some(m.title)),
        ("description", some(m.description)),
    ]));
};

/// Consensus keys, which alone are written without an object around them.
static KEYS: &[(&str, &str, Write)] = forms! {
    ed25519::PubKey, "tendermint/PubKeyEd25519", |m| Ok(Json::Text(STANDARD.encode(m.key)));
};

/// Allowances, and inside of an allowance for named messages those that may stand there.
static ALLOWANCES: &[(&str, &str, Write)] = forms! {
    feegrant::BasicAllowance, "cosmos-sdk/BasicAllowance", |m| Ok(basic(m));
    feegrant::PeriodicAllowance, "cosmos-sdk/PeriodicAllowance", |m| Ok(periodic(m));
    feegrant::AllowedMsgAllowance, "cosmos-sdk/AllowedMsgAllowance", |m| Ok(Json::object([
        ("allowance", m.allowance.map(|a| find(LIMITS, &a)).transpose()?),
        ("allowed_messages", some_list(m.allowed_messages.into_iter().map(Json::Text))),
    ]));
};

static LIMITS: &[(&str, &str, Write)] = forms! {
    feegrant::BasicAllowance, "cosmos-sdk/BasicAllowance", |m| Ok(basic(m));
    feegrant::PeriodicAllowance, "cosmos-sdk/PeriodicAllowance", |m| Ok(periodic(m));
};

fn find(table: &[(&str, &str, Write)], any: &Any) -> Result<Json, AminoError> {
    let found = any.type_url.strip_prefix('/').and_then(|name| name.rsplit_once('.'));
    let found = found.and_then(|(package, name)| table.iter().find(|(p, n, _)| *p == package && *n == name));
    let (_, _, write) = found.ok_or_else(|| AminoError::Message(any.type_url.chars().take(100).collect()))?;
    write(&any.value)
}

/// A message that a transaction, or a proposal, carries.
pub(super) fn message(any: &Any) -> Result<Json, AminoError> {
    own::message(any).unwrap_or_else(|| find(MESSAGES, any))
}

/// A text, left out where it is empty.
fn some(text: String) -> Option<Json> {
    (!text.is_empty()).then_some(Json::Text(text))
}

/// What describes a validator, which is never left out.
fn description(found: Option<staking::Description>) -> Json {
    let found = found.unwrap_or_default();
    Json::object([
        ("moniker", some(found.moniker)),
        ("identity", some(found.identity)),
        ("website", some(found.website)),
        ("security_contact", some(found.security_contact)),
        ("details", some(found.details)),
    ])
}

/// Atomics as a decimal with 18 places.
fn decimal(atomics: &str) -> Result<Json, AminoError> {
    if atomics.is_empty() {
        return Ok(Json::text(0));
    }
    let dec = Dec::from_atomics(atomics).map_err(|e| AminoError::Decode(e.to_string()))?;
    Ok(Json::text(dec))
}

/// A number, left out where it is zero.
fn number(value: i32) -> Option<Json> {
    (value != 0).then_some(Json::Number(value.into()))
}

/// A list, left out where it is empty.
fn some_list(items: impl Iterator<Item = Json>) -> Option<Json> {
    let items: Vec<Json> = items.collect();
    (!items.is_empty()).then_some(Json::List(items))
}

fn coin(coin: &Coin) -> Json {
    Json::object([
        ("amount", Some(Json::text(&coin.amount))),
        ("denom", some(coin.denom.clone())),
    ])
}

/// The coin of a message, which the SDK never leaves out.
fn coin_of(found: Option<Coin>) -> Json {
    coin(&found.unwrap_or_default())
}

/// Coins, which the SDK never leaves out.
pub(super) fn coins(coins: &[Coin]) -> Json {
    Json::List(coins.iter().map(coin).collect())
}

fn basic(allowance: feegrant::BasicAllowance) -> Json {
    Json::object([
        ("spend_limit", Some(coins(&allowance.spend_limit))),
        ("expiration", allowance.expiration.map(time)),
    ])
}

fn periodic(allowance: feegrant::PeriodicAllowance) -> Json {
    Json::object([
        ("basic", Some(basic(allowance.basic.unwrap_or_default()))),
        ("period", Some(nanoseconds(allowance.period.unwrap_or_default()))),
        ("period_spend_limit", Some(coins(&allowance.period_spend_limit))),
        ("period_can_spend", Some(coins(&allowance.period_can_spend))),
        ("period_reset", Some(time(allowance.period_reset.unwrap_or_default()))),
    ])
}

/// RFC 3339 in UTC, with as many places of a second as it needs. What lies outside of the years that it has is written as
/// its end: no chain lives there.
fn time(at: Timestamp) -> Json {
    const FIRST: i64 = -62_135_596_800; // 0001-01-01T00:00:00Z
    const LAST: i64 = 253_402_300_799; // 9999-12-31T23:59:59Z
    let seconds = at.seconds.clamp(FIRST, LAST);
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, date) = civil(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}");
    let nanos = format!("{:09}", at.nanos.clamp(0, 999_999_999));
    let places = nanos.trim_end_matches('0');
    if !places.is_empty() {
        text = format!("{text}.{places}");
    }
    Json::Text(text + "Z")
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar: years that begin in March have
/// their leap day last, and 400 of them are 146 097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let from_march = days + 719_468;
    let (era, day) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, date)
}

fn nanoseconds(duration: Duration) -> Json {
    Json::text(i128::from(duration.seconds) * 1_000_000_000 + i128::from(duration.nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_399, 0, "2000-02-28T23:59:59Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_709_164_800, 120_000_000, "2024-02-29T00:00:00.12Z"),
            (4_107_542_399, 1, "2100-02-28T23:59:59.000000001Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00Z"),
            (-1, 0, "1969-12-31T23:59:59Z"),
            (i64::MIN, 0, "0001-01-01T00:00:00Z"),
            (i64::MAX, 0, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(time(Timestamp { seconds, nanos }), Json::text(text));
        }
    }
}
