//! `cargo xtask size`: what the C library takes of a Cortex-M4F, compared with the table that is checked in. Fails over a bar, and
//! where something has grown by more than 2 % since the table was written.
//!
//! Flash and static RAM are those of an ELF that holds every function of the interface and nothing else. No panic may be left
//! in it. The stack is painted under QEMU; an emulator says nothing of time, which is not measured here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SectionKind, elf};
use xshell::{Shell, cmd};

use crate::library::{HOST, THUMB, functions};
use crate::report::Report;
use crate::{c, tools, workspace};

/// The table: a name, bytes, and the bar where there is one.
const TABLE: &str = "tests/c/sizes.txt";
const HEADING: &str = "\
# What libmobiedit.a takes, in bytes, and where the bar is. Written by `cargo xtask size --update`.
# Flash, static RAM and stack: thumbv7em-none-eabihf, opt-level s, all functions of the interface. The stack of mobiedit_step, and
# of mobiedit_journal_open and _append, is measured under QEMU with the callbacks' own. Arenas: the editor's memory for 7 prompts
# of 16 tokens and 2 essence prompts of 4.
";

/// Bars of the product.
const BARS: [(&str, u64); 8] = [
    ("flash: editor alone", 48 * 1024),
    ("static RAM: editor alone", 0),
    ("stack of a step: editor alone", 4 * 1024),
    ("flash: with the journal", 56 * 1024),
    ("static RAM: with the journal", 0),
    ("stack of open and append: with the journal", 4 * 1024),
    ("flash: with the CPU backend", 160 * 1024),
    ("static RAM: with the CPU backend", 0),
];

/// Percent that a size may grow before somebody has to look at it.
const GROWTH: u64 = 2;

/// Measures and compares, or writes the table anew.
pub(crate) fn run(sh: &Shell, report: &mut Report, update: bool) {
    let ready = c::cortex_m_ready(sh).and_then(|()| tools::program(sh, "gcc", "gcc"));
    if let Err(reason) = ready {
        return report.not_run("sizes of the C library", &reason);
    }
    report.step("sizes of the C library", || -> anyhow::Result<()> {
        let measured = measure(sh)?;
        if update {
            return Ok(fs::write(workspace::root().join(TABLE), table(&measured))?);
        }
        let known = fs::read_to_string(workspace::root().join(TABLE)).context(TABLE)?;
        print!("{}", table(&measured));
        compare(&measured, &parsed(&known)?)
    });
}

/// All sizes, by name, in the table's order.
fn measure(sh: &Shell) -> anyhow::Result<Vec<(String, u64)>> {
    let library = THUMB.build(sh)?;
    let all = functions(&library)?;
    let without = |prefixes: &[&str]| -> Vec<String> {
        all.iter().filter(|name| !prefixes.iter().any(|prefix| name.starts_with(prefix))).cloned().collect()
    };
    let editor = without(&["mobiedit_cpu", "mobiedit_journal"]);
    let with_journal = without(&["mobiedit_cpu"]);
    let mut sizes = Vec::new();
    for (name, functions, stack, program) in [
        ("editor alone", &editor, "stack of a step", "callbacks"),
        ("with the journal", &with_journal, "stack of open and append", "journal"),
        ("with the CPU backend", &all, "stack of a step", "edit"),
    ] {
        let linked = link(sh, &library, functions)?;
        let (flash, ram) = flash_and_ram(&linked)?;
        sizes.push((format!("flash: {name}"), flash));
        sizes.push((format!("static RAM: {name}"), ram));
        sizes.push((format!("{stack}: {name}"), c::stack_of(sh, program, &library)?));
    }
    for line in c::arenas(sh, &HOST.build(sh)?)?.lines() {
        let (name, bytes) = line.rsplit_once(": ").with_context(|| format!("arena.c printed {line:?}"))?;
        sizes.push((name.into(), bytes.parse()?));
    }
    Ok(sizes)
}

/// An ELF of these functions and what they call.
fn link(sh: &Shell, library: &Path, functions: &[String]) -> anyhow::Result<PathBuf> {
    let out = workspace::root().join("target/c/size.elf");
    fs::create_dir_all(out.parent().context("a folder")?)?;
    let first = functions.first().context("the library has no functions")?;
    let roots = functions.iter().map(|name| format!("-Wl,--undefined={name}"));
    let flags = c::CORTEX_M;
    cmd!(sh, "arm-none-eabi-gcc {flags...} -nostdlib -Wl,--entry={first} {roots...} {library} -o {out}")
        .quiet()
        .run()?;
    let bytes = fs::read(&out)?;
    for symbol in object::File::parse(&*bytes)?.symbols() {
        let name = symbol.name()?;
        anyhow::ensure!(!name.contains("panic"), "the linked program can panic: it holds {name}");
    }
    Ok(out)
}

/// Bytes that a program takes of flash, initial values of variables among them, and of RAM.
fn flash_and_ram(path: &Path) -> anyhow::Result<(u64, u64)> {
    let bytes = fs::read(path)?;
    let (mut flash, mut ram) = (0, 0);
    for section in object::File::parse(&*bytes)?.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        if sh_flags & u64::from(elf::SHF_ALLOC) == 0 {
            continue;
        }
        let is_empty = matches!(section.kind(), SectionKind::UninitializedData);
        flash += if is_empty { 0 } else { section.size() };
        ram += if sh_flags & u64::from(elf::SHF_WRITE) == 0 { 0 } else { section.size() };
    }
    Ok((flash, ram))
}

fn bar(name: &str) -> Option<u64> {
    BARS.iter().find(|(of, _)| *of == name).map(|(_, bar)| *bar)
}

fn table(sizes: &[(String, u64)]) -> String {
    let line = |(name, bytes): &(String, u64)| match bar(name) {
        Some(bar) => format!("{name}: {bytes} (at most {bar})\n"),
        None => format!("{name}: {bytes}\n"),
    };
    HEADING.to_owned() + &sizes.iter().map(line).collect::<String>()
}

fn parsed(table: &str) -> anyhow::Result<BTreeMap<&str, u64>> {
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let sizes = lines.map(|line| {
        let (name, rest) = line.rsplit_once(": ").with_context(|| format!("{TABLE} has a line {line:?}"))?;
        let bytes = rest.split(' ').next().unwrap_or(rest);
        Ok((name, bytes.parse().with_context(|| format!("{TABLE} has a line {line:?}"))?))
    });
    sizes.collect()
}

/// No size is over its bar, or much over what it was.
fn compare(sizes: &[(String, u64)], known: &BTreeMap<&str, u64>) -> anyhow::Result<()> {
    for (name, bytes) in sizes {
        let over = bar(name).filter(|bar| bytes > bar);
        anyhow::ensure!(over.is_none(), "{name}: {bytes} bytes, and the bar is {}", over.unwrap_or_default());
        let before =
            known.get(name.as_str()).with_context(|| format!("{TABLE} has no line {name:?}: write it anew"))?;
        let grown = *bytes > before + before * GROWTH / 100;
        anyhow::ensure!(
            !grown,
            "{name} has grown from {before} to {bytes} bytes: run `cargo xtask size --update` if it should"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_bar_or_has_grown_or_is_unknown_fails() {
        let sizes = |flash: u64| [("flash: editor alone".to_owned(), flash), ("arena: x, paper".to_owned(), 1000)];
        let written = table(&sizes(40_000));
        assert!(written.ends_with("flash: editor alone: 40000 (at most 49152)\narena: x, paper: 1000\n"));
        let known = parsed(&written).unwrap();
        assert!(compare(&sizes(40_000), &known).is_ok());
        assert!(compare(&sizes(40_800), &known).is_ok());
        assert!(compare(&sizes(40_801), &known).is_err());
        assert!(compare(&sizes(100), &known).is_ok());
        let known = parsed("flash: editor alone: 60000").unwrap();
        assert!(compare(&sizes(50_000), &known).is_err());
        assert!(compare(&sizes(100), &known).is_err());
    }
}
