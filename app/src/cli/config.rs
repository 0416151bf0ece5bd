//! `trainyard config get|set|view`: what a user does not want to say with every command, kept in `config/client.toml` of the home.
//!
//! A flag wins over a variable of the environment, that over the file, and that over what stands in the help.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use color_eyre::eyre::{Result, WrapErr as _, ensure, eyre};
use serde_json::{Map, Value, json};
use toml_edit::{DocumentMut, Item, value};

use super::{Format, Global, KeyringBackend};
use crate::node::genesis::check_chain_id;

/// The file in the home.
const FILE: &str = "config/client.toml";

/// What a new file begins with.
const HEAD: &str = "# What the commands of this home's user take for granted: trainyard config set <name> <value>.\n";

/// A setting: its name, which is the flag's too, its short flag and its variable.
struct Setting {
    name: &'static str,
    short: Option<&'static str>,
    variable: &'static str,
    /// Commands that take it from the file; none: all.
    only: &'static [&'static str],
}

static SETTINGS: &[Setting] = &[
    Setting {
        name: "node",
        short: None,
        variable: "TRAINYARD_NODE",
        only: &[],
    },
    Setting {
        name: "chain-id",
        short: None,
        variable: "TRAINYARD_CHAIN_ID",
        // Others name a chain that is to be made.
        only: &["tx", "job"],
    },
    Setting {
        name: "keyring-backend",
        short: None,
        variable: "TRAINYARD_KEYRING_BACKEND",
        only: &[],
    },
    Setting {
        name: "output",
        short: Some("-o"),
        variable: "TRAINYARD_OUTPUT",
        only: &[],
    },
];

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a setting
    Get {
        /// node, chain-id, keyring-backend or output; the word client before it is passed over
        #[arg(required = true, num_args = 1..=2, value_name = "NAME")]
        name: Vec<String>,
    },
    /// Change a setting
    Set {
        /// Its name and its value; an empty value forgets it
        #[arg(required = true, num_args = 2..=3, value_names = ["NAME", "VALUE"])]
        setting: Vec<String>,
    },
    /// Print all settings
    View {
        /// The word client is passed over
        #[arg(num_args = 0..=1, hide = true)]
        what: Vec<String>,
    },
}

pub(super) fn run(global: &Global, command: Command) -> Result<()> {
    let path = global.home()?.join(FILE);
    let mut file = read(&path)?;
    // The Cosmos SDK has several files and wants to be told which.
    let plain = |mut words: Vec<String>| {
        if words.len() > 1 && words[0] == "client" {
            words.remove(0);
        }
        words
    };
    match command {
        Command::Get { name } => {
            let name = plain(name).remove(0);
            check_name(&name)?;
            global.print(&json!({ name.as_str(): text(&file, &name) }))
        }
        Command::Set { setting } => {
            let words = plain(setting);
            let [name, new] =
                <[String; 2]>::try_from(words).map_err(|words| eyre!("{words:?} is no name and one value"))?;
            check(&name, &new)?;
            if new.is_empty() {
                file.remove(&name);
            } else {
                file[&name] = value(&new);
            }
            let folder = path.parent().unwrap_or(&path);
            let text = file.to_string();
            let text = if text.starts_with('#') {
                text
            } else {
                HEAD.to_owned() + &text
            };
            std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::write(&path, text))
                .wrap_err_with(|| path.display().to_string())?;
            global.print(&json!({ name.as_str(): new }))
        }
        Command::View { .. } => {
            let all = SETTINGS.iter().map(|s| (s.name.to_owned(), text(&file, s.name).into()));
            let mut all: Map<String, Value> = all.collect();
            all.insert("file".into(), path.display().to_string().into());
            global.print(&all)
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    let known: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    ensure!(
        known.contains(&name),
        "there is no setting {name:?}, expected one of {}",
        known.join(", ")
    );
    Ok(())
}

fn check(name: &str, new: &str) -> Result<()> {
    check_name(name)?;
    if new.is_empty() {
        return Ok(());
    }
    let one_of = |good: bool, which: &str| {
        ensure!(good, "{name} cannot be {new:?}, expected {which}");
        Ok(())
    };
    match name {
        "output" => one_of(Format::from_str(new, false).is_ok(), "text or json"),
        "keyring-backend" => one_of(KeyringBackend::from_str(new, false).is_ok(), "file or test"),
        "chain-id" => Ok(check_chain_id(new)?),
        _ => {
            trainyard_client::rpc::Client::new(new)?;
            Ok(())
        }
    }
}

fn read(path: &Path) -> Result<DocumentMut> {
    match std::fs::read_to_string(path) {
        Ok(text) => text.parse().wrap_err_with(|| path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(DocumentMut::new()),
        Err(error) => Err(error).wrap_err_with(|| path.display().to_string()),
    }
}

fn text(file: &DocumentMut, name: &str) -> String {
    file.get(name).and_then(Item::as_str).unwrap_or_default().to_owned()
}

/// The arguments, with what the file says where neither they nor the environment do. `variable` looks the environment up.
///
/// # Errors
/// The file cannot be read, or says what no flag takes.
pub(super) fn with_defaults(
    mut given: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<OsString>> {
    let words: Vec<&str> = given
        .iter()
        .skip(1)
        .map(|word| word.to_str().unwrap_or_default())
        .collect();
    let has = |flag: &str| {
        let with_value = format!("{flag}=");
        words.iter().any(|word| *word == flag || word.starts_with(&with_value))
    };
    let home = words
        .iter()
        .enumerate()
        .find_map(|(index, word)| match word.strip_prefix("--home") {
            Some("") => given.get(index + 2).map(PathBuf::from),
            Some(rest) => rest.strip_prefix('=').map(PathBuf::from),
            None => None,
        });
    let home = home.or_else(|| variable("TRAINYARD_HOME").map(PathBuf::from));
    let home = home.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".trainyard")));
    // A node's own commands name what they work on, and `config` must be able to mend the file.
    let own = ["start", "config", super::CHILD_COMMAND];
    let Some(home) = home.filter(|_| !words.iter().any(|word| own.contains(word))) else {
        return Ok(given);
    };
    let file = read(&home.join(FILE))?;
    let mut more = Vec::new();
    for setting in SETTINGS {
        let new = text(&file, setting.name);
        let flag = format!("--{}", setting.name);
        let said = has(&flag)
            || setting
                .short
                .is_some_and(|short| words.iter().any(|word| word.starts_with(short)));
        let wanted = setting.only.is_empty() || words.iter().any(|word| setting.only.contains(word));
        if !new.is_empty() && !said && wanted && variable(setting.variable).is_none() {
            check(setting.name, &new).wrap_err_with(|| home.join(FILE).display().to_string())?;
            more.push(OsString::from(format!("{flag}={new}")));
        }
    }
    if !given.is_empty() {
        given.splice(1..1, more);
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_variables_win_over_the_file() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("config")).unwrap();
        let file = "node = \"http://10.0.0.1:26657\"\nchain-id = \"trainyard-1\"\noutput = \"json\"\n";
        std::fs::write(home.path().join(FILE), file).unwrap();
        let home = home.path().display().to_string();
        let full = |words: &str, set: Option<&str>| {
            let given = words.split(' ').map(OsString::from).collect();
            let variable = |name: &str| match name {
                "TRAINYARD_HOME" => Some(home.clone().into()),
                name => set.filter(|set| *set == name).map(OsString::from),
            };
            let full = with_defaults(given, variable).unwrap();
            full.iter()
                .map(|word| word.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let (node, chain, json) = (
            "--node=http://10.0.0.1:26657",
            "--chain-id=trainyard-1",
            "--output=json",
        );
        let plain = "trainyard tx bank send a b 5TRAIN";
        assert_eq!(
            full(plain, None),
            format!("trainyard {node} {chain} {json} tx bank send a b 5TRAIN")
        );
        assert_eq!(
            full("trainyard status -o text", None),
            format!("trainyard {node} status -o text")
        );
        assert_eq!(
            full("trainyard status --node=x -ojson", None),
            "trainyard status --node=x -ojson"
        );
        assert_eq!(
            full("trainyard status", Some("TRAINYARD_NODE")),
            format!("trainyard {json} status")
        );
        assert_eq!(
            full("trainyard init me", None),
            format!("trainyard {node} {json} init me")
        );
        assert_eq!(
            full("trainyard start --home elsewhere", None),
            "trainyard start --home elsewhere"
        );
        assert_eq!(
            full("trainyard status --home /nowhere", None),
            "trainyard status --home /nowhere"
        );
    }

    #[test]
    fn values_are_checked_when_they_are_set() {
        assert!(check("output", "json").is_ok() && check("node", "").is_ok());
        for (name, new, said) in [
            ("output", "xml", "text or json"),
            ("keyring-backend", "os", "file or test"),
            ("node", "10.0.0.1", "it should look like"),
            ("colour", "red", "expected one of node, chain-id"),
        ] {
            let error = format!("{:#}", check(name, new).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
    }
}
