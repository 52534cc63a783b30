//! Tells the linker where this board's memory is, and which scripts lay the program and defmt's strings out. Compiles nothing.

fn main() {
    println!("cargo::rerun-if-changed=memory.x");
    println!("cargo::rustc-link-search={}", std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
    for programs in ["bins", "tests"] {
        println!("cargo::rustc-link-arg-{programs}=-Tlink.x");
        println!("cargo::rustc-link-arg-{programs}=-Tdefmt.x");
    }
}
