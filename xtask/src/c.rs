//! The C interface from C: programs of `tests/c` compiled with warnings as errors, on this machine plain, under ASan and under
//! valgrind, and with other compilers for other targets under QEMU.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::library::{AARCH64_MUSL, HEXAGON, HOST, THUMB, Target};
use crate::report::Report;
use crate::{header, library, tools, workspace};

/// A program of `tests/c`.
struct Program {
    name: &'static str,
    /// Runs the model of `model.S`, with its calibration.
    on_model: bool,
    /// Prints its patch's fingerprint, which is the same everywhere.
    prints_patch: bool,
    /// Makes several edits: minutes on an emulated CPU and under valgrind, so it runs plain and under ASan alone.
    long: bool,
}

const PROGRAMS: [Program; 9] = [
    Program { name: "smoke", on_model: false, prints_patch: false, long: false },
    Program { name: "callbacks", on_model: false, prints_patch: false, long: false },
    Program { name: "journal", on_model: false, prints_patch: false, long: false },
    Program { name: "edit", on_model: true, prints_patch: true, long: false },
    Program { name: "kept", on_model: true, prints_patch: false, long: false },
    Program { name: "calibration", on_model: true, prints_patch: false, long: false },
    Program { name: "stacked", on_model: true, prints_patch: false, long: true },
    Program { name: "resume", on_model: true, prints_patch: true, long: true },
    Program { name: "two", on_model: true, prints_patch: false, long: true },
];
/// Prints what an edit takes of memory, for `cargo xtask size`.
const ARENA: Program = Program { name: "arena", on_model: false, prints_patch: false, long: true };

const STRICT: [&str; 5] = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1"];

/// The command of a bare-metal Cortex-M4F.
const MPS2: [&str; 12] = [
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

/// What arm-none-eabi-gcc compiles and links with for it.
pub(crate) const CORTEX_M: [&str; 6] =
    ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-Ttests/c/mps2.ld", "-Wl,--gc-sections"];

/// The line of a program's output that starts with `patch`: the fingerprint of its edit.
pub(crate) fn patch_of(output: &str) -> anyhow::Result<String> {
    let line = output.lines().find_map(|line| line.split_once("patch ").map(|(_, rest)| rest.trim().to_owned()));
    line.with_context(|| format!("no fingerprint of a patch in {output:?}"))
}

/// A way to compile and run.
struct Way<'w> {
    name: &'w str,
    compiler: PathBuf,
    flags: &'w [&'w str],
    /// Sources besides the program's own.
    with: &'w [&'w str],
    runner: &'w [&'w str],
}

/// All ways, each with all programs.
pub(crate) fn run(sh: &Shell, report: &mut Report) {
    report.step("include/mobiedit.h is what src/capi says", header::check);
    let mut patches = Vec::new();
    let gcc = || tools::program(sh, "gcc", "gcc");
    let plain = Way { name: "gcc", compiler: "gcc".into(), flags: &[], with: &[], runner: &[] };
    let sanitized = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let asan = Way { name: "gcc with ASan", flags: &sanitized, compiler: "gcc".into(), with: &[], runner: &[] };
    let memcheck = ["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full"];
    let valgrind =
        Way { name: "gcc under valgrind", compiler: "gcc".into(), flags: &["-g"], with: &[], runner: &memcheck };
    for (way, ready) in
        [(plain, gcc()), (asan, gcc()), (valgrind, gcc().and_then(|()| tools::program(sh, "valgrind", "valgrind")))]
    {
        way.all(sh, report, &HOST, ready, &mut patches);
    }

    let cortex = [CORTEX_M.as_slice(), &["--specs=rdimon.specs"]].concat();
    let qemu: Vec<&str> = [&["qemu-system-arm"], MPS2.as_slice()].concat();
    let compiler = "arm-none-eabi-gcc".into();
    Way {
        name: "arm-none-eabi-gcc on Cortex-M under QEMU",
        compiler,
        flags: &cortex,
        with: &["mps2.c"],
        runner: &qemu,
    }
    .all(sh, report, &THUMB, cortex_m_ready(sh), &mut patches);

    let qemu_user = || tools::program(sh, "qemu-hexagon", "qemu-user");
    let zig = tools::zig_cc(sh);
    for (name, flags, target, ready, runner) in [
        (
            "zig cc on AArch64 under QEMU",
            ["--target=aarch64-linux-musl"].as_slice(),
            &AARCH64_MUSL,
            tools::rust_target(sh, AARCH64_MUSL.triple),
            ["qemu-aarch64"].as_slice(),
        ),
        (
            "zig cc on Hexagon under QEMU",
            ["--target=hexagon-linux-musl", "-mcpu=hexagonv66", "-static"].as_slice(),
            &HEXAGON,
            tools::rust_source(sh),
            ["qemu-hexagon", "-cpu", "v67"].as_slice(),
        ),
    ] {
        let (compiler, ready) = match &zig {
            Ok(zig) => (zig.clone(), ready.and_then(|()| qemu_user())),
            Err(reason) => (PathBuf::new(), Err(reason.clone())),
        };
        Way { name, compiler, flags, with: &[], runner }.all(sh, report, target, ready, &mut patches);
    }
    report.step("every C program found the same patch on every target", || -> anyhow::Result<()> {
        patches.sort();
        patches.dedup();
        let names: Vec<&str> = patches.iter().map(|(name, _)| *name).collect();
        let all = PROGRAMS.iter().filter(|program| program.prints_patch).count();
        let once = names.windows(2).all(|pair| pair[0] != pair[1]) && names.len() == all;
        anyhow::ensure!(once, "these patches were found: {patches:?}");
        Ok(())
    });
}

/// The NPU behind the C interface: refusals and the CPU where there is no library, an edit on it where `MOBIEDIT_QNN_LIB` names one.
pub(crate) fn npu(sh: &Shell) -> anyhow::Result<()> {
    let library = library::with_npu(sh, HOST.triple)?;
    let flags = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let asan = Way { name: "gcc with the NPU", compiler: "gcc".into(), flags: &flags, with: &[], runner: &[] };
    let program = Program { name: "npu", on_model: true, prints_patch: false, long: true };
    eprintln!("{}", asan.one(sh, &program, &library)?);
    Ok(())
}

/// Installs what C programs on a Cortex-M under QEMU take.
pub(crate) fn cortex_m_ready(sh: &Shell) -> Result<(), String> {
    tools::program(sh, "arm-none-eabi-gcc", "gcc-arm-none-eabi")?;
    tools::newlib(sh)?;
    tools::program(sh, "qemu-system-arm", "qemu-system-arm")?;
    tools::rust_target(sh, THUMB.triple)
}

/// Most bytes of stack that a step, or opening a journal and appending to it, takes in a program on a Cortex-M, by `stack.c`.
pub(crate) fn stack_of(sh: &Shell, program: &str, library: &Path) -> anyhow::Result<u64> {
    let program = PROGRAMS.iter().find(|known| known.name == program).context("a program of tests/c")?;
    let wrapped = [
        "-Wl,--wrap=mobiedit_step",
        "-Wl,--wrap=mobiedit_journal_open",
        "-Wl,--wrap=mobiedit_journal_append",
        "--specs=rdimon.specs",
    ];
    let flags = [CORTEX_M.as_slice(), &wrapped].concat();
    let runner: Vec<&str> = [&["qemu-system-arm"], MPS2.as_slice()].concat();
    let compiler = "arm-none-eabi-gcc".into();
    let way = Way { name: "stack", compiler, flags: &flags, with: &["mps2.c", "stack.c"], runner: &runner };
    let output = way.one(sh, program, library)?;
    let bytes = output.lines().find_map(|line| line.strip_prefix("stack "));
    bytes.with_context(|| format!("{} told no stack: {output:?}", program.name))?.parse().context("bytes of stack")
}

/// What `arena.c` prints on this machine.
pub(crate) fn arenas(sh: &Shell, library: &Path) -> anyhow::Result<String> {
    Way { name: "gcc", compiler: "gcc".into(), flags: &[], with: &[], runner: &[] }.one(sh, &ARENA, library)
}

impl Way<'_> {
    /// Builds the library and every program, and runs them.
    fn all(
        &self,
        sh: &Shell,
        report: &mut Report,
        target: &Target,
        ready: Result<(), String>,
        patches: &mut Vec<(&'static str, String)>,
    ) {
        if let Err(reason) = ready {
            return report.not_run(&format!("C programs, {}", self.name), &reason);
        }
        for program in PROGRAMS.iter().filter(|program| self.runner.is_empty() || !program.long) {
            report.step(&format!("tests/c/{}.c, {}", program.name, self.name), || -> anyhow::Result<()> {
                let library = target.build(sh)?;
                let output = self.one(sh, program, &library)?;
                eprintln!("{output}");
                if program.prints_patch {
                    patches.push((program.name, patch_of(&output)?));
                }
                Ok(())
            });
        }
    }

    fn one(&self, sh: &Shell, program: &Program, library: &Path) -> anyhow::Result<String> {
        let root = workspace::root();
        let folder = root.join("target/c").join(self.name.replace(' ', "-"));
        fs::create_dir_all(&folder)?;
        let out = folder.join(program.name);
        let source = |name: &str| root.join("tests/c").join(name);
        let mut sources = vec![source(&format!("{}.c", program.name))];
        sources.extend(self.with.iter().map(|name| source(name)));
        if program.on_model {
            sources.push(source("model.S"));
        }
        let file =
            |name: &str, file: &str| format!("-D{name}=\"{}\"", root.join("tests/fixtures").join(file).display());
        let (model, calibration) = (file("MODEL", "small.gguf"), file("CALIBRATION", "small.calibration"));
        let (compiler, flags) = (&self.compiler, self.flags);
        cmd!(
            sh,
            "{compiler} {STRICT...} {flags...} -Iinclude {model} {calibration} {sources...} {library} -lm -o {out}"
        )
        .run()?;
        let words: Vec<&Path> = self.runner.iter().map(Path::new).chain([out.as_path()]).collect();
        let (first, rest) = words.split_first().expect("a program");
        Ok(sh.cmd(first).args(rest).read()?)
    }
}
