//! The genesis file: what all nodes of a chain start from.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tendermint::Time;
use trainyard_modules::auth::{self, ACCOUNTS};
use trainyard_modules::bank::{self, Balance};
use trainyard_modules::context::Block;
use trainyard_modules::gas::Gas;
use trainyard_modules::machine::{self, Genesis};
use trainyard_modules::staking::Power;
use trainyard_modules::state::{Empty, State};
use trainyard_modules::upgrade;
use trainyard_proto::address::Address;

use super::home::Home;
use super::{Error, read, write};

/// Bytes of a block, at most. Gas is bounded by the application.
const MAX_BLOCK_BYTES: u64 = 4 << 20;
/// Longest chain id that CometBFT takes, bytes.
const MAX_CHAIN_ID: usize = 50;

/// CometBFT's genesis document with our state in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisDoc {
    /// RFC 3339; no block is earlier.
    pub genesis_time: String,
    /// The chain's id.
    pub chain_id: String,
    /// Height of the first block, decimal.
    pub initial_height: String,
    /// CometBFT's consensus parameters.
    pub consensus_params: Value,
    /// Always empty: the application names the validators.
    #[serde(default)]
    pub validators: Vec<Value>,
    /// Always empty: `InitChain` answers it.
    #[serde(default)]
    pub app_hash: String,
    /// The state.
    pub app_state: Genesis,
}

impl GenesisDoc {
    /// The genesis of a new chain that starts now, without accounts or validators.
    ///
    /// # Errors
    /// The chain id is not one.
    pub fn new(chain_id: &str, epoch_blocks: Option<u64>) -> Result<Self, Error> {
        check_chain_id(chain_id)?;
        let mut app_state = Genesis::default();
        if let Some(blocks) = epoch_blocks {
            app_state.core.epoch_blocks = blocks;
        }
        Ok(Self {
            genesis_time: Time::now().to_rfc3339(),
            chain_id: chain_id.into(),
            initial_height: "1".into(),
            consensus_params: json!({
                "block": {"max_bytes": MAX_BLOCK_BYTES.to_string(), "max_gas": "-1"},
                "evidence": {"max_age_num_blocks": "100000", "max_age_duration": "172800000000000", "max_bytes": "1048576"},
                "validator": {"pub_key_types": ["ed25519"]},
                "version": {"app": "1"},
                "abci": {"vote_extensions_enable_height": "0"},
            }),
            validators: Vec::new(),
            app_hash: String::new(),
            app_state,
        })
    }

    /// Reads a home's genesis file.
    ///
    /// # Errors
    /// It is missing, or does not parse.
    pub fn load(home: &Home) -> Result<Self, Error> {
        let path = home.genesis();
        serde_json::from_str(&read(path.clone())?).map_err(|e| Error::Content {
            path,
            reason: e.to_string(),
        })
    }

    /// Checks that a home's genesis is of the chain of which the node has blocks up to `last`: CometBFT does not look at it
    /// again, so a node would go on with another chain than its operator believes.
    ///
    /// # Errors
    /// It is not, or does not say.
    pub fn expect_chain(home: &Home, last: &Block) -> Result<(), Error> {
        /// The state may be in a form that only the program could read which started the chain.
        #[derive(Deserialize)]
        struct Head {
            chain_id: String,
            initial_height: String,
        }
        let path = home.genesis();
        let Head {
            chain_id,
            initial_height,
        } = serde_json::from_str(&read(path.clone())?).map_err(|e| Error::Content {
            path,
            reason: e.to_string(),
        })?;
        if chain_id == last.chain_id && initial_height.parse().is_ok_and(|initial: u64| initial <= last.height) {
            return Ok(());
        }
        Err(Error::OtherChain {
            genesis: (chain_id, initial_height),
            blocks: (last.chain_id.clone(), last.height),
        })
    }

    /// Writes a home's genesis file.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn save(&self, home: &Home) -> Result<(), Error> {
        write(home.genesis(), &(self.to_json() + "\n"))
    }

    /// The document as indented JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_else(|_| unreachable!("all its maps have text keys"))
    }

    /// Gives an account money at genesis.
    ///
    /// # Errors
    /// It has some already.
    pub fn add_account(&mut self, address: &Address, amount: u64) -> Result<(), Error> {
        let balances = &mut self.app_state.bank.balances;
        let address = address.to_string();
        if let Some(found) = balances.iter().find(|b| b.address == address) {
            let has = found.amount;
            return Err(Error::Value(format!(
                "the genesis already gives {has} utrain to {address}"
            )));
        }
        balances.push(Balance { address, amount });
        Ok(())
    }

    /// The block before the first one: what the genesis state is built in.
    fn block(&self) -> Result<Block, Error> {
        let wrong = |what: &str, text: &str| Error::Value(format!("the genesis has the {what} {text:?}"));
        let initial: u64 = self
            .initial_height
            .parse()
            .map_err(|_| wrong("initial_height", &self.initial_height))?;
        let time = Time::parse_from_rfc3339(&self.genesis_time)
            .map_err(|_| wrong("genesis_time", &self.genesis_time))?
            .unix_timestamp();
        Ok(Block {
            chain_id: self.chain_id.clone(),
            height: initial.max(1) - 1,
            time: u64::try_from(time).unwrap_or(0),
            proposer: Vec::new(),
            hash: Vec::new(),
        })
    }

    /// Makes this the genesis of a chain that continues after a block whose state it holds, under another id if one is given.
    ///
    /// # Errors
    /// The chain id is not one.
    pub fn continue_after(&mut self, last: &Block, chain_id: Option<&str>) -> Result<(), Error> {
        if let Some(chain_id) = chain_id {
            check_chain_id(chain_id)?;
            self.chain_id = chain_id.into();
        }
        self.initial_height = last.height.saturating_add(1).to_string();
        if let Some(params) = &self.app_state.consensus.params {
            // What governance decided last, so that the document says no other.
            let age =
                i128::from(params.evidence_max_age_seconds) * 1_000_000_000 + i128::from(params.evidence_max_age_nanos);
            self.consensus_params["block"] =
                json!({"max_bytes": params.max_bytes.to_string(), "max_gas": params.max_gas.to_string()});
            self.consensus_params["evidence"] = json!({
                "max_age_num_blocks": params.evidence_max_age_blocks.to_string(),
                "max_age_duration": age.to_string(),
                "max_bytes": params.evidence_max_bytes.to_string(),
            });
        }
        let time = i64::try_from(last.time)
            .ok()
            .and_then(|t| Time::from_unix_timestamp(t, 0).ok());
        if let Some(time) = time {
            self.genesis_time = time.to_rfc3339();
        }
        Ok(())
    }

    /// Builds the state as every node will, and returns the first validators.
    ///
    /// # Errors
    /// What the state machine refuses.
    pub fn check(&self) -> Result<Vec<Power>, Error> {
        let mut state = State::new(&Empty, Gas::unlimited());
        let block = self.block()?;
        machine::init_genesis(&mut state, &block, &self.app_state, &upgrade::THIS, &mut Vec::new())
            .map_err(Error::Genesis)
    }

    /// Number and money that an account starts with.
    ///
    /// # Errors
    /// It is not in the genesis.
    pub fn account(&self, address: &Address) -> Result<(u64, u64), Error> {
        let mut state = State::new(&Empty, Gas::unlimited());
        let found = auth::init(&mut state, &self.app_state.auth)
            .and_then(|()| bank::init(&mut state, &self.app_state.bank))
            .and_then(|()| Ok((ACCOUNTS.get(&mut state, address)?, bank::balance(&mut state, address)?)))
            .map_err(Error::Genesis)?;
        match found {
            (Some(account), balance) => Ok((account.account_number, balance)),
            (None, _) => Err(Error::Value(format!(
                "{address} has no account in the genesis; add it with `trainyard genesis add-account`"
            ))),
        }
    }
}

/// Checks that a text can be a chain's id.
///
/// # Errors
/// It cannot.
pub fn check_chain_id(chain_id: &str) -> Result<(), Error> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if chain_id.is_empty() || chain_id.len() > MAX_CHAIN_ID || !chain_id.bytes().all(good) {
        return Err(Error::Value(format!(
            "chain id {chain_id:?} is not 1 to {MAX_CHAIN_ID} letters, digits, dots, dashes and underscores, as trainyard-1"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_numbered_in_their_order_and_given_once() {
        let mut genesis = GenesisDoc::new("trainyard-1", Some(20)).unwrap();
        let (first, second) = (Address([1; 20]), Address([2; 20]));
        genesis.add_account(&second, 7).unwrap();
        genesis.add_account(&first, 8).unwrap();
        assert_eq!(genesis.account(&second).unwrap(), (0, 7));
        assert_eq!(genesis.account(&first).unwrap(), (1, 8));
        assert!(
            genesis
                .add_account(&first, 9)
                .unwrap_err()
                .to_string()
                .contains("8 utrain")
        );
        assert!(genesis.account(&Address([3; 20])).is_err());
        assert_eq!(serde_json::from_str::<GenesisDoc>(&genesis.to_json()).unwrap(), genesis);
        // Without a validator there is no chain.
        assert!(genesis.check().unwrap_err().to_string().contains("validator"));
    }

    #[test]
    fn chain_ids_are_checked() {
        for wrong in ["", "a b", "chain/1", &"x".repeat(51)] {
            assert!(GenesisDoc::new(wrong, None).is_err(), "{wrong:?}");
        }
    }
}
