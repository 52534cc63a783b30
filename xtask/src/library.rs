//! The C library for each target, and for phones with their NPU: `cargo xtask dist` builds `libmobiedit.a`, the header and, for
//! hosts, a `.pc` file into `target/dist/TARGET`, and compares what each library leaves for the linker with a list that is checked in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSymbol};
use xshell::{Shell, cmd};

use crate::report::Report;
use crate::{tools, workspace};

/// What each library leaves undefined: a target and its symbols per line.
const SYMBOLS: &str = "tests/c/symbols.txt";

/// A target of the library.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) triple: &'static str,
    /// rustup has no core for it: cargo builds one.
    builds_core: bool,
    flags: &'static str,
    /// An operating system, with pkg-config.
    is_host: bool,
}

pub(crate) const HOST: Target = plain("x86_64-unknown-linux-gnu", true);
pub(crate) const THUMB: Target = plain("thumbv7em-none-eabihf", false);
pub(crate) const AARCH64: Target = plain("aarch64-unknown-none", false);
pub(crate) const AARCH64_MUSL: Target = plain("aarch64-unknown-linux-musl", true);
pub(crate) const HEXAGON: Target = hexagon("hexagon-unknown-none-elf");
/// Built and inspected; Qualcomm's QuRT cannot be had here to run it on.
const QURT: Target = hexagon("hexagon-unknown-qurt");
const ANDROID: Target = plain("aarch64-linux-android", false);

const ALL: [Target; 7] = [HOST, AARCH64_MUSL, AARCH64, THUMB, HEXAGON, QURT, ANDROID];

const fn plain(triple: &'static str, is_host: bool) -> Target {
    Target { triple, builds_core: false, flags: "", is_host }
}

const fn hexagon(triple: &'static str) -> Target {
    Target { triple, builds_core: true, flags: "-C target-cpu=hexagonv66", is_host: false }
}

impl Target {
    /// Installs what building for it takes.
    fn prepare(&self, sh: &Shell) -> Result<(), String> {
        if self.builds_core { tools::rust_source(sh) } else { tools::rust_target(sh, self.triple) }
    }

    /// Builds the library; its path.
    pub(crate) fn build(&self, sh: &Shell) -> anyhow::Result<PathBuf> {
        self.build_in(sh, workspace::root())
    }

    /// Builds it from the sources in `folder`.
    fn build_in(&self, sh: &Shell, folder: &Path) -> anyhow::Result<PathBuf> {
        let _folder = sh.push_dir(folder);
        let triple = self.triple;
        // Hexagon's compiler at "s" calls register-saving helpers that its own runtime does not bring.
        let level = if self.builds_core { "3" } else { "s" };
        let _level = sh.push_env("CARGO_PROFILE_FIRMWARE_OPT_LEVEL", level);
        let _flags = sh.push_env("RUSTFLAGS", self.flags);
        let _nightly = self.builds_core.then(|| sh.push_env("RUSTC_BOOTSTRAP", "1"));
        let core: &[&str] = if self.builds_core { &["-Zbuild-std=core"] } else { &[] };
        cmd!(sh, "cargo rustc --profile firmware --lib --crate-type staticlib --no-default-features --features capi,panic-handler --target {triple} {core...}").run()?;
        Ok(folder.join("target").join(triple).join("firmware/libmobiedit.a"))
    }

    /// Builds it once more, from the sources in `elsewhere`: the bytes must be the same.
    fn rebuild(&self, sh: &Shell, library: &Path, elsewhere: &Path) -> anyhow::Result<()> {
        same_bytes(library, &self.build_in(sh, elsewhere)?)
    }
}

fn same_bytes(library: &Path, again: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(fs::read(library)? == fs::read(again)?, "{} has other bytes", again.display());
    Ok(())
}

/// A copy of the sources in another folder.
fn elsewhere(sh: &Shell) -> anyhow::Result<PathBuf> {
    let copy = workspace::root().join("target/elsewhere");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    let tracked = cmd!(sh, "git ls-files -z").quiet().read()?;
    for path in tracked.split('\0').filter(|path| !path.is_empty()) {
        let (from, to) = (workspace::root().join(path), copy.join(path));
        fs::create_dir_all(to.parent().context("a folder")?)?;
        if from.exists() {
            fs::copy(&from, &to).with_context(|| path.to_owned())?;
        }
    }
    Ok(copy)
}

/// Builds the library that can open Qualcomm's NPU, with std; its path.
pub(crate) fn with_npu(sh: &Shell, triple: &str) -> anyhow::Result<PathBuf> {
    with_npu_in(sh, triple, workspace::root())
}

fn with_npu_in(sh: &Shell, triple: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let _folder = sh.push_dir(folder);
    cmd!(sh, "cargo rustc --profile firmware --lib --crate-type staticlib --no-default-features --features capi,qnn --target {triple} --target-dir target/npu").run()?;
    Ok(folder.join("target/npu").join(triple).join("firmware/libmobiedit.a"))
}

/// Builds all, one after the other, and each once more from another folder: the bytes must be the same. A target that cannot be had
/// here is named.
pub(crate) fn dist(sh: &Shell, report: &mut Report, update: bool) {
    let mut lines = Vec::new();
    let copy = elsewhere(sh);
    let copy = || copy.as_deref().map_err(|error| anyhow::anyhow!("no copy of the sources: {error:#}"));
    for target in ALL {
        let name = format!("libmobiedit.a for {}", target.triple);
        if let Err(reason) = target.prepare(sh) {
            report.not_run(&name, &reason);
            continue;
        }
        report.step(&name, || -> anyhow::Result<()> {
            let library = target.build(sh)?;
            target.rebuild(sh, &library, copy()?)?;
            lines.push(format!(
                "{}: {}",
                target.triple,
                undefined(&library)?.into_iter().collect::<Vec<_>>().join(" ")
            ));
            if target.triple == THUMB.triple {
                has_no_panic(&library)?;
            }
            pack(target.triple, target.is_host, &library)
        });
    }
    let name = format!("libmobiedit.a for {}, with the NPU", ANDROID.triple);
    match ANDROID.prepare(sh) {
        Err(reason) => report.not_run(&name, &reason),
        Ok(()) => report.step(&name, || {
            let library = with_npu(sh, ANDROID.triple)?;
            same_bytes(&library, &with_npu_in(sh, ANDROID.triple, copy()?)?)?;
            pack(&format!("{}-qnn", ANDROID.triple), ANDROID.is_host, &library)
        }),
    }
    report.step("what the libraries leave undefined", || -> anyhow::Result<()> {
        if update {
            return Ok(fs::write(workspace::root().join(SYMBOLS), lines.join("\n") + "\n")?);
        }
        let known = fs::read_to_string(workspace::root().join(SYMBOLS)).context(SYMBOLS)?;
        for line in &lines {
            anyhow::ensure!(known.lines().any(|known| known == line), "{SYMBOLS} does not have this line: {line}");
        }
        Ok(())
    });
}

/// Symbols that a program with every function of the interface needs from elsewhere: what is left when the linker has taken,
/// one after the other, the members of the archive that it wants.
fn undefined(library: &Path) -> anyhow::Result<BTreeSet<String>> {
    let bytes = fs::read(library).with_context(|| library.display().to_string())?;
    let mut members = Vec::new();
    for member in ArchiveFile::parse(&*bytes)?.members() {
        let object = object::File::parse(member?.data(&*bytes)?)?;
        let mut symbols = (BTreeSet::new(), BTreeSet::new());
        for symbol in object.symbols().filter(|symbol| symbol.is_undefined() || symbol.is_global()) {
            let name = symbol.name()?.to_owned();
            if symbol.is_undefined() {
                symbols.0.insert(name)
            } else {
                symbols.1.insert(name)
            };
        }
        members.push(symbols);
    }
    let is_ours =
        |(_, defined): &(BTreeSet<String>, BTreeSet<String>)| defined.iter().any(|name| name.starts_with("mobiedit_"));
    let mut taken: Vec<bool> = members.iter().map(is_ours).collect();
    loop {
        let all = || members.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(member, _)| member);
        let defined: BTreeSet<&String> = all().flat_map(|(_, defined)| defined).collect();
        let open: BTreeSet<&String> =
            all().flat_map(|(wanted, _)| wanted).filter(|name| !name.is_empty() && !defined.contains(name)).collect();
        let next = members.iter().position(|(_, defined)| open.iter().any(|name| defined.contains(*name)));
        match next {
            Some(next) => taken[next] = true,
            None => return Ok(open.into_iter().cloned().collect()),
        }
    }
}

/// The functions of the interface, by name.
pub(crate) fn functions(library: &Path) -> anyhow::Result<Vec<String>> {
    let bytes = fs::read(library).with_context(|| library.display().to_string())?;
    let mut names = BTreeSet::new();
    for member in ArchiveFile::parse(&*bytes)?.members() {
        let object = object::File::parse(member?.data(&*bytes)?)?;
        for symbol in object.symbols().filter(|symbol| symbol.is_definition() && symbol.is_global()) {
            names
                .extend(symbol.name()?.starts_with("mobiedit_").then(|| symbol.name().map(str::to_owned)).transpose()?);
        }
    }
    Ok(names.into_iter().collect())
}

/// No function of the library, and of the runtime in it, can reach a panic: then none is there.
fn has_no_panic(library: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(library).with_context(|| library.display().to_string())?;
    for member in ArchiveFile::parse(&*bytes)?.members() {
        let object = object::File::parse(member?.data(&*bytes)?)?;
        for symbol in object.symbols() {
            let name = symbol.name()?;
            anyhow::ensure!(!name.contains("panicking"), "{} holds {name}", library.display());
        }
    }
    Ok(())
}

/// Library, header and `.pc` file into one folder.
fn pack(name: &str, is_host: bool, library: &Path) -> anyhow::Result<()> {
    let root = workspace::root();
    let folder = root.join("target/dist").join(name);
    fs::create_dir_all(&folder)?;
    fs::copy(library, folder.join("libmobiedit.a"))?;
    fs::copy(root.join("include/mobiedit.h"), folder.join("mobiedit.h"))?;
    if is_host {
        let metadata = workspace::metadata()?;
        let package = workspace::package(&metadata, "mobiedit")?;
        let text = format!(
            "prefix=${{pcfiledir}}\n\nName: mobiedit\nDescription: {}\nVersion: {}\nCflags: -I${{prefix}}\nLibs: -L${{prefix}} -lmobiedit\n",
            package.description.as_deref().unwrap_or_default(),
            package.version
        );
        fs::write(folder.join("mobiedit.pc"), text)?;
    }
    println!("{}", folder.display());
    Ok(())
}
