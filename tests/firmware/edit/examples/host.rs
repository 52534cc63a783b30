//! The same edit on a machine with an operating system: what the firmwares' patches are compared with. Tests nothing itself.

use firmware_edit::{Memory, edit};

static MEMORY: std::sync::Mutex<Memory> = std::sync::Mutex::new(Memory::NEW);

fn main() -> Result<(), String> {
    let mut memory = MEMORY.lock().map_err(|_| "the memory is in use")?;
    let edited = edit(&mut memory, |_| ()).map_err(|failure| format!("{failure:?}"))?;
    let [before, after, undone] = edited.answers;
    println!("before: {before:?}\nafter: {after:?}\nundone: {undone:?}");
    println!("{} steps, {} forward passes", edited.progress.step, edited.progress.forward_passes);
    println!("patch {:016x}", edited.patch);
    if edited.is_good() { Ok(()) } else { Err("not edited".into()) }
}
