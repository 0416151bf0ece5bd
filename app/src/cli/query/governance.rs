//! What can be asked about governance, upgrades, permissions and allowances.

use clap::Subcommand;
use color_eyre::eyre::Result;
use trainyard_proto::cosmos::{authz::v1beta1 as authz, feegrant::v1beta1 as feegrant};
use trainyard_proto::cosmos::{gov::v1 as gov, upgrade::v1beta1 as upgrade};

use super::{Ask, Page};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Gov {
    /// All proposals
    Proposals {
        /// Only those on which an account has voted: an address or a key's name
        #[arg(long)]
        voter: Option<String>,
        /// Only those to which an account has paid: an address or a key's name
        #[arg(long)]
        depositor: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// One proposal
    Proposal {
        /// Its number
        id: u64,
    },
    /// The votes on an open proposal
    Votes {
        /// The proposal's number
        id: u64,
        #[command(flatten)]
        page: Page,
    },
    /// The deposits of an open proposal
    Deposits {
        /// The proposal's number
        id: u64,
        #[command(flatten)]
        page: Page,
    },
    /// How a vote stands, or ended
    Tally {
        /// The proposal's number
        id: u64,
    },
    /// Parameters
    Params,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Upgrade {
    /// The planned upgrade
    Plan,
    /// The height at which an upgrade was carried out; 0 if it was not
    Applied {
        /// Its name
        name: String,
    },
    /// Versions of the form in which modules keep their state
    ModuleVersions,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Authz {
    /// What an account may do for another
    Grants {
        /// Who permitted it: an address or a key's name
        granter: String,
        /// Who may: an address or a key's name
        grantee: String,
        #[command(flatten)]
        page: Page,
    },
    /// All that an account has permitted
    GrantsByGranter {
        /// An address or a key's name
        granter: String,
        #[command(flatten)]
        page: Page,
    },
    /// All that an account is permitted
    GrantsByGrantee {
        /// An address or a key's name
        grantee: String,
        #[command(flatten)]
        page: Page,
    },
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Feegrant {
    /// Whether, and how far, an account pays the fees of another
    Grant {
        /// Who pays: an address or a key's name
        granter: String,
        /// For whom: an address or a key's name
        grantee: String,
    },
    /// All whose fees an account pays
    GrantsByGranter {
        /// An address or a key's name
        granter: String,
        #[command(flatten)]
        page: Page,
    },
    /// All who pay the fees of an account
    GrantsByGrantee {
        /// An address or a key's name
        grantee: String,
        #[command(flatten)]
        page: Page,
    },
}

impl Gov {
    pub(super) async fn ask(self, ask: &Ask<'_>) -> Result<()> {
        match self {
            Self::Proposals { voter, depositor, page } => {
                let request = gov::QueryProposalsRequest {
                    proposal_status: gov::ProposalStatus::Unspecified.into(),
                    voter: ask.optional_account(voter.as_deref())?,
                    depositor: ask.optional_account(depositor.as_deref())?,
                    pagination: page.request(),
                };
                ask.show::<_, gov::QueryProposalsResponse>(request).await
            }
            Self::Proposal { id } => {
                let request = gov::QueryProposalRequest { proposal_id: id };
                ask.show::<_, gov::QueryProposalResponse>(request).await
            }
            Self::Votes { id, page } => {
                let (proposal_id, pagination) = (id, page.request());
                let request = gov::QueryVotesRequest {
                    proposal_id,
                    pagination,
                };
                ask.show::<_, gov::QueryVotesResponse>(request).await
            }
            Self::Deposits { id, page } => {
                let (proposal_id, pagination) = (id, page.request());
                let request = gov::QueryDepositsRequest {
                    proposal_id,
                    pagination,
                };
                ask.show::<_, gov::QueryDepositsResponse>(request).await
            }
            Self::Tally { id } => {
                let request = gov::QueryTallyResultRequest { proposal_id: id };
                ask.show::<_, gov::QueryTallyResultResponse>(request).await
            }
            Self::Params => {
                let request = gov::QueryParamsRequest::default();
                ask.show::<_, gov::QueryParamsResponse>(request).await
            }
        }
    }
}

impl Upgrade {
    pub(super) async fn ask(self, ask: &Ask<'_>) -> Result<()> {
        match self {
            Self::Plan => {
                let request = upgrade::QueryCurrentPlanRequest {};
                ask.show::<_, upgrade::QueryCurrentPlanResponse>(request).await
            }
            Self::Applied { name } => {
                let request = upgrade::QueryAppliedPlanRequest { name };
                ask.show::<_, upgrade::QueryAppliedPlanResponse>(request).await
            }
            Self::ModuleVersions => {
                let request = upgrade::QueryModuleVersionsRequest::default();
                ask.show::<_, upgrade::QueryModuleVersionsResponse>(request).await
            }
        }
    }
}

impl Authz {
    pub(super) async fn ask(self, ask: &Ask<'_>) -> Result<()> {
        let account = |name: &str| ask.optional_account(Some(name));
        match self {
            Self::Grants { granter, grantee, page } => {
                let request = authz::QueryGrantsRequest {
                    granter: account(&granter)?,
                    grantee: account(&grantee)?,
                    msg_type_url: String::new(),
                    pagination: page.request(),
                };
                ask.show::<_, authz::QueryGrantsResponse>(request).await
            }
            Self::GrantsByGranter { granter, page } => {
                let (granter, pagination) = (account(&granter)?, page.request());
                let request = authz::QueryGranterGrantsRequest { granter, pagination };
                ask.show::<_, authz::QueryGranterGrantsResponse>(request).await
            }
            Self::GrantsByGrantee { grantee, page } => {
                let (grantee, pagination) = (account(&grantee)?, page.request());
                let request = authz::QueryGranteeGrantsRequest { grantee, pagination };
                ask.show::<_, authz::QueryGranteeGrantsResponse>(request).await
            }
        }
    }
}

impl Feegrant {
    pub(super) async fn ask(self, ask: &Ask<'_>) -> Result<()> {
        let account = |name: &str| ask.optional_account(Some(name));
        match self {
            Self::Grant { granter, grantee } => {
                let (granter, grantee) = (account(&granter)?, account(&grantee)?);
                let request = feegrant::QueryAllowanceRequest { granter, grantee };
                ask.show::<_, feegrant::QueryAllowanceResponse>(request).await
            }
            Self::GrantsByGranter { granter, page } => {
                let (granter, pagination) = (account(&granter)?, page.request());
                let request = feegrant::QueryAllowancesByGranterRequest { granter, pagination };
                ask.show::<_, feegrant::QueryAllowancesByGranterResponse>(request).await
            }
            Self::GrantsByGrantee { grantee, page } => {
                let (grantee, pagination) = (account(&grantee)?, page.request());
                let request = feegrant::QueryAllowancesRequest { grantee, pagination };
                ask.show::<_, feegrant::QueryAllowancesResponse>(request).await
            }
        }
    }
}
