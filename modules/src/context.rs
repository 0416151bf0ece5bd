//! What a handler sees: the state, the block it runs in, and the events it leaves.

use std::{collections::BTreeMap, fmt};

use sha2::{Digest, Sha256};
use trainyard_proto::{
    address::Address,
    coin::DENOM,
    tendermint_proto::{
        google::protobuf::{Duration, Timestamp},
        v0_38::abci,
    },
};

use crate::{
    error::Error,
    state::{Item, State},
};

/// The block being executed. Everything here is agreed by consensus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Chain id.
    pub chain_id: String,
    /// Height, from 1.
    pub height: u64,
    /// Seconds since the Unix epoch, of the header (BFT time).
    pub time: u64,
    /// Consensus address of the proposer (20 bytes); empty during genesis.
    pub proposer: Vec<u8>,
    /// Hash of the block (32 bytes); empty during genesis.
    pub hash: Vec<u8>,
}

/// What an attribute says. Most events of a check are read by nobody, so nothing is written out before somebody reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// An account, shown as bech32.
    Account(Address),
    /// An amount, shown with its denomination.
    Utrain(u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Account(address) => address.fmt(f),
            Self::Utrain(amount) => write!(f, "{amount}{DENOM}"),
        }
    }
}

macro_rules! value {
    ($($type:ty => $value:expr),* $(,)?) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                $value(value)
            }
        }
    )*};
}
value! {
    String => Self::Text,
    &String => |text: &String| Self::Text(text.clone()),
    &str => |text: &str| Self::Text(text.to_owned()),
    bool => |value: bool| Self::Text(value.to_string()),
    u64 => Self::Number,
    i64 => |number: i64| Self::Text(number.to_string()),
    u32 => |number: u32| Self::Number(number.into()),
    usize => |number: usize| Self::Number(number as u64),
    Address => Self::Account,
    &Address => |address: &Address| Self::Account(*address),
}

/// Texts of addresses: an event after the other names the same few accounts.
#[derive(Debug, Default)]
pub struct Texts(BTreeMap<Address, String>);

impl Texts {
    fn of(&mut self, address: &Address) -> &str {
        self.0.entry(*address).or_insert_with(|| address.to_string())
    }
}

/// An event of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Kind: the SDK's name where the SDK has one (`transfer`, `coin_spent`, …).
    pub kind: &'static str,
    /// Attributes in order.
    pub attributes: Vec<(&'static str, Value)>,
}

impl Event {
    /// An event without attributes.
    #[must_use]
    pub const fn new(kind: &'static str) -> Self {
        Self {
            kind,
            attributes: Vec::new(),
        }
    }

    /// The event that stands before those of a message: its type, who sent it, and the module that handles it.
    #[must_use]
    pub fn of_message(type_url: &str, sender: &Address) -> Self {
        // `/cosmos.bank.v1beta1.MsgSend` is the bank's.
        let module = type_url.split('.').nth(1).unwrap_or_default();
        Self::new("message")
            .with("action", type_url)
            .with("sender", sender)
            .with("module", module)
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((key, value.into()));
        self
    }

    /// The event as CometBFT and its clients have it: attributes may be searched for.
    #[must_use]
    pub fn to_abci(&self, texts: &mut Texts) -> abci::Event {
        let attributes = self.attributes.iter().map(|(key, value)| abci::EventAttribute {
            key: (*key).to_owned(),
            value: match value {
                Value::Account(address) => texts.of(address).to_owned(),
                other => other.to_string(),
            },
            index: true,
        });
        abci::Event {
            r#type: self.kind.to_owned(),
            attributes: attributes.collect(),
        }
    }

    /// The first value of an attribute.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        self.attributes
            .iter()
            .find(|(k, _)| *k == key)
            .map(|(_, v)| v.to_string())
    }
}

/// What a message, or the begin or end of a block, works with.
pub struct Ctx<'a, 'b> {
    /// The state; its meter is what accesses are charged to.
    pub state: &'a mut State<'b>,
    /// The block.
    pub block: &'a Block,
    /// Events so far.
    pub events: &'a mut Vec<Event>,
}

impl Ctx<'_, '_> {
    /// Leaves an event.
    pub fn emit(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// Unix seconds as the SDK's messages carry them.
#[must_use]
pub fn timestamp(seconds: u64) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: 0,
    }
}

/// Unix seconds as the SDK writes times in events: `2026-01-31T12:00:00Z`. For years up to 9999.
#[must_use]
pub fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Counted from 1 March of the year 0, so that leap days come last (H. Hinnant, "chrono-compatible low-level date algorithms").
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Whole Unix seconds of a timestamp; none, and what lies before 1970, is 0.
#[must_use]
pub fn unix_seconds(timestamp: Option<&Timestamp>) -> u64 {
    timestamp.map_or(0, |t| u64::try_from(t.seconds).unwrap_or(0))
}

/// Whole seconds of a duration; none, and negative ones, are 0.
#[must_use]
pub fn whole_seconds(duration: Option<&Duration>) -> u64 {
    duration.map_or(0, |d| u64::try_from(d.seconds).unwrap_or(0))
}

/// Blocks of an epoch.
pub const EPOCH_BLOCKS: Item<u64> = Item::new("core/epoch_blocks");
/// Number of the epoch of the next block.
pub const EPOCH: Item<u64> = Item::new("core/epoch");
/// Its first height.
pub const EPOCH_FIRST: Item<u64> = Item::new("core/epoch_first");
/// The beacon after the last block (32 bytes).
const BEACON: Item<Vec<u8>> = Item::new("core/beacon");

/// The epoch that goes on. Numbers rise by one from epoch to epoch, however long each of them was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Its number, from 0.
    pub number: u64,
    /// Its first height.
    pub first: u64,
    /// Blocks that it has, unless governance changes that before its end.
    pub blocks: u64,
}

impl Epoch {
    /// The epoch of the block that is executed, or, between two blocks, of the next.
    ///
    /// # Errors
    /// The store failed.
    pub fn read(state: &mut State<'_>) -> Result<Self, Error> {
        Ok(Self {
            number: EPOCH.get(state)?,
            first: EPOCH_FIRST.get(state)?,
            blocks: EPOCH_BLOCKS.get(state)?.max(1),
        })
    }

    /// Its last height, if it stays as long as it is.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first.saturating_add(self.blocks - 1)
    }

    /// The first height of the epoch `number`, if all epochs from here to there are as long as this one.
    #[must_use]
    pub fn first_of(&self, number: u64) -> u64 {
        let way = number.abs_diff(self.number).saturating_mul(self.blocks);
        if number < self.number {
            self.first.saturating_sub(way)
        } else {
            self.first.saturating_add(way)
        }
    }

    /// Ends it with the block of `height`: the next one begins with the block after it.
    ///
    /// # Errors
    /// The store failed.
    pub fn end(&self, state: &mut State<'_>, height: u64) -> Result<(), Error> {
        EPOCH.set(state, &self.number.saturating_add(1))?;
        EPOCH_FIRST.set(state, &height.saturating_add(1))
    }
}

/// Moves the beacon on by one block: `β_h = H(tag ‖ β_{h-1} ‖ h ‖ block hash)`.
///
/// A hash chain over block hashes: unknown before the block, but a proposer may try several blocks. The VRF of
/// PROTOCOL §4 takes the block hash's place here.
///
/// # Errors
/// The store failed.
pub fn advance_beacon(ctx: &mut Ctx<'_, '_>) -> Result<(), Error> {
    let next = Sha256::new()
        .chain_update(b"trainyard/beacon/v1\0")
        .chain_update(BEACON.get(ctx.state)?)
        .chain_update(ctx.block.height.to_be_bytes())
        .chain_update(&ctx.block.hash)
        .finalize();
    BEACON.set(ctx.state, &next.to_vec())
}

/// The beacon of the current block.
///
/// # Errors
/// The store failed.
pub fn beacon(state: &mut State<'_>) -> Result<[u8; 32], Error> {
    Ok(<[u8; 32]>::try_from(BEACON.get(state)?).unwrap_or_default())
}

/// Sets the beacon, at genesis.
///
/// # Errors
/// Out of gas.
pub fn set_beacon(state: &mut State<'_>, value: [u8; 32]) -> Result<(), Error> {
    BEACON.set(state, &value.to_vec())
}

/// A lot, and how it fell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lot<T> {
    /// Who was drawn.
    pub winner: T,
    /// Its weight.
    pub weight: u64,
    /// Number of the lot in the draw, from 0.
    pub turn: u64,
    /// Candidates left in this turn.
    pub candidates: usize,
    /// Their weights.
    pub total: u64,
    /// Weights of those before the winner.
    pub before: u64,
}

/// Draws up to `count` different candidates by lot, each weighted by its bond, from the beacon and a domain.
///
/// Repeated draws without replacement: candidate *i* is drawn with probability weight *i* / remaining weight, where its
/// weight, laid out behind those before it, has the [`ticket`] of the turn. Weights are bonds, whose sum is below the supply.
#[must_use]
pub fn draw<T: Clone>(beacon: &[u8; 32], domain: &[u8], candidates: &[(T, u64)], count: usize) -> Vec<Lot<T>> {
    let mut left: Vec<(T, u64)> = candidates.iter().filter(|(_, weight)| *weight > 0).cloned().collect();
    let mut drawn = Vec::new();
    for turn in 0u64.. {
        let total = left.iter().fold(0u64, |sum, (_, weight)| sum.saturating_add(*weight));
        if drawn.len() == count || total == 0 {
            break;
        }
        let ticket = ticket(beacon, domain, turn, total);
        let mut before = 0u64;
        let winner = left.iter().position(|(_, weight)| {
            let hit = ticket - before < *weight;
            if !hit {
                before = before.saturating_add(*weight);
            }
            hit
        });
        let Some(at) = winner else { break };
        let candidates = left.len();
        let (winner, weight) = left.remove(at);
        drawn.push(Lot {
            winner,
            weight,
            turn,
            candidates,
            total,
            before,
        });
    }
    drawn
}

/// The number that a lot falls on, below `total`: from 128 bits of SHA-256, whose bias over sums below 2⁶³ is under 2⁻⁶⁴.
#[must_use]
pub fn ticket(beacon: &[u8], domain: &[u8], turn: u64, total: u64) -> u64 {
    let hash = Sha256::new()
        .chain_update(b"trainyard/lot/v1\0")
        .chain_update(beacon)
        .chain_update(domain)
        .chain_update(turn.to_be_bytes())
        .finalize();
    let mut wide = [0; 16];
    wide.copy_from_slice(&hash[..16]);
    let below = u128::from_be_bytes(wide) % u128::from(total.max(1));
    u64::try_from(below).unwrap_or(u64::MAX)
}

/// A message that a module handles: its checks, its signer and its effect, in one place.
pub trait Handler: prost::Message + prost::Name + Default {
    /// What a successful execution answers.
    type Response: prost::Message + prost::Name + Default;

    /// The account that must sign.
    ///
    /// # Errors
    /// The address in the message is none.
    fn signer(&self) -> Result<Address, Error>;

    /// Checks that need no state.
    ///
    /// # Errors
    /// What is wrong with the message.
    fn validate(&self) -> Result<(), Error>;

    /// Whom it pays, for those who read ahead: what it reads of that account is then read before its turn comes, in parallel.
    fn receiver(&self) -> Option<Address> {
        None
    }

    /// The effect.
    ///
    /// # Errors
    /// Why it is refused; the state is then as before.
    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<Self::Response, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_sdk_writes_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn a_message_is_its_modules() {
        let sender = Address([1; 20]);
        let event = Event::of_message("/trainyard.job.v1.MsgPostJob", &sender);
        assert_eq!(event.get("module").as_deref(), Some("job"));
        assert_eq!(event.get("sender"), Some(sender.to_string()));
    }
}
