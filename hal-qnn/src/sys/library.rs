//! A QNN library opened by its path. It is never closed: the memory would stay taken, and the interface points into it.

use std::format;
use std::path::Path;

use libloading::os::unix;

use super::interface::Interface;
use super::stdout::Muted;
use super::table::GetProviders;
use crate::error::{QnnError, Text};

/// Names the library that stands in for a phone's, if whoever runs the tests has it.
#[cfg(test)]
pub(super) const LIBRARY: &str = "MOBIEDIT_QNN_LIB";

impl Interface {
    /// Opens a library such as `libQnnHtp.so`. Opened again, the system gives what it has loaded.
    ///
    /// Loading prints a line to standard output; whatever is written there meanwhile is dropped.
    ///
    /// The code in the file is executed, as with a program that is started: name a file that only its owner can change.
    pub fn open(path: &Path) -> Result<Self, QnnError> {
        let _muted = Muted::start().map_err(|error| QnnError::Stdout(error.raw_os_error().unwrap_or(0)))?;
        // SAFETY: a library's initialisers may assume what they like, and nobody can check; the caller was told to trust it.
        let library = unsafe { unix::Library::new(path) }.map_err(|error| QnnError::Open(reason(path, &error)))?;
        // SAFETY: QNN's function of that name has this type.
        let get_providers = unsafe { library.get::<GetProviders>(c"QnnInterface_getProviders") }
            .map(|symbol| *symbol)
            .map_err(|_| QnnError::Symbol("QnnInterface_getProviders"))?;
        let _kept = library.into_raw();
        // SAFETY: QNN's function, by its name, and the library stays.
        unsafe { Self::from_providers(get_providers) }
    }
}

/// The loader's reason without the path, which the caller knows.
fn reason(path: &Path, error: &libloading::Error) -> Text {
    let text = std::error::Error::source(error).map_or_else(|| format!("{error}"), |source| format!("{source}"));
    Text::new(text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::{env, fs, println, process};

    use super::*;
    use crate::sys::stdout::captured;
    use crate::sys::table::{CORE_MAJOR, LogLevel};
    use crate::sys::{LogConfig, Session, SessionConfig};

    #[test]
    fn what_is_no_library_is_refused_with_the_loaders_reason() {
        let nowhere = Interface::open(Path::new("nowhere/libQnnHtp.so")).unwrap_err();
        assert!(matches!(nowhere, QnnError::Open(reason) if !reason.as_str().is_empty()), "{nowhere}");
        let path: PathBuf = env::temp_dir().join(format!("mobiedit-{}-libQnnHtp.so", process::id()));
        fs::write(&path, "not a library").unwrap();
        let text = Interface::open(&path).map(|_| ());
        fs::remove_file(&path).unwrap();
        assert!(matches!(text, Err(QnnError::Open(_))), "{text:?}");
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn a_library_of_something_else_is_refused() {
        let found = Interface::open(Path::new("libc.so.6")).map(|_| ());
        assert_eq!(found, Err(QnnError::Symbol("QnnInterface_getProviders")));
    }

    #[test]
    fn the_real_library_opens_in_silence_and_gives_a_device() {
        let Some(path) = env::var_os(LIBRARY) else {
            return println!("not run: QNN library ({LIBRARY} is not set)");
        };
        let mut versions = None;
        let printed = captured(|| {
            let interface = Interface::open(Path::new(&path)).unwrap();
            versions = Some(interface.versions().unwrap());
            let (silent, log) = (LogConfig::SILENT, LogConfig::stderr(LogLevel::WARN));
            for (log, soc) in [(silent, Some(57)), (log, Some(57)), (log, None), (silent, Some(69)), (silent, Some(57))]
            {
                let again = Interface::open(Path::new(&path)).unwrap();
                drop(Session::open(again, &SessionConfig { log, soc }).unwrap());
            }
            for log in [silent, log] {
                let unknown = SessionConfig { log, soc: Some(u32::MAX) };
                let refused = Session::open(interface, &unknown).map(drop);
                assert!(matches!(refused, Err(QnnError::Refused { call: "deviceCreate", .. })), "{refused:?}");
            }
        });
        let versions = versions.unwrap();
        println!("{versions:?}");
        assert_eq!(printed, "");
        assert_eq!(versions.api.core.major, CORE_MAJOR);
    }
}
