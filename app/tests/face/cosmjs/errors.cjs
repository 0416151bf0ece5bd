// Errors in the SDK's words: programs find codes, codespaces and numbers in them.
"use strict";

const assert = require("node:assert/strict");
const { calculateFee, coins, isDeliverTxFailure, BroadcastTxError } = require("@cosmjs/stargate");
const { TxRaw } = require("cosmjs-types/cosmos/tx/v1beta1/tx");

function send(from, to, amount) {
  return { typeUrl: "/cosmos.bank.v1beta1.MsgSend", value: { fromAddress: from, toAddress: to, amount } };
}

async function refused(broadcast, code, text) {
  const error = await broadcast.then(
    () => assert.fail("it was taken"),
    (error) => error,
  );
  assert(error instanceof BroadcastTxError, `${error}`);
  assert.deepEqual([error.codespace, error.code], ["sdk", code], error.log);
  assert.match(error.log, text);
}

// A transaction by alice, signed with other data than the chain's.
async function signed({ alice, bob, chainId, gasPrice }, changes) {
  const { accountNumber, sequence } = await alice.client.getSequence(alice.address);
  const data = { accountNumber, sequence, chainId, ...changes.data?.(sequence) };
  const fee = changes.fee ?? calculateFee(200_000, gasPrice);
  const raw = await alice.client.sign(
    alice.address,
    [send(alice.address, bob.address, changes.amount ?? coins(1, "utrain"))],
    fee,
    changes.memo ?? "",
    data,
  );
  return TxRaw.encode(raw).finish();
}

async function a_wrong_sequence(world) {
  const tx = await signed(world, { data: (sequence) => ({ sequence: sequence + 3 }) });
  const { sequence } = await world.alice.client.getSequence(world.alice.address);
  // As relayers and scripts parse it, to go on with what is expected.
  const text = /^account sequence mismatch, expected (\d+), got (\d+): incorrect account sequence$/;
  await refused(world.client.broadcastTxSync(tx), 32, text);
  const error = await world.client.broadcastTxSync(tx).catch((error) => error);
  assert.deepEqual(text.exec(error.log).slice(1), [`${sequence}`, `${sequence + 3}`]);
}

async function a_wrong_chain(world) {
  const tx = await signed(world, { data: () => ({ chainId: "other-1" }) });
  const text = /^signature verification failed; please verify account number \(\d+\)(, sequence \(\d+\))? and chain-id \(.+\): .*unauthorized$/;
  await refused(world.client.broadcastTxSync(tx), 4, text);
}

async function a_fee_that_is_too_small(world) {
  const tx = await signed(world, { fee: { amount: coins(1, "utrain"), gas: "200000" } });
  await refused(
    world.client.broadcastTxSync(tx),
    13,
    /^insufficient fees; got: 1utrain required: \d+utrain: insufficient fee$/,
  );
}

async function a_fee_that_nobody_has(world) {
  const tx = await signed(world, { fee: { amount: coins("90000000000000000", "utrain"), gas: "200000" } });
  await refused(
    world.client.broadcastTxSync(tx),
    5,
    /spendable balance \d+utrain is smaller than 90000000000000000utrain: insufficient funds$/,
  );
}

async function a_memo_that_is_too_long(world) {
  const tx = await signed(world, { memo: "x".repeat(300) });
  await refused(world.client.broadcastTxSync(tx), 12, /memo too large$/);
}

async function insufficient_funds({ alice, bob, gasPrice }) {
  const amount = coins("90000000000000000", "utrain");
  await assert.rejects(
    alice.client.simulate(alice.address, [send(alice.address, bob.address, amount)], ""),
    /spendable balance \d+utrain is smaller than 90000000000000000utrain: insufficient funds/,
  );
  const done = await alice.client.sendTokens(alice.address, bob.address, amount, calculateFee(500_000, gasPrice));
  assert(isDeliverTxFailure(done));
  assert.equal(done.code, 5);
  assert.match(
    done.rawLog,
    /^failed to execute message; message index: 0: spendable balance \d+utrain is smaller than 90000000000000000utrain: insufficient funds$/,
  );
}

async function out_of_gas({ alice, bob, gasPrice }) {
  const messages = Array.from({ length: 8 }, () => send(alice.address, bob.address, coins(1, "utrain")));
  const needed = await alice.client.simulate(alice.address, messages, "");
  const limit = Math.floor(needed * 0.8);
  const done = await alice.client.signAndBroadcast(alice.address, messages, calculateFee(limit, gasPrice));
  assert.equal(done.code, 11, done.rawLog);
  const text = /out of gas in location: .+; gasWanted: (\d+), gasUsed: (\d+): out of gas$/;
  assert.match(done.rawLog, text);
  const [wanted, used] = text.exec(done.rawLog).slice(1).map(Number);
  assert.equal(wanted, limit);
  assert(used > wanted);
}

async function bytes_that_are_no_transaction({ client }) {
  await refused(client.broadcastTxSync(Uint8Array.from([1, 2, 3])), 2, /tx parse error$/);
}

module.exports = {
  a_wrong_sequence,
  a_wrong_chain,
  a_fee_that_is_too_small,
  a_fee_that_nobody_has,
  a_memo_that_is_too_long,
  insufficient_funds,
  out_of_gas,
  bytes_that_are_no_transaction,
};
