//! Permissions and allowances, from the command line. They are used with `--for` and `--fee-granter`.

use clap::Subcommand;
use color_eyre::eyre::Result;
use trainyard_proto::address::Address;
use trainyard_proto::any::{self, Any};
use trainyard_proto::coin::utrain;
use trainyard_proto::cosmos::authz::v1beta1::{GenericAuthorization, Grant, MsgGrant, MsgRevoke};
use trainyard_proto::cosmos::bank::v1beta1::SendAuthorization;
use trainyard_proto::cosmos::feegrant::v1beta1::{
    AllowedMsgAllowance, BasicAllowance, MsgGrantAllowance, MsgRevokeAllowance, PeriodicAllowance,
};
use trainyard_proto::tendermint_proto::google::protobuf::{Duration, Timestamp};

use super::amount;
use crate::cli::Global;

#[derive(Debug, Subcommand)]
pub(super) enum Authz {
    /// Let another account act for the sender in one kind of message
    Grant {
        /// The other account: an address or a key's name
        grantee: String,
        /// The kind, as /trainyard.registry.v1.MsgUpdate
        #[arg(long, value_name = "TYPE", required_unless_present = "send_limit")]
        msg_type: Option<String>,
        /// Instead: sending money, up to this amount
        #[arg(long, value_name = "AMOUNT", value_parser = amount, conflicts_with = "msg_type")]
        send_limit: Option<u64>,
        /// Only to these accounts; repeatable
        #[arg(long = "allow", value_name = "ACCOUNT", requires = "send_limit")]
        allowed: Vec<String>,
        /// When it ends, Unix seconds; never by default
        #[arg(long, value_name = "SECONDS")]
        expiration: Option<i64>,
    },
    /// Take a permission back
    Revoke {
        /// The other account: an address or a key's name
        grantee: String,
        /// The kind of message, as /trainyard.registry.v1.MsgUpdate
        msg_type: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Feegrant {
    /// Pay the fees of another account
    Grant {
        /// The other account: an address or a key's name
        grantee: String,
        /// At most, as 5TRAIN; without a limit by default
        #[arg(long, value_name = "AMOUNT", value_parser = amount)]
        spend_limit: Option<u64>,
        /// When it ends, Unix seconds; never by default
        #[arg(long, value_name = "SECONDS")]
        expiration: Option<i64>,
        /// Length of a period
        #[arg(long, value_name = "SECONDS", requires = "period_limit")]
        period: Option<i64>,
        /// At most in each period, as 1TRAIN
        #[arg(long, value_name = "AMOUNT", value_parser = amount, requires = "period")]
        period_limit: Option<u64>,
        /// Only for these kinds of messages; repeatable
        #[arg(long = "msg-type", value_name = "TYPE")]
        messages: Vec<String>,
    },
    /// Stop paying them
    Revoke {
        /// The other account: an address or a key's name
        grantee: String,
    },
}

fn timestamp(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

impl Authz {
    pub(super) fn message(self, global: &Global, sender: Address) -> Result<Any> {
        let granter = sender.to_string();
        Ok(match self {
            Self::Grant {
                grantee,
                msg_type,
                send_limit,
                allowed,
                expiration,
            } => {
                let authorization = if let Some(limit) = send_limit {
                    let mut allow_list = Vec::new();
                    for account in allowed {
                        allow_list.push(global.account(&account)?.to_string());
                    }
                    any::pack(&SendAuthorization {
                        spend_limit: vec![utrain(limit)],
                        allow_list,
                    })
                } else {
                    any::pack(&GenericAuthorization {
                        msg: msg_type.unwrap_or_default(),
                    })
                };
                any::pack(&MsgGrant {
                    granter,
                    grantee: global.account(&grantee)?.to_string(),
                    grant: Some(Grant {
                        authorization: Some(authorization),
                        expiration: expiration.map(timestamp),
                    }),
                })
            }
            Self::Revoke { grantee, msg_type } => any::pack(&MsgRevoke {
                granter,
                grantee: global.account(&grantee)?.to_string(),
                msg_type_url: msg_type,
            }),
        })
    }
}

impl Feegrant {
    pub(super) fn message(self, global: &Global, sender: Address) -> Result<Any> {
        let granter = sender.to_string();
        Ok(match self {
            Self::Grant {
                grantee,
                spend_limit,
                expiration,
                period,
                period_limit,
                messages,
            } => {
                let basic = BasicAllowance {
                    spend_limit: spend_limit.map(utrain).into_iter().collect(),
                    expiration: expiration.map(timestamp),
                };
                let allowance = match period {
                    None => any::pack(&basic),
                    Some(seconds) => any::pack(&PeriodicAllowance {
                        basic: Some(basic),
                        period: Some(Duration { seconds, nanos: 0 }),
                        period_spend_limit: period_limit.map(utrain).into_iter().collect(),
                        period_can_spend: Vec::new(),
                        period_reset: None,
                    }),
                };
                let allowance = if messages.is_empty() {
                    allowance
                } else {
                    any::pack(&AllowedMsgAllowance {
                        allowance: Some(allowance),
                        allowed_messages: messages,
                    })
                };
                any::pack(&MsgGrantAllowance {
                    granter,
                    grantee: global.account(&grantee)?.to_string(),
                    allowance: Some(allowance),
                })
            }
            Self::Revoke { grantee } => any::pack(&MsgRevokeAllowance {
                granter,
                grantee: global.account(&grantee)?.to_string(),
            }),
        })
    }
}
