//! The tests on targets that this machine is not, under QEMU: the crates' own tests under libtest on AArch64 and Hexagon Linux; the
//! shared list of checks and a whole edit on bare metal. Every edit's patch is compared with the host's, bit by bit.
//!
//! The programs' own checks decide. C programs are `c`'s.

use xshell::{Shell, cmd};

use crate::report::Report;
use crate::{c, size, tools, workspace};

/// The workspace of the firmware.
const FIRMWARE: &str = "tests/firmware";
const THUMB: &str = "thumbv7em-none-eabihf";
/// A Cortex-M3.
const WITHOUT_FPU: &str = "thumbv7m-none-eabi";
const HEXAGON: &str = "hexagon-unknown-none-elf";

/// Clippy on what is firmware: the crates that any machine compiles, and those of each bare target, which has no libtest.
pub(crate) fn clippy(sh: &Shell, report: &mut Report) {
    let _folder = sh.push_dir(FIRMWARE);
    report.step("clippy, firmware", || {
        cmd!(sh, "cargo clippy --locked --package firmware-edit --package firmware-checks --all-targets -- -D warnings")
            .run()
    });
    let bare: [(&str, &str, &[&str]); 6] = [
        (THUMB, "firmware-cortex-m", &["--bins", "--test", "checks"]),
        (WITHOUT_FPU, "fast-math", &["--bins"]),
        (HEXAGON, "firmware-hexagon", &["--bins"]),
        (HEXAGON, "firmware-hexagon", &["--no-default-features", "--test", "checks"]),
        (HEXAGON, "hexagon-start", &["--lib"]),
        (HEXAGON, "hvx", &["--bins"]),
    ];
    for (triple, package, what) in bare {
        let name = format!("clippy, {package}");
        let is_hexagon = triple == HEXAGON;
        let ready = if is_hexagon { tools::rust_source(sh) } else { tools::rust_target(sh, triple) };
        if let Err(reason) = ready {
            report.not_run(&name, &reason);
            continue;
        }
        let build_std: &[&str] = if is_hexagon { &["-Zbuild-std=core,alloc"] } else { &[] };
        let _nightly = is_hexagon.then(|| sh.push_env("RUSTC_BOOTSTRAP", "1"));
        report.step(&name, || {
            cmd!(
                sh,
                "cargo clippy --locked {build_std...} --target {triple} --package {package} {what...} -- -D warnings"
            )
            .run()
        });
    }
}

/// The edit of `tests/firmware/edit` on this machine, of the small model or the shipped one: what the others are compared with.
pub(crate) fn host_patch(sh: &Shell, features: &[&str]) -> anyhow::Result<String> {
    let _folder = sh.push_dir(FIRMWARE);
    let output =
        cmd!(sh, "cargo run --quiet --release --locked --package firmware-edit {features...} --example host").read()?;
    eprintln!("{output}");
    c::patch_of(&output)
}

/// The patch in `output` is the host's.
fn same_patch(output: &str, host: &anyhow::Result<String>) -> anyhow::Result<()> {
    eprintln!("{output}");
    let host = host.as_ref().map_err(|error| anyhow::anyhow!("the host's edit failed: {error:#}"))?;
    let patch = c::patch_of(output)?;
    anyhow::ensure!(patch == *host, "the patch is {patch}, the host's is {host}");
    Ok(())
}

/// A Linux target whose tests run under QEMU's user mode.
struct Linux {
    name: &'static str,
    triple: &'static str,
    linker: String,
    flags: &'static str,
    runner: &'static str,
    build_std: &'static [&'static str],
    features: &'static [&'static str],
}

impl Linux {
    /// Does something where cargo knows how to link and run programs of this target.
    fn within<R>(&self, sh: &Shell, work: impl FnOnce() -> R) -> R {
        let variable = |end: &str| format!("CARGO_TARGET_{}_{end}", self.triple.to_uppercase().replace('-', "_"));
        let _linker = sh.push_env(variable("LINKER"), &self.linker);
        let _flags = sh.push_env(variable("RUSTFLAGS"), self.flags);
        let _runner = sh.push_env(variable("RUNNER"), self.runner);
        let _nightly = (!self.build_std.is_empty()).then(|| sh.push_env("RUSTC_BOOTSTRAP", "1"));
        work()
    }

    /// The tests of the no_std crates.
    fn tests(&self, sh: &Shell, report: &mut Report) {
        let Self { name, triple, build_std, features, .. } = *self;
        let packages = workspace::NO_STD.iter().flat_map(|(package, _)| ["--package", package]);
        report.step(&format!("tests of the no_std crates on {name} under QEMU"), || {
            self.within(sh, || {
                cmd!(sh, "cargo test --locked --target {triple} {build_std...} {packages...} {features...} --lib --tests --no-fail-fast").run()
            })
        });
    }

    /// A whole edit in Rust.
    fn edit(&self, sh: &Shell, report: &mut Report, host: &anyhow::Result<String>) {
        let Self { name, triple, .. } = *self;
        report.step(&format!("an edit on {name} under QEMU"), || -> anyhow::Result<()> {
            let _folder = sh.push_dir(FIRMWARE);
            let output = self.within(sh, || {
                cmd!(
                    sh,
                    "cargo run --quiet --release --locked --target {triple} --package firmware-edit --example host"
                )
                .read()
            });
            same_patch(&output?, host)
        });
    }
}

/// AArch64 Linux: the tests and the edit.
pub(crate) fn aarch64(sh: &Shell, report: &mut Report, host: &anyhow::Result<String>) {
    let triple = "aarch64-unknown-linux-musl";
    let ready = tools::rust_target(sh, triple).and_then(|()| tools::program(sh, "qemu-aarch64", "qemu-user"));
    if let Err(reason) = ready {
        return report.not_run("tests on AArch64 under QEMU", &reason);
    }
    let linux = Linux {
        name: "AArch64",
        triple,
        linker: "rust-lld".into(),
        flags: "",
        runner: "qemu-aarch64",
        build_std: &[],
        features: &["--features", "mobiedit-hal-cpu/std"],
    };
    linux.tests(sh, report);
    linux.edit(sh, report, host);
}

/// Hexagon: libtest on Linux, then the checks, the edit and the vector kernels on bare metal.
pub(crate) fn hexagon(sh: &Shell, report: &mut Report, host: &anyhow::Result<String>) {
    let ready = tools::rust_source(sh).and_then(|()| tools::program(sh, "qemu-hexagon", "qemu-user"));
    if let Err(reason) = ready {
        return report.not_run("tests on Hexagon under QEMU", &reason);
    }
    match tools::zig_linker(sh, "hexagon-linux-musl") {
        Err(reason) => report.not_run("tests on Hexagon Linux under QEMU", &reason),
        Ok(linker) => hexagon_linux(sh, report, linker.display().to_string()),
    }
    hexagon_bare(sh, report, host);
}

/// Without a system: the checks, the edit, and both vector and scalar arithmetic.
fn hexagon_bare(sh: &Shell, report: &mut Report, host: &anyhow::Result<String>) {
    let _nightly = sh.push_env("RUSTC_BOOTSTRAP", "1");
    let _folder = sh.push_dir(FIRMWARE);
    let options = ["--quiet", "--release", "--locked", "-Zbuild-std=core,alloc", "--target", HEXAGON, "--package"];
    report.step("the checks on a bare Hexagon under QEMU", || {
        // With tests that unwind, cargo would build a second core beside the firmware's.
        cmd!(sh, "cargo test -Zpanic-abort-tests {options...} firmware-hexagon --no-default-features --test checks")
            .run()
    });
    report.step("HVX beside scalar on a bare Hexagon under QEMU", || cmd!(sh, "cargo run {options...} hvx").run());
    for (name, features) in [("", [].as_slice()), (", by HVX", &["--features", "hvx"])] {
        report.step(&format!("the Hexagon firmware under QEMU{name}"), || {
            same_patch(&cmd!(sh, "cargo run {options...} firmware-hexagon {features...}").read()?, host)
        });
    }
    report.cannot("the Hexagon firmware with the shipped model", "6 minutes under QEMU: --only shipped runs it");
}

/// The shipped model's edit on a bare Hexagon, by HVX. A Cortex-M's 4 MB of flash hold the small model alone.
pub(crate) fn shipped(sh: &Shell, report: &mut Report) {
    let ready = tools::rust_source(sh).and_then(|()| tools::program(sh, "qemu-hexagon", "qemu-user"));
    if let Err(reason) = ready {
        return report.not_run("the shipped model on Hexagon under QEMU", &reason);
    }
    report.step("the Hexagon firmware under QEMU, by HVX, with the shipped model", || {
        let host = host_patch(sh, &["--features", "shipped"]);
        let _nightly = sh.push_env("RUSTC_BOOTSTRAP", "1");
        let _folder = sh.push_dir(FIRMWARE);
        let run = cmd!(sh, "cargo run --quiet --release --locked -Zbuild-std=core,alloc --target {HEXAGON} --package firmware-hexagon --features hvx,shipped");
        same_patch(&run.read()?, &host)
    });
}

/// One test at a time: QEMU 7.2 crashes in programs of several threads. Without TERM: the standard library would look the terminal
/// up, and its `stat` does not fit zig's C library.
fn hexagon_linux(sh: &Shell, report: &mut Report, linker: String) {
    let _threads = sh.push_env("RUST_TEST_THREADS", "1");
    let _trace = sh.push_env("RUST_BACKTRACE", "0");
    Linux {
        name: "Hexagon",
        triple: "hexagon-unknown-linux-musl",
        linker,
        flags: "-C target-cpu=hexagonv66 -C target-feature=+crt-static -C link-self-contained=no -C relocation-model=static",
        runner: "env -u TERM qemu-hexagon -cpu v67",
        build_std: &["-Zbuild-std=std,panic_unwind,test"],
        features: &[],
    }
    .tests(sh, report);
}

/// A Cortex-M4F: the checks and the edit in Rust, their logs decoded; a Cortex-M3's arithmetic; what the C library takes.
pub(crate) fn thumbv7em(sh: &Shell, report: &mut Report, host: &anyhow::Result<String>) {
    let ready = tools::rust_target(sh, THUMB)
        .and_then(|()| tools::program(sh, "qemu-system-arm", "qemu-system-arm"))
        .and_then(|()| tools::cargo_program(sh, "defmt-print", "1.2.0"));
    match ready {
        Err(reason) => report.not_run("firmware on a Cortex-M under QEMU", &reason),
        Ok(defmt_print) => {
            let _path = tools::in_path(sh, &defmt_print);
            let _folder = sh.push_dir(FIRMWARE);
            report.step("the checks on a Cortex-M under QEMU", || {
                cmd!(
                    sh,
                    "cargo test --quiet --release --locked --target {THUMB} --package firmware-cortex-m --test checks"
                )
                .run()
            });
            report.step("the Cortex-M firmware under QEMU", || {
                let run = cmd!(sh, "cargo run --quiet --release --locked --target {THUMB} --package firmware-cortex-m");
                same_patch(&run.read()?, host)
            });
        }
    }
    match tools::rust_target(sh, WITHOUT_FPU).and_then(|()| tools::program(sh, "qemu-system-arm", "qemu-system-arm")) {
        Err(reason) => report.not_run("fast-math on a Cortex-M3 under QEMU", &reason),
        Ok(()) => report.step("fast-math on a Cortex-M3 under QEMU", || {
            let _folder = sh.push_dir(FIRMWARE);
            cmd!(sh, "cargo run --quiet --release --locked --target {WITHOUT_FPU} --package fast-math").run()
        }),
    }
    size::run(sh, report, false);
}
