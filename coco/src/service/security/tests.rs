//! The table against the services as they are.

use prost::Message as _;

use super::access::{TABLE, is_open, permits};
use super::*;

/// What this test needs to know of a descriptor set.
#[derive(Clone, PartialEq, prost::Message)]
struct Files {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Service>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<Method>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Method {
    #[prost(string, tag = "1")]
    name: String,
}

#[test]
fn every_rpc_of_every_service_is_in_the_table_and_the_table_has_no_other() {
    let files = Files::decode(crate::service::health::DESCRIPTORS).unwrap();
    let mut rpcs = Vec::new();
    for file in files.files {
        for service in file.services {
            for method in service.methods {
                rpcs.push(format!(
                    "/{}.{}/{}",
                    file.package, service.name, method.name
                ));
            }
        }
    }
    assert!(rpcs.len() > 10, "{rpcs:?}");
    for rpc in &rpcs {
        assert!(TABLE.iter().any(|(path, _)| path == rpc), "{rpc}");
    }
    for (path, roles) in TABLE {
        assert!(!roles.is_empty() && !is_open(path), "{path}");
        let of_ours = path.starts_with("/coco.v1.");
        assert!(!of_ours || rpcs.iter().any(|rpc| rpc == path), "{path}");
    }
    assert!(!permits("/coco.v1.Coordinator/Nothing", Role::Operator));
}
