//! Qualcomm's QNN library with the emulator of its NPU: the vendor's, under the vendor's licence, so nothing of it is in this
//! repository, and it is installed for whoever says yes to that licence.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use xshell::{Shell, cmd};

use crate::report::Report;
use crate::{c, tools};

/// The wheel on PyPI that holds it.
const WHEEL: &str = "onnxruntime-qnn";
const VERSION: &str = "2.7.0";
const SHA256: &str = "c56c01562b8534fe8980cfea4601408d950c065f8251fb862ce82101c52c9849";
/// Of that wheel.
const PYTHON: &str = "3.11";
const PLATFORM: &str = "manylinux_2_35_x86_64";

/// Names a library that is there already.
const LIBRARY: &str = "MOBIEDIT_QNN_LIB";
/// Names the folder that the wheel is installed in.
const FOLDER: &str = "MOBIEDIT_QNN_DIR";
/// With the value 1: yes to the licence.
const ACCEPT: &str = "MOBIEDIT_QNN_ACCEPT_LICENSE";

/// Where the wheel is installed: outside the repository.
fn folder() -> anyhow::Result<PathBuf> {
    if let Some(folder) = env::var_os(FOLDER) {
        return Ok(folder.into());
    }
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    Ok(cache.with_context(|| format!("there is no home folder: name one with {FOLDER}"))?.join("mobiedit/qnn"))
}

/// The library in the installed wheel.
fn installed() -> anyhow::Result<PathBuf> {
    Ok(folder()?.join(VERSION).join("onnxruntime_qnn/libQnnHtp.so"))
}

/// `cargo xtask qnn fetch`.
pub(crate) fn fetch(sh: &Shell, accept_license: bool) -> anyhow::Result<PathBuf> {
    let library = installed()?;
    if library.exists() {
        println!("{} is there already", library.display());
        return Ok(library);
    }
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the emulator is for x86-64 Linux: on a phone, {LIBRARY} names the library of the vendor's SDK"
    );
    if !accept_license && env::var(ACCEPT).as_deref() != Ok("1") {
        bail!(
            "{WHEEL} {VERSION} on PyPI is Qualcomm's, under Qualcomm's licence: to be used for applications of one's own, not \
             to be passed on alone. Its text is in the wheel (Qualcomm_LICENSE.pdf). Say yes with --accept-license, or with \
             {ACCEPT}=1"
        );
    }
    let target = folder()?.join(VERSION);
    eprintln!("installing {WHEEL} {VERSION} (98 MB) from PyPI into {}, under Qualcomm's licence", target.display());
    let python = tools::python(sh).map_err(anyhow::Error::msg)?;
    fs::create_dir_all(&target)?;
    let requirements = target.join("requirements.txt");
    fs::write(&requirements, format!("{WHEEL}=={VERSION} --hash=sha256:{SHA256}\n"))?;
    cmd!(
        sh,
        "{python} -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: --python-version {PYTHON} --implementation cp --platform {PLATFORM} --target {target} --requirement {requirements}"
    )
    .run()?;
    ensure!(library.exists(), "the wheel holds no {}", library.display());
    println!("{LIBRARY}={}", library.display());
    Ok(library)
}

/// The tests that need the library.
pub(crate) fn run(sh: &Shell, report: &mut Report) {
    let library = match env::var_os(LIBRARY) {
        Some(library) => Ok(PathBuf::from(library)),
        None => fetch(sh, false),
    };
    match library {
        Err(reason) => {
            report.step("tests/c/npu.c without the vendor's library", || c::npu(sh));
            report.cannot("qnn", &format!("{reason:#}; cargo xtask qnn fetch installs it"));
        }
        Ok(library) => {
            let _library = sh.push_env(LIBRARY, library);
            report.step("tests/c/npu.c on the vendor's emulator", || c::npu(sh));
            report.step("the NPU's device on the vendor's emulator", || {
                cmd!(sh, "cargo test --package mobiedit-hal-qnn --features std --lib --tests --no-fail-fast").run()
            });
        }
    }
}
