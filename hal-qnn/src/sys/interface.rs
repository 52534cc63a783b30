//! A library's interface, once it is known to be the NPU's in a version that this crate declares. It makes no object.

use core::ffi::CStr;
use core::ptr::null;

use super::table::{ApiVersion, CORE_MAJOR, Free, GetProviders, HTP, InterfaceV2, Provider, Table};
use crate::error::{QnnError, Status, Text};

/// The NPU's interface: proof that its layout is the one declared here. It lives as long as the program.
///
/// It stays on one thread: what a library allows between threads is not settled here.
#[derive(Clone, Copy, Debug)]
pub struct Interface(&'static InterfaceV2);

/// What a library says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// As the interface was declared.
    pub api: ApiVersion,
    /// As the backend answers.
    pub backend: ApiVersion,
    /// Which build.
    pub build_id: Text,
}

impl Interface {
    /// From the pointer that a firmware was linked or handed, instead of a library's file.
    ///
    /// # Safety
    /// Null, or an interface that stays valid and unchanged for the rest of the program: 40 bytes laid out as
    /// [`Provider`], and, if those say the NPU and core API 2, the table that this version has.
    pub unsafe fn from_ptr(interface: *const Provider) -> Result<Self, QnnError> {
        // SAFETY: the caller's promise, and null is asked for.
        let provider = unsafe { interface.as_ref() }.ok_or(QnnError::NoProvider)?;
        if provider.backend_id != HTP {
            return Err(QnnError::NotHtp(provider.backend_id));
        }
        if provider.api_version.core.major != CORE_MAJOR {
            return Err(QnnError::CoreVersion(provider.api_version.core));
        }
        // SAFETY: of this backend and version the caller promised the table too. Its functions may be null: they are options.
        Ok(Self(unsafe { &*interface.cast::<InterfaceV2>() }))
    }

    /// The first that fits among a library's interfaces; if none does, what is wrong with the one that comes closest.
    ///
    /// # Safety
    /// `get_providers` is QNN's: on success it gives a list of so many pointers, each as of [`Interface::from_ptr`].
    pub unsafe fn from_providers(get_providers: GetProviders) -> Result<Self, QnnError> {
        let (mut list, mut len) = (null(), 0);
        // SAFETY: both places can be written to.
        unsafe { get_providers(&raw mut list, &raw mut len) }.check("getProviders")?;
        let mut found = Err(QnnError::NoProvider);
        if list.is_null() {
            return found;
        }
        for index in 0..len as usize {
            // SAFETY: the list has `len` pointers, and each is what `from_ptr` asks for.
            let next = unsafe { Self::from_ptr(*list.add(index)) };
            match (next, found) {
                (Ok(interface), _) => return Ok(interface),
                (Err(QnnError::CoreVersion(_)), Err(QnnError::NotHtp(_))) | (_, Err(QnnError::NoProvider)) => {
                    found = next;
                }
                _ => {}
            }
        }
        found
    }

    /// The functions.
    pub const fn table(&self) -> &'static Table {
        &self.0.table
    }

    /// The versions and the build.
    pub fn versions(&self) -> Result<Versions, QnnError> {
        let get_version = required(self.table().backend_get_api_version, "backendGetApiVersion")?;
        let get_build_id = required(self.table().backend_get_build_id, "backendGetBuildId")?;
        let (mut backend, mut build_id) = (ApiVersion::default(), null());
        // SAFETY: the function of a checked table; the place can be written to.
        unsafe { get_version(&raw mut backend) }.check("backendGetApiVersion")?;
        // SAFETY: the same.
        unsafe { get_build_id(&raw mut build_id) }.check("backendGetBuildId")?;
        if build_id.is_null() {
            return Err(QnnError::Nothing("backendGetBuildId"));
        }
        // SAFETY: the library's text, which ends with zero; it is copied before anything else is called.
        let build_id = Text::from_c(unsafe { CStr::from_ptr(build_id) });
        Ok(Versions { api: self.0.provider.api_version, backend, build_id })
    }
}

/// The function, or which one is missing.
pub(super) fn required<Function>(function: Option<Function>, name: &'static str) -> Result<Function, QnnError> {
    function.ok_or(QnnError::Missing(name))
}

/// An object that a call made, which `free` gives back.
#[derive(Debug)]
pub(super) struct Owned<Handle: Copy> {
    pub(super) handle: Handle,
    free: Free<Handle>,
}

impl<Handle: Copy + PartialEq> Owned<Handle> {
    /// Calls `create` with a place for the handle, which holds `null` before.
    ///
    /// # Safety
    /// The handle that `create` writes on success can be given to `free`, once, when this value is dropped.
    pub(super) unsafe fn new(
        call: &'static str,
        null: Handle,
        free: Free<Handle>,
        create: impl FnOnce(*mut Handle) -> Status,
    ) -> Result<Self, QnnError> {
        let mut handle = null;
        create(&raw mut handle).check(call)?;
        if handle == null { Err(QnnError::Nothing(call)) } else { Ok(Self { handle, free }) }
    }
}

impl<Handle: Copy> Drop for Owned<Handle> {
    fn drop(&mut self) {
        // SAFETY: `new` was promised that this is allowed. Nothing can be done about a refusal.
        let _refused = unsafe { (self.free)(self.handle) };
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::sys::fake::{self, Fake};
    use crate::sys::table::Version;

    const OLD: Version = Version { major: 1, minor: 9, patch: 0 };
    const NEW: Version = Version { major: 3, minor: 0, patch: 1 };

    /// Chooses among providers of these backends and core versions.
    fn chosen(providers: &[(u32, Version)]) -> Result<u32, QnnError> {
        let list: Vec<_> = providers.iter().map(|&(id, core)| fake::provider(id, core)).collect();
        Fake { providers: Some(list), ..Fake::default() }.install();
        // SAFETY: the fake gives a list of valid interfaces.
        unsafe { Interface::from_providers(fake::get_providers) }.map(|found| found.0.provider.api_version.core.minor)
    }

    #[test]
    fn the_first_that_fits_is_chosen_or_the_closest_is_named() {
        let fits = |minor| Version { major: 2, minor, patch: 0 };
        for (providers, expected) in [
            (&[][..], Err(QnnError::NoProvider)),
            (&[(HTP, fits(40))], Ok(40)),
            (&[(3, fits(40)), (HTP, NEW), (HTP, fits(32)), (HTP, fits(40))], Ok(32)),
            (&[(HTP, NEW)], Err(QnnError::CoreVersion(NEW))),
            (&[(HTP, OLD)], Err(QnnError::CoreVersion(OLD))),
            (&[(3, fits(40)), (4, fits(40))], Err(QnnError::NotHtp(3))),
            (&[(3, fits(40)), (HTP, NEW), (4, NEW)], Err(QnnError::CoreVersion(NEW))),
        ] {
            assert_eq!(chosen(providers), expected, "{providers:?}");
        }
    }

    #[test]
    fn a_list_that_is_not_there_is_not_read() {
        for (fake, expected) in [
            (Fake { providers: None, ..Fake::default() }, QnnError::NoProvider),
            (Fake { providers: Some(std::vec![null()]), ..Fake::default() }, QnnError::NoProvider),
            (Fake::failing("getProviders", 1004), fake::refused("getProviders", 1004)),
        ] {
            fake.install();
            // SAFETY: the fake gives no list, one of a null pointer, or an error.
            let found = unsafe { Interface::from_providers(fake::get_providers) };
            assert_eq!(found.map(|_| ()), Err(expected));
        }
        // SAFETY: null is allowed.
        assert_eq!(unsafe { Interface::from_ptr(null()) }.map(|_| ()), Err(QnnError::NoProvider));
    }

    #[test]
    fn versions_are_copied_or_an_error_says_which_call() {
        let (version, build_id) = ("backendGetApiVersion", "backendGetBuildId");
        Fake::default().install();
        let versions = fake::interface(|_| {}).versions().unwrap();
        assert_eq!((versions.api.core.minor, versions.backend.backend.major), (40, 5));
        assert_eq!(versions.build_id.as_str(), "v2.0 fake");
        for (fake, expected) in [
            (Fake::failing(version, 1000), fake::refused(version, 1000)),
            (Fake::failing(build_id, 1000), fake::refused(build_id, 1000)),
            (Fake::giving_nothing(build_id), QnnError::Nothing(build_id)),
        ] {
            fake.install();
            assert_eq!(fake::interface(|_| {}).versions(), Err(expected));
        }
        Fake::default().install();
        let lacking = fake::interface(|table| table.backend_get_api_version = None);
        assert_eq!(lacking.versions(), Err(QnnError::Missing(version)));
        let lacking = fake::interface(|table| table.backend_get_build_id = None);
        assert_eq!(lacking.versions(), Err(QnnError::Missing(build_id)));
    }
}
