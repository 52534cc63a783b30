//! The list of direct dependencies with reasons: complete, and nothing in it that is not one.

use cargo_metadata::Metadata;

use super::Violation;

/// The list's place.
pub(super) const LIST: &str = "tests/DEPENDENCIES.md";

/// Names of all direct dependencies on crates of others, in order.
pub(super) fn names(metadata: &Metadata) -> Vec<String> {
    let all = metadata.packages.iter().flat_map(|package| &package.dependencies);
    let mut names: Vec<String> = all.filter(|on| on.path.is_none()).map(|on| on.name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// Dependencies without a reason, and reasons without a dependency. Rows begin with the crate's name in backticks.
pub(super) fn check(list: &str, names: &[String]) -> Vec<Violation> {
    let row = |line: &str| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name.to_owned());
    let listed: Vec<(usize, String)> =
        (1..).zip(list.lines()).filter_map(|(number, line)| Some((number, row(line)?))).collect();
    let missing = names.iter().filter(|name| !listed.iter().any(|(_, listed)| listed == *name));
    let missing = missing.map(|name| Violation::new(LIST, 1, format!("no reason is given for depending on {name}")));
    let unused = listed.iter().filter(|(_, name)| !names.contains(name));
    let unused = unused.map(|(line, name)| Violation::new(LIST, *line, format!("nothing depends on {name}")));
    missing.chain(unused).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_row_and_each_row_its_dependency() {
        let list = "| crate | why |\n|---|---|\n| `half` | f16 |\n| `gone` | once |\n";
        let found = check(list, &["half".to_owned(), "rayon".to_owned()]);
        let said: Vec<_> = found.iter().map(|violation| (violation.line, violation.message.as_str())).collect();
        assert_eq!(said, [(1, "no reason is given for depending on rayon"), (4, "nothing depends on gone")]);
        assert!(check("| `half` | f16 |", &["half".to_owned()]).is_empty());
    }
}
