//! A context: graphs that live, are saved and are freed together. It knows none of their operations.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null;

use super::interface::required;
use super::session::Session;
use super::table::{ContextHandle, ProfileHandle, Table};
use crate::error::{QnnError, Status};

/// Graphs that live together. It keeps its session alive.
#[derive(Debug)]
pub struct Context {
    handle: ContextHandle,
    free: unsafe extern "C" fn(ContextHandle, ProfileHandle) -> Status,
    session: Rc<Session>,
}

impl Context {
    /// An empty one.
    pub fn create(session: &Rc<Session>) -> Result<Rc<Self>, QnnError> {
        let create = required(session.interface().table().context_create, "contextCreate")?;
        let (backend, device) = (session.backend(), session.device());
        // SAFETY: a function of a checked table with the session's own handles, no configurations, a place for the result.
        Self::made(session, "contextCreate", |handle| unsafe { create(backend, device, null(), handle) })
    }

    /// From what [`binary`](Self::binary) gave for the same chip, by the same build of the library.
    ///
    /// The library believes what it reads: whoever keeps binaries has to know that they are unchanged.
    pub fn from_binary(session: &Rc<Session>, binary: &[u8]) -> Result<Rc<Self>, QnnError> {
        let create = required(session.interface().table().context_create_from_binary, "contextCreateFromBinary")?;
        let (backend, device) = (session.backend(), session.device());
        let (bytes, len) = (binary.as_ptr().cast::<c_void>(), binary.len() as u64);
        // SAFETY: the same, and as many bytes as said.
        Self::made(session, "contextCreateFromBinary", |handle| unsafe {
            create(backend, device, null(), bytes, len, handle, ProfileHandle::NULL)
        })
    }

    fn made(
        session: &Rc<Session>,
        call: &'static str,
        create: impl FnOnce(*mut ContextHandle) -> Status,
    ) -> Result<Rc<Self>, QnnError> {
        let free = required(session.interface().table().context_free, "contextFree")?;
        let mut handle = ContextHandle::NULL;
        create(&raw mut handle).check(call)?;
        if handle == ContextHandle::NULL {
            return Err(QnnError::Nothing(call));
        }
        Ok(Rc::new(Self { handle, free, session: Rc::clone(session) }))
    }

    /// The finalised graphs as bytes.
    pub fn binary(&self) -> Result<Vec<u8>, QnnError> {
        let size = required(self.table().context_get_binary_size, "contextGetBinarySize")?;
        let get = required(self.table().context_get_binary, "contextGetBinary")?;
        let (mut bytes, mut written) = (0, 0);
        // SAFETY: the context is alive; a place for the result.
        unsafe { size(self.handle, &raw mut bytes) }.check("contextGetBinarySize")?;
        let mut binary = vec![0_u8; usize::try_from(bytes).map_err(|_| QnnError::Nothing("contextGetBinarySize"))?];
        // SAFETY: the same, and a buffer of as many bytes as said.
        unsafe { get(self.handle, binary.as_mut_ptr().cast(), bytes, &raw mut written) }.check("contextGetBinary")?;
        if written == 0 || written > bytes {
            return Err(QnnError::Nothing("contextGetBinary"));
        }
        binary.truncate(written as usize);
        Ok(binary)
    }

    pub(super) const fn handle(&self) -> ContextHandle {
        self.handle
    }

    /// The session that it lives on.
    pub fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn table(&self) -> &'static Table {
        self.session.interface().table()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by this library, freed once; graphs hold the context, so none is left. Nothing can be done about a
        // refusal.
        let _refused = unsafe { (self.free)(self.handle, ProfileHandle::NULL) };
    }
}
