//! Who may depend on whom: `src -> hal-* -> backends -> core`, and xtask on none of them.
//!
//! Dependencies of tests are left out: a backend's tests may use the conformance suite's feature.

use cargo_metadata::{DependencyKind, Metadata};

use super::Violation;

const CORE: &str = "mobiedit-core";
const BACKENDS: &str = "mobiedit-backends";

/// Each crate and the crates of this workspace that it may depend on.
const ALLOWED: [(&str, &[&str]); 6] = [
    (CORE, &[]),
    (BACKENDS, &[CORE]),
    ("mobiedit-hal-cpu", &[BACKENDS, CORE]),
    ("mobiedit-hal-qnn", &[BACKENDS, CORE]),
    ("mobiedit", &["mobiedit-hal-cpu", "mobiedit-hal-qnn", BACKENDS, CORE]),
    ("xtask", &[]),
];

/// Every crate of the workspace, each with those of the workspace that it builds on, and its manifest.
pub(super) fn edges(metadata: &Metadata) -> Vec<(String, Vec<String>, String)> {
    let members: Vec<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let root = metadata.workspace_root.as_path();
    let of = |package: &cargo_metadata::Package| {
        let built_on = package
            .dependencies
            .iter()
            .filter(|on| on.kind != DependencyKind::Development && members.contains(&on.name.as_str()))
            .map(|on| on.name.clone());
        let manifest = package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path);
        (package.name.to_string(), built_on.collect(), manifest.to_string())
    };
    metadata.packages.iter().map(of).collect()
}

/// The arrows that point the wrong way, and crates that no rule names.
pub(super) fn check(edges: &[(String, Vec<String>, String)]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (from, built_on, manifest) in edges {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == from) else {
            violations.push(Violation::new(manifest, 1, format!("no rule says what {from} may depend on")));
            continue;
        };
        for on in built_on.iter().filter(|on| !allowed.contains(&on.as_str())) {
            violations.push(Violation::new(manifest, 1, format!("{from} must not depend on {on}")));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(from: &str, on: &str) -> usize {
        check(&[(from.into(), vec![on.into()], "Cargo.toml".into())]).len()
    }

    #[test]
    fn arrows_point_down_only() {
        for (from, on, expected) in [
            ("mobiedit", "mobiedit-hal-cpu", 0),
            ("mobiedit", CORE, 0),
            ("mobiedit-hal-cpu", BACKENDS, 0),
            (BACKENDS, CORE, 0),
            (CORE, BACKENDS, 1),
            (BACKENDS, "mobiedit-hal-cpu", 1),
            ("mobiedit-hal-cpu", "mobiedit-hal-qnn", 1),
            ("mobiedit-hal-qnn", "mobiedit", 1),
            ("xtask", CORE, 1),
            ("mobiedit-new", CORE, 1),
        ] {
            assert_eq!(broken(from, on), expected, "{from} -> {on}");
        }
    }

    #[test]
    fn the_workspace_is_seen() {
        let edges = edges(&crate::workspace::metadata().unwrap());
        let (_, built_on, manifest) = edges.iter().find(|(name, ..)| name == BACKENDS).unwrap();
        assert_eq!((built_on.as_slice(), manifest.as_str()), ([CORE.to_owned()].as_slice(), "backends/Cargo.toml"));
    }
}
