// Transactions: signed directly and as amino JSON, by one key and by several, found again, and seen as they happen.
"use strict";

const assert = require("node:assert/strict");
const {
  createMultisigThresholdPubkey,
  encodeSecp256k1Pubkey,
  pubkeyToAddress,
  Secp256k1Wallet,
} = require("@cosmjs/amino");
const { fromHex } = require("@cosmjs/encoding");
const {
  assertIsDeliverTxSuccess,
  calculateFee,
  coin,
  coins,
  makeMultisignedTxBytes,
  SigningStargateClient,
} = require("@cosmjs/stargate");
const { Comet38Client, WebsocketClient } = require("@cosmjs/tendermint-rpc");
const { MsgSubmitProposal, MsgVote } = require("cosmjs-types/cosmos/gov/v1beta1/tx");
const { TextProposal, VoteOption } = require("cosmjs-types/cosmos/gov/v1beta1/gov");
const { MsgSend } = require("cosmjs-types/cosmos/bank/v1beta1/tx");

const TRAIN = 1_000_000;
const nobody = "train1qypqxpq9qcrsszg2pvxq6rs0zqg3yyc5k2uqz0"; // an address that nobody has used

function send(from, to, amount) {
  return {
    typeUrl: "/cosmos.bank.v1beta1.MsgSend",
    value: MsgSend.fromPartial({ fromAddress: from, toAddress: to, amount: coins(amount, "utrain") }),
  };
}

// Values of an attribute, over all events of a kind.
function values(events, kind, key) {
  return events
    .filter((event) => event.type === kind)
    .flatMap((event) => event.attributes.filter((a) => a.key === key).map((a) => a.value));
}

async function connects({ client, chainId }) {
  assert(client.getCometClient() instanceof Comet38Client, "CosmJS takes the client for CometBFT 0.38");
  assert.equal(await client.getChainId(), chainId);
  const height = await client.getHeight();
  assert(height > 0);
  const block = await client.getBlock(height);
  assert.equal(block.header.chainId, chainId);
}

async function a_missing_account_is_null_and_has_nothing({ client }) {
  assert.equal(await client.getAccount(nobody), null);
  assert.deepEqual(await client.getBalance(nobody, "utrain"), coin(0, "utrain"));
  assert.deepEqual(await client.getAllBalances(nobody), []);
  assert.equal(await client.getBalanceStaked(nobody), null);
  await assert.rejects(client.getSequence(nobody), /does not exist on chain/);
}

async function simulates_and_sends({ client, alice, bob }) {
  const before = BigInt((await client.getBalance(bob.address, "utrain")).amount);
  const gas = await alice.client.simulate(alice.address, [send(alice.address, bob.address, 5)], "");
  assert(Number.isSafeInteger(gas) && gas > 1000, `${gas} gas`);
  const done = await alice.client.sendTokens(alice.address, bob.address, coins(5, "utrain"), "auto", "hello");
  assertIsDeliverTxSuccess(done);
  assert(done.gasUsed <= done.gasWanted);
  assert.equal(done.msgResponses[0].typeUrl, "/cosmos.bank.v1beta1.MsgSendResponse");
  const after = BigInt((await client.getBalance(bob.address, "utrain")).amount);
  assert.equal(after - before, 5n);
  assert.deepEqual(
    await client.getAllBalances(bob.address),
    [coin(after.toString(), "utrain")],
  );

  // As every explorer reads them.
  const one = (kind, key, value) => {
    const found = values(done.events, kind, key);
    assert(found.includes(value), `${kind}.${key} is ${JSON.stringify(found)}, ${value} is missing`);
  };
  one("message", "action", "/cosmos.bank.v1beta1.MsgSend");
  one("message", "sender", alice.address);
  one("message", "module", "bank");
  one("transfer", "recipient", bob.address);
  one("transfer", "sender", alice.address);
  one("transfer", "amount", "5utrain");
  one("coin_spent", "spender", alice.address);
  one("coin_received", "receiver", bob.address);
  one("tx", "fee_payer", alice.address);
  assert.match(values(done.events, "tx", "fee")[0], /^[0-9]+utrain$/);
  assert.match(values(done.events, "tx", "acc_seq")[0], new RegExp(`^${alice.address}/[0-9]+$`));
  const [signature] = values(done.events, "tx", "signature");
  const { tx } = await client.getTx(done.transactionHash);
  assert(Buffer.from(tx).includes(Buffer.from(signature, "base64")), "tx.signature is the transaction's");
}

async function finds_transactions({ client, alice, bob }) {
  const sent = await alice.client.sendTokens(alice.address, bob.address, coins(7, "utrain"), "auto");
  const hash = sent.transactionHash;
  const found = await client.getTx(hash);
  assert.equal(found.height, sent.height);
  assert.equal(found.code, 0);
  assert.equal(await client.getTx("00".repeat(32)), null);
  const ways = [
    `tx.height=${sent.height}`,
    `message.sender='${alice.address}'`,
    "message.action='/cosmos.bank.v1beta1.MsgSend'",
    "message.module='bank'",
    `transfer.recipient='${bob.address}'`,
    "transfer.amount='7utrain'",
    `message.sender='${alice.address}' AND message.action='/cosmos.bank.v1beta1.MsgSend'`,
    [{ key: "transfer.sender", value: alice.address }, { key: "tx.height", value: sent.height }],
  ];
  for (const way of ways) {
    const hashes = (await client.searchTx(way)).map((tx) => tx.hash);
    assert(hashes.includes(hash), `${JSON.stringify(way)} does not find it`);
  }
  assert.deepEqual(await client.searchTx(`transfer.recipient='${nobody}'`), []);
}

async function delegates_and_withdraws({ client, alice, operator }) {
  const done = await alice.client.delegateTokens(alice.address, operator, coin(50 * TRAIN, "utrain"), "auto");
  assertIsDeliverTxSuccess(done);
  assert.deepEqual(values(done.events, "delegate", "validator"), [operator]);
  assert.deepEqual(values(done.events, "delegate", "delegator"), [alice.address]);
  assert.deepEqual(values(done.events, "delegate", "amount"), [`${50 * TRAIN}utrain`]);
  assert.deepEqual(await client.getDelegation(alice.address, operator), coin(50 * TRAIN, "utrain"));
  assert.deepEqual(await client.getBalanceStaked(alice.address), coin(50 * TRAIN, "utrain"));
  assert.equal(await client.getDelegation(nobody, operator), null);

  const withdrawn = await alice.client.withdrawRewards(alice.address, operator, "auto");
  assertIsDeliverTxSuccess(withdrawn);
  assert.deepEqual(values(withdrawn.events, "withdraw_rewards", "validator"), [operator]);
  assert.deepEqual(values(withdrawn.events, "withdraw_rewards", "delegator"), [alice.address]);

  const undelegated = await alice.client.undelegateTokens(alice.address, operator, coin(TRAIN, "utrain"), "auto");
  assertIsDeliverTxSuccess(undelegated);
  assert.deepEqual(values(undelegated.events, "unbond", "amount"), [`${TRAIN}utrain`]);
  assert.match(values(undelegated.events, "unbond", "completion_time")[0], /^20[0-9-]+T[0-9:]+Z$/);
}

async function proposes_and_votes(world) {
  const { alice } = world;
  const content = TextProposal.fromPartial({ title: "Say hello", description: "To everybody." });
  const proposal = {
    typeUrl: "/cosmos.gov.v1beta1.MsgSubmitProposal",
    value: MsgSubmitProposal.fromPartial({
      content: { typeUrl: "/cosmos.gov.v1beta1.TextProposal", value: TextProposal.encode(content).finish() },
      initialDeposit: coins(100 * TRAIN, "utrain"),
      proposer: alice.address,
    }),
  };
  const submitted = await alice.client.signAndBroadcast(alice.address, [proposal], "auto");
  assertIsDeliverTxSuccess(submitted);
  const [id] = values(submitted.events, "submit_proposal", "proposal_id");
  world.proposal = BigInt(id);
  const vote = {
    typeUrl: "/cosmos.gov.v1beta1.MsgVote",
    value: MsgVote.fromPartial({
      proposalId: world.proposal,
      voter: alice.address,
      option: VoteOption.VOTE_OPTION_YES,
    }),
  };
  const voted = await alice.client.signAndBroadcast(alice.address, [vote], "auto");
  assertIsDeliverTxSuccess(voted);
  assert.deepEqual(values(voted.events, "proposal_vote", "proposal_id"), [id]);
  assert.deepEqual(values(voted.events, "proposal_vote", "voter"), [alice.address]);
  assert.match(values(voted.events, "proposal_vote", "option")[0], /VOTE_OPTION_YES/);
}

// Devices sign the text of a transaction.
async function signs_as_amino_json({ client, carol, bob, operator }) {
  const before = BigInt((await client.getBalance(bob.address, "utrain")).amount);
  assertIsDeliverTxSuccess(
    await carol.client.sendTokens(carol.address, bob.address, coins(11, "utrain"), "auto", "<amino> & co"),
  );
  assert.equal(BigInt((await client.getBalance(bob.address, "utrain")).amount) - before, 11n);
  assertIsDeliverTxSuccess(
    await carol.client.delegateTokens(carol.address, operator, coin(TRAIN, "utrain"), "auto"),
  );
}

async function an_account_of_several_keys_sends({ client, alice, bob, carol, keys, chainId, gasPrice }) {
  const wallets = await Promise.all(
    ["alice", "bob", "carol"].map((name) => Secp256k1Wallet.fromKey(fromHex(keys[name]), "train")),
  );
  const pubkeys = [];
  for (const wallet of wallets) {
    const [account] = await wallet.getAccounts();
    pubkeys.push(encodeSecp256k1Pubkey(account.pubkey));
  }
  const key = createMultisigThresholdPubkey(pubkeys, 2);
  const address = pubkeyToAddress(key, "train");
  assertIsDeliverTxSuccess(await alice.client.sendTokens(alice.address, address, coins(TRAIN, "utrain"), "auto"));

  const { accountNumber, sequence } = await client.getSequence(address);
  const message = send(address, carol.address, 1000);
  const fee = calculateFee(500_000, gasPrice);
  const signatures = new Map();
  let body;
  for (const [who, wallet] of [[alice, wallets[0]], [bob, wallets[1]]]) {
    const offline = await SigningStargateClient.offline(wallet);
    const signed = await offline.sign(who.address, [message], fee, "of two", { accountNumber, sequence, chainId });
    signatures.set(who.address, signed.signatures[0]);
    body = signed.bodyBytes;
  }
  const bytes = makeMultisignedTxBytes(key, sequence, fee, body, signatures);
  assertIsDeliverTxSuccess(await client.broadcastTx(bytes, 30_000, 100));
  assert.equal((await client.getSequence(address)).sequence, sequence + 1);
  const account = await client.getAccount(address);
  assert.equal(account.pubkey.type, "tendermint/PubKeyMultisigThreshold");

  // One of two is not enough.
  const alone = new Map([[alice.address, signatures.get(alice.address)]]);
  await assert.rejects(client.broadcastTx(makeMultisignedTxBytes(key, sequence + 1, fee, body, alone)), /code 4/);
}

// What a page shows while it happens.
async function events_arrive_over_a_websocket({ rpc, alice, bob }) {
  const socket = await Comet38Client.create(new WebsocketClient(rpc.replace("http", "ws")));
  const heard = new Promise((resolve, reject) => {
    socket.subscribeTx(`transfer.recipient='${bob.address}' AND transfer.amount='13utrain'`).subscribe({
      next: resolve,
      error: reject,
    });
  });
  const block = new Promise((resolve, reject) => {
    socket.subscribeNewBlockHeader().subscribe({ next: resolve, error: reject });
  });
  assert((await block).height > 0); // From here on it listens.
  const sent = await alice.client.sendTokens(alice.address, bob.address, coins(13, "utrain"), "auto");
  const event = await heard;
  assert.equal(Buffer.from(event.hash).toString("hex").toUpperCase(), sent.transactionHash);
  assert(values(event.result.events, "message", "action").includes("/cosmos.bank.v1beta1.MsgSend"));
  assert(values(event.result.events, "transfer", "recipient").includes(bob.address));
  socket.disconnect();
}

module.exports = {
  connects,
  a_missing_account_is_null_and_has_nothing,
  simulates_and_sends,
  finds_transactions,
  delegates_and_withdraws,
  proposes_and_votes,
  signs_as_amino_json,
  an_account_of_several_keys_sends,
  events_arrive_over_a_websocket,
};
