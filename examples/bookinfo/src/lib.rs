//! bookinfo.
