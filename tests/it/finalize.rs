//! Finalizers against what Debian's own tools make.
