//! Garbage in every place that decodes bytes from outside. The randomness is a fixed function of the seed.

use prost::Message;
use trainyard_app::testing::{Chain, address};
use trainyard_modules::machine::{self, ante::Tx};
use trainyard_proto::any::{self, Any};

use crate::support::*;

const ACTORS: [&str; 7] = ["client", "other", "w1", "w2", "w3", "e1", "e2"];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// Every kind of message with random content, properly signed by whoever it names or not: nothing panics, nothing is fatal.
#[test]
fn garbage_in_messages() {
    let mut random = Random(99);
    let mut chain = yard();
    let urls: Vec<String> = machine::message_urls().collect();
    for _ in 0..60 {
        let mut txs = Vec::new();
        for url in &urls {
            // Field 1, the signer, is right; the rest is random.
            let mut value = vec![0x0a, 44];
            let signer = random.pick(&ACTORS);
            let text = address(signer).to_string();
            value[1] = u8::try_from(text.len()).unwrap();
            value.extend(text.as_bytes());
            for _ in 0..random.below(6) {
                let field = 2 + random.below(8);
                let content = random.bytes(40);
                if random.percent(50) {
                    value.push(u8::try_from(field << 3).unwrap());
                    prost::encoding::encode_varint(random.next() >> random.below(64), &mut value);
                } else {
                    value.push(u8::try_from(field << 3 | 2).unwrap());
                    prost::encoding::encode_varint(content.len() as u64, &mut value);
                    value.extend(content);
                }
            }
            let message = Any {
                type_url: url.clone(),
                value,
            };
            txs.push(chain.craft(signer, vec![message]).sign());
        }
        for outcome in chain.block_unchecked(txs) {
            assert_ne!(outcome.codespace, "fatal", "{outcome:?}");
        }
    }
}

#[test]
fn garbage_in_queries() {
    let mut random = Random(7);
    let mut chain = yard();
    let id = started(&mut chain, &spec());
    grant_train(&mut chain, id);
    for path in machine::query_paths().chain(["/store/main/key", "/key", "", "/"]) {
        for _ in 0..60 {
            let data = if random.percent(50) {
                random.bytes(60)
            } else {
                // A field that exists nearly everywhere, with a number or a text.
                [[8, random.next().to_le_bytes()[0] & 0x7f].to_vec(), random.bytes(4)].concat()
            };
            let height = i64::try_from(random.below(9)).unwrap() - 3;
            let response = chain.abci_query(path, data, height, random.percent(50));
            assert_ne!(response.codespace, "fatal", "{path}: {response:?}");
            let _ = response.encoded_len();
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_are_too_strange_to_decode(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
        let _ = Tx::decode(&bytes);
    }

    #[test]
    fn a_bent_transaction_is_refused_or_read(
        at in proptest::prelude::any::<proptest::sample::Index>(),
        with in proptest::prelude::any::<u8>(),
        cut in 0usize..40,
    ) {
        let mut tx = TX.clone();
        let position = at.index(tx.len());
        tx[position] = with;
        tx.truncate(tx.len() - cut);
        let _ = Tx::decode(&tx);
    }
}

/// A transaction with a long message.
static TX: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
    let chain = Chain::builder().build();
    chain
        .craft(CLIENT, vec![any::pack(&post_msg(CLIENT, &spec(), BUDGET))])
        .sign()
});
