//! A user's side: keys, signing, RPC, event streams, datasets
