//! `trainyard query auth` and `bank`: accounts and money.

use clap::Subcommand;
use color_eyre::eyre::Result;
use trainyard_proto::coin::DENOM;
use trainyard_proto::cosmos::{auth::v1beta1 as auth, bank::v1beta1 as bank};

use super::{Ask, Page};

#[derive(Debug, Subcommand)]
pub(super) enum Auth {
    /// Number, sequence and public key of an account
    Account {
        /// An address or a key's name
        account: String,
    },
    /// All accounts
    Accounts {
        #[command(flatten)]
        page: Page,
    },
    /// The address of the account with a number
    AddressByAccNum {
        /// The number
        number: u64,
    },
    /// Accounts of modules, which nobody has the keys of
    ModuleAccounts,
    /// One of them
    ModuleAccount {
        /// The module's name
        name: String,
    },
    /// Bounds and prices of transactions
    Params,
}

#[derive(Debug, Subcommand)]
pub(super) enum Bank {
    /// What an account has
    Balances {
        /// An address or a key's name
        account: String,
    },
    /// What an account has of a denomination
    Balance {
        /// An address or a key's name
        account: String,
        /// The denomination
        #[arg(default_value = DENOM)]
        denom: String,
    },
    /// What an account can send
    SpendableBalances {
        /// An address or a key's name
        account: String,
    },
    /// All money there is
    #[command(visible_aliases = ["total-supply", "total"])]
    Supply,
    /// What a denomination is called
    DenomMetadata {
        /// The denomination
        #[arg(default_value = DENOM)]
        denom: String,
    },
    /// Who has how much of a denomination
    DenomOwners {
        /// The denomination
        #[arg(default_value = DENOM)]
        denom: String,
        #[command(flatten)]
        page: Page,
    },
    /// Parameters
    Params,
}

impl Ask<'_> {
    pub(super) async fn auth(&self, command: Auth) -> Result<()> {
        match command {
            Auth::Account { account } => {
                let request = auth::QueryAccountRequest {
                    address: self.global.account(&account)?.to_string(),
                };
                self.show::<_, auth::QueryAccountResponse>(request).await
            }
            Auth::Accounts { page } => {
                let request = auth::QueryAccountsRequest {
                    pagination: page.request(),
                };
                self.show::<_, auth::QueryAccountsResponse>(request).await
            }
            Auth::AddressByAccNum { number } => {
                let request = auth::QueryAccountAddressByIdRequest {
                    account_id: number,
                    ..Default::default()
                };
                let path = "/cosmos.auth.v1beta1.Query/AccountAddressByID";
                self.call::<_, auth::QueryAccountAddressByIdResponse>(path, request)
                    .await
            }
            Auth::ModuleAccounts => {
                self.show::<_, auth::QueryModuleAccountsResponse>(auth::QueryModuleAccountsRequest {})
                    .await
            }
            Auth::ModuleAccount { name } => {
                let request = auth::QueryModuleAccountByNameRequest { name };
                self.show::<_, auth::QueryModuleAccountByNameResponse>(request).await
            }
            Auth::Params => {
                self.show::<_, auth::QueryParamsResponse>(auth::QueryParamsRequest {})
                    .await
            }
        }
    }

    pub(super) async fn bank(&self, command: Bank) -> Result<()> {
        match command {
            Bank::Balances { account } => {
                let request = bank::QueryAllBalancesRequest {
                    address: self.global.account(&account)?.to_string(),
                    ..Default::default()
                };
                self.show::<_, bank::QueryAllBalancesResponse>(request).await
            }
            Bank::Balance { account, denom } => {
                let address = self.global.account(&account)?.to_string();
                self.show::<_, bank::QueryBalanceResponse>(bank::QueryBalanceRequest { address, denom })
                    .await
            }
            Bank::SpendableBalances { account } => {
                let request = bank::QuerySpendableBalancesRequest {
                    address: self.global.account(&account)?.to_string(),
                    pagination: None,
                };
                self.show::<_, bank::QuerySpendableBalancesResponse>(request).await
            }
            Bank::Supply => {
                let request = bank::QuerySupplyOfRequest { denom: DENOM.into() };
                self.show::<_, bank::QuerySupplyOfResponse>(request).await
            }
            Bank::DenomMetadata { denom } => {
                self.show::<_, bank::QueryDenomMetadataResponse>(bank::QueryDenomMetadataRequest { denom })
                    .await
            }
            Bank::DenomOwners { denom, page } => {
                let request = bank::QueryDenomOwnersRequest {
                    denom,
                    pagination: page.request(),
                };
                self.show::<_, bank::QueryDenomOwnersResponse>(request).await
            }
            Bank::Params => {
                self.show::<_, bank::QueryParamsResponse>(bank::QueryParamsRequest {})
                    .await
            }
        }
    }
}
