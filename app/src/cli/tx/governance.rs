//! Proposals and votes, from the command line.

use std::path::PathBuf;

use clap::Subcommand;
use color_eyre::eyre::{Result, WrapErr as _, bail, eyre};
use serde::Deserialize;
use serde_json::Value;
use trainyard_modules::governed::authority;
use trainyard_modules::machine;
use trainyard_proto::address::Address;
use trainyard_proto::any::{self, Any};
use trainyard_proto::coin::utrain;
use trainyard_proto::cosmos::gov::v1::{
    self as gov, MsgCancelProposal, MsgDeposit, MsgSubmitProposal, MsgVote, MsgVoteWeighted, WeightedVoteOption,
};
use trainyard_proto::cosmos::upgrade::v1beta1 as upgrade;

use super::amount;
use crate::api;

#[derive(Debug, Subcommand)]
pub(super) enum Gov {
    /// Propose what a JSON file says: title, summary, metadata, deposit, expedited, messages
    SubmitProposal {
        /// The file; each message has its type under "@type", and its authority may be left out
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Add to a proposal's deposit
    Deposit {
        /// The proposal's number
        id: u64,
        /// As 2.5TRAIN or 2500000utrain
        #[arg(value_parser = amount)]
        amount: u64,
    },
    /// Vote on a proposal
    Vote {
        /// The proposal's number
        id: u64,
        /// What to say
        option: VoteOption,
    },
    /// Divide a vote
    WeightedVote {
        /// The proposal's number
        id: u64,
        /// As yes=0.6,no=0.3,abstain=0.1
        #[arg(value_delimiter = ',', required = true, value_parser = weighted)]
        options: Vec<WeightedVoteOption>,
    },
    /// Withdraw an own proposal; part of its deposits is the price
    CancelProposal {
        /// The proposal's number
        id: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Upgrade {
    /// Propose to run another program from a height on
    SoftwareUpgrade {
        /// Its name, under which cosmovisor keeps it
        name: String,
        /// The first height that it executes
        #[arg(long, value_name = "HEIGHT")]
        upgrade_height: i64,
        /// Where to find it, or what else operators should know
        #[arg(long, default_value = "")]
        upgrade_info: String,
        #[command(flatten)]
        words: Words,
    },
    /// Propose to stay with the program that runs
    CancelSoftwareUpgrade {
        #[command(flatten)]
        words: Words,
    },
}

/// What voters read.
#[derive(Debug, clap::Args)]
pub(super) struct Words {
    /// In a few words
    #[arg(long)]
    title: String,
    /// Why, and what it does
    #[arg(long)]
    summary: String,
    /// As 100TRAIN
    #[arg(long, value_parser = amount)]
    deposit: u64,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum VoteOption {
    Yes,
    Abstain,
    No,
    NoWithVeto,
}

impl From<VoteOption> for gov::VoteOption {
    fn from(option: VoteOption) -> Self {
        match option {
            VoteOption::Yes => Self::Yes,
            VoteOption::Abstain => Self::Abstain,
            VoteOption::No => Self::No,
            VoteOption::NoWithVeto => Self::NoWithVeto,
        }
    }
}

fn weighted(text: &str) -> Result<WeightedVoteOption, String> {
    let (option, weight) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not an option with its weight, like yes=0.6"))?;
    let option = <VoteOption as clap::ValueEnum>::from_str(option.trim(), true)?;
    Ok(WeightedVoteOption {
        option: gov::VoteOption::from(option).into(),
        weight: weight.trim().into(),
    })
}

/// A proposal as people write it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    title: String,
    summary: String,
    #[serde(default)]
    metadata: String,
    /// As `100TRAIN`.
    deposit: String,
    #[serde(default)]
    expedited: bool,
    #[serde(default)]
    messages: Vec<Value>,
}

impl Gov {
    pub(super) fn message(self, sender: Address) -> Result<Any> {
        let voter = sender.to_string();
        Ok(match self {
            Self::SubmitProposal { file } => {
                let text = std::fs::read_to_string(&file).wrap_err_with(|| file.display().to_string())?;
                any::pack(&proposal(&text, sender).wrap_err_with(|| file.display().to_string())?)
            }
            Self::Deposit { id, amount } => any::pack(&MsgDeposit {
                proposal_id: id,
                depositor: voter,
                amount: vec![utrain(amount)],
            }),
            Self::Vote { id, option } => any::pack(&MsgVote {
                proposal_id: id,
                voter,
                option: gov::VoteOption::from(option).into(),
                metadata: String::new(),
            }),
            Self::WeightedVote { id, options } => any::pack(&MsgVoteWeighted {
                proposal_id: id,
                voter,
                options,
                metadata: String::new(),
            }),
            Self::CancelProposal { id } => any::pack(&MsgCancelProposal {
                proposal_id: id,
                proposer: voter,
            }),
        })
    }
}

impl Upgrade {
    pub(super) fn message(self, sender: Address) -> Any {
        let authority = authority().to_string();
        let (message, words) = match self {
            Self::SoftwareUpgrade {
                name,
                upgrade_height,
                upgrade_info,
                words,
            } => {
                let plan = upgrade::Plan {
                    name,
                    height: upgrade_height,
                    info: upgrade_info,
                    ..upgrade::Plan::default()
                };
                let plan = Some(plan);
                (any::pack(&upgrade::MsgSoftwareUpgrade { authority, plan }), words)
            }
            Self::CancelSoftwareUpgrade { words } => (any::pack(&upgrade::MsgCancelUpgrade { authority }), words),
        };
        any::pack(&MsgSubmitProposal {
            messages: vec![message],
            initial_deposit: vec![utrain(words.deposit)],
            proposer: sender.to_string(),
            metadata: String::new(),
            title: words.title,
            summary: words.summary,
            expedited: false,
        })
    }
}

fn proposal(text: &str, sender: Address) -> Result<MsgSubmitProposal> {
    let proposal: Proposal = serde_json::from_str(text)?;
    let messages = proposal.messages.into_iter().map(message).collect::<Result<_>>()?;
    Ok(MsgSubmitProposal {
        messages,
        initial_deposit: vec![utrain(amount(&proposal.deposit).map_err(|e| eyre!("deposit: {e}"))?)],
        proposer: sender.to_string(),
        metadata: proposal.metadata,
        title: proposal.title,
        summary: proposal.summary,
        expedited: proposal.expedited,
    })
}

/// A message that governance alone may send, from JSON with its type URL under `@type`.
fn message(mut json: Value) -> Result<Any> {
    let fields = json.as_object_mut().ok_or_else(|| eyre!("a message is no object"))?;
    let kind = fields.get("@type").and_then(Value::as_str).unwrap_or_default();
    if !machine::message_urls().any(|url| url == kind) {
        bail!("{kind:?} is no type of message that a proposal can carry");
    }
    let kind = kind.to_owned();
    fields
        .entry("authority")
        .or_insert_with(|| authority().to_string().into());
    api::read(&json).map_err(|e| eyre!("{kind}: {e}"))
}

#[cfg(test)]
mod tests {
    use trainyard_modules::slashing;
    use trainyard_proto::cosmos::distribution::v1beta1 as distribution;
    use trainyard_proto::cosmos::slashing::v1beta1 as slashing_wire;
    use trainyard_proto::prost::Message as _;

    use super::*;

    #[test]
    fn a_proposal_is_read_from_json() {
        let text = r#"{
            "title": "More rounds", "summary": "Models are larger now.", "deposit": "100TRAIN",
            "messages": [
                {"@type": "/trainyard.registry.v1.MsgUpdateMembers", "admit": ["train1x"]},
                {"@type": "/cosmos.distribution.v1beta1.MsgCommunityPoolSpend", "recipient": "train1y",
                 "amount": [{"denom": "utrain", "amount": "5"}]},
                {"@type": "/cosmos.slashing.v1beta1.MsgUpdateParams", "params": {
                    "signed_blocks_window": "100", "min_signed_per_window": "0.5", "downtime_jail_duration": "600s",
                    "slash_fraction_double_sign": "0.05", "slash_fraction_downtime": "0.01"}}
            ]
        }"#;
        let message = proposal(text, Address([7; 20])).unwrap();
        assert_eq!(message.initial_deposit, vec![utrain(100_000_000)]);
        let spend = distribution::MsgCommunityPoolSpend::decode(message.messages[1].value.as_slice()).unwrap();
        assert_eq!(
            (spend.authority, spend.amount),
            (authority().to_string(), vec![utrain(5)])
        );
        // As `trainyard query slashing params` prints them.
        let votes = slashing_wire::MsgUpdateParams::decode(message.messages[2].value.as_slice()).unwrap();
        assert_eq!(votes.params, Some(slashing::default_params().into()));
        for (wrong, words) in [
            (text.replace("MsgUpdateMembers", "MsgNone"), "no type of message"),
            (text.replace("\"admit\"", "\"admitt\""), "admitt"),
            (text.replace("summary", "sumary"), "sumary"),
            (text.replace("100TRAIN", "lots"), "deposit"),
        ] {
            let error = proposal(&wrong, Address([7; 20])).unwrap_err();
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }

    #[test]
    fn a_vote_can_be_divided() {
        let option = weighted("no_with_veto=0.25").unwrap();
        assert_eq!(
            (option.option(), option.weight.as_str()),
            (gov::VoteOption::NoWithVeto, "0.25")
        );
        assert!(weighted("yes").is_err() && weighted("maybe=1").is_err());
    }
}
