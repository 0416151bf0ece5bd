//! `trainyard genesis …`

use clap::Subcommand;
use color_eyre::eyre::Result;
use serde_json::json;
use trainyard_proto::coin::{self, CoinError};

use super::{Global, keys};
use crate::node::genesis::GenesisDoc;
use crate::node::gentx;
use crate::node::home::Home;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Give an account money at genesis
    AddAccount {
        /// An address, or the name of one of our keys
        account: String,
        /// How much, as 1000TRAIN or 2500utrain
        #[arg(value_parser = amount)]
        amount: u64,
    },
    /// Sign the transaction that makes this node a validator at genesis
    Gentx {
        /// Name of the key whose account stakes
        key: String,
        /// The stake, as 1000TRAIN
        #[arg(value_parser = amount)]
        amount: u64,
        /// Host at which the other validators reach this node [default: where it listens]
        #[arg(long)]
        host: Option<String>,
        /// The validator's name [default: the key's]
        #[arg(long)]
        moniker: Option<String>,
    },
    /// Put all gentxs of config/gentx/ into the genesis
    CollectGentxs,
    /// Build the genesis state as every node will, and show the first validators
    Validate,
}

fn amount(text: &str) -> Result<u64, CoinError> {
    coin::parse_human(text)
}

pub(super) fn run(global: &Global, command: Command) -> Result<()> {
    let home = Home::new(&global.home()?)?;
    home.expect()?;
    match command {
        Command::AddAccount { account, amount } => {
            let address = global.account(&account)?;
            let mut genesis = GenesisDoc::load(&home)?;
            genesis.add_account(&address, amount)?;
            genesis.save(&home)?;
            global.print(&json!({"address": address.to_string(), "amount": coin::show(amount)}))
        }
        Command::Gentx {
            key,
            amount,
            host,
            moniker,
        } => {
            let genesis = GenesisDoc::load(&home)?;
            let secret = keys::unlocked(global, &key)?.get(&key)?;
            let peer = gentx::peer(&home, host.as_deref())?;
            let tx = gentx::sign(&home, &genesis, &secret, amount, &moniker.unwrap_or(key), &peer)?;
            let file = gentx::save(&home, &tx)?;
            global.print(&json!({
                "validator": secret.address().operator(),
                "stake": coin::show(amount),
                "peer": peer,
                "file": file,
            }))
        }
        Command::CollectGentxs => {
            let count = gentx::collect(&home)?;
            global.print(&json!({"gentxs": count, "genesis": home.genesis()}))
        }
        Command::Validate => {
            let genesis = GenesisDoc::load(&home)?;
            let validators = genesis.check()?;
            let power: u64 = validators.iter().map(|v| v.power).sum();
            global.print(&json!({
                "chain_id": genesis.chain_id,
                "accounts": genesis.app_state.bank.balances.len(),
                "validators": validators.len(),
                "power": power,
            }))
        }
    }
}
