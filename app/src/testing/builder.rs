//! What a chain starts from.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use trainyard_modules::{bank::Balance, machine::Genesis};
use trainyard_proto::{
    any::{self, Any},
    coin,
    cosmos::{
        crypto::ed25519,
        staking::v1beta1::{Description, MsgCreateValidator},
    },
    prost::Message,
};

use super::{Chain, TRAIN, address, tx::Craft};
use crate::application::Config;

/// Name of the validator of a chain that names none.
pub const VALIDATOR: &str = "validator";
/// Its stake, utrain.
pub const VALIDATOR_STAKE: u64 = 100 * TRAIN;
/// What a validator holds beside its stake and pays its gentx from, utrain.
const VALIDATOR_CASH: u64 = TRAIN;

/// Funded accounts, validators with real signed gentxs, parameters.
#[derive(Clone)]
pub struct Builder {
    pub(super) chain_id: String,
    pub(super) config: Config,
    pub(super) restart_every: u64,
    pub(super) check_every: u64,
    genesis: Genesis,
    validators: Vec<(String, u64)>,
    funded: Vec<(String, u64)>,
    time: u64,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            chain_id: "trainyard-test-1".into(),
            config: Config::default(),
            restart_every: 25,
            check_every: 1,
            genesis: Genesis::default(),
            validators: Vec::new(),
            funded: Vec::new(),
            time: 1_700_000_000,
        }
    }
}

impl Builder {
    /// The chain's id.
    #[must_use]
    pub fn chain_id(mut self, chain_id: &str) -> Self {
        self.chain_id = chain_id.into();
        self
    }

    /// An account with `utrain`.
    #[must_use]
    pub fn fund(mut self, name: &str, utrain: u64) -> Self {
        self.funded.push((name.into(), utrain));
        self
    }

    /// Accounts with `utrain` each.
    #[must_use]
    pub fn fund_all<'a>(mut self, names: impl IntoIterator<Item = &'a str>, utrain: u64) -> Self {
        self.funded
            .extend(names.into_iter().map(|name| (name.to_string(), utrain)));
        self
    }

    /// A validator with a stake, utrain; it holds 1 TRAIN beside it. Without any there is one, [`VALIDATOR`].
    #[must_use]
    pub fn validator(mut self, name: &str, stake: u64) -> Self {
        self.validators.push((name.into(), stake));
        self
    }

    /// Blocks of an epoch.
    #[must_use]
    pub fn epoch_blocks(mut self, blocks: u64) -> Self {
        self.genesis.core.epoch_blocks = blocks;
        self
    }

    /// Changes parameters, or anything else of the genesis.
    #[must_use]
    pub fn genesis(mut self, change: impl FnOnce(&mut Genesis)) -> Self {
        change(&mut self.genesis);
        self
    }

    /// Least price of gas at the nodes' mempools, millionths of a utrain.
    #[must_use]
    pub fn min_gas_price_micro(mut self, price: u64) -> Self {
        self.config.min_gas_price_micro = price;
        self
    }

    /// Every `blocks` blocks the second node is dropped between `FinalizeBlock` and `Commit`; 0 never.
    #[must_use]
    pub fn restart_every(mut self, blocks: u64) -> Self {
        self.restart_every = blocks;
        self
    }

    /// Every `blocks` blocks the invariants are checked: their sums go over the whole state.
    #[must_use]
    pub fn check_every(mut self, blocks: u64) -> Self {
        self.check_every = blocks.max(1);
        self
    }

    /// The genesis as it stands, with balances and gentxs.
    #[must_use]
    pub fn to_genesis(&self) -> Genesis {
        let mut genesis = self.genesis.clone();
        let mut validators = self.validators.clone();
        if validators.is_empty() {
            validators.push((VALIDATOR.into(), VALIDATOR_STAKE));
        }
        let holders = validators.iter().map(|(name, stake)| (name, stake + VALIDATOR_CASH));
        let holders = holders.chain(self.funded.iter().map(|(name, utrain)| (name, *utrain)));
        let balances = holders.map(|(name, amount)| Balance {
            address: address(name).to_string(),
            amount,
        });
        genesis.bank.balances.splice(0..0, balances);
        for (number, (name, stake)) in (0..).zip(&validators) {
            let message = any::pack(&create_validator(name, *stake));
            let gentx = Craft::new(name, vec![message], &self.chain_id, number, 0).sign();
            genesis.genutil.gen_txs.push(STANDARD.encode(gentx));
        }
        genesis
    }

    /// The chain, before block 1.
    ///
    /// # Panics
    /// The genesis is refused.
    #[must_use]
    pub fn build(self) -> Chain {
        self.start(&self.to_genesis(), 1, self.time)
    }

    pub(super) fn start(&self, genesis: &Genesis, first_height: u64, time: u64) -> Chain {
        Chain::start(self, genesis, first_height, time)
    }
}

/// A message that makes `name` a validator with a stake of `utrain` and a consensus key that is a function of the name.
#[must_use]
pub fn create_validator(name: &str, utrain: u64) -> MsgCreateValidator {
    let key = consensus_key(name).to_vec();
    #[allow(deprecated)] // The delegator's address is deprecated in the SDK's message, and left empty here.
    MsgCreateValidator {
        description: Some(Description {
            moniker: name.into(),
            ..Description::default()
        }),
        commission: None,
        min_self_delegation: "1".into(),
        delegator_address: String::new(),
        validator_address: address(name).operator(),
        pubkey: Some(Any {
            type_url: "/cosmos.crypto.ed25519.PubKey".into(),
            value: ed25519::PubKey { key }.encode_to_vec(),
        }),
        value: Some(coin::utrain(utrain)),
    }
}

/// 32 bytes that stand for the consensus key of a name.
#[must_use]
pub fn consensus_key(name: &str) -> [u8; 32] {
    Sha256::digest(format!("trainyard/testing/consensus/{name}")).into()
}
