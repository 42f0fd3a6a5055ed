//! The connectors against servers that speak the APIs of AWS, and against a proxy that fails as AWS does.

mod credentials;
mod options;
mod s3;
