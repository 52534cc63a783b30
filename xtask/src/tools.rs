//! What the tests on other targets need from outside: installed by rustup, apt and pip, each said before it is done.
//!
//! Every function returns why a thing cannot be had, for a report's "not run".

use std::env;
use std::path::PathBuf;

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

/// The C compiler and linker of Zig, from PyPI: a small program that calls it, for cargo and for us.
pub(crate) fn zig_cc(sh: &Shell) -> Result<PathBuf, String> {
    let environment = folder().join("zig");
    let wrapper = environment.join("zig-cc");
    if wrapper.exists() {
        return Ok(wrapper);
    }
    program(sh, "python3", "python3")?;
    eprintln!("\ninstalling ziglang from PyPI into {}", environment.display());
    let install = || -> xshell::Result<()> {
        if cmd!(sh, "python3 -m venv {environment}").run().is_err() {
            let _ = package(sh, "python3-venv");
            cmd!(sh, "python3 -m venv {environment}").run()?;
        }
        let pip = environment.join("bin/pip");
        cmd!(sh, "{pip} install --quiet --disable-pip-version-check ziglang==0.15.2").run()?;
        let python = environment.join("bin/python");
        sh.write_file(&wrapper, format!("#!/bin/sh\nexec {} -m ziglang cc \"$@\"\n", python.display()))?;
        cmd!(sh, "chmod +x {wrapper}").run()
    };
    install().map_err(|error| format!("ziglang could not be installed: {error}"))?;
    Ok(wrapper)
}
