//! What the other files ask about the workspace: where it is, which crates are no_std, what `cargo metadata` says.
//!
//! It runs nothing but `cargo metadata`.

use std::path::Path;

use anyhow::Context;
use cargo_metadata::{Metadata, MetadataCommand, Package};

/// The crates that build without the standard library once their default features are off: package and folder.
pub(crate) const NO_STD: [(&str, &str); 4] = [
    ("mobiedit-core", "core"),
    ("mobiedit-backends", "backends"),
    ("mobiedit-hal-cpu", "hal-cpu"),
    ("mobiedit-hal-qnn", "hal-qnn"),
];

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// `cargo metadata` of the workspace, without its dependencies.
pub(crate) fn metadata() -> anyhow::Result<Metadata> {
    MetadataCommand::new().current_dir(root()).no_deps().exec().context("cargo metadata")
}

/// One member of the workspace by its package name.
pub(crate) fn package<'a>(metadata: &'a Metadata, name: &str) -> anyhow::Result<&'a Package> {
    metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == name)
        .with_context(|| format!("the workspace has no package {name}"))
}

/// The features of a package but `default`, sorted.
pub(crate) fn features(package: &Package) -> Vec<&str> {
    package.features.keys().map(String::as_str).filter(|name| *name != "default").collect()
}
