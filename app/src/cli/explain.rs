//! `trainyard explain …`: why things stand as they stand. The chain answers from its state, in sentences.

use clap::Subcommand;
use color_eyre::eyre::Result;
use serde_json::json;
use trainyard_proto::explain::{
    QueryAccountRequest, QueryAccountResponse, QueryNodeRequest, QueryNodeResponse, QueryValidatorRequest,
    QueryValidatorResponse,
};
use trainyard_proto::job::{QueryExplainRequest, QueryExplainResponse};

use super::Global;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Why a job stands where it stands; or why an account was paid, dropped, drawn, or cannot join
    Job {
        /// The job's number
        job: u64,
        /// An address or a key's name
        account: Option<String>,
    },
    /// Why a node is jailed, penalized, lapsed or free to work, and its history
    Node {
        /// Its owner: an address or a key's name
        owner: String,
    },
    /// Why a validator votes or not, was slashed or jailed, and what it earns
    Validator {
        /// Its operator address; or its operator's account or key's name
        validator: String,
    },
    /// What an account has, delegated and earned, and why; with its node and its validator
    Account {
        /// An address or a key's name
        account: String,
    },
}

pub(super) async fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::Job { job, account } => self::job(global, job, account).await,
        Command::Node { owner } => {
            let owner = global.account(&owner)?.to_string();
            let path = "/trainyard.explain.v1.Query/Node";
            let answer: QueryNodeResponse = global.client()?.query(path, &QueryNodeRequest { owner }).await?;
            tell(global, answer.lines)
        }
        Command::Validator { validator } => {
            let validator = global
                .account(&validator)
                .map_or(validator, |account| account.operator());
            let path = "/trainyard.explain.v1.Query/Validator";
            let request = QueryValidatorRequest { validator };
            let answer: QueryValidatorResponse = global.client()?.query(path, &request).await?;
            tell(global, answer.lines)
        }
        Command::Account { account } => {
            let account = global.account(&account)?.to_string();
            let path = "/trainyard.explain.v1.Query/Account";
            let answer: QueryAccountResponse = global.client()?.query(path, &QueryAccountRequest { account }).await?;
            tell(global, answer.lines)
        }
    }
}

/// Explains a job, or an account's part in it.
pub(super) async fn job(global: &Global, job_id: u64, account: Option<String>) -> Result<()> {
    let account = account.map(|account| global.account(&account)).transpose()?;
    let account = account.map(|account| account.to_string()).unwrap_or_default();
    let path = "/trainyard.job.v1.Query/Explain";
    let request = QueryExplainRequest { job_id, account };
    let answer: QueryExplainResponse = global.client()?.query(path, &request).await?;
    tell(global, answer.lines)
}

/// A sentence a line. They quote what others wrote, so that control characters must not reach the terminal.
fn tell(global: &Global, lines: Vec<String>) -> Result<()> {
    if global.is_json() {
        return global.print(&json!({ "lines": lines }));
    }
    for line in lines {
        println!("{}", line.replace(char::is_control, "?"));
    }
    Ok(())
}
