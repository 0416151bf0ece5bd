//! An account that sends transactions.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use trainyard_proto::address::Address;
use trainyard_proto::any::Any;

use crate::keys::PrivateKey;
use crate::rpc::{Client, Error, TxOutcome};
use crate::tx::{Draft, SignerData};

/// How often a transaction is signed anew because its sequence was taken.
const ATTEMPTS: u32 = 10;
/// How long a node that does not answer is asked again to take a signed transaction.
const BROADCAST_PATIENCE: Duration = Duration::from_secs(20);

/// Gas limit of a simulation, within what any block allows.
const SIMULATED_GAS: u64 = 50_000_000;

/// What gas costs: millionths of a utrain per unit, so `0.025utrain` is 25 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GasPrice(pub u64);

impl GasPrice {
    /// The fee for an amount of gas, rounded up, in utrain.
    #[must_use]
    pub fn fee(self, gas: u64) -> u64 {
        let micro = u128::from(gas) * u128::from(self.0);
        u64::try_from(micro.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Display for GasPrice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}utrain", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl std::str::FromStr for GasPrice {
    type Err = String;

    /// `0.025utrain`; the denomination may be left out.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("gas price {text:?} is not a number of utrain with at most six decimals, as 0.025utrain");
        let number = text.strip_suffix("utrain").unwrap_or(text);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 6 || !digits(whole) || !digits(fraction) {
            return Err(wrong());
        }
        let micro: u64 = format!("{fraction:0<6}").parse().map_err(|_| wrong())?;
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        whole
            .checked_mul(1_000_000)
            .and_then(|w| w.checked_add(micro))
            .map(Self)
            .ok_or_else(wrong)
    }
}

/// How much gas a transaction may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gas {
    /// What a simulation uses, times `percent` / 100.
    Auto {
        /// 150 allows half as much again.
        percent: u64,
    },
    /// This much.
    Limit(u64),
}

impl Gas {
    /// A limit for what a simulation used.
    #[must_use]
    pub fn with_reserve(used: u64, percent: u64) -> u64 {
        u64::try_from(u128::from(used) * u128::from(percent) / 100).unwrap_or(u64::MAX)
    }
}

/// What a signer pays per unit of gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price {
    /// What the node asks and a quarter on top, for the base fee may rise before a transaction is in a block; at least
    /// 0.025utrain, and never more than 1utrain.
    Auto,
    /// This much.
    Fixed(GasPrice),
}

/// What is paid where the node asks for less.
const USUAL_PRICE: GasPrice = GasPrice(25_000);
/// What no node is believed to ask.
const MOST_PRICE: GasPrice = GasPrice(1_000_000);

impl Price {
    /// The price, where the node asks for `asked`; none where that is too much.
    #[must_use]
    pub fn of(self, asked: GasPrice) -> Option<GasPrice> {
        match self {
            Self::Fixed(price) => Some(price),
            Self::Auto => Some(GasPrice(asked.0.saturating_add(asked.0 / 4)).max(USUAL_PRICE))
                .filter(|price| *price <= MOST_PRICE),
        }
    }

    /// The price where no node can be asked.
    #[must_use]
    pub fn offline(self) -> GasPrice {
        match self {
            Self::Fixed(price) => price,
            Self::Auto => USUAL_PRICE,
        }
    }
}

impl std::str::FromStr for Price {
    type Err = String;

    /// `auto`, or as [`GasPrice`].
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Fixed)
    }
}

/// How a signer pays.
#[derive(Clone, Copy, Debug)]
pub struct FeePolicy {
    /// The gas limit.
    pub gas: Gas,
    /// The price.
    pub price: Price,
}

impl Default for FeePolicy {
    fn default() -> Self {
        Self {
            gas: Gas::Auto { percent: 150 },
            price: Price::Auto,
        }
    }
}

/// Signs and sends for one account. Sends may run at the same time: sequences are handed out one by one.
#[derive(Debug)]
pub struct Signer {
    client: Client,
    key: PrivateKey,
    chain_id: String,
    fees: FeePolicy,
    timeout: Duration,
    /// Account number and next sequence, once known.
    account: Mutex<Option<(u64, u64)>>,
}

impl Signer {
    /// A signer of `key`'s account. `timeout` bounds the wait for a block.
    #[must_use]
    pub fn new(client: Client, key: PrivateKey, chain_id: &str, fees: FeePolicy, timeout: Duration) -> Self {
        Self {
            client,
            key,
            chain_id: chain_id.into(),
            fees,
            timeout,
            account: Mutex::new(None),
        }
    }

    /// The account's address.
    #[must_use]
    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// The key, for signatures other than on transactions.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The node it sends to.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends messages as one transaction and waits until it is in a block.
    ///
    /// # Errors
    /// It is refused, fails, or is not in a block in time.
    pub async fn send(&self, messages: Vec<Any>) -> Result<TxOutcome, Error> {
        self.send_draft(Draft {
            messages,
            ..Draft::default()
        })
        .await
    }

    /// Like [`Self::send`], with memo and timeout height. Fee and gas limit are filled in where they are 0.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_draft(&self, draft: Draft) -> Result<TxOutcome, Error> {
        let hash = self.broadcast(draft).await?;
        self.client.wait_tx(hash, self.timeout).await
    }

    /// The gas that a transaction would use.
    ///
    /// # Errors
    /// It would fail, or the node does not answer.
    pub async fn estimate(&self, draft: &Draft) -> Result<u64, Error> {
        let known = self.account.lock().await.as_ref().copied();
        let (_, sequence) = match known {
            Some(known) => known,
            None => self.ask_account().await?,
        };
        let mut draft = draft.clone();
        draft.gas_limit = draft.gas_limit.max(SIMULATED_GAS);
        self.simulate(&draft, sequence).await
    }

    /// Signs and hands over to the mempool, without waiting for a block; returns the hash.
    ///
    /// # Errors
    /// It is refused.
    pub async fn broadcast(&self, draft: Draft) -> Result<[u8; 32], Error> {
        // Held from the choice of a sequence until the node has the transaction, so that they arrive in order.
        let mut account = self.account.lock().await;
        let mut attempt = 1;
        loop {
            let (number, sequence) = match *account {
                Some(known) => known,
                None => self.ask_account().await?,
            };
            match self.try_broadcast(draft.clone(), number, sequence).await {
                Ok(hash) => {
                    *account = Some((number, sequence + 1));
                    return Ok(hash);
                }
                Err(e) => {
                    *account = None;
                    let taken = match &e {
                        // Another signer of this account sent the same; it counts for that one.
                        Error::Duplicate { .. } => Some(Some(sequence + 1)),
                        // What the node expects counts its mempool in, which a query does not.
                        other => other.wrong_sequence(),
                    };
                    let Some(next) = taken.filter(|_| attempt < ATTEMPTS) else {
                        return Err(e);
                    };
                    tracing::debug!(
                        sequence,
                        ?next,
                        attempt,
                        "the account's sequence was taken, signing anew"
                    );
                    *account = next.map(|sequence| (number, sequence));
                    attempt += 1;
                }
            }
        }
    }

    /// The bytes of a transaction with gas and fee filled in, signed for an account's number and sequence; what is not given is
    /// asked of the node.
    ///
    /// # Errors
    /// The account is not on the chain, the transaction would fail, or the node does not answer.
    pub async fn sign(&self, draft: Draft, number: Option<u64>, sequence: Option<u64>) -> Result<Vec<u8>, Error> {
        let (number, sequence) = match (number, sequence) {
            (Some(number), Some(sequence)) => (number, sequence),
            (number, sequence) => {
                let known = self.ask_account().await?;
                (number.unwrap_or(known.0), sequence.unwrap_or(known.1))
            }
        };
        self.complete(draft, number, sequence).await
    }

    async fn complete(&self, mut draft: Draft, account_number: u64, sequence: u64) -> Result<Vec<u8>, Error> {
        if draft.gas_limit == 0 {
            draft.gas_limit = match self.fees.gas {
                Gas::Limit(gas) => gas,
                Gas::Auto { percent } => {
                    draft.gas_limit = SIMULATED_GAS;
                    Gas::with_reserve(self.simulate(&draft, sequence).await?, percent)
                }
            };
        }
        if draft.fee == 0 {
            draft.fee = self.price().await?.fee(draft.gas_limit);
        }
        let data = SignerData {
            chain_id: &self.chain_id,
            account_number,
            sequence,
        };
        Ok(draft.sign(&self.key, data))
    }

    async fn try_broadcast(&self, draft: Draft, account_number: u64, sequence: u64) -> Result<[u8; 32], Error> {
        let tx = self.complete(draft, account_number, sequence).await?;
        let start = Instant::now();
        let mut pause = Duration::from_millis(100);
        let mut again = false;
        loop {
            // The same bytes again are harmless: mempool and sequence admit them once.
            match self.client.broadcast(tx.clone()).await {
                Err(e @ Error::Unreachable { .. }) if start.elapsed() < BROADCAST_PATIENCE => {
                    tracing::debug!(%e, "handing the transaction over again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                    again = true;
                }
                // It did arrive, and the answer got lost.
                Err(Error::Duplicate { .. }) if again => return Ok(crate::tx::hash(&tx)),
                other => return other,
            }
        }
    }

    /// The gas a transaction uses on the latest state, which knows nothing of our transactions still in the mempool:
    /// there its own sequence may be the right one.
    async fn simulate(&self, draft: &Draft, sequence: u64) -> Result<u64, Error> {
        let result = self.client.simulate(draft.unsigned(&self.key, sequence)).await;
        match result.as_ref().err().and_then(Error::wrong_sequence) {
            Some(Some(committed)) => self.client.simulate(draft.unsigned(&self.key, committed)).await,
            _ => result,
        }
    }

    async fn price(&self) -> Result<GasPrice, Error> {
        if let Price::Fixed(price) = self.fees.price {
            return Ok(price);
        }
        let asked = self.client.gas_price().await?;
        self.fees.price.of(asked).ok_or_else(|| Error::Price {
            url: self.client.url().into(),
            asked: asked.to_string(),
            most: MOST_PRICE.to_string(),
        })
    }

    async fn ask_account(&self) -> Result<(u64, u64), Error> {
        let account = self
            .client
            .account(&self.address())
            .await?
            .ok_or(Error::NoAccount(self.address()))?;
        Ok((account.account_number, account.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gas_prices_are_decimals_and_fees_round_up() {
        assert_eq!("0.025utrain".parse(), Ok(GasPrice(25_000)));
        assert_eq!("2".parse(), Ok(GasPrice(2_000_000)));
        assert_eq!("0".parse(), Ok(GasPrice(0)));
        assert_eq!(GasPrice(25_000).fee(100_001), 2501);
        assert_eq!(GasPrice(u64::MAX).fee(u64::MAX), u64::MAX);
        assert_eq!(GasPrice(1_000_100).to_string().parse(), Ok(GasPrice(1_000_100)));
        for bad in ["", "-1", ".5", "1e3", "0.0000001", "1uatom", "99999999999999999999"] {
            assert!(bad.parse::<GasPrice>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_price_follows_what_the_node_asks_within_reason() {
        let auto: Price = "auto".parse().unwrap();
        assert_eq!(auto, Price::Auto);
        assert_eq!(auto.of(GasPrice(100)), Some(GasPrice(25_000)));
        assert_eq!(auto.of(GasPrice(40_000)), Some(GasPrice(50_000)));
        assert_eq!(auto.of(GasPrice(800_000)), Some(GasPrice(1_000_000)));
        assert_eq!(auto.of(GasPrice(900_000)), None);
        assert_eq!(auto.of(GasPrice(u64::MAX)), None);
        let fixed: Price = "2utrain".parse().unwrap();
        assert_eq!(
            (fixed.of(GasPrice(u64::MAX)), fixed.offline()),
            (Some(GasPrice(2_000_000)), GasPrice(2_000_000))
        );
        assert!("automatic".parse::<Price>().is_err());
    }
}
