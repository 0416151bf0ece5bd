//! Queries of accounts that know the accounts of modules. Those hold money under an address that nobody has a key of, and have
//! no entry among the accounts: no number, no sequence.

use trainyard_proto::{
    address::Address,
    any,
    cosmos::auth::v1beta1::{
        BaseAccount, ModuleAccount, QueryAccountRequest, QueryAccountResponse, QueryModuleAccountByNameRequest,
        QueryModuleAccountByNameResponse, QueryModuleAccountsRequest, QueryModuleAccountsResponse,
    },
};

use super::{BONDED_POOL, ESCROW, GOV_DEPOSITS, MODULE_ACCOUNTS, NODE_BONDS, NOT_BONDED_POOL};
use crate::{
    auth,
    error::{Error, SdkError},
    state::State,
};

/// A module's account as the SDK shows it, with what the module may do with money.
fn module_account(name: &str) -> ModuleAccount {
    let may: &[&str] = match name {
        BONDED_POOL | NOT_BONDED_POOL => &["burner", "staking"],
        ESCROW | GOV_DEPOSITS | NODE_BONDS => &["burner"],
        _ => &[],
    };
    ModuleAccount {
        base_account: Some(BaseAccount {
            address: Address::of_module(name).to_string(),
            ..BaseAccount::default()
        }),
        name: name.into(),
        permissions: may.iter().map(|&word| word.into()).collect(),
    }
}

/// `/cosmos.auth.v1beta1.Query/Account`.
///
/// # Errors
/// No such account.
pub fn query_account(state: &mut State<'_>, request: QueryAccountRequest) -> Result<QueryAccountResponse, Error> {
    let address: Address = request.address.parse()?;
    let module = MODULE_ACCOUNTS.iter().find(|name| Address::of_module(name) == address);
    let account = match module {
        Some(name) => any::pack(&module_account(name)),
        None => any::pack(&auth::find(state, &address)?),
    };
    Ok(QueryAccountResponse { account: Some(account) })
}

/// `/cosmos.auth.v1beta1.Query/ModuleAccounts`.
///
/// # Errors
/// None.
pub fn query_module_accounts(
    _: &mut State<'_>,
    _: QueryModuleAccountsRequest,
) -> Result<QueryModuleAccountsResponse, Error> {
    let accounts = MODULE_ACCOUNTS.iter().map(|name| any::pack(&module_account(name)));
    Ok(QueryModuleAccountsResponse {
        accounts: accounts.collect(),
    })
}

/// `/cosmos.auth.v1beta1.Query/ModuleAccountByName`.
///
/// # Errors
/// No such module.
pub fn query_module_account(
    _: &mut State<'_>,
    request: QueryModuleAccountByNameRequest,
) -> Result<QueryModuleAccountByNameResponse, Error> {
    let found = MODULE_ACCOUNTS.iter().find(|name| **name == request.name);
    let name = found.ok_or_else(|| {
        let shown: String = request.name.chars().take(40).collect();
        SdkError::NotFound(format!("module account {shown:?} not found"))
    })?;
    Ok(QueryModuleAccountByNameResponse {
        account: Some(any::pack(&module_account(name))),
    })
}
