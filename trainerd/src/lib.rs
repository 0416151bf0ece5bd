//! The training daemon
