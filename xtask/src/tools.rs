//! What the tests on other targets need from outside: installed by rustup, apt and pip, each said before it is done.
//!
//! Every function returns why a thing cannot be had, for a report's "not run".

use std::env;
use std::path::{Path, PathBuf};

use xshell::{Shell, cmd};

use crate::workspace;

/// Where tools are kept that are not the system's: below the target folder.
fn folder() -> PathBuf {
    workspace::root().join("target/tools")
}

/// Whether a program is in PATH.
fn has(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Installs all that the tests ask for, before two processes ask for it at the same time. What cannot be had is said by the tests
/// that want it.
pub(crate) fn prepare(sh: &Shell) {
    for (name, debian) in [
        ("gcc", "gcc"),
        ("valgrind", "valgrind"),
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
        ("qemu-system-arm", "qemu-system-arm"),
        ("qemu-hexagon", "qemu-user"),
    ] {
        let _ = program(sh, name, debian);
    }
    let _ = newlib(sh);
    let _ = multilib(sh);
    let _ = zig_cc(sh);
    let _ = rust_source(sh);
    for triple in RUST_TARGETS {
        let _ = rust_target(sh, triple);
    }
}

/// Targets of rustup that the tests and the C library are built for.
const RUST_TARGETS: [&str; 6] = [
    "i686-unknown-linux-gnu",
    "thumbv7em-none-eabihf",
    "thumbv7m-none-eabi",
    "aarch64-unknown-none",
    "aarch64-unknown-linux-musl",
    "aarch64-linux-android",
];

/// The C library of the Arm compiler.
pub(crate) fn newlib(sh: &Shell) -> Result<(), String> {
    let found = cmd!(sh, "arm-none-eabi-gcc --print-file-name=rdimon.specs")
        .quiet()
        .read()
        .is_ok_and(|path| path.contains('/'));
    if found { Ok(()) } else { package(sh, "libnewlib-arm-none-eabi") }
}

/// What links programs for 32-bit x86 on a 64-bit one.
pub(crate) fn multilib(sh: &Shell) -> Result<(), String> {
    let found = cmd!(sh, "gcc -m32 --print-file-name=libgcc.a").quiet().read();
    if found.is_ok_and(|path| path.contains("/32/")) { Ok(()) } else { package(sh, "gcc-multilib") }
}

/// A program of a Debian package.
pub(crate) fn program(sh: &Shell, name: &str, debian: &str) -> Result<(), String> {
    if has(name) {
        return Ok(());
    }
    package(sh, debian).map_err(|reason| format!("{name} is not installed: {reason}"))?;
    if has(name) { Ok(()) } else { Err(format!("{debian} brought no {name}")) }
}

/// A Debian package.
pub(crate) fn package(sh: &Shell, name: &str) -> Result<(), String> {
    if !has("apt-get") {
        return Err(format!("there is no apt-get to install {name} with"));
    }
    eprintln!("\ninstalling the Debian package {name} with apt-get");
    let as_root = cmd!(sh, "id -u").quiet().read().is_ok_and(|id| id == "0");
    let apt = |words: &[&str]| -> xshell::Result<()> {
        let before: &[&str] = if as_root { &[] } else { &["sudo", "-n"] };
        let all = [before, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"], words].concat();
        all.split_first().map_or(Ok(()), |(first, rest)| sh.cmd(first).args(rest).ignore_stdout().run())
    };
    let install = || apt(&["install", "--yes", name]);
    // The lists of packages may be old, or not there yet.
    let installed = install().or_else(|_| apt(&["update"]).and_then(|()| install()));
    installed.map_err(|error| format!("{name} could not be installed: {error}"))
}

/// A target of rustup.
pub(crate) fn rust_target(sh: &Shell, triple: &str) -> Result<(), String> {
    let there =
        cmd!(sh, "rustup target list --installed").quiet().read().is_ok_and(|list| list.lines().any(|t| t == triple));
    if there {
        return Ok(());
    }
    eprintln!("\ninstalling the Rust target {triple} with rustup");
    cmd!(sh, "rustup target add {triple}").run().map_err(|error| format!("rustup could not add the target: {error}"))
}

/// The standard library's source, for targets that rustup has no library of.
pub(crate) fn rust_source(sh: &Shell) -> Result<(), String> {
    let there =
        cmd!(sh, "rustup component list --installed").quiet().read().is_ok_and(|list| list.contains("rust-src"));
    if there {
        return Ok(());
    }
    eprintln!("\ninstalling the component rust-src with rustup");
    cmd!(sh, "rustup component add rust-src").run().map_err(|error| format!("rustup could not add rust-src: {error}"))
}

/// A program of a crate, built below the target folder; the folder that it is in. Without optimisation: it builds in half the time.
pub(crate) fn cargo_program(sh: &Shell, name: &str, version: &str) -> Result<PathBuf, String> {
    let root = folder().join(format!("{name}-{version}"));
    if !root.join("bin").join(name).exists() {
        eprintln!("\ninstalling {name} {version} with cargo into {}", root.display());
        cmd!(sh, "cargo install --quiet --locked --debug --root {root} --version {version} {name}")
            .run()
            .map_err(|error| format!("{name} could not be installed: {error}"))?;
    }
    Ok(root.join("bin"))
}

/// Puts a folder at the end of PATH, until the value is dropped.
pub(crate) fn in_path<'s>(sh: &'s Shell, folder: &Path) -> xshell::PushEnv<'s> {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(folder);
    sh.push_env("PATH", path)
}

/// Zig's linker for one of its targets, as a program that cargo can call.
pub(crate) fn zig_linker(sh: &Shell, target: &str) -> Result<PathBuf, String> {
    let zig = zig_cc(sh)?;
    let wrapper = zig.with_file_name(format!("zig-cc-{target}"));
    if !wrapper.exists() {
        script(sh, &wrapper, &format!("{} --target={target}", zig.display()))
            .map_err(|error| format!("{} could not be written: {error}", wrapper.display()))?;
    }
    Ok(wrapper)
}

/// A shell script that calls `command` with its own arguments behind it.
fn script(sh: &Shell, path: &Path, command: &str) -> xshell::Result<()> {
    sh.write_file(path, format!("#!/bin/sh\nexec {command} \"$@\"\n"))?;
    cmd!(sh, "chmod +x {path}").run()
}

/// The version of ziglang. With 0.15 a program of Rust's standard library for Hexagon does not link: both bring its arithmetic.
const ZIG: &str = "0.17.1";

/// The C compiler and linker of Zig, from PyPI: a small program that calls it, for cargo and for us.
pub(crate) fn zig_cc(sh: &Shell) -> Result<PathBuf, String> {
    let environment = folder().join(format!("zig-{ZIG}"));
    let wrapper = environment.join("zig-cc");
    if wrapper.exists() {
        return Ok(wrapper);
    }
    eprintln!("\ninstalling ziglang from PyPI into {}", environment.display());
    let python = python_in(sh, &environment)?;
    let install = || -> xshell::Result<()> {
        cmd!(sh, "{python} -m pip install --quiet --disable-pip-version-check ziglang=={ZIG}").run()?;
        script(sh, &wrapper, &format!("{} -m ziglang cc", python.display()))
    };
    install().map_err(|error| format!("ziglang could not be installed: {error}"))?;
    Ok(wrapper)
}

/// A Python with pip.
pub(crate) fn python(sh: &Shell) -> Result<PathBuf, String> {
    python_in(sh, &folder().join("python"))
}

/// The same in an environment of this folder.
fn python_in(sh: &Shell, environment: &Path) -> Result<PathBuf, String> {
    let python = environment.join("bin/python");
    if python.exists() {
        return Ok(python);
    }
    program(sh, "python3", "python3")?;
    let create = || cmd!(sh, "python3 -m venv {environment}").run();
    create()
        .or_else(|_| {
            let _ = package(sh, "python3-venv");
            create()
        })
        .map_err(|error| format!("no Python environment could be made: {error}"))?;
    Ok(python)
}
