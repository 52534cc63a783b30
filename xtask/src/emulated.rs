//! The tests on targets that this machine is not, under QEMU: libtest on AArch64 and Hexagon Linux, firmware on bare metal.
//!
//! What cannot be installed is named as not run. The programs' own checks decide; every edit's patch is compared with the
//! host's, bit by bit.

use std::path::Path;

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::report::Report;
use crate::{tools, workspace};

/// The command of a bare-metal Cortex-M4F.
pub(crate) const MPS2: [&str; 12] = [
    "-M",
    "mps2-an386",
    "-cpu",
    "cortex-m4",
    "-nographic",
    "-monitor",
    "none",
    "-serial",
    "none",
    "-semihosting-config",
    "enable=on,target=native",
    "-kernel",
];

/// The line of a program's output that starts with `patch`: the fingerprint of its edit.
pub(crate) fn patch_of(output: &str) -> anyhow::Result<String> {
    let line = output.lines().find_map(|line| line.split_once("patch ").map(|(_, rest)| rest.trim().to_owned()));
    line.with_context(|| format!("no fingerprint of a patch in {output:?}"))
}

/// The edit of `tests/firmware/edit` on this machine: what the others are compared with.
pub(crate) fn host_patch(sh: &Shell) -> anyhow::Result<String> {
    let manifest = "tests/firmware/edit/Cargo.toml";
    let output = cmd!(sh, "cargo run --quiet --release --manifest-path {manifest} --example host").read()?;
    eprintln!("{output}");
    patch_of(&output)
}

/// The no_std crates' tests under libtest, and the edit, with QEMU as cargo's runner.
struct Linux {
    name: &'static str,
    triple: &'static str,
    qemu: &'static str,
    linker: String,
    flags: &'static str,
    build_std: &'static [&'static str],
}

impl Linux {
    fn run(&self, sh: &Shell, report: &mut Report, expected: Option<&str>) {
        let variable = |end: &str| format!("CARGO_TARGET_{}_{end}", self.triple.to_uppercase().replace('-', "_"));
        let _linker = sh.push_env(variable("LINKER"), &self.linker);
        let _flags = sh.push_env(variable("RUSTFLAGS"), self.flags);
        let _runner = sh.push_env(variable("RUNNER"), self.qemu);
        let _nightly = (!self.build_std.is_empty()).then(|| sh.push_env("RUSTC_BOOTSTRAP", "1"));
        // The standard library of Hexagon cannot look a terminal up under QEMU.
        let (_term, _trace) = (sh.push_env("TERM", ""), sh.push_env("RUST_BACKTRACE", "0"));
        let (triple, build_std) = (self.triple, self.build_std);
        report.step(&format!("tests of the no_std crates on {} under QEMU", self.name), || {
            cmd!(sh, "cargo test --target {triple} {build_std...} --no-fail-fast --package mobiedit-core --package mobiedit-backends --package mobiedit-hal-cpu --tests --lib").run()
        });
        report.step(&format!("an edit on {} under QEMU", self.name), || -> anyhow::Result<()> {
            let manifest = "tests/firmware/edit/Cargo.toml";
            let output = cmd!(
                sh,
                "cargo run --quiet --release --target {triple} {build_std...} --manifest-path {manifest} --example host"
            )
            .read()?;
            eprintln!("{output}");
            same_patch(&output, expected)
        });
    }
}

/// The patch in `output` is the host's.
fn same_patch(output: &str, expected: Option<&str>) -> anyhow::Result<()> {
    let (patch, expected) = (patch_of(output)?, expected.context("the host's edit failed")?);
    anyhow::ensure!(patch == expected, "the patch is {patch}, the host's is {expected}");
    Ok(())
}

/// AArch64 Linux.
pub(crate) fn aarch64(sh: &Shell, report: &mut Report, expected: Option<&str>) {
    let triple = "aarch64-unknown-linux-musl";
    let ready = tools::rust_target(sh, triple).and_then(|()| tools::program(sh, "qemu-aarch64", "qemu-user"));
    match ready {
        Err(reason) => report.not_run("AArch64 under QEMU", &reason),
        Ok(()) => Linux {
            name: "AArch64",
            triple,
            qemu: "qemu-aarch64",
            linker: "rust-lld".into(),
            flags: "",
            build_std: &[],
        }
        .run(sh, report, expected),
    }
}

/// Hexagon: libtest on Linux, then the firmware on nothing.
pub(crate) fn hexagon(sh: &Shell, report: &mut Report, expected: Option<&str>) {
    let ready = tools::rust_source(sh)
        .and_then(|()| tools::program(sh, "qemu-hexagon", "qemu-user"))
        .and_then(|()| tools::zig_cc(sh));
    let zig = match ready {
        Err(reason) => return report.not_run("Hexagon under QEMU", &reason),
        Ok(zig) => zig,
    };
    let linker = zig.with_file_name("zig-cc-hexagon");
    let wrapped = format!("#!/bin/sh\nexec {} --target=hexagon-linux-musl \"$@\"\n", zig.display());
    let written = sh.write_file(&linker, wrapped).and_then(|()| cmd!(sh, "chmod +x {linker}").run());
    if let Err(error) = written {
        return report.not_run("Hexagon under QEMU", &error.to_string());
    }
    Linux {
        name: "Hexagon",
        triple: "hexagon-unknown-linux-musl",
        qemu: "qemu-hexagon",
        linker: linker.display().to_string(),
        flags: "-C target-cpu=hexagonv66 -C target-feature=+crt-static -C link-self-contained=no -C relocation-model=static",
        build_std: &["-Zbuild-std=std,panic_unwind,test"],
    }
    .run(sh, report, expected);
    report.step("the Hexagon firmware under QEMU", || -> anyhow::Result<()> {
        let _nightly = sh.push_env("RUSTC_BOOTSTRAP", "1");
        let _flags = sh.push_env("RUSTFLAGS", "-C target-cpu=hexagonv66");
        let (manifest, triple) = ("tests/firmware/hexagon/Cargo.toml", "hexagon-unknown-none-elf");
        cmd!(sh, "cargo build --quiet --release -Zbuild-std=core --target {triple} --manifest-path {manifest}")
            .run()?;
        let program =
            workspace::root().join("tests/firmware/hexagon/target").join(triple).join("release/firmware-hexagon");
        let output = cmd!(sh, "qemu-hexagon {program}").read()?;
        eprintln!("{output}");
        same_patch(&output, expected)
    });
}

/// The Cortex-M firmware, its log decoded.
pub(crate) fn cortex_m(sh: &Shell, report: &mut Report, expected: Option<&str>) {
    let triple = "thumbv7em-none-eabihf";
    let ready = tools::rust_target(sh, triple)
        .and_then(|()| tools::program(sh, "qemu-system-arm", "qemu-system-arm"))
        .and_then(|()| tools::cargo_program(sh, "defmt-print", "1.0.0"));
    let defmt_print = match ready {
        Err(reason) => return report.not_run("Cortex-M firmware under QEMU", &reason),
        Ok(program) => program,
    };
    report.step("the Cortex-M firmware under QEMU", || -> anyhow::Result<()> {
        let _log = sh.push_env("DEFMT_LOG", "info");
        let manifest = "tests/firmware/cortex-m/Cargo.toml";
        cmd!(sh, "cargo build --quiet --release --target {triple} --manifest-path {manifest}").run()?;
        let program =
            workspace::root().join("tests/firmware/cortex-m/target").join(triple).join("release/firmware-cortex-m");
        let output = logged(sh, &program, &defmt_print)?;
        same_patch(&output, expected)
    });
}

/// Runs a firmware and decodes its log.
fn logged(sh: &Shell, program: &Path, defmt_print: &Path) -> anyhow::Result<String> {
    let frames = cmd!(sh, "qemu-system-arm").args(MPS2).arg(program).output()?.stdout;
    let output = cmd!(sh, "{defmt_print} -e {program}").stdin(frames).read()?;
    eprintln!("{output}");
    Ok(output)
}
