//! RPM packages and repositories against the stock tools.
