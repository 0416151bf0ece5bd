//! CIDs as `ipfs add --cid-version=1 --raw-leaves` gives them, pins and collection. No network.

use trainyard_overlay::{BlockStore, Cid};

use crate::common::noise;

#[test]
fn known_cids() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = BlockStore::open(dir.path()).unwrap();
    for (content, cid) in [
        (
            b"hello world\n".to_vec(),
            "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4",
        ),
        (vec![], "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    ] {
        let added = store.add_bytes(&content).unwrap();
        assert_eq!(
            (added.cid.to_string().as_str(), added.bytes),
            (cid, content.len() as u64)
        );
        assert_eq!(store.get(&added.cid).unwrap().unwrap(), content);
    }
}

#[test]
fn pins_keep_their_dags_and_the_rest_is_collected() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = BlockStore::open(dir.path()).unwrap();
    let kept = store.add_bytes(&noise(3 << 20, 1)).unwrap().cid;
    let dropped = store.add_bytes(&noise(2 << 20, 2)).unwrap().cid;
    let shared = store.add_bytes(&noise(256 << 10, 1)).unwrap().cid;
    assert_eq!(store.stat().unwrap().0, 13 + 9);
    assert_eq!(store.collect_garbage().unwrap(), 0);
    assert!(store.unpin(&dropped).unwrap() && !store.unpin(&dropped).unwrap());
    // Its block is also the first leaf of `kept`.
    assert!(store.unpin(&shared).unwrap());
    assert_eq!(store.pins().unwrap(), vec![kept]);
    assert_eq!(store.collect_garbage().unwrap(), 9);
    assert!(store.has(&kept).unwrap() && store.has(&shared).unwrap() && !store.has(&dropped).unwrap());
    drop(store);
    let store = BlockStore::open(dir.path()).unwrap();
    assert_eq!((store.stat().unwrap().0, store.pins().unwrap()), (13, vec![kept]));
    // Only hashes and codecs that can be checked are taken.
    let git = Cid::new_v1(0x78, *kept.hash());
    assert!(store.pin(&git).unwrap_err().to_string().contains("codec 0x78"));
}
