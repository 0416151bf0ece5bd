//! `trainyard query …`

use clap::Subcommand;
use color_eyre::eyre::{Result, WrapErr as _, eyre};
use trainyard_client::rpc::Client;
use trainyard_proto::coin::DENOM;
use trainyard_proto::cosmos::bank::v1beta1 as bank;
use trainyard_proto::cosmos::base::query::v1beta1::PageRequest;
use trainyard_proto::cosmos::staking::v1beta1 as staking;
use trainyard_proto::prost::Message;
use trainyard_proto::{job, pouw, registry};

use super::{Global, tx};

/// Which part of a list.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Page {
    /// Most entries
    #[arg(long, default_value_t = 100)]
    limit: u64,
    /// Entries skipped first
    #[arg(long, default_value_t = 0)]
    offset: u64,
}

impl Page {
    fn request(&self) -> Option<PageRequest> {
        Some(PageRequest {
            limit: self.limit,
            offset: self.offset,
            ..PageRequest::default()
        })
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Accounts
    #[command(subcommand)]
    Auth(Auth),
    /// Balances and supply
    #[command(subcommand)]
    Bank(Bank),
    /// Validators and delegations
    #[command(subcommand)]
    Staking(Staking),
    /// Workers and evaluators
    #[command(subcommand)]
    Registry(Registry),
    /// Jobs
    #[command(subcommand)]
    Job(Job),
    /// Beacon and epoch checkpoints
    #[command(subcommand)]
    Pouw(Pouw),
    /// A transaction, by its hash
    Tx {
        /// 64 hex digits
        hash: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Auth {
    /// Number, sequence and public key of an account
    Account {
        /// An address or a key's name
        account: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Bank {
    /// What an account has
    Balances {
        /// An address or a key's name
        account: String,
    },
    /// All money there is
    Supply,
}

#[derive(Debug, Subcommand)]
pub(super) enum Staking {
    /// All validators
    Validators {
        #[command(flatten)]
        page: Page,
    },
    /// One validator
    Validator {
        /// Its operator address
        validator: String,
    },
    /// Delegations of an account
    Delegations {
        /// An address or a key's name
        account: String,
        #[command(flatten)]
        page: Page,
    },
    /// A delegation on its way back
    UnbondingDelegation {
        /// An address or a key's name
        account: String,
        /// The validator's operator address
        validator: String,
    },
    /// Bonded and unbonding money
    Pool,
    /// Parameters
    Params,
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
    /// Parameters
    Params,
}

#[derive(Debug, Subcommand)]
pub(super) enum Job {
    /// All jobs
    List {
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
pub(super) enum Pouw {
    /// The beacon
    Beacon,
    /// What an epoch's work came to
    Checkpoint {
        /// The epoch; 0 is the latest
        #[arg(default_value_t = 0)]
        epoch: u64,
    },
}

pub(super) async fn run(global: &Global, command: Command) -> Result<()> {
    let ask = Ask {
        global,
        client: global.client()?,
    };
    match command {
        Command::Auth(Auth::Account { account }) => {
            let address = global.account(&account)?;
            let found = ask.client.account(&address).await?;
            global.print(&found.ok_or_else(|| eyre!("account {address} is not on the chain"))?)
        }
        Command::Bank(Bank::Balances { account }) => {
            let address = global.account(&account)?.to_string();
            let request = bank::QueryAllBalancesRequest {
                address,
                ..Default::default()
            };
            ask.show::<_, bank::QueryAllBalancesResponse>("/cosmos.bank.v1beta1.Query/AllBalances", request)
                .await
        }
        Command::Bank(Bank::Supply) => {
            let request = bank::QuerySupplyOfRequest { denom: DENOM.into() };
            ask.show::<_, bank::QuerySupplyOfResponse>("/cosmos.bank.v1beta1.Query/SupplyOf", request)
                .await
        }
        Command::Staking(command) => ask.staking(command).await,
        Command::Registry(command) => ask.registry(command).await,
        Command::Job(command) => ask.job(command).await,
        Command::Pouw(Pouw::Beacon) => {
            let path = "/trainyard.pouw.v1.Query/Beacon";
            ask.show::<_, pouw::QueryBeaconResponse>(path, pouw::QueryBeaconRequest {})
                .await
        }
        Command::Pouw(Pouw::Checkpoint { epoch }) => {
            let path = "/trainyard.pouw.v1.Query/Checkpoint";
            ask.show::<_, pouw::QueryCheckpointResponse>(path, pouw::QueryCheckpointRequest { epoch })
                .await
        }
        Command::Tx { hash } => {
            let mut bytes = [0; 32];
            hex::decode_to_slice(hash.trim_start_matches("0x"), &mut bytes)
                .wrap_err_with(|| format!("{hash:?} is not a transaction's hash: 64 hex digits"))?;
            let found = ask.client.tx(bytes).await?;
            global.print(&tx::view(
                &found.ok_or_else(|| eyre!("no transaction {hash} in a block"))?,
            ))
        }
    }
}

struct Ask<'a> {
    global: &'a Global,
    client: Client,
}

impl Ask<'_> {
    /// Calls a query and prints the answer.
    async fn show<Request, Response>(&self, path: &str, request: Request) -> Result<()>
    where
        Request: Message,
        Response: Message + Default + serde::Serialize,
    {
        let answer: Response = self.client.query(path, &request).await?;
        self.global.print(&answer)
    }

    fn optional_account(&self, text: Option<&str>) -> Result<String> {
        text.map_or(Ok(String::new()), |text| Ok(self.global.account(text)?.to_string()))
    }

    async fn staking(&self, command: Staking) -> Result<()> {
        match command {
            Staking::Validators { page } => {
                let request = staking::QueryValidatorsRequest {
                    pagination: page.request(),
                    ..Default::default()
                };
                let path = "/cosmos.staking.v1beta1.Query/Validators";
                self.show::<_, staking::QueryValidatorsResponse>(path, request).await
            }
            Staking::Validator { validator } => {
                let request = staking::QueryValidatorRequest {
                    validator_addr: validator,
                };
                let path = "/cosmos.staking.v1beta1.Query/Validator";
                self.show::<_, staking::QueryValidatorResponse>(path, request).await
            }
            Staking::Delegations { account, page } => {
                let request = staking::QueryDelegatorDelegationsRequest {
                    delegator_addr: self.global.account(&account)?.to_string(),
                    pagination: page.request(),
                };
                let path = "/cosmos.staking.v1beta1.Query/DelegatorDelegations";
                self.show::<_, staking::QueryDelegatorDelegationsResponse>(path, request)
                    .await
            }
            Staking::UnbondingDelegation { account, validator } => {
                let request = staking::QueryUnbondingDelegationRequest {
                    delegator_addr: self.global.account(&account)?.to_string(),
                    validator_addr: validator,
                };
                let path = "/cosmos.staking.v1beta1.Query/UnbondingDelegation";
                self.show::<_, staking::QueryUnbondingDelegationResponse>(path, request)
                    .await
            }
            Staking::Pool => {
                let path = "/cosmos.staking.v1beta1.Query/Pool";
                self.show::<_, staking::QueryPoolResponse>(path, staking::QueryPoolRequest {})
                    .await
            }
            Staking::Params => {
                let path = "/cosmos.staking.v1beta1.Query/Params";
                self.show::<_, staking::QueryParamsResponse>(path, staking::QueryParamsRequest {})
                    .await
            }
        }
    }

    async fn registry(&self, command: Registry) -> Result<()> {
        match command {
            Registry::Nodes { role, page } => {
                let role = match role {
                    None => registry::Role::Unspecified,
                    Some(tx::RoleName::Worker) => registry::Role::Worker,
                    Some(tx::RoleName::Evaluator) => registry::Role::Evaluator,
                };
                let request = registry::QueryNodesRequest {
                    role: role.into(),
                    pagination: page.request(),
                };
                self.show::<_, registry::QueryNodesResponse>("/trainyard.registry.v1.Query/Nodes", request)
                    .await
            }
            Registry::Node { owner } => {
                let request = registry::QueryNodeRequest {
                    owner: self.global.account(&owner)?.to_string(),
                };
                self.show::<_, registry::QueryNodeResponse>("/trainyard.registry.v1.Query/Node", request)
                    .await
            }
            Registry::Params => {
                let path = "/trainyard.registry.v1.Query/Params";
                self.show::<_, registry::QueryParamsResponse>(path, registry::QueryParamsRequest {})
                    .await
            }
        }
    }

    async fn job(&self, command: Job) -> Result<()> {
        match command {
            Job::List { client, member, page } => {
                let request = job::QueryJobsRequest {
                    client: self.optional_account(client.as_deref())?,
                    member: self.optional_account(member.as_deref())?,
                    pagination: page.request(),
                    ..Default::default()
                };
                self.show::<_, job::QueryJobsResponse>("/trainyard.job.v1.Query/Jobs", request)
                    .await
            }
            Job::Show { id } => {
                let request = job::QueryJobRequest { job_id: id };
                self.show::<_, job::QueryJobResponse>("/trainyard.job.v1.Query/Job", request)
                    .await
            }
            Job::Round { id, round } => {
                let request = job::QueryRoundRequest { job_id: id, round };
                self.show::<_, job::QueryRoundResponse>("/trainyard.job.v1.Query/Round", request)
                    .await
            }
            Job::Explain { id, account } => {
                let account = self.optional_account(account.as_deref())?;
                let request = job::QueryExplainRequest { job_id: id, account };
                self.show::<_, job::QueryExplainResponse>("/trainyard.job.v1.Query/Explain", request)
                    .await
            }
            Job::Params => {
                let path = "/trainyard.job.v1.Query/Params";
                self.show::<_, job::QueryParamsResponse>(path, job::QueryParamsRequest {})
                    .await
            }
        }
    }
}
