//! The folder source on a real file system.
