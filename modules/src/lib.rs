//! The state machine: accounts, money, stake, nodes and jobs
