//! The node and its command line
