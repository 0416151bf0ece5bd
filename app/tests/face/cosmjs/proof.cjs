// A balance that need not be believed: its ICS23 proof leads to the app hash in a header, and the header has the signatures of
// more than two thirds of the validators that an earlier header, here the test's, named.
//
// Proofs are checked by @confio/ics23, with the description of our tree (client/src/proof.rs); its `verifyMembership` is what
// CosmJS itself used as long as it checked proofs. That library cannot check our proofs of absence: they compare hashes of keys,
// which its description of a tree has no word for (`prehash_key_before_comparison`). Those are tested with the Rust library.
"use strict";

const assert = require("node:assert/strict");
const { ics23, verifyMembership } = require("@confio/ics23");
const { fromBech32, toAscii } = require("@cosmjs/encoding");
const { Ed25519, sha256 } = require("@cosmjs/crypto");
const { coins } = require("@cosmjs/stargate");
const { BinaryReader, BinaryWriter } = require("cosmjs-types/binary");

const sha = ics23.HashOp.SHA256;
const tree = {
  leafSpec: {
    hash: sha,
    prehashKey: sha,
    prehashValue: sha,
    length: ics23.LengthOp.NO_PREFIX,
    prefix: toAscii("JMT::LeafNode"),
  },
  innerSpec: {
    hash: sha,
    childOrder: [0, 1],
    childSize: 32,
    minPrefixLength: 16,
    maxPrefixLength: 16,
    emptyChild: toAscii("SPARSE_MERKLE_PLACEHOLDER_HASH__"),
  },
  maxDepth: 64,
};

// `bank/balance/`, the 20 bytes of the address, and the denomination behind its length.
function balanceKey(address) {
  const denom = toAscii("utrain");
  return Uint8Array.from([...toAscii("bank/balance/"), ...fromBech32(address).data, 0, 0, 0, denom.length, ...denom]);
}

// A field that is left out where it says nothing.
function text(bytes) {
  return bytes.length > 0 ? new BinaryWriter().uint32(10).bytes(bytes).finish() : new Uint8Array();
}

function number(value) {
  return value > 0 ? new BinaryWriter().uint32(8).int64(BigInt(value)).finish() : new Uint8Array();
}

function encodeTime(time) {
  const milliseconds = time.getTime();
  const writer = new BinaryWriter().uint32(8).int64(BigInt(Math.floor(milliseconds / 1000)));
  const nanoseconds = (milliseconds % 1000) * 1_000_000 + (time.nanoseconds ?? 0);
  return (nanoseconds > 0 ? writer.uint32(16).int32(nanoseconds) : writer).finish();
}

function encodeBlockId({ hash, parts }) {
  const header = new BinaryWriter().uint32(8).uint32(parts.total).uint32(18).bytes(parts.hash).finish();
  return new BinaryWriter().uint32(10).bytes(hash).uint32(18).bytes(header).finish();
}

// The root of CometBFT's tree over a header's fields. CosmJS has a function of the same name, for headers as they were hashed
// before Tendermint 0.34.
function hashBlock(header) {
  const { block, app } = header.version;
  const fields = [
    new BinaryWriter().uint32(8).uint64(BigInt(block)).uint32(16).uint64(BigInt(app)).finish(),
    text(toAscii(header.chainId)),
    number(header.height),
    encodeTime(header.time),
    encodeBlockId(header.lastBlockId),
    text(header.lastCommitHash),
    text(header.dataHash),
    text(header.validatorsHash),
    text(header.nextValidatorsHash),
    text(header.consensusHash),
    text(header.appHash),
    text(header.lastResultsHash),
    text(header.evidenceHash),
    text(header.proposerAddress),
  ];
  const root = (leaves) => {
    if (leaves.length === 1) return sha256(Uint8Array.from([0, ...leaves[0]]));
    const left = 2 ** Math.floor(Math.log2(leaves.length - 1));
    return sha256(Uint8Array.from([1, ...root(leaves.slice(0, left)), ...root(leaves.slice(left))]));
  };
  return root(fields);
}

// What a validator signs: a CanonicalVote behind its length.
function voteBytes(header, commit, timestamp) {
  const vote = new BinaryWriter();
  vote.uint32(8).int32(2).uint32(17).sfixed64(BigInt(commit.height));
  if (commit.round > 0) vote.uint32(25).sfixed64(BigInt(commit.round));
  vote.uint32(34).bytes(encodeBlockId(commit.blockId));
  vote.uint32(42).bytes(encodeTime(timestamp)).uint32(50).string(header.chainId);
  return new BinaryWriter().bytes(vote.finish()).finish();
}

// The header of a height, once its signatures are seen to be those of validators that are known.
async function verifiedHeader(comet, height, validators) {
  const { header, commit } = await comet.commit(height);
  assert.equal(header.height, height);
  const hash = hashBlock(header);
  assert.deepEqual(hash, commit.blockId.hash, "the commit is for this header");
  let signed = 0n;
  for (const { blockIdFlag, validatorAddress, timestamp, signature } of commit.signatures) {
    if (blockIdFlag !== 2) continue;
    const validator = validators.find((v) => Buffer.compare(v.address, validatorAddress) === 0);
    assert(validator, "a signature by somebody else");
    assert.deepEqual(sha256(validator.pubkey.data).slice(0, 20), validator.address);
    const bytes = voteBytes(header, commit, timestamp);
    assert(await Ed25519.verifySignature(signature, bytes, validator.pubkey.data), "a signature is wrong");
    signed += validator.votingPower;
  }
  const all = validators.reduce((sum, v) => sum + v.votingPower, 0n);
  assert(signed * 3n > all * 2n, `${signed} of ${all} signed`);
  return header;
}

async function a_balance_is_verified_without_trust({ client, alice, bob }) {
  const comet = client.getCometClient();
  // Who validates is what a light client begins with.
  const { validators } = await comet.validatorsAll(1);
  const sent = await alice.client.sendTokens(alice.address, bob.address, coins(17, "utrain"), "auto");
  await alice.client.sendTokens(alice.address, bob.address, coins(1, "utrain"), "auto"); // the next header is there now
  const key = balanceKey(bob.address);
  const answer = await comet.abciQuery({ path: "/store/bank/key", data: key, height: sent.height, prove: true });
  assert.equal(answer.height, sent.height);
  const [op] = answer.proof.ops;
  assert.equal(op.type, "ics23:jmt");
  assert.deepEqual(op.key, key);
  const proof = ics23.CommitmentProof.decode(op.data);

  const header = await verifiedHeader(comet, sent.height + 1, validators);
  assert(verifyMembership(proof, tree, header.appHash, key, answer.value), "the proof leads to the app hash");
  const reader = new BinaryReader(answer.value); // a number is field 1
  assert.equal(reader.uint32(), 8);
  const proven = reader.uint64();

  const other = Uint8Array.from(answer.value);
  other[other.length - 1] ^= 1;
  assert(!verifyMembership(proof, tree, header.appHash, key, other), "another balance is not proven");
  assert(!verifyMembership(proof, tree, header.appHash, balanceKey(alice.address), answer.value), "nor is another's");
  const wrong = Uint8Array.from(header.appHash);
  wrong[0] ^= 1;
  assert(!verifyMembership(proof, tree, wrong, key, answer.value), "nor is it by another state");
  assert.equal(proven + 1n, BigInt((await client.getBalance(bob.address, "utrain")).amount));
}

module.exports = { a_balance_is_verified_without_trust };
