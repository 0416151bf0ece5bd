//! The mesh beside the chain: discovery, job topics, tensor streams, IPFS blocks
