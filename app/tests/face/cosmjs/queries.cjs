// The query extensions that CosmJS has, all over ABCI.
"use strict";

const assert = require("node:assert/strict");
const stargate = require("@cosmjs/stargate");
const { assertIsDeliverTxSuccess, coins, decodeCosmosSdkDecFromProto, QueryClient } = stargate;
const { MsgGrant } = require("cosmjs-types/cosmos/authz/v1beta1/tx");
const { GenericAuthorization } = require("cosmjs-types/cosmos/authz/v1beta1/authz");
const { BasicAllowance } = require("cosmjs-types/cosmos/feegrant/v1beta1/feegrant");
const { MsgGrantAllowance } = require("cosmjs-types/cosmos/feegrant/v1beta1/tx");
const { BondStatus } = require("cosmjs-types/cosmos/staking/v1beta1/staking");
const { ProposalStatus, TextProposal, VoteOption } = require("cosmjs-types/cosmos/gov/v1beta1/gov");
const { toBech32 } = require("@cosmjs/encoding");

function extended({ client }) {
  return QueryClient.withExtensions(
    client.getCometClient(),
    stargate.setupAuthExtension,
    stargate.setupAuthzExtension,
    stargate.setupBankExtension,
    stargate.setupDistributionExtension,
    stargate.setupFeegrantExtension,
    stargate.setupGovExtension,
    stargate.setupSlashingExtension,
    stargate.setupStakingExtension,
    stargate.setupTxExtension,
  );
}

async function auth(world) {
  const any = await extended(world).auth.account(world.alice.address);
  assert.equal(any.typeUrl, "/cosmos.auth.v1beta1.BaseAccount");
  const account = stargate.accountFromAny(any);
  assert.equal(account.address, world.alice.address);
  assert.equal(account.pubkey.type, "tendermint/PubKeySecp256k1");
  assert(account.sequence > 0);
  // A module's account is one that CosmJS can read.
  const pool = stargate.accountFromAny(await extended(world).auth.account(world.bondedPool));
  assert.equal(pool.address, world.bondedPool);
  assert.equal(pool.pubkey, null);
}

async function bank(world) {
  const { bank } = extended(world);
  const balance = await bank.balance(world.alice.address, "utrain");
  assert(BigInt(balance.amount) > 0n);
  assert.deepEqual(await bank.allBalances(world.alice.address), [balance]);
  const supply = await bank.supplyOf("utrain");
  assert(BigInt(supply.amount) > BigInt(balance.amount));
  assert.deepEqual((await bank.totalSupply()).supply, [supply]);
  const metadata = await bank.denomMetadata("utrain");
  assert.deepEqual(
    [metadata.base, metadata.display, metadata.symbol, metadata.denomUnits.map((unit) => [unit.denom, unit.exponent])],
    ["utrain", "train", "TRAIN", [["utrain", 0], ["train", 6]]],
  );
  assert.deepEqual(await bank.denomsMetadata(), [metadata]);
  await assert.rejects(bank.denomMetadata("uatom"), /NotFound/);
}

async function staking(world) {
  const { staking } = extended(world);
  const { operator } = world;
  const delegator = world.alice.address;
  const { validators } = await staking.validators("BOND_STATUS_BONDED");
  assert.deepEqual(validators.map((v) => v.operatorAddress), [operator]);
  const { validator } = await staking.validator(operator);
  assert.equal(validator.status, BondStatus.BOND_STATUS_BONDED);
  assert.equal(validator.consensusPubkey.typeUrl, "/cosmos.crypto.ed25519.PubKey");
  const rate = decodeCosmosSdkDecFromProto(validator.commission.commissionRates.rate).toFloatApproximation();
  assert(rate >= 0 && rate <= 1, `commission ${rate}`);
  const { pool } = await staking.pool();
  assert(BigInt(pool.bondedTokens) >= BigInt(validator.tokens));
  const { params } = await staking.params();
  assert.equal(params.bondDenom, "utrain");
  assert(params.unbondingTime.seconds > 0n);
  const { delegationResponse } = await staking.delegation(delegator, operator);
  assert.equal(delegationResponse.balance.denom, "utrain");
  const one = (list) => assert.equal(list.length, 1);
  one((await staking.delegatorDelegations(delegator)).delegationResponses);
  one((await staking.delegatorValidators(delegator)).validators);
  one((await staking.delegatorUnbondingDelegations(delegator)).unbondingResponses);
  one((await staking.validatorUnbondingDelegations(operator)).unbondingResponses);
  one((await staking.unbondingDelegation(delegator, operator)).unbond.entries);
  assert.equal((await staking.delegatorValidator(delegator, operator)).validator.operatorAddress, operator);
  const { delegationResponses } = await staking.validatorDelegations(operator);
  assert(delegationResponses.some(({ delegation }) => delegation.delegatorAddress === delegator));
  const { redelegationResponses } = await staking.redelegations(delegator, "", "");
  assert.deepEqual(redelegationResponses, []);
  await assert.rejects(staking.validator(world.nobodysOperator), /does not exist/);
}

async function distribution(world) {
  const { distribution } = extended(world);
  const { operator } = world;
  const delegator = world.alice.address;
  assert.equal((await distribution.delegatorWithdrawAddress(delegator)).withdrawAddress, delegator);
  assert.deepEqual((await distribution.delegatorValidators(delegator)).validators, [operator]);
  await distribution.delegationRewards(delegator, operator);
  const { rewards } = await distribution.delegationTotalRewards(delegator);
  assert.deepEqual(rewards.map((part) => part.validatorAddress), [operator]);
  for (const { amount } of (await distribution.communityPool()).pool) {
    assert(decodeCosmosSdkDecFromProto(amount).toFloatApproximation() >= 0);
  }
  const { params } = await distribution.params();
  assert(decodeCosmosSdkDecFromProto(params.communityTax).toFloatApproximation() < 1);
  assert((await distribution.validatorCommission(operator)).commission);
  assert((await distribution.validatorOutstandingRewards(operator)).rewards);
  assert.deepEqual((await distribution.validatorSlashes(operator, 0, 1_000_000)).slashes, []);
}

async function slashing(world) {
  const { slashing } = extended(world);
  const { info } = await slashing.signingInfos();
  assert.equal(info.length, 1);
  const { validators } = await world.client.getCometClient().validatorsAll();
  assert.equal(info[0].address, toBech32("trainvalcons", validators[0].address));
  assert.deepEqual((await slashing.signingInfo(info[0].address)).valSigningInfo.address, info[0].address);
  assert((await slashing.params()).params.signedBlocksWindow > 0n);
}

async function gov(world) {
  const { gov } = extended(world);
  const { proposal: id, alice } = world;
  const { proposal } = await gov.proposal(id);
  assert.equal(proposal.proposalId, id);
  assert.equal(proposal.status, ProposalStatus.PROPOSAL_STATUS_VOTING_PERIOD);
  const text = TextProposal.decode(proposal.content.value);
  assert.deepEqual([text.title, text.description], ["Say hello", "To everybody."]);
  const found = async (status, depositor, voter) =>
    (await gov.proposals(status, depositor, voter)).proposals.map(({ proposalId }) => proposalId);
  assert.deepEqual(await found(ProposalStatus.PROPOSAL_STATUS_VOTING_PERIOD, "", ""), [id]);
  assert.deepEqual(await found(ProposalStatus.PROPOSAL_STATUS_UNSPECIFIED, alice.address, alice.address), [id]);
  assert.deepEqual(await found(ProposalStatus.PROPOSAL_STATUS_UNSPECIFIED, "", world.bob.address), []);
  assert.deepEqual(await found(ProposalStatus.PROPOSAL_STATUS_PASSED, "", ""), []);

  const { vote } = await gov.vote(id, alice.address);
  assert.equal(vote.voter, alice.address);
  assert.equal(vote.option, VoteOption.VOTE_OPTION_YES);
  assert.equal(vote.options[0].option, VoteOption.VOTE_OPTION_YES);
  assert.equal(decodeCosmosSdkDecFromProto(vote.options[0].weight).toString(), "1");
  assert.equal((await gov.votes(id)).votes.length, 1);
  const { deposit } = await gov.deposit(id, alice.address);
  assert.deepEqual(deposit.amount, coins(100_000_000, "utrain"));
  assert.equal((await gov.deposits(id)).deposits.length, 1);
  const { tally } = await gov.tally(id);
  assert(BigInt(tally.yes) > 0n);
  assert.equal(tally.no, "0");

  const { votingParams } = await gov.params("voting");
  assert(votingParams.votingPeriod.seconds > 0n);
  const { depositParams } = await gov.params("deposit");
  assert.deepEqual(depositParams.minDeposit, coins(100_000_000, "utrain"));
  const { tallyParams } = await gov.params("tallying");
  assert.equal(decodeCosmosSdkDecFromProto(tallyParams.quorum).toString(), "0.334");
  await assert.rejects(gov.params("weather"), /weather/);
}

async function authz_and_feegrant(world) {
  const { alice, bob } = world;
  const send = "/cosmos.bank.v1beta1.MsgSend";
  const authorization = {
    typeUrl: "/cosmos.authz.v1beta1.GenericAuthorization",
    value: GenericAuthorization.encode(GenericAuthorization.fromPartial({ msg: send })).finish(),
  };
  const allowance = {
    typeUrl: "/cosmos.feegrant.v1beta1.BasicAllowance",
    value: BasicAllowance.encode(BasicAllowance.fromPartial({ spendLimit: coins(1_000_000, "utrain") })).finish(),
  };
  const messages = [
    {
      typeUrl: "/cosmos.authz.v1beta1.MsgGrant",
      value: MsgGrant.fromPartial({ granter: alice.address, grantee: bob.address, grant: { authorization } }),
    },
    {
      typeUrl: "/cosmos.feegrant.v1beta1.MsgGrantAllowance",
      value: MsgGrantAllowance.fromPartial({ granter: alice.address, grantee: bob.address, allowance }),
    },
  ];
  assertIsDeliverTxSuccess(await alice.client.signAndBroadcast(alice.address, messages, "auto"));

  const { authz, feegrant } = extended(world);
  const { grants } = await authz.grants(alice.address, bob.address, send);
  assert.deepEqual(grants.map((grant) => grant.authorization.typeUrl), [authorization.typeUrl]);
  assert.equal((await authz.granterGrants(alice.address)).grants[0].grantee, bob.address);
  assert.equal((await authz.granteeGrants(bob.address)).grants[0].granter, alice.address);
  const { allowance: given } = await feegrant.allowance(alice.address, bob.address);
  assert.deepEqual([given.granter, given.allowance.typeUrl], [alice.address, allowance.typeUrl]);
  assert.equal((await feegrant.allowances(bob.address)).allowances.length, 1);

  // Somebody else pays.
  const fee = { ...stargate.calculateFee(200_000, world.gasPrice), granter: alice.address };
  const before = BigInt((await world.client.getBalance(bob.address, "utrain")).amount);
  const done = await bob.client.sendTokens(bob.address, alice.address, coins(1, "utrain"), fee);
  assertIsDeliverTxSuccess(done);
  assert.equal(before - BigInt((await world.client.getBalance(bob.address, "utrain")).amount), 1n);
}

async function tx(world) {
  const { alice, bob } = world;
  const sent = await alice.client.sendTokens(alice.address, bob.address, coins(3, "utrain"), "auto", "to be read");
  const { tx, txResponse } = await extended(world).tx.getTx(sent.transactionHash);
  assert.equal(tx.body.memo, "to be read");
  assert.equal(txResponse.txhash, sent.transactionHash);
  assert.equal(txResponse.height, BigInt(sent.height));
  assert.equal(txResponse.code, 0);
  await assert.rejects(extended(world).tx.getTx("00".repeat(32)), /NotFound|not found/);
}

module.exports = { auth, bank, staking, distribution, slashing, gov, authz_and_feegrant, tx };
