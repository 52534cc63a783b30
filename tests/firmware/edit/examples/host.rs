//! The same edit on a machine with an operating system: what the firmwares' patches are compared with. Tests nothing itself.

use firmware_edit::{Flash, Memory, edit};

static MEMORY: std::sync::Mutex<(Memory, Flash)> = std::sync::Mutex::new((Memory::NEW, Flash::NEW));

fn main() -> Result<(), String> {
    let mut memory = MEMORY.lock().map_err(|_| "the memory is in use")?;
    let (memory, flash) = &mut *memory;
    let edited = edit(memory, flash, |_| ()).map_err(|failure| format!("{failure:?}"))?;
    let [before, after, undone] = edited.answers;
    println!("before: {before:?}\nafter: {after:?}\nundone: {undone:?}");
    println!("at the next start: {:?}", edited.next.answer);
    println!("{} steps, {} forward passes", edited.progress.step, edited.progress.forward_passes);
    println!("patch {:016x}", edited.patch);
    if edited.is_good() { Ok(()) } else { Err("not edited".into()) }
}
