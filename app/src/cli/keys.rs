//! `trainyard keys …`

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use clap::Subcommand;
use color_eyre::eyre::{Result, WrapErr as _, bail, eyre};
use serde_json::json;
use trainyard_client::keys::{Backend, Error, KeyInfo, Keyring, PrivateKey, generate_mnemonic};
use trainyard_proto::address::Address;

use super::Global;
use super::tx::{Keys, public_key};

/// Holds the password of encrypted keys where nobody can be asked.
pub(super) const PASSWORD_VARIABLE: &str = "TRAINYARD_KEYRING_PASSWORD";
/// Holds the password of an exported key.
const EXPORT_VARIABLE: &str = "TRAINYARD_EXPORT_PASSWORD";
/// Largest text read from a file or from stdin, bytes.
const MAX_TEXT: u64 = 16 << 10;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a key and show its mnemonic once, or recover one from its mnemonic
    Add {
        /// Its name
        name: String,
        /// Read the mnemonic instead of creating one
        #[arg(long)]
        recover: bool,
    },
    /// List all keys
    List,
    /// Show one key
    Show {
        /// Its name
        name: String,
        /// Print the address only
        #[arg(long, short)]
        address: bool,
        /// Which of its addresses that is: the account's, the validator operator's
        #[arg(long, value_name = "KIND", default_value = "acc", requires = "address")]
        bech: Bech,
    },
    /// Show an address in all its forms
    Parse {
        /// An address of an account, an operator or a consensus key, or 40 hex digits
        address: String,
    },
    /// Show the account that several keys share
    Multisig {
        /// Keys, by name or as public keys of 66 hex digits
        #[arg(required = true)]
        keys: Vec<String>,
        /// How many of them must sign
        #[arg(long)]
        threshold: u32,
        /// Keep the keys in the order given, instead of that of their addresses
        #[arg(long)]
        nosort: bool,
    },
    /// Delete a key for good
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Give a key another name
    Rename {
        /// Its name
        from: String,
        /// The new one
        to: String,
    },
    /// Print a key, encrypted with a password of its own
    Export {
        /// Its name
        name: String,
    },
    /// Store an exported key, or a private key of 64 hex digits
    Import {
        /// Its name here
        name: String,
        /// The file; - is stdin
        file: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Bech {
    Acc,
    Val,
}

pub(super) fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::Add { name, recover } => add(global, &name, recover),
        Command::List => {
            let keys: Vec<_> = global.keyring()?.list()?.iter().map(view).collect();
            global.print(&keys)
        }
        Command::Show { name, address, bech } => {
            let key = global.keyring()?.show(&name)?;
            match bech {
                Bech::Acc if address => println!("{}", key.address),
                Bech::Val if address => println!("{}", key.address.operator()),
                _ => return global.print(&view(&key)),
            }
            Ok(())
        }
        Command::Parse { address } => {
            let address = parse(&address)?;
            global.print(&json!({
                "bytes": hex::encode_upper(address.0),
                "account": address.to_string(),
                "operator": address.operator(),
                "consensus": address.consensus(),
            }))
        }
        Command::Multisig {
            keys,
            threshold,
            nosort,
        } => multisig(global, &keys, threshold, !nosort),
        Command::Delete { name, yes } => {
            let key = global.keyring()?.show(&name)?;
            if !yes && !confirm(&format!("Delete key {name:?} of {} for good?", key.address))? {
                bail!("not deleted");
            }
            Ok(global.keyring()?.delete(&name)?)
        }
        Command::Rename { from, to } => Ok(global.keyring()?.rename(&from, &to)?),
        Command::Export { name } => {
            let keyring = unlocked(global, &name)?;
            keyring.get(&name)?;
            let password = new_password(EXPORT_VARIABLE, "Password for the export")?;
            println!("{}", keyring.export(&name, &password)?);
            Ok(())
        }
        Command::Import { name, file } => import(global, &name, &file),
    }
}

/// An address in whichever form.
fn parse(text: &str) -> Result<Address> {
    let mut bytes = [0; 20];
    if hex::decode_to_slice(text.trim_start_matches("0x"), &mut bytes).is_ok() {
        return Ok(Address(bytes));
    }
    let found = text.parse::<Address>().or_else(|e| {
        Address::parse_operator(text)
            .or_else(|_| Address::parse_consensus(text))
            .map_err(|_| e)
    });
    found.wrap_err_with(|| format!("{text:?} is neither 40 hex digits nor an address of this chain"))
}

fn add(global: &Global, name: &str, recover: bool) -> Result<()> {
    if global.keyring()?.show(name).is_ok() {
        return Err(Error::Exists(name.into()).into());
    }
    let mnemonic = if recover {
        ask_secret("Mnemonic", std::io::stdin().is_terminal())?.into()
    } else {
        generate_mnemonic()
    };
    let key = PrivateKey::from_mnemonic(&mnemonic)?;
    let info = locked(global)?.add(name, &key)?;
    let mut result = view(&info);
    if !recover {
        eprintln!("Write this mnemonic down: it is shown once, and whoever has it has the account.");
        result["mnemonic"] = json!(*mnemonic);
    }
    global.print(&result)
}

/// The account of several keys. Whoever signs for it needs what this prints, for it is kept nowhere.
fn multisig(global: &Global, keys: &[String], threshold: u32, sort: bool) -> Result<()> {
    let keyring = global.keyring()?;
    let mut public_keys = Vec::new();
    for key in keys {
        public_keys.push(match keyring.show(key) {
            Ok(known) => known.public_key,
            Err(_) => public_key(key)?,
        });
    }
    if sort {
        public_keys.sort_by_key(Address::from_public_key);
    }
    let mut keys = Keys {
        address: String::new(),
        threshold,
        public_keys: public_keys.iter().map(hex::encode).collect(),
    };
    keys.address = keys.public_key()?.address().to_string();
    global.print(&keys)
}

/// The name of a key that is given by name or address.
pub(super) fn name_of(global: &Global, key: &str) -> Result<String> {
    let mut keys = global.keyring()?.list()?.into_iter();
    let known = keys.find(|known| known.address.to_string() == *key);
    Ok(known.map_or_else(|| key.to_owned(), |known| known.name))
}

fn import(global: &Global, name: &str, file: &std::path::Path) -> Result<()> {
    let mut text = String::new();
    let source: Box<dyn std::io::Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).wrap_err_with(|| file.display().to_string())?)
    };
    source
        .take(MAX_TEXT)
        .read_to_string(&mut text)
        .wrap_err_with(|| file.display().to_string())?;
    let info = if text.trim_start().starts_with('{') {
        let password = secret(EXPORT_VARIABLE, "Password of the export")?;
        locked(global)?.import(name, &text, &password)?
    } else {
        locked(global)?.add(name, &PrivateKey::from_hex(&text)?)?
    };
    global.print(&view(&info))
}

fn view(key: &KeyInfo) -> serde_json::Value {
    json!({
        "name": key.name,
        "address": key.address.to_string(),
        "operator": key.address.operator(),
        "public_key": hex::encode(key.public_key),
    })
}

/// The keyring, ready to open the key `name`.
pub(super) fn unlocked(global: &Global, name: &str) -> Result<Keyring> {
    if global.backend() == Backend::Test {
        return global.keyring();
    }
    // No password is asked for a key that does not exist.
    global.keyring()?.show(name)?;
    let password = secret(PASSWORD_VARIABLE, &format!("Password of key {name:?}"))?;
    global.keyring_with(Some(password))
}

/// The keyring, ready to store a key.
fn locked(global: &Global) -> Result<Keyring> {
    match global.backend() {
        Backend::Test => global.keyring(),
        Backend::File => global.keyring_with(Some(new_password(PASSWORD_VARIABLE, "Password for the new key")?)),
    }
}

fn secret(variable: &str, question: &str) -> Result<String> {
    match std::env::var(variable) {
        Ok(password) => Ok(password),
        Err(_) if std::io::stdin().is_terminal() => ask_secret(question, true),
        Err(_) => Err(eyre!("{question}: there is no terminal to ask at; set {variable}")),
    }
}

fn new_password(variable: &str, question: &str) -> Result<String> {
    let password = secret(variable, question)?;
    if std::env::var_os(variable).is_none() && ask_secret("Once more", true)? != password {
        bail!("the two passwords differ");
    }
    Ok(password)
}

/// Reads a line: without echo at a terminal, else from stdin.
fn ask_secret(question: &str, terminal: bool) -> Result<String> {
    if terminal {
        return rpassword::prompt_password(format!("{question}: ")).wrap_err("cannot read from the terminal");
    }
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::stdin().lock().take(MAX_TEXT), &mut line).wrap_err("stdin")?;
    Ok(line)
}

/// Asks a yes-or-no question; where there is no terminal the answer is yes, for whoever runs a script meant it.
pub(super) fn confirm(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    eprint!("{question} [y/N] ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).wrap_err("stdin")?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
