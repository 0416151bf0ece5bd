//! Wire types of Trainyard: protobuf messages, type URLs, addresses
