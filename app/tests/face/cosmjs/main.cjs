// CosmJS, unmodified, against a running chain. Says what it has seen, a line each, and ends with 1 at the first thing that is
// not as on a Cosmos chain. The environment says where and who:
//
//   RPC       http://…, CometBFT's RPC
//   CHAIN_ID  the chain's id
//   KEYS      {"alice": hex, …}: private keys of alice, bob and carol, who have money
//   OPERATOR  address of the only validator's operator
//   POOL      address of the account that holds delegated stake
"use strict";

const { GasPrice, SigningStargateClient, StargateClient } = require("@cosmjs/stargate");
const { DirectSecp256k1Wallet } = require("@cosmjs/proto-signing");
const { Secp256k1Wallet } = require("@cosmjs/amino");
const { fromHex, toBech32 } = require("@cosmjs/encoding");

const parts = [require("./sending.cjs"), require("./queries.cjs"), require("./errors.cjs"), require("./proof.cjs")];

const rpc = process.env.RPC;
const gasPrice = GasPrice.fromString("0.025utrain");

// A wallet and a client that signs with it.
async function user(key, amino) {
  const wallet = await (amino ? Secp256k1Wallet : DirectSecp256k1Wallet).fromKey(fromHex(key), "train");
  const [account] = await wallet.getAccounts();
  const client = await SigningStargateClient.connectWithSigner(rpc, wallet, {
    gasPrice,
    broadcastPollIntervalMs: 100,
  });
  return { wallet, address: account.address, client };
}

async function main() {
  const keys = JSON.parse(process.env.KEYS);
  const world = {
    rpc,
    gasPrice,
    chainId: process.env.CHAIN_ID,
    operator: process.env.OPERATOR,
    nobodysOperator: toBech32("trainvaloper", new Uint8Array(20)),
    bondedPool: process.env.POOL,
    client: await StargateClient.connect(rpc),
    alice: await user(keys.alice),
    bob: await user(keys.bob),
    carol: await user(keys.carol, true),
    keys,
  };
  for (const part of parts) {
    for (const [name, check] of Object.entries(part)) {
      try {
        await check(world);
      } catch (error) {
        error.message = `${name}: ${error.message}`;
        throw error;
      }
      console.log(`ok ${name}`);
    }
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
