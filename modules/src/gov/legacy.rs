//! The messages of gov v1beta1, which wallets still send: proposals that are only text, deposits and votes. Each is one of v1 in
//! older words, and is handled as that.

use trainyard_proto::{
    address::Address,
    any,
    cosmos::gov::{
        v1::{self, WeightedVoteOption},
        v1beta1::{
            MsgDeposit, MsgDepositResponse, MsgSubmitProposal, MsgSubmitProposalResponse, MsgVote, MsgVoteResponse,
            MsgVoteWeighted, MsgVoteWeightedResponse, TextProposal,
        },
    },
    dec::Dec,
    prost::Message,
};

use super::{
    GovError,
    msgs::{check_texts, propose},
};
use crate::{
    context::{Ctx, Handler},
    error::{Error, SdkError},
};

/// The proposal of v1 that says the same: title and description, and no messages.
fn text(message: &MsgSubmitProposal) -> Result<v1::MsgSubmitProposal, Error> {
    let content = message.content.clone().unwrap_or_default();
    if content.type_url != any::type_url::<TextProposal>() {
        let shown: String = content.type_url.chars().take(100).collect();
        let log = format!(
            "content is a {shown:?}, expected a TextProposal; what is to be carried out goes into a proposal of gov v1"
        );
        return Err(GovError::Content(log).into());
    }
    let TextProposal { title, description } =
        TextProposal::decode(content.value.as_slice()).map_err(|e| SdkError::TxDecode(format!("content: {e}")))?;
    Ok(v1::MsgSubmitProposal {
        initial_deposit: message.initial_deposit.clone(),
        proposer: message.proposer.clone(),
        title,
        summary: description,
        ..v1::MsgSubmitProposal::default()
    })
}

impl Handler for MsgSubmitProposal {
    type Response = MsgSubmitProposalResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.proposer.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        check_texts(&text(self)?)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgSubmitProposalResponse, Error> {
        let proposal_id = propose(ctx, &text(self)?)?;
        Ok(MsgSubmitProposalResponse { proposal_id })
    }
}

fn deposit(message: &MsgDeposit) -> v1::MsgDeposit {
    v1::MsgDeposit {
        proposal_id: message.proposal_id,
        depositor: message.depositor.clone(),
        amount: message.amount.clone(),
    }
}

impl Handler for MsgDeposit {
    type Response = MsgDepositResponse;

    fn signer(&self) -> Result<Address, Error> {
        deposit(self).signer()
    }

    fn validate(&self) -> Result<(), Error> {
        deposit(self).validate()
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgDepositResponse, Error> {
        deposit(self).execute(ctx)?;
        Ok(MsgDepositResponse {})
    }
}

fn vote(message: &MsgVote) -> v1::MsgVote {
    v1::MsgVote {
        proposal_id: message.proposal_id,
        voter: message.voter.clone(),
        option: message.option,
        metadata: String::new(),
    }
}

impl Handler for MsgVote {
    type Response = MsgVoteResponse;

    fn signer(&self) -> Result<Address, Error> {
        vote(self).signer()
    }

    fn validate(&self) -> Result<(), Error> {
        vote(self).validate()
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgVoteResponse, Error> {
        vote(self).execute(ctx)?;
        Ok(MsgVoteResponse {})
    }
}

/// Weights travel as atomics here, and with a point in v1.
fn weighted(message: &MsgVoteWeighted) -> Result<v1::MsgVoteWeighted, Error> {
    let options = message.options.iter().map(|part| {
        let weight = Dec::from_atomics(&part.weight).map_err(|e| GovError::Vote(format!("weight of a vote: {e}")))?;
        Ok(WeightedVoteOption {
            option: part.option,
            weight: weight.to_string(),
        })
    });
    Ok(v1::MsgVoteWeighted {
        proposal_id: message.proposal_id,
        voter: message.voter.clone(),
        options: options.collect::<Result<_, Error>>()?,
        metadata: String::new(),
    })
}

impl Handler for MsgVoteWeighted {
    type Response = MsgVoteWeightedResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.voter.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        weighted(self)?.validate()
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgVoteWeightedResponse, Error> {
        weighted(self)?.execute(ctx)?;
        Ok(MsgVoteWeightedResponse {})
    }
}
