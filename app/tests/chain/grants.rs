//! Messages of permissions and allowances.

use trainyard_app::testing::address;
use trainyard_proto::{
    any::{self, Any},
    coin,
    cosmos::{
        authz::v1beta1::{Grant, MsgExec, MsgGrant, MsgRevoke},
        bank::v1beta1::{MsgSend, SendAuthorization},
        feegrant::v1beta1::{BasicAllowance, MsgGrantAllowance, MsgRevokeAllowance},
    },
    tendermint_proto::google::protobuf::Timestamp,
};

/// Lets somebody send up to `limit` utrain, until `until` in Unix seconds.
pub(crate) fn permit_sends(granter: &str, grantee: &str, limit: u64, until: u64) -> MsgGrant {
    MsgGrant {
        granter: address(granter).to_string(),
        grantee: address(grantee).to_string(),
        grant: Some(Grant {
            authorization: Some(any::pack(&SendAuthorization {
                spend_limit: vec![coin::utrain(limit)],
                allow_list: Vec::new(),
            })),
            expiration: Some(timestamp(until)),
        }),
    }
}

fn timestamp(seconds: u64) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(seconds).unwrap(),
        nanos: 0,
    }
}

pub(crate) fn exec(grantee: &str, message: Any) -> MsgExec {
    MsgExec {
        grantee: address(grantee).to_string(),
        msgs: vec![message],
    }
}

pub(crate) fn forbid_sends(granter: &str, grantee: &str) -> MsgRevoke {
    MsgRevoke {
        granter: address(granter).to_string(),
        grantee: address(grantee).to_string(),
        msg_type_url: any::type_url::<MsgSend>(),
    }
}

/// Pays somebody's fees up to `limit` utrain, until `until` in Unix seconds.
pub(crate) fn pay_fees(granter: &str, grantee: &str, limit: u64, until: u64) -> MsgGrantAllowance {
    MsgGrantAllowance {
        granter: address(granter).to_string(),
        grantee: address(grantee).to_string(),
        allowance: Some(any::pack(&BasicAllowance {
            spend_limit: vec![coin::utrain(limit)],
            expiration: Some(timestamp(until)),
        })),
    }
}

pub(crate) fn pay_no_fees(granter: &str, grantee: &str) -> MsgRevokeAllowance {
    MsgRevokeAllowance {
        granter: address(granter).to_string(),
        grantee: address(grantee).to_string(),
    }
}
