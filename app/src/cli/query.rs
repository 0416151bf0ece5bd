//! `trainyard query …`

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Subcommand;
use color_eyre::eyre::{Result, eyre};
use trainyard_client::rpc::Client;
use trainyard_proto::cosmos::base::query::v1beta1::PageRequest;
use trainyard_proto::prost::{Message, Name};
use trainyard_proto::{consensus, fees, job, pouw, registry};

mod blocks;
mod governance;
mod money;
mod stake;

use blocks::Blocks;
use governance::{Authz, Feegrant, Gov, Upgrade};

use money::{Auth, Bank};
use stake::{Distribution, Slashing, Staking};

use super::{Global, tx};
use crate::api;

/// Which part of a list.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Page {
    /// Most entries
    #[arg(long, default_value_t = 100)]
    limit: u64,
    /// Entries skipped first
    #[arg(long, default_value_t = 0)]
    offset: u64,
    /// Where to go on: the `next_key` of the page before, base64
    #[arg(long, default_value = "", value_parser = base64_bytes)]
    page_key: Bytes,
}

impl Page {
    fn request(&self) -> Option<PageRequest> {
        Some(PageRequest {
            limit: self.limit,
            offset: self.offset,
            key: self.page_key.0.clone(),
            ..PageRequest::default()
        })
    }
}

/// A question to the chain.
#[derive(Debug, clap::Args)]
pub(super) struct Query {
    /// Ask about the state after this height [default: the last one]
    // Some questions have a height among their own words.
    #[arg(id = "at_height", long = "height", global = true, value_name = "HEIGHT")]
    height: Option<u64>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Accounts
    #[command(subcommand)]
    Auth(Auth),
    /// Balances and supply
    #[command(subcommand)]
    Bank(Bank),
    /// Validators and delegations
    #[command(subcommand)]
    Staking(Staking),
    /// Votes missed, validators jailed
    #[command(subcommand)]
    Slashing(Slashing),
    /// Rewards and the community's money
    #[command(subcommand)]
    Distribution(Distribution),
    /// Workers and evaluators
    #[command(subcommand)]
    Registry(Registry),
    /// Jobs
    #[command(subcommand)]
    Job(Job),
    /// Proposals and votes
    #[command(subcommand)]
    Gov(Gov),
    /// The planned upgrade
    #[command(subcommand)]
    Upgrade(Upgrade),
    /// Who may act for whom
    #[command(subcommand)]
    Authz(Authz),
    /// Who pays whose fees
    #[command(subcommand)]
    Feegrant(Feegrant),
    /// The price of gas
    #[command(subcommand)]
    Fees(Fees),
    /// What CometBFT holds blocks to
    #[command(subcommand)]
    Consensus(Consensus),
    /// Beacon and epoch checkpoints
    #[command(subcommand)]
    Pouw(Pouw),
    #[command(flatten)]
    Blocks(Blocks),
}

#[derive(Debug, Subcommand)]
pub(super) enum Registry {
    /// All nodes
    Nodes {
        /// Only those of a role
        #[arg(long)]
        role: Option<tx::RoleName>,
        #[command(flatten)]
        page: Page,
    },
    /// One node
    Node {
        /// Its owner: an address or a key's name
        owner: String,
    },
    /// What a node was penalized for; kept also when it has left
    Penalties {
        /// Its owner: an address or a key's name
        owner: String,
        #[command(flatten)]
        page: Page,
    },
    /// Bonds of an owner on their way back
    Unbonding {
        /// An address or a key's name
        owner: String,
    },
    /// Parameters
    Params,
}

#[derive(Debug, Subcommand)]
pub(super) enum Job {
    /// All jobs, or those of a state, a client or a member, or those that an account can take
    List {
        /// Only those in a state: open, training, submitted, evaluating, revealing, settled, cancelled or failed
        #[arg(long, value_parser = job_state)]
        state: Option<job::JobState>,
        /// The open ones, each with the reason why this worker may not take it: an address or a key's name
        #[arg(long, conflicts_with_all = ["state", "client", "member"])]
        takeable_by: Option<String>,
        /// That worker's encoded capability record, hex, for jobs that ask for GPUs or a subnet tag
        #[arg(long, requires = "takeable_by", default_value = "", value_parser = hex_bytes)]
        capability: Bytes,
        /// Only those of a client: an address or a key's name
        #[arg(long)]
        client: Option<String>,
        /// Only those of a worker or evaluator: an address or a key's name
        #[arg(long)]
        member: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// One job
    Show {
        /// Its number
        id: u64,
    },
    /// One round of a job
    Round {
        /// The job's number
        id: u64,
        /// The round's, from 0
        round: u32,
    },
    /// Why a job, or an account in it, stands where it does
    Explain {
        /// The job's number
        id: u64,
        /// An address or a key's name
        account: Option<String>,
    },
    /// Parameters
    Params,
}

#[derive(Debug, Subcommand)]
pub(super) enum Fees {
    /// Least price of gas in the next block
    BaseFee,
    /// Parameters
    Params,
}

#[derive(Debug, Subcommand)]
pub(super) enum Consensus {
    /// Parameters
    Params,
}

#[derive(Debug, Subcommand)]
pub(super) enum Pouw {
    /// The beacon
    Beacon,
    /// The epoch that goes on: its number and heights
    Epoch,
    /// Parameters
    Params,
    /// What an epoch's work came to
    Checkpoint {
        /// The epoch; 0 is the latest
        #[arg(default_value_t = 0)]
        epoch: u64,
    },
}

pub(super) async fn run(global: &Global, query: Query) -> Result<()> {
    let ask = Ask {
        global,
        client: global.client()?,
        height: query.height,
    };
    match query.command {
        Command::Auth(command) => ask.auth(command).await,
        Command::Bank(command) => ask.bank(command).await,
        Command::Staking(command) => ask.staking(command).await,
        Command::Distribution(command) => ask.distribution(command).await,
        Command::Slashing(command) => ask.slashing(command).await,
        Command::Registry(command) => ask.registry(command).await,
        Command::Job(command) => ask.job(command).await,
        Command::Gov(command) => command.ask(&ask).await,
        Command::Upgrade(command) => command.ask(&ask).await,
        Command::Authz(command) => command.ask(&ask).await,
        Command::Feegrant(command) => command.ask(&ask).await,
        Command::Fees(Fees::BaseFee) => {
            ask.show::<_, fees::QueryBaseFeeResponse>(fees::QueryBaseFeeRequest {})
                .await
        }
        Command::Fees(Fees::Params) => {
            ask.show::<_, fees::QueryParamsResponse>(fees::QueryParamsRequest {})
                .await
        }
        Command::Consensus(Consensus::Params) => {
            ask.show::<_, consensus::QueryParamsResponse>(consensus::QueryParamsRequest {})
                .await
        }
        Command::Pouw(Pouw::Beacon) => {
            ask.show::<_, pouw::QueryBeaconResponse>(pouw::QueryBeaconRequest {})
                .await
        }
        Command::Pouw(Pouw::Epoch) => {
            ask.show::<_, pouw::QueryEpochResponse>(pouw::QueryEpochRequest {})
                .await
        }
        Command::Pouw(Pouw::Params) => {
            ask.show::<_, pouw::QueryParamsResponse>(pouw::QueryParamsRequest {})
                .await
        }
        Command::Pouw(Pouw::Checkpoint { epoch }) => {
            ask.show::<_, pouw::QueryCheckpointResponse>(pouw::QueryCheckpointRequest { epoch })
                .await
        }
        Command::Blocks(command) => ask.blocks(command).await,
    }
}

/// Bytes that were read from text.
#[derive(Clone, Debug)]
pub(super) struct Bytes(Vec<u8>);

fn hex_bytes(text: &str) -> Result<Bytes, String> {
    hex::decode(text).map(Bytes).map_err(|e| e.to_string())
}

fn base64_bytes(text: &str) -> Result<Bytes, String> {
    STANDARD.decode(text).map(Bytes).map_err(|e| e.to_string())
}

fn job_state(text: &str) -> Result<job::JobState, String> {
    job::JobState::from_str_name(&format!("JOB_STATE_{}", text.to_uppercase()))
        .ok_or_else(|| format!("{text:?} is no state of a job"))
}

struct Ask<'a> {
    global: &'a Global,
    client: Client,
    /// Of the state that is asked about.
    height: Option<u64>,
}

impl Ask<'_> {
    /// Calls a query and prints the answer. `QueryPoolRequest` of a package is what its method `Query/Pool` takes.
    async fn show<Request, Response>(&self, request: Request) -> Result<()>
    where
        Request: Message + Name,
        Response: Message + Name + Default + serde::Serialize,
    {
        let method = Request::NAME
            .strip_prefix("Query")
            .and_then(|name| name.strip_suffix("Request"));
        let method = method.ok_or_else(|| eyre!("{} is no query's request", Request::NAME))?;
        let path = format!("/{}.Query/{method}", Request::PACKAGE);
        self.call::<_, Response>(&path, request).await
    }

    /// Calls a query by its path and prints the answer.
    async fn call<Request, Response>(&self, path: &str, request: Request) -> Result<()>
    where
        Request: Message,
        Response: Message + Name + Default + serde::Serialize,
    {
        let answer: Response = self.client.query_at(path, &request, self.height).await?;
        if Response::PACKAGE.starts_with("cosmos.") {
            // As other chains print it: decimals with their point, original names, nothing left out.
            let shown = api::show(&Response::full_name(), &answer.encode_to_vec()).map_err(|e| eyre!(e))?;
            return self.global.print(&shown);
        }
        self.global.print(&answer)
    }

    fn optional_account(&self, text: Option<&str>) -> Result<String> {
        text.map_or(Ok(String::new()), |text| Ok(self.global.account(text)?.to_string()))
    }

    async fn registry(&self, command: Registry) -> Result<()> {
        match command {
            Registry::Nodes { role, page } => {
                let role = match role {
                    None => registry::Role::Unspecified,
                    Some(name) => name.into(),
                };
                let request = registry::QueryNodesRequest {
                    role: role.into(),
                    pagination: page.request(),
                };
                self.show::<_, registry::QueryNodesResponse>(request).await
            }
            Registry::Node { owner } => {
                let request = registry::QueryNodeRequest {
                    owner: self.global.account(&owner)?.to_string(),
                };
                self.show::<_, registry::QueryNodeResponse>(request).await
            }
            Registry::Penalties { owner, page } => {
                let request = registry::QueryPenaltiesRequest {
                    owner: self.global.account(&owner)?.to_string(),
                    pagination: page.request(),
                };
                self.show::<_, registry::QueryPenaltiesResponse>(request).await
            }
            Registry::Unbonding { owner } => {
                let request = registry::QueryUnbondingRequest {
                    owner: self.global.account(&owner)?.to_string(),
                };
                self.show::<_, registry::QueryUnbondingResponse>(request).await
            }
            Registry::Params => {
                self.show::<_, registry::QueryParamsResponse>(registry::QueryParamsRequest {})
                    .await
            }
        }
    }

    async fn job(&self, command: Job) -> Result<()> {
        match command {
            Job::List {
                takeable_by: Some(worker),
                capability,
                page,
                ..
            } => {
                let request = job::QueryOpenJobsForRequest {
                    worker: self.global.account(&worker)?.to_string(),
                    capability: capability.0,
                    pagination: page.request(),
                };
                self.show::<_, job::QueryOpenJobsForResponse>(request).await
            }
            Job::List {
                state,
                client,
                member,
                page,
                ..
            } => {
                let request = job::QueryJobsRequest {
                    client: self.optional_account(client.as_deref())?,
                    member: self.optional_account(member.as_deref())?,
                    state: state.unwrap_or_default().into(),
                    pagination: page.request(),
                };
                self.show::<_, job::QueryJobsResponse>(request).await
            }
            Job::Show { id } => {
                let request = job::QueryJobRequest { job_id: id };
                self.show::<_, job::QueryJobResponse>(request).await
            }
            Job::Round { id, round } => {
                let request = job::QueryRoundRequest { job_id: id, round };
                self.show::<_, job::QueryRoundResponse>(request).await
            }
            Job::Explain { id, account } => {
                let account = self.optional_account(account.as_deref())?;
                let request = job::QueryExplainRequest { job_id: id, account };
                self.show::<_, job::QueryExplainResponse>(request).await
            }
            Job::Params => {
                self.show::<_, job::QueryParamsResponse>(job::QueryParamsRequest {})
                    .await
            }
        }
    }
}
