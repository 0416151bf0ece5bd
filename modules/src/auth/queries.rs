//! Queries of accounts, under the SDK's names. Those that know the accounts of modules too stand in `bank/accounts.rs`.

use trainyard_proto::{
    address::{ACCOUNT_PREFIX, Address},
    any,
    cosmos::auth::v1beta1::{
        AddressBytesToStringRequest, AddressBytesToStringResponse, AddressStringToBytesRequest,
        AddressStringToBytesResponse, Bech32PrefixRequest, Bech32PrefixResponse, QueryAccountAddressByIdRequest,
        QueryAccountAddressByIdResponse, QueryAccountInfoRequest, QueryAccountInfoResponse, QueryAccountsRequest,
        QueryAccountsResponse,
    },
};

use super::{ACCOUNTS, find};
use crate::{
    error::{Error, SdkError},
    page,
    state::State,
};

/// Accounts looked through for a number, at most: they are kept by address.
const MAX_SCAN: usize = 200_000;
/// Accounts read at once.
const CHUNK: usize = 1000;

/// `/cosmos.auth.v1beta1.Query/Accounts`.
///
/// # Errors
/// The page is not valid.
pub fn query_accounts(state: &mut State<'_>, request: QueryAccountsRequest) -> Result<QueryAccountsResponse, Error> {
    let (accounts, pagination) = page::map(state, &ACCOUNTS, request.pagination.as_ref(), |_, account| {
        Some(any::pack(&account))
    })?;
    Ok(QueryAccountsResponse { accounts, pagination })
}

/// `/cosmos.auth.v1beta1.Query/AccountInfo`.
///
/// # Errors
/// No such account.
pub fn query_account_info(
    state: &mut State<'_>,
    request: QueryAccountInfoRequest,
) -> Result<QueryAccountInfoResponse, Error> {
    let info = Some(find(state, &request.address.parse()?)?);
    Ok(QueryAccountInfoResponse { info })
}

/// `/cosmos.auth.v1beta1.Query/AccountAddressByID`: the address of the account with a number.
///
/// # Errors
/// No such account, or there are too many to look through.
pub fn query_address_by_number(
    state: &mut State<'_>,
    request: QueryAccountAddressByIdRequest,
) -> Result<QueryAccountAddressByIdResponse, Error> {
    #[allow(deprecated)] // The field's name before 0.47, which tools still send.
    let older = u64::try_from(request.id);
    let older = older.map_err(|_| SdkError::InvalidRequest("id is negative, expected an account's number".into()))?;
    let number = if request.account_id == 0 {
        older
    } else {
        request.account_id
    };
    let mut start: Option<Address> = None;
    for _ in 0..MAX_SCAN / CHUNK {
        let mut found = ACCOUNTS.from(state, start.as_ref(), CHUNK + 1)?;
        start = if found.len() > CHUNK {
            found.pop().map(|(address, _)| address)
        } else {
            None
        };
        if let Some((address, _)) = found.iter().find(|(_, account)| account.account_number == number) {
            return Ok(QueryAccountAddressByIdResponse {
                account_address: address.to_string(),
            });
        }
        if start.is_none() {
            return Err(SdkError::NotFound(format!("account with number {number} not found")).into());
        }
    }
    let log =
        format!("account {number} is not among the first {MAX_SCAN} in the order of addresses, where a node looks");
    Err(SdkError::InvalidRequest(log).into())
}

/// `/cosmos.auth.v1beta1.Query/Bech32Prefix`.
///
/// # Errors
/// None.
pub fn query_bech32_prefix(_: &mut State<'_>, _: Bech32PrefixRequest) -> Result<Bech32PrefixResponse, Error> {
    Ok(Bech32PrefixResponse {
        bech32_prefix: ACCOUNT_PREFIX.into(),
    })
}

/// `/cosmos.auth.v1beta1.Query/AddressBytesToString`.
///
/// # Errors
/// Not 20 bytes.
pub fn query_address_string(
    _: &mut State<'_>,
    request: AddressBytesToStringRequest,
) -> Result<AddressBytesToStringResponse, Error> {
    let bytes = <[u8; 20]>::try_from(request.address_bytes.as_slice()).map_err(|_| {
        let found = request.address_bytes.len();
        SdkError::InvalidAddress(format!("an address has 20 bytes, not {found}"))
    })?;
    Ok(AddressBytesToStringResponse {
        address_string: Address(bytes).to_string(),
    })
}

/// `/cosmos.auth.v1beta1.Query/AddressStringToBytes`.
///
/// # Errors
/// No address.
pub fn query_address_bytes(
    _: &mut State<'_>,
    request: AddressStringToBytesRequest,
) -> Result<AddressStringToBytesResponse, Error> {
    let address: Address = request.address_string.parse()?;
    Ok(AddressStringToBytesResponse {
        address_bytes: address.0.to_vec(),
    })
}
