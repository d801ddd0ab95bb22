//! Generated from `proto/coco/v1/coco.proto`.
#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    unnameable_types,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    clippy::str_to_string,
    clippy::wildcard_enum_match_arm,
    clippy::use_self,
    clippy::missing_errors_doc,
    reason = "generated code"
)]

tonic::include_proto!("coco.v1");
